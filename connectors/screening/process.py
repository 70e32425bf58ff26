"""The parent's side of the process that looks into files: started when needed, killed when it takes too long."""

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import asdict

import structlog

from appeals import findings
from connectors.screening.inspection import Limits

GRACE_S = 1.0  # beyond the budget, which the process keeps by itself as a rule
START_S = 30.0  # a loaded machine
MAX_ANSWER_BYTES = 64 * 1024

logger = structlog.get_logger(__name__)


class ScreeningProcess:
    """One process for one file at a time. Not started before the first file."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self.waiting = 0  # files in hand and before the door

    async def inspect(self, content: bytes, name: str) -> tuple[str, ...]:
        """Return the findings on a file; `unchecked` if the process did not survive it. Never raises."""
        self.waiting += 1
        try:
            async with self._turn:
                return await self._inspect(content, name)
        finally:
            self.waiting -= 1

    async def _inspect(self, content: bytes, name: str) -> tuple[str, ...]:
        try:
            process = await self._started()
            async with asyncio.timeout(self._limits.budget_s + GRACE_S):
                return await self._ask(process, content, name)
        except (TimeoutError, OSError, ValueError, EOFError) as error:
            logger.warning("screening.process_lost", reason=type(error).__name__, size_bytes=len(content))
            await self._end()
            return (findings.UNCHECKED,)
        except asyncio.CancelledError:  # half an answer may be on the pipe
            await self._end()
            raise

    async def close(self) -> None:
        """End the process, if there is one."""
        async with self._turn:
            await self._end()

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # a folder called like one of our packages, where the daemon was started, is not ours
                "-m",
                "connectors.screening.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=MAX_ANSWER_BYTES,
                start_new_session=True,  # Ctrl-C is for the daemon, which then ends this process
            )
            async with asyncio.timeout(START_S):
                await self._ask(self._process, b"", "")
        return self._process

    async def _ask(self, process: asyncio.subprocess.Process, content: bytes, name: str) -> tuple[str, ...]:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        request = {"name": name, "size_bytes": len(content), "limits": asdict(self._limits)}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.write(content)
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the process ended")
        return tuple(str(code) for code in json.loads(line))

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
