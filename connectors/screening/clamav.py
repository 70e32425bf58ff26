"""ClamAV over its socket: INSTREAM, a file in chunks, one connection each (clamd(8))."""

import asyncio
import time
from contextlib import suppress

import structlog

from appeals import findings

CHUNK_BYTES = 128 * 1024
MAX_ANSWER_BYTES = 4096
AT_ONCE = 4  # files; clamd's default is ten threads, and others use it too
PAUSE_S = 15.0  # after a failure: files are unchecked at once, instead of each waiting for the time-out

logger = structlog.get_logger(__name__)


class ClamAv:
    """Asks a clamd. A virus scanner that is down delays or refuses no message: its files are `unchecked`."""

    def __init__(self, address: str, *, timeout_s: float) -> None:
        """`address`: unix:/path or tcp://host:port."""
        self._address = address
        self._timeout_s = timeout_s
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._paused_until = 0.0  # monotonic
        self.trouble = ""  # for health

    async def scan(self, content: bytes) -> tuple[str, ...]:
        """Return `infected:<name>`, or `unchecked` if clamd did not say; nothing for a clean file. Never raises."""
        if time.monotonic() < self._paused_until:
            return (findings.UNCHECKED,)
        try:
            async with asyncio.timeout(self._timeout_s), self._at_once:
                answer = await self._instream(content)
        except (TimeoutError, OSError, ValueError) as error:
            self._paused_until = time.monotonic() + PAUSE_S
            self._note_trouble(f"ClamAV does not answer ({type(error).__name__})")
            return (findings.UNCHECKED,)
        return self._finding(answer)

    def _finding(self, answer: str) -> tuple[str, ...]:
        verdict = answer.removeprefix("stream: ")
        if verdict.endswith(" FOUND"):
            self._note_trouble("")
            return (findings.infected(verdict.removesuffix(" FOUND")),)
        if verdict == "OK":
            self._note_trouble("")
            return ()
        if not verdict or "size limit exceeded" in verdict:  # StreamMaxLength: the scanner is well
            return (findings.UNCHECKED,)
        self._note_trouble("ClamAV reports an error")
        return (findings.UNCHECKED,)

    def _note_trouble(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            logger.warning("screening.clamav_down", reason=trouble)
        self.trouble = trouble

    async def _instream(self, content: bytes) -> str:
        """Return clamd's answer; nothing if it hung up in the middle, as it does at a file too large for it."""
        reader, writer = await self._connect()
        try:
            writer.write(b"zINSTREAM\0")
            with suppress(ConnectionError):  # its answer may be there all the same
                for start in range(0, len(content), CHUNK_BYTES):
                    chunk = content[start : start + CHUNK_BYTES]
                    writer.write(len(chunk).to_bytes(4, "big") + chunk)
                    await writer.drain()
                writer.write(bytes(4))
                await writer.drain()
            answer = await reader.readuntil(b"\0")
        except asyncio.LimitOverrunError as error:
            raise ValueError("this is no clamd") from error
        except (asyncio.IncompleteReadError, ConnectionError):
            return ""
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        return answer.rstrip(b"\0\n").decode("utf-8", "replace").strip()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._address.startswith("unix:"):
            return await asyncio.open_unix_connection(self._address.removeprefix("unix:"), limit=MAX_ANSWER_BYTES)
        host, _, port = self._address.removeprefix("tcp://").rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port), limit=MAX_ANSWER_BYTES)
