"""`okno rules`: the routing file."""

from pathlib import Path
from typing import Annotated

import typer

from okno.commands.common import ConfigFile, Json, load
from okno.output import print_json, print_lines
from router.rules import default_rules_path, load_rules

app = typer.Typer(help="The routing file.", no_args_is_help=True)


@app.command("lint")
def lint(
    file: Annotated[Path | None, typer.Argument(help="Routing file; else the one in the settings.")] = None,
    *,
    as_json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Check a routing file: every fault with its line, column and a caret."""
    path = file or load(config).settings.routing.rules or default_rules_path()
    rules = load_rules(path)
    if as_json:
        print_json({"ok": True, "hash": rules.hash, "rules": len(rules.rules), "warnings": rules.warnings})
        return
    print_lines(*rules.warnings, f"{path}: no faults; {len(rules.rules)} rules, hash {rules.hash[:12]}")
