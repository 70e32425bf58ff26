"""The reading processes: pages in their true shape, and no harm from what kills, stalls or fools them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from appeals.errors import DecodeError, TransientError
from connectors.pages import renderer as renderer_module
from connectors.pages.renderer import PageRenderer
from connectors.pages.worker import RenderWorker
from okno.outside.fax_document import make_fax_document

A4 = 297 / 210
FAX_A4 = 297 / 215  # ITU-T T.4: 1728 dots are 215 mm
PDF = make_fax_document(["Первая", "Вторая", "Третья"])
FINE = make_fax_document(["Первая", "Вторая"], "tiff", compression="group3")
STANDARD = make_fax_document(["Первая", "Вторая"], "tiff", standard_resolution=True)


def picture(kind: str, size: tuple[int, int] = (600, 800), **options: object) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, "white").save(buffer, kind, **options)
    return buffer.getvalue()


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(png), formats=["PNG"]) as image:
        return image.size


@pytest.fixture
async def pages() -> AsyncIterator[PageRenderer]:
    renderer = PageRenderer(processes=1, job_timeout_s=20)
    yield renderer
    await renderer.close()


@pytest.mark.parametrize(
    ("content", "shape"), [(PDF, A4), (FINE, FAX_A4), (STANDARD, FAX_A4)], ids=["pdf", "fine", "standard"]
)
async def test_pages_are_drawn_in_their_true_shape(pages: PageRenderer, content: bytes, shape: float):
    """A4 is A4, whatever the shape of the fax's pixels, and no larger than asked for."""
    width, height = size_of(await pages.render_page(content, 2, max_px=700))
    assert max(width, height) == 700
    assert height / width == pytest.approx(shape, rel=0.01)


async def test_counts_pages_of_all_kinds(pages: PageRenderer):
    """PDF, TIFF, JPEG and PNG; anything else is refused."""
    contents = (PDF, FINE, picture("JPEG"), picture("PNG"))
    assert [await pages.page_count(content) for content in contents] == [3, 2, 1, 1]
    with pytest.raises(DecodeError):
        await pages.page_count(b"GIF89a")


async def test_there_is_no_page_beyond_the_last(pages: PageRenderer):
    """Page numbers begin with 1; those that do not exist are refused, not drawn as another."""
    for content, count in ((PDF, 3), (FINE, 2), (picture("JPEG"), 1)):
        for number in (0, -1, count + 1):
            with pytest.raises(DecodeError):
                await pages.render_page(content, number, max_px=300)


async def test_a_long_strip_stays_legible(pages: PageRenderer):
    """A page off the roll, eight times as long as wide, keeps half of `max_px` across."""
    buffer = BytesIO()
    Image.new("1", (1728, 16_000), 1).save(buffer, "TIFF", compression="group4", dpi=(204, 196))
    width, _ = size_of(await pages.render_page(buffer.getvalue(), 1, max_px=1600))
    assert width == 800


async def test_photographs_are_turned_upright(pages: PageRenderer):
    """The camera's orientation tag (EXIF 274) is followed."""
    exif = Image.Exif()
    exif[274] = 6
    width, height = size_of(await pages.render_page(picture("JPEG", (400, 300), exif=exif), 1, max_px=1000))
    assert (width, height) == (300, 400)


async def test_a_killed_process_is_replaced(pages: PageRenderer):
    """Whoever kills the reading process between two jobs is not noticed by the next."""
    assert await pages.page_count(PDF) == 3
    (worker,) = pages._idle
    os.kill(worker._process.pid, signal.SIGKILL)
    assert await pages.page_count(FINE) == 2


async def test_a_document_that_stalls_its_reader_is_refused():
    """After the time-out the process is gone, the document is refused, and the next one is read."""
    pages = PageRenderer(processes=1, job_timeout_s=1)
    try:
        await pages.page_count(PDF)
        (worker,) = pages._idle
        os.kill(worker._process.pid, signal.SIGSTOP)
        with pytest.raises(DecodeError, match="longer than 1 s"):
            await pages.page_count(FINE)
        assert await pages.page_count(FINE) == 2
    finally:
        await pages.close()


