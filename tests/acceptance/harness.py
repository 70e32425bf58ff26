"""Okno as it runs: `okno run` as a process of its own, on ports that outlive it, to be stopped, killed and restarted."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import orjson
from argon2 import PasswordHasher

from appeals.agent import Agent
from appeals.registry import Registry
from appeals.transcript import TRANSCRIPTION
from config.settings import Settings
from config.taxonomy import load_taxonomy
from okno.bootstrap import make_lifecycle, opened_registry
from okno.settings_file import load_settings
from tests.servers import ChildProcess, free_port

PASSWORD = "acceptance-password"
LANGUAGES = frozenset({"ru", "en", "und"})
START_TIMEOUT_S = 180.0  # the first start on a fresh clone may train the default model, on a loaded machine
STOP_TIMEOUT_S = 60.0
ORPHAN_TIMEOUT_S = 30.0
POLL_S = 0.02


async def eventually(condition, *, what: str, timeout_s: float) -> None:
    """Poll `condition`, a function or coroutine function; AssertionError naming `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        await asyncio.sleep(POLL_S)


class DaemonEndedError(AssertionError):
    """The daemon ended where it should have run; `exit_code` is what it ended with."""

    def __init__(self, exit_code: int, *, log_tail: str) -> None:
        super().__init__(f"the daemon ended (exit code {exit_code}):\n{log_tail}")
        self.exit_code = exit_code


class DaemonProcess(ChildProcess):
    """One `okno run`. As an async context manager it is running inside the block and gone, children too, after it.

    Its log is `server.log` of its folder, one JSON object a line, over all its lives.
    """

    def __init__(
        self, folder: Path, *, settings: Mapping[str, Any] | None = None, roles: Sequence[str] = (), name: str = "okno"
    ) -> None:
        """Take settings as okno.yaml has them, over those for tests; `folder` is shared by processes of one office."""
        home = folder / name
        home.mkdir(parents=True, exist_ok=True)
        super().__init__(home, death_signal=signal.SIGKILL)
        self.http_port, self.smtp_port = free_port(), free_port()
        defaults: dict[str, Any] = {
            "data_dir": str(folder / "data"),
            "http": {"port": self.http_port},
            "email": {"smtp_port": self.smtp_port, "relay_port": free_port()},
            "routing": {"offer_timeout_s": 3600},
            "log": {"format": "json"},
        }
        self.config = home / "okno.yaml"
        self.config.write_bytes(orjson.dumps(_merged(_merged(defaults, settings or {}), self._ports())))
        self._roles = tuple(roles)
        self._groups: list[int] = []  # process groups of all lives
        self._log_at = 0  # where this life's log begins

    def _ports(self) -> dict[str, Any]:
        return {"http": {"port": self.http_port}, "email": {"smtp_port": self.smtp_port}}

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT, the same in every life."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def settings(self) -> Settings:
        """The settings as the daemon reads them."""
        return load_settings(self.config)

    async def __aenter__(self) -> Self:
        self.start()
        await self.until_running()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        await self.until_no_orphans()

    # ---- life

    def start(self, *options: str) -> None:
        """Start a new life; returns at once."""
        self._log_at = self._log_size()
        role = ("--role", ",".join(self._roles)) if self._roles else ()
        self._spawn([sys.executable, "-m", "okno", "run", "-c", self.config, *role, *options], start_new_session=True)
        self._groups.append(self.pid)

    async def until_running(self) -> None:
        """Wait until it runs; AssertionError with its log's end if it ends before that."""
        await self.until_logged("daemon.running", timeout_s=START_TIMEOUT_S)

    async def restart(self) -> None:
        """Kill it if it runs, start it on the same ports, and wait until it runs."""
        self.kill()
        self.start()
        await self.until_running()

    async def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Send SIGTERM and return the exit code."""
        self._signal_only(signal.SIGTERM)
        return await self.until_ended(timeout_s=timeout_s)

    def pause(self) -> None:
        """Let it stand still, as a machine that swaps or a virtual machine that moves does (SIGSTOP)."""
        self._signal_only(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, as if nothing had happened (SIGCONT)."""
        self._signal_only(signal.SIGCONT)

    def _signal_only(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    async def until_ended(self, *, timeout_s: float) -> int:
        """Wait until this life is over and return its exit code."""
        await eventually(self.has_ended, what="end of the daemon", timeout_s=timeout_s)
        assert self._process is not None
        return self._process.returncode

    def has_ended(self) -> bool:
        """Tell whether the process is gone."""
        return self._exited()

    async def until_no_orphans(self) -> None:
        """Wait until the children of all lives are gone; AssertionError, and they are killed, if some stay."""
        try:
            await eventually(
                lambda: not self._living_groups(), what="end of the daemon's children", timeout_s=ORPHAN_TIMEOUT_S
            )
        finally:
            for group in self._living_groups():
                os.killpg(group, signal.SIGKILL)

    def _living_groups(self) -> list[int]:
        return [group for group in self._groups if _is_alive(group)]

    # ---- its log

    def log(self) -> str:
        """Return what all lives have logged."""
        return (self.folder / "server.log").read_text(errors="replace")

    def _log_size(self) -> int:
        path = self.folder / "server.log"
        return path.stat().st_size if path.exists() else 0

    def entries(self, event: str) -> list[dict[str, Any]]:
        """Return this life's log entries of that event."""
        with (self.folder / "server.log").open("rb") as log:
            log.seek(self._log_at)
            return [entry for entry in _entries(log.read()) if entry.get("event") == event]

    def errors(self) -> list[dict[str, Any]]:
        """Return what all lives have logged as errors."""
        return [entry for entry in _entries(self.log().encode()) if entry.get("level") in ("error", "critical")]

    def faults(self) -> list[Any]:
        """Return errors, and tracebacks of whatever was not caught. Children of a killed daemon may leave such."""
        return [*self.errors(), *(line for line in self.log().splitlines() if line.startswith("Traceback"))]

    async def until_logged(self, event: str, *, timeout_s: float) -> None:
        """Wait for an event that this life logs; DaemonEndedError if it ends, AssertionError if it is too late."""

        def logged() -> bool:
            ended = self.has_ended()
            if self.entries(event):
                return True
            if ended:
                assert self._process is not None
                raise DaemonEndedError(self._process.returncode, log_tail=self.log_tail())
            return False

        await eventually(logged, what=f"{event} in the log", timeout_s=timeout_s)

    # ---- its registry

    @asynccontextmanager
    async def registry(self) -> AsyncIterator[Registry]:
        """Open its registry beside it."""
        async with opened_registry(self.settings) as registry:
            yield registry

    async def add_agent(self, login: str, *, capacity_units: int = 1_000_000) -> None:
        """Add an agent, or change one, who can take everything; the password is PASSWORD."""
        settings = self.settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        skills = dict.fromkeys((*load_taxonomy(settings.classifier.taxonomy).skills, TRANSCRIPTION), 5)
        agent = Agent(id=login, name=login, capacity_units=capacity_units, skills=skills, languages=LANGUAGES)
        async with opened_registry(settings) as registry:
            await make_lifecycle(settings, registry).put_agent(agent, PasswordHasher().hash(PASSWORD))


def _is_alive(group: int) -> bool:
    """Tell whether a process group has members, those not counted that are dead and only wait to be reaped."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    if not Path("/proc/self/stat").exists():
        return True
    stats = [_stat(folder) for folder in Path("/proc").glob("[0-9]*")]
    return any(stat[2:3] == [str(group)] and stat[0] != "Z" for stat in stats)


def _stat(folder: Path) -> list[str]:
    """Return state, parent, process group and more of a process (proc(5)); nothing if it has gone."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _entries(log: bytes) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        with suppress(orjson.JSONDecodeError):  # a line cut off by a kill, or a library's own words
            entry = orjson.loads(line)
            if isinstance(entry, dict):
                yield entry


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged
