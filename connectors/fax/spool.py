"""The spool folder: files that a fax server or a scanner puts there, each taken in once."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Protocol

import structlog
from watchfiles import awatch

from appeals.errors import TransientError

logger = structlog.get_logger(__name__)

DONE = "done"
FAILED = "failed"
PARTIAL_SUFFIXES = frozenset({".tmp", ".part", ".partial", ".filepart", ".crdownload"})  # uploads under way
SETTLE_S = 3.0  # a file unchanged for so long is complete; one moved in by rename has to wait as well
UNREADABLE_AFTER_S = 60.0  # an unreadable one may still be growing slowly: it is given up only when so old
SCAN_INTERVAL_S = 5.0  # network file systems tell of no changes, and a failed file is tried again
MAX_NAME_CHARS = 120  # two bytes a Cyrillic letter: under the 255 bytes that file systems take
RETRY_S = 2.0  # after the folder could not be watched


@dataclass(frozen=True, kw_only=True)
class SpooledFile:
    """A complete file of the spool. `aged`: it has not changed for so long that nobody is writing it."""

    path: Path
    content: bytes
    aged: bool
    mtime_s: float  # when it was written, seconds since 1970

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of content and name."""
        return hashlib.sha256(self.content + b"\x00" + os.fsencode(self.path.name)).hexdigest()

    @property
    def external_id(self) -> str:
        """The file's identity, the same after a crash between commit and move."""
        return f"spool:{self.sha256}"


class SpoolVerdict(StrEnum):
    """What became of a spooled file."""

    REGISTERED = "registered"  # goes to done/
    QUARANTINED = "quarantined"  # goes to failed/
    LATER = "later"  # stays


class SpoolLayout(Protocol):
    """What the folder's owner does with its files."""

    settle_s: float  # a file unchanged for so long is complete

    def wants(self, name: str) -> bool:
        """Tell whether a file of this name is a fax, and nobody's upload under way."""
        ...

    def is_complete(self, path: Path) -> bool:
        """Tell whether a file that has settled may be taken. Raises OSError."""
        ...


class PlainLayout:
    """Whoever puts a file there has it taken in."""

    settle_s = SETTLE_S

    def wants(self, name: str) -> bool:
        """Let hidden files and uploads under way alone."""
        return not name.startswith(".") and Path(name).suffix.lower() not in PARTIAL_SUFFIXES

    def is_complete(self, path: Path) -> bool:  # noqa: ARG002 - having settled is all that can be known
        """Return True."""
        return True


Take = Callable[[SpooledFile], Awaitable[SpoolVerdict]]
Refuse = Callable[[Path, int], Awaitable[SpoolVerdict]]


@dataclass(frozen=True, slots=True)
class _Stamp:
    inode: int
    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "_Stamp":
        status = path.stat(follow_symlinks=False)
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)

    def age_s(self) -> float:
        return time.time() - self.mtime_ns / 1e9


