"""`okno explain`: why an appeal went where it did."""

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command to the top level."""
    del app