async def test_a_document_that_kills_its_readers_is_refused(pages: PageRenderer, monkeypatch: pytest.MonkeyPatch):
    """Two processes may die of it, no third; the next document is read."""
    died = []

    class Mortal(RenderWorker):
        async def ask(self, header, blobs):
            if blobs[0] == b"deadly" and self._process is not None:
                died.append(self)
                os.kill(self._process.pid, signal.SIGKILL)
            elif blobs[0] == b"deadly":
                self._process = await self._start()
                return await self.ask(header, blobs)
            return await super().ask(header, blobs)

    monkeypatch.setattr(renderer_module, "RenderWorker", Mortal)
    with pytest.raises(DecodeError, match="crash"):
        await pages.page_count(b"deadly")
    assert len(died) == 2
    assert await pages.page_count(PDF) == 3


async def test_memory_is_bounded(pages: PageRenderer):
    """A page that unpacks to gigabytes is refused by the limits; its process lives on or is replaced."""
    bomb = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 14000 14000]>>endobj trailer<</Root 1 0 R>>"
    )
    width, height = size_of(await pages.render_page(bomb, 1, max_px=1000))
    assert (width, height) == (1000, 1000)
    with pytest.raises(DecodeError):
        await pages.render_page(bomb, 1, max_px=200_000)
    assert await pages.page_count(PDF) == 3


async def test_jobs_run_side_by_side_and_each_gets_its_own_answer():
    """Twenty callers share two processes."""
    pages = PageRenderer(processes=2)
    try:
        contents = [PDF, FINE] * 10
        counts = await asyncio.gather(*(pages.page_count(content) for content in contents))
        assert counts == [3, 2] * 10
        assert len(pages._idle) <= 2
    finally:
        await pages.close()


async def test_a_cancelled_job_leaves_no_answer_to_the_next(pages: PageRenderer):
    """The process of a job that was called off is not asked again: its answer would be taken for another's."""
    asked = asyncio.create_task(pages.read_document(FINE, max_pages=5))
    while not pages._busy:
        await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await pages.page_count(PDF) == 3


async def test_closed_renderer_is_transient():
    """What comes while the daemon stops is tried again later."""
    pages = PageRenderer()
    await pages.close()
    with pytest.raises(TransientError):
        await pages.page_count(PDF)


async def test_joins_documents_and_pictures_to_one_pdf(pages: PageRenderer):
    """PDF, TIFF and pictures in order, one page each picture, a wide one turned; the result has all pages."""
    joined = await pages.join_pages([PDF, picture("JPEG", (1600, 900)), FINE, picture("PNG")])
    assert joined.startswith(b"%PDF")
    assert await pages.page_count(joined) == 3 + 1 + 2 + 1
    width, height = size_of(await pages.render_page(joined, 4, max_px=700))
    assert height / width == pytest.approx(A4, rel=0.01)


def test_the_daemon_loads_no_reader_of_strangers_bytes():
    """Neither PDFium nor Pillow is imported by the fax connector, the recogniser or the renderer's daemon side."""
    script = (
        "import sys, connectors.fax.reception, connectors.fax.spool_reception, connectors.recognition.worker\n"
        "print([name for name in ('pypdfium2', 'connectors.pages.document') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(
    content=st.binary(max_size=200),
    magic=st.sampled_from([b"", b"II*\x00", b"%PDF-1.7\n", b"\xff\xd8\xff", b"\x89PNG"]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_are_counted_or_refused(pages: PageRenderer, content: bytes, magic: bytes):
    """DecodeError is all that can come out, and the process survives."""
    for job in (pages.page_count(magic + content), pages.render_page(magic + content, 1, max_px=100)):
        try:
            await job
        except DecodeError:
            continue
