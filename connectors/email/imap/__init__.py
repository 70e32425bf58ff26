"""IMAP: mailboxes that are read."""
