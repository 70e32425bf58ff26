"""What is no appeal: bounces, receipts, robots, our own mail."""
