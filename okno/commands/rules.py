"""`okno rules`: the routing file."""

from pathlib import Path
from typing import Annotated

import typer

from appeals.errors import ConfigurationError
from okno.commands.common import ConfigFile, Json, load
from okno.exit_codes import EXIT_CONFIGURATION
from okno.output import print_json, print_lines
from router.rules import default_rules_path, load_rules

app = typer.Typer(help="The routing file.", no_args_is_help=True, add_completion=False)


@app.callback()  # one command alone would not be a group
def _rules() -> None:
    """Look after the routing file."""


@app.command("lint")
def lint(
    file: Annotated[Path | None, typer.Argument(help="Routing file; else the one in the settings.")] = None,
    *,
    as_json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Check a routing file: every fault with its line, column and a caret."""
    path = file or load(config).settings.routing.rules or default_rules_path()
    try:
        rules = load_rules(path)
    except ConfigurationError as error:
        if not as_json:
            raise
        print_json({"ok": False, "faults": error.faults or (str(error),)})
        raise typer.Exit(EXIT_CONFIGURATION) from error
    if as_json:
        print_json({"ok": True, "hash": rules.hash, "rules": len(rules.rules), "warnings": rules.warnings})
        return
    print_lines(*rules.warnings, f"{path}: no faults; {len(rules.rules)} rules, hash {rules.hash[:12]}")
