"""`okno version`: which Okno this is."""

import platform

import typer

from okno import __version__
from okno.commands.common import Json
from okno.output import print_json, print_lines

app = typer.Typer(add_completion=False)


@app.command("version")
def version(*, as_json: Json = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"okno": __version__, "python": platform.python_version()})
    else:
        print_lines(f"okno {__version__}")
