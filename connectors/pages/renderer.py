"""Pages of a document, read and rendered in processes of their own: a hostile PDF or TIFF must not harm the daemon.

PDFium and libtiff are C and C++ that read strangers' bytes. They run in a few child processes with little memory, no
files to write and a time limit a job; a child that dies, hangs or grows is replaced, and its document is refused.
Nothing of PDFium or Pillow is imported here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from appeals.errors import DecodeError, TransientError
from connectors.pages.records import PagedDocument, PreparedPage
from connectors.pages.worker import RenderWorker, WorkerDiedError

DEFAULT_PROCESSES = 2
JOB_TIMEOUT_S = 60.0  # a TIFF of 200 fine pages takes 10 s
TRIES = 2  # a document whose process died is tried once more: the process may have been ill


class PageRenderer:
    """A small pool of reading processes, started when first needed and reused. Safe for any number of callers.

    All methods raise DecodeError if the document cannot be read (broken, encrypted, another type, too large to
    unpack, or it kills or stalls whoever reads it), TransientError if no process can be started or it is closed.
    """

    def __init__(self, *, processes: int = DEFAULT_PROCESSES, job_timeout_s: float = JOB_TIMEOUT_S) -> None:
        self._job_timeout_s = job_timeout_s
        self._free = asyncio.Semaphore(processes)
        self._idle: list[RenderWorker] = []
        self._busy: set[RenderWorker] = set()
        self._closed = False

    async def page_count(self, content: bytes) -> int:
        """Return how many pages a PDF, TIFF, JPEG or PNG has (an image has one)."""
        header, _ = await self._ask("page_count", content)
        return int(header["pages"])

    async def render_page(self, content: bytes, page: int, *, max_px: int) -> bytes:
        """Return a page as PNG, in its true shape; `page` counts from 1.

        The longest side has at most `max_px` pixels; of a strip more than twice as long as wide, the shorter side
        has at most half as many, so that it stays legible. Raises DecodeError also if there is no such page.
        """
        _, blobs = await self._ask("render_page", content, page=page, max_px=max_px)
        return blobs[0]

    async def read_document(self, content: bytes, *, max_pages: int) -> PagedDocument:
        """Check and count a PDF or TIFF and make a TIFF viewable in a browser. Deterministic."""
        header, blobs = await self._ask("read_document", content, max_pages=max_pages)
        return PagedDocument(
            media_type=header["media_type"],
            pages=int(header["pages"]),
            viewing_pdf=blobs[0] if blobs else None,
            marks=tuple(header["marks"]),
            description=header["description"],
        )

    async def prepare_page(self, content: bytes, page: int) -> PreparedPage:
        """Make a page ready for text recognition; `page` counts from 1."""
        header, blobs = await self._ask("prepare_page", content, page=page)
        return PreparedPage(
            png=blobs[0],
            ink=blobs[1],
            dpi=int(header["dpi"]),
            ink_columns=int(header["ink_columns"]),
            ink_cell_px=int(header["ink_cell_px"]),
        )

    async def join_pages(self, parts: Sequence[bytes]) -> bytes:
        """Return one PDF with the pages of all `parts` in order; images become A4 pages."""
        _, blobs = await self._ask("join_pages", *parts)
        return blobs[0]

    async def close(self) -> None:
        """End the processes, those at work as well. Idempotent."""
        self._closed = True
        await asyncio.gather(*(worker.kill() for worker in (*self._idle, *self._busy)))
        self._idle.clear()

    async def _ask(self, job: str, *blobs: bytes, **arguments: int) -> tuple[Mapping[str, Any], Sequence[bytes]]:
        async with self._free:
            for tries in range(1, TRIES + 1):
                if self._closed:
                    raise TransientError("the page renderer is closed")
                worker = self._idle.pop() if self._idle else RenderWorker()
                self._busy.add(worker)
                try:
                    async with asyncio.timeout(self._job_timeout_s):
                        header, answers = await worker.ask({"job": job, **arguments}, blobs)
                except TimeoutError:  # not tried again: it would take as long
                    await worker.kill()
                    _refuse(f"reading the document took longer than {self._job_timeout_s:g} s", blobs)
                except WorkerDiedError:
                    await worker.kill()
                    if tries == TRIES and not self._closed:
                        _refuse("the document makes its reader crash", blobs)
                    continue
                except BaseException:
                    await worker.kill()  # in the middle of a job: what it answers next would be another's
                    raise
                finally:
                    self._busy.discard(worker)
                if worker.worn_out or self._closed:
                    await worker.kill()
                else:
                    self._idle.append(worker)
                if "error" in header:
                    _refuse(str(header["error"]), blobs)
                return header, answers
        raise TransientError("the page renderer is closed")


def _refuse(reason: str, blobs: Sequence[bytes]) -> NoReturn:
    raise DecodeError(reason, data=blobs[0] if blobs else b"")
