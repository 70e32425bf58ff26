"""From bytes to what the citizen wrote."""