class Spool:
    """One watched folder.

    A file is moved only after `take` has committed it, so it is never lost; a crash before the move has it taken
    again under the same external id, which the intake knows.
    """

    def __init__(
        self,
        folder: Path,
        *,
        take: Take,
        refuse: Refuse,
        max_bytes: int,
        layout: SpoolLayout,
        settle_s: float | None = None,
        unreadable_after_s: float = UNREADABLE_AFTER_S,
        scan_interval_s: float = SCAN_INTERVAL_S,
    ) -> None:
        """`take` gets each complete file, `refuse` each one of more than `max_bytes`; TransientError means later.

        `settle_s`: other than the layout's.
        """
        self._folder = folder
        self._take = take
        self._refuse = refuse
        self._max_bytes = max_bytes
        self._layout = layout
        self._settle_s = layout.settle_s if settle_s is None else settle_s
        self._unreadable_after_s = unreadable_after_s
        self._scan_interval_s = scan_interval_s
        self._seen: dict[Path, tuple[_Stamp, float]] = {}  # stamp, and since when (monotonic) it is the same
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self.trouble = ""  # for health: why the folder or the intake cannot be worked with now

    def prepare(self) -> None:
        """Make the folders. Raises OSError."""
        for folder in (self._folder, self._folder / DONE, self._folder / FAILED):
            folder.mkdir(parents=True, exist_ok=True)

    async def run(self) -> None:
        """Take files in until `stop`; whatever came while nobody watched first."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch())
            while not self._stopping.is_set():
                unsettled = await self.scan()
                await self._wait(self._settle_s if unsettled else self._scan_interval_s)
            watching.cancel()

    def stop(self) -> None:
        """Have `run` return after the file in hand."""
        self._stopping.set()
        self._changed.set()

    async def scan(self) -> bool:
        """Look at every file once and take the complete ones; True if some are still to settle."""
        try:
            candidates = await asyncio.to_thread(lambda: list(self._candidates()))
        except OSError as error:
            self._note_trouble(f"the folder cannot be read: {type(error).__name__}")
            return False
        self._seen = {path: seen for path, seen in self._seen.items() if path in candidates}
        unsettled, trouble = False, ""
        for path in candidates:
            if self._stopping.is_set():
                break
            try:
                unsettled |= not await self._look_at(path)
            except FileNotFoundError:  # another process took it: both registered it under one external id
                self._seen.pop(path, None)
            except OSError as error:
                trouble = f"a file cannot be read or moved: {type(error).__name__}"
            except TransientError as error:
                trouble = str(error)
            except Exception as error:
                # A bug of ours that one file brought out: it stays and is seen, the others are taken (P4).
                logger.exception("connector.spool_failed")
                trouble = f"a file cannot be taken in: {type(error).__name__}"
        self._note_trouble(trouble)
        return unsettled

    def _candidates(self) -> Iterator[Path]:
        with os.scandir(self._folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                # A link is never followed: it could have us register /etc/shadow.
                if self._layout.wants(entry.name) and entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)

    async def _look_at(self, path: Path) -> bool:
        """Take the file if it is complete; False if that is still to be seen."""
        stamp = _Stamp.of(path)
        unchanged_s = self._unchanged_s(path, stamp)
        if unchanged_s < self._settle_s or not await asyncio.to_thread(self._layout.is_complete, path):
            return False
        if stamp.size_bytes > self._max_bytes:
            verdict, label = await self._refuse(path, stamp.size_bytes), str(time.time_ns())
        else:
            content = await asyncio.to_thread(path.read_bytes)
            if _Stamp.of(path) != stamp:
                return False
            aged = unchanged_s >= self._unreadable_after_s
            file = SpooledFile(path=path, content=content, aged=aged, mtime_s=stamp.mtime_ns / 1e9)
            verdict, label = await self._take(file), file.sha256[:16]
        if verdict is SpoolVerdict.LATER:
            return False
        await asyncio.to_thread(self._move, path, stamp, verdict=verdict, label=label)
        self._seen.pop(path, None)
        return True

    def _unchanged_s(self, path: Path, stamp: _Stamp) -> float:
        """Return for how long the file has been as it is: seen by us, or by its own time while we were down."""
        now = time.monotonic()
        known, since = self._seen.get(path, (stamp, now))
        if known != stamp:
            since = now
        self._seen[path] = (stamp, since)
        return max(now - since, stamp.age_s() if stamp.age_s() >= self._unreadable_after_s else 0.0)

    def _move(self, path: Path, stamp: _Stamp, *, verdict: SpoolVerdict, label: str) -> None:
        folder = self._folder / (DONE if verdict is SpoolVerdict.REGISTERED else FAILED)
        target = folder / f"{label}-{path.name}"[:MAX_NAME_CHARS]  # labelled: fax servers use file names again
        path.replace(target)
        if _Stamp.of(target) != stamp:
            # Overwritten after we had read it: what we moved is another fax, which goes back to be taken.
            target.replace(path if not path.exists() else path.with_name(f"{time.time_ns()}-{path.name}"))

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
        self._changed.clear()

    async def _watch(self) -> None:
        """Wake `run` at changes. Only a wake-up call: without it the folder is looked at every few seconds."""
        while True:
            try:
                async for _ in self._changes():
                    self._changed.set()
            except* (
                OSError,
                RuntimeError,
            ) as errors:  # RuntimeError: watchfiles' own, at a file name that is not UTF-8
                logger.warning("connector.spool_not_watched", reason=type(errors.exceptions[0]).__name__)
            await asyncio.sleep(RETRY_S)

    def _changes(self) -> AsyncIterator[object]:
        return awatch(self._folder, recursive=False, watch_filter=None, debounce=200, stop_event=self._stopping)

    def _note_trouble(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            logger.warning("connector.spool_waiting", reason=trouble)
        self.trouble = trouble
