"""Screening of attached files on every channel: nothing is refused, people and programs are told."""
