"""The command `okno`."""

import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from appeals.errors import ConfigurationError, OknoError
from okno.exit_codes import EXIT_CONFIGURATION, EXIT_ERROR, EXIT_INTERRUPTED

MODULES = {  # command or group -> module of okno.commands that brings it, in the order of the help
    "demo": "demo",
    "init": "settings",
    "check": "settings",
    "run": "run",
    "doctor": "doctor",
    "user": "user",
    "appeals": "appeals",
    "explain": "explain",
    "quarantine": "quarantine",
    "kiosk": "kiosk",
    "rules": "rules",
    "classifier": "classifier",
    "bench": "bench",
    "version": "version",
}
EXIT_CODES = (
    f"Exit codes: 0 fine; {EXIT_ERROR} failed, or doctor found something; {EXIT_CONFIGURATION} the command line, "
    f"settings or input have faults; {EXIT_INTERRUPTED} interrupted. Results go to standard output, with --json as "
    "one JSON value; progress, logs and errors go to standard error."
)


class _Commands(TyperGroup):
    """The commands, each imported when it is called: `okno init` does not wait for the web server's modules."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Click's signature
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # Any: Typer carries a Click of its own from 0.22 on
        if cmd_name not in MODULES:
            return super().get_command(ctx, cmd_name)
        command: Any = get_command(import_module(f"okno.commands.{MODULES[cmd_name]}").app)
        command = getattr(command, "commands", {}).get(cmd_name, command)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="okno",
    cls=_Commands,
    help="One window for every citizen's appeal.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _okno() -> None:
    """One window for every citizen's appeal."""


def main() -> None:
    """Run the command line. Errors are one clear line on standard error, never a stack trace."""
    try:
        app(prog_name="okno")  # `python -m okno` too
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `okno appeals export | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_ERROR)
    except BaseExceptionGroup as group:
        _fail(_first_cause(group))
    except Exception as error:  # noqa: BLE001 - the outermost edge
        _fail(error)


def _first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(error: BaseException) -> None:
    if os.environ.get("OKNO_DEBUG"):
        raise error
    if isinstance(error, OknoError):
        sys.stderr.write(f"okno: {error}\n")
        sys.exit(EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else EXIT_ERROR)
    sys.stderr.write(f"okno: internal error: {type(error).__name__}: {error}\nSet OKNO_DEBUG=1 to see where.\n")
    sys.exit(EXIT_ERROR)
