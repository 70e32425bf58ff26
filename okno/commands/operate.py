"""Commands that run and look after the daemon: demo, run, init, check, doctor."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from appeals.errors import ConfigurationError
from config.settings import ALL_ROLES, RoleName
from okno.commands.common import ConfigFile, DataDir, Json, load, run
from okno.daemon import Daemon, run_until_signal
from okno.data_folder import prepare_data_folder
from okno.demo import DemoOptions, run_demo
from okno.doctor import diagnose
from okno.log import configure_logs
from okno.new_office import write_settings_file
from okno.output import print_json, print_lines, progress
from okno.settings_check import check_settings


def add_to(app: typer.Typer) -> None:
    """Add the commands to the top level."""
    for command in (demo, run_daemon, init, check, doctor):
        app.command("run" if command is run_daemon else command.__name__)(command)


def demo(
    *,
    rate: Annotated[float, typer.Option(min=0.01, max=100, help="Appeals a second, over all channels.")] = 0.5,
    no_traffic: Annotated[bool, typer.Option("--no-traffic", help="Send nothing by itself.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="HTTP port of the console; 0: any free one.")] = 8080,
    data: Annotated[Path, typer.Option(help="Data folder of the demo; kept for the next time.")] = Path(
        "okno-data/demo"
    ),
) -> None:
    """Run everything on embedded defaults, with citizens who write on every channel. Ctrl-C stops it."""
    run(run_demo(DemoOptions(rate=rate, traffic=not no_traffic, port=port, data=data)))


def run_daemon(
    *,
    role: Annotated[
        str, typer.Option(help=f"What this process does, comma-separated: {', '.join(ALL_ROLES)}.")
    ] = ",".join(ALL_ROLES),
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="HTTP port; overrides the settings.")] = None,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; what is in hand is finished first."""
    overrides = {} if port is None else {"http": {"port": port}}
    settings = load(config, data, **overrides).settings
    configure_logs(settings.log)
    run(run_until_signal(Daemon(settings, roles=_parse_roles(role), progress=progress)))


def _parse_roles(text: str) -> frozenset[RoleName]:
    known: dict[str, RoleName] = {name: name for name in get_args(RoleName)}
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    if strangers := [name for name in wanted if name not in known]:
        raise ConfigurationError(f"--role: {', '.join(strangers)}? The roles are {', '.join(known)}")
    if not wanted:
        raise ConfigurationError("--role: name at least one role")
    return frozenset(known[name] for name in wanted)


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


def check(*, as_json: Json = False, config: ConfigFile = None, data: DataDir = None) -> None:
    """Check settings, routing rules and taxonomy without starting anything; every fault with its line."""
    loaded = load(config, data)
    report = check_settings(loaded.settings)
    if as_json:
        print_json({"ok": not report.faults, "faults": report.faults, "warnings": report.warnings})
    else:
        print_lines(*report.warnings, *report.faults)
        if not report.faults:
            print_lines(f"{loaded.source or 'defaults'}: no faults, {len(report.warnings)} warnings")
    if report.faults:
        raise typer.Exit(2)


def doctor(
    *,
    history: Annotated[bool, typer.Option("--history", help="Check every event's hash; may take minutes.")] = False,
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Look at everything Okno needs, and say what to do about what is wrong."""
    settings = load(config, data).settings
    prepare_data_folder(settings.data_dir)
    findings = run(diagnose(settings, history=history))
    if as_json:
        print_json({"ok": all(item.ok for item in findings), "findings": findings})
    else:
        for item in findings:
            print_lines(f"{'ok  ' if item.ok else 'FAIL'}  {item.name}: {item.detail}")
            if item.advice and not item.ok:
                print_lines(f"      → {item.advice}")
    if not all(item.ok for item in findings):
        raise typer.Exit(1)
