"""`okno bench`: figures measured in one run, beside the limit measured in the same run."""

import typer

app = typer.Typer(help="Figures measured in one run, beside the limit measured in the same run.", no_args_is_help=True)
