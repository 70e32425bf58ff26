"""`okno init` and `okno check`: the settings an admin starts from, and what is wrong with them."""

from pathlib import Path
from typing import Annotated

import typer

from appeals.errors import ConfigurationError
from okno.commands.common import ConfigFile, DataDir, Json, load
from okno.exit_codes import EXIT_CONFIGURATION
from okno.new_office import write_settings_file
from okno.output import print_json, print_lines
from okno.settings_check import check_settings

app = typer.Typer(add_completion=False)


@app.command("init")
def init(
    *,
    path: Annotated[Path, typer.Argument(help="Where to write the settings.")] = Path("okno.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented okno.yaml and routing.yaml to start from."""
    written = write_settings_file(path, force=force)
    if as_json:
        print_json({"written": written})
        return
    print_lines(
        *(f"wrote {file}" for file in written), "", "Next: edit them, `okno check`, `okno user add`, `okno run`."
    )


@app.command("check")
def check(*, as_json: Json = False, config: ConfigFile = None, data: DataDir = None) -> None:
    """Check settings, routing rules and taxonomy without starting anything; every fault with its line."""
    try:
        loaded = load(config, data)
        report = check_settings(loaded.settings)
    except ConfigurationError as error:
        if not as_json:
            raise
        print_json({"ok": False, "faults": error.faults or (str(error),), "warnings": ()})
        raise typer.Exit(EXIT_CONFIGURATION) from error
    if as_json:
        print_json({"ok": not report.faults, "faults": report.faults, "warnings": report.warnings})
    else:
        print_lines(*report.warnings, *report.faults)
        if not report.faults:
            print_lines(f"{loaded.source or 'defaults'}: no faults, {len(report.warnings)} warnings")
    if report.faults:
        raise typer.Exit(EXIT_CONFIGURATION)
