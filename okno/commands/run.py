"""`okno run`: the daemon."""

from typing import Annotated, get_args

import typer

from appeals.errors import ConfigurationError
from config.settings import ALL_ROLES, RoleName
from okno.commands.common import ConfigFile, DataDir, load, run
from okno.daemon import Daemon, run_until_signal
from okno.log import configure_logs
from okno.output import progress

app = typer.Typer(add_completion=False)


@app.command("run")
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
