"""Tesseract as a program of its own: one page in, words with places and confidences out.

Source: tesseract(1), TSV output of Tesseract 4 and 5. A process of its own, because it is C++ that reads strangers'
pictures; the program itself, not a binding: a binding would write files and know less than these lines.
"""

import asyncio
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from appeals.errors import OknoError, TransientError

logger = structlog.get_logger(__name__)

ANY_LAYOUT = "1"  # page segmentation with orientation detection: a sheet lies in the machine as it likes
ANY_LAYOUT_UPRIGHT = "3"  # without the data for orientation
ORIENTATION_DATA = "osd"
WORD_LEVEL = "5"
TSV_COLUMNS = 12
ASK_TIMEOUT_S = 20.0
MEMORY_BYTES = 3 * 1024**3  # of address space; a page takes 300 MB
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TESSDATA_PREFIX", "SYSTEMROOT")


class TesseractMissingError(OknoError):
    """There is no Tesseract here, or none of the languages."""


class PageUnreadError(OknoError):
    """Tesseract could not read one page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """One recognised word. `confidence` is 0 to 1; `line` is its block, paragraph and line; `box` is in pixels."""

    text: str
    confidence: float
    line: tuple[int, int, int]
    box: tuple[int, int, int, int]  # left, top, width, height


@dataclass(frozen=True, kw_only=True, slots=True)
class TesseractStatus:
    """What is installed."""

    version: str
    languages: frozenset[str]


class Tesseract:
    """The program `command` with the languages wanted (Tesseract's names, `rus`), the most likely first."""

    def __init__(self, *, command: str, languages: Sequence[str], page_timeout_s: float) -> None:
        self._command = command
        self._wanted = tuple(languages)
        self._page_timeout_s = page_timeout_s
        self._status: TesseractStatus | None = None

    async def status(self) -> TesseractStatus:
        """Return what is installed; asked once. Raises TesseractMissingError with what to do."""
        if self._status is None:
            version = await self._ask("--version")
            found = re.search(r"tesseract v?(\S+)", version)
            listed = (await self._ask("--list-langs")).splitlines()[1:]
            status = TesseractStatus(
                version=found[1] if found else "?", languages=frozenset(name.strip() for name in listed)
            )
            if not status.languages.intersection(self._wanted):
                raise TesseractMissingError(
                    f"Tesseract has none of the languages {', '.join(self._wanted)}: install its data for them"
                )
            self._status = status
        return self._status

    async def missing_languages(self) -> tuple[str, ...]:
        """Return the wanted languages that are not installed. Raises TesseractMissingError."""
        installed = (await self.status()).languages
        return tuple(name for name in self._wanted if name not in installed)

    async def read(self, png: bytes, *, dpi: int) -> list[Word]:
        """Return the words of a page in reading order. Raises PageUnreadError, TesseractMissingError."""
        installed = (await self.status()).languages
        languages = "+".join(name for name in self._wanted if name in installed)
        layout = ANY_LAYOUT if ORIENTATION_DATA in installed else ANY_LAYOUT_UPRIGHT
        options = ("stdin", "stdout", "-l", languages, "--psm", layout, "--dpi", str(dpi), "tsv")
        try:
            code, output = await self._run(options, png, timeout_s=self._page_timeout_s)
        except FileNotFoundError as error:
            self._status = None  # it was taken away
            raise TesseractMissingError(f"there is no program {self._command!r}") from error
        except TimeoutError as error:
            raise PageUnreadError(f"it took longer than {self._page_timeout_s:g} s") from error
        if code != 0:
            raise PageUnreadError(f"Tesseract ended with {code}")
        return parse_tsv(output.decode("utf-8", "replace"))

    async def _ask(self, option: str) -> str:
        advice = "install tesseract-ocr with tesseract-ocr-rus (Debian's names), or set recognition.command"
        try:
            code, output = await self._run((option,), b"", timeout_s=ASK_TIMEOUT_S)
        except FileNotFoundError as error:
            raise TesseractMissingError(f"there is no program {self._command!r}: {advice}") from error
        except TimeoutError as error:
            raise TransientError(f"{self._command} {option} does not answer") from error
        if code != 0:
            raise TesseractMissingError(f"{self._command} {option} ends with {code}: {advice}")
        return output.decode("utf-8", "replace")

    async def _run(self, options: Sequence[str], content: bytes, *, timeout_s: float) -> tuple[int, bytes]:
        """Return exit code and output. Raises FileNotFoundError, TimeoutError, TransientError."""
        try:
            process = await asyncio.create_subprocess_exec(
                self._command,
                *options,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
                | {"OMP_THREAD_LIMIT": "1"},  # its own threads make it slower, and other pages wait for the processors
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise FileNotFoundError(self._command) from error
        except OSError as error:
            raise TransientError(f"Tesseract cannot be started ({type(error).__name__})") from error
        _bound_memory(process.pid)
        try:
            async with asyncio.timeout(timeout_s):
                output, _ = await process.communicate(content)
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return process.returncode or 0, output


def parse_tsv(output: str) -> list[Word]:
    """Return the words of Tesseract's TSV; rows that are none are passed over."""
    words = []
    for row in output.splitlines():
        cells = row.split("\t")
        if len(cells) != TSV_COLUMNS or cells[0] != WORD_LEVEL or not cells[11].strip():
            continue
        try:
            numbers = [int(cell) for cell in cells[2:10]]
            confidence = float(cells[10])
        except ValueError:
            continue
        block, paragraph, line, _, left, top, width, height = numbers
        words.append(
            Word(
                text=cells[11].strip(),
                confidence=min(1.0, max(0.0, confidence / 100)),
                line=(block, paragraph, line),
                box=(left, top, width, height),
            )
        )
    return words


def _bound_memory(pid: int) -> None:
    """Bound the program's memory, where the system can do that from outside (Linux)."""
    try:
        from resource import RLIMIT_AS, prlimit  # noqa: PLC0415 - not on every system
    except ImportError:
        return
    with suppress(OSError, ValueError):  # it may have ended already
        prlimit(pid, RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
