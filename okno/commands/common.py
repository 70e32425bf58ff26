"""What commands share: the options that go before them, and how they run."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from config.settings import LogSettings, Settings
from okno.log import configure_logs
from okno.settings_file import find_settings_file, load_settings

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file; else $OKNO_CONFIG, else ./okno.yaml.", show_default=False),
]
DataDir = Annotated[
    Path | None, typer.Option("--data", help="Data folder; overrides the settings.", show_default=False)
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """The settings a command works with, and where they came from."""

    settings: Settings
    source: Path | None


def load(config: Path | None, data: Path | None = None, **overrides: Any) -> Loaded:
    """Read the settings with a command's options over them. Raises ConfigurationError."""
    configure_logs(LogSettings(level="warning"))  # to standard error; `run` sets its own
    path = find_settings_file(config)
    if data is not None:
        overrides["data_dir"] = data
    return Loaded(settings=load_settings(path, overrides=overrides), source=path)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)
