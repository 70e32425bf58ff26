"""The command `okno`."""

import os
import sys

import typer

from appeals.errors import ConfigurationError, OknoError
from okno import __version__
from okno.commands import appeals, bench, classifier, explain, operate, quarantine, rules, user

app = typer.Typer(
    name="okno",
    help="One window for every citizen's appeal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
operate.add_to(app)
explain.add_to(app)
for name, group in {
    "appeals": appeals.app,
    "bench": bench.app,
    "classifier": classifier.app,
    "quarantine": quarantine.app,
    "rules": rules.app,
    "user": user.app,
}.items():
    app.add_typer(group, name=name)


@app.command()
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"okno {__version__}\n")


EXIT_ERROR, EXIT_CONFIGURATION, EXIT_INTERRUPTED = 1, 2, 130


def main() -> None:
    """Run the command line. Errors are one clear line on standard error, never a stack trace."""
    try:
        app()
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
