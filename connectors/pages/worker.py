"""One reading process as the daemon sees it: started when asked for the first time, one job at a time."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from appeals.errors import TransientError
from connectors.pages.frame import PREFIX, header_size, pack_header, read_header

logger = structlog.get_logger(__name__)

MAX_JOBS = 500  # then it is replaced: what C libraries leak does not add up
KEPT_VARIABLES = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SYSTEMROOT")  # no secrets of the daemon's


class WorkerDiedError(Exception):
    """The process ended, or answered what it never would."""


class RenderWorker:
    """A process that runs `connectors.pages.process`. After an error of `ask`, `kill` it."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._jobs = 0

    @property
    def worn_out(self) -> bool:
        """Whether it has done its share of jobs."""
        return self._jobs >= MAX_JOBS

    async def ask(self, header: Mapping[str, Any], blobs: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Have one job done. Raises WorkerDiedError, or TransientError if the process cannot be started."""
        if self._process is None:
            self._process = await self._start()
        self._jobs += 1
        writer, reader = self._process.stdin, self._process.stdout
        if writer is None or reader is None:
            raise WorkerDiedError("the process has no pipes")
        try:
            writer.write(pack_header(header, blobs))
            for blob in blobs:
                writer.write(blob)
            await writer.drain()
            size = header_size(await reader.readexactly(PREFIX.size))
            answer, sizes = read_header(await reader.readexactly(size))
            return answer, [await reader.readexactly(blob_size) for blob_size in sizes]
        except (OSError, EOFError, ValueError) as error:  # EOFError: IncompleteReadError, too
            raise WorkerDiedError(type(error).__name__) from error

    async def kill(self) -> None:
        """End the process at once and wait until it is gone. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # not the folder we were started in
                "-m",
                "connectors.pages.process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # libtiff talks there of every bad line
                env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
                start_new_session=True,  # Ctrl-C is for the daemon, which ends us in order
            )
        except OSError as error:
            logger.exception("fax.render_process_not_started")
            raise TransientError(f"no reading process can be started ({type(error).__name__})") from error
