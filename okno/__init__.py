"""Okno: one window for every citizen's appeal."""

__version__ = "0.1.0"
