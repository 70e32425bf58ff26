"""`okno doctor`: looks at everything Okno needs."""

from typing import Annotated

import typer

from okno.commands.common import ConfigFile, DataDir, Json, load, run
from okno.doctor import diagnose
from okno.exit_codes import EXIT_ERROR
from okno.output import print_json, print_lines

app = typer.Typer(add_completion=False)


@app.command("doctor")
def doctor(
    *,
    history: Annotated[bool, typer.Option("--history", help="Check every event's hash; may take minutes.")] = False,
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Look at everything Okno needs, and say what to do about what is wrong."""
    settings = load(config, data).settings
    findings = run(diagnose(settings, history=history))
    if as_json:
        print_json({"ok": all(item.ok for item in findings), "findings": findings})
    else:
        for item in findings:
            print_lines(f"{'ok  ' if item.ok else 'FAIL'}  {item.name}: {item.detail}")
            if item.advice and not item.ok:
                print_lines(f"      → {item.advice}")
    if not all(item.ok for item in findings):
        raise typer.Exit(EXIT_ERROR)
