"""The fax document: PDF or TIFF checked, counted, and made viewable in a browser."""

import hashlib
import re
import struct
import threading
import time
from dataclasses import dataclass
from io import BytesIO
from typing import NoReturn

import pypdfium2  # type: ignore[import-untyped]
from PIL import Image, ImageSequence, UnidentifiedImageError

from appeals.errors import DecodeError

PDF = "application/pdf"
TIFF = "image/tiff"
TIFF_MAGICS = (b"II*\x00", b"MM\x00*")
PDF_MAGIC = b"%PDF-"
PDF_MAGIC_WITHIN_BYTES = 1024  # ISO 32000-1 annex H.3.4.1: readers accept what comes before it

MAX_PAGE_PIXELS = 50_000_000  # A4 at 400 dpi (ITU-T T.30 superfine) has 16 million; a long strip may have more
MAX_DOCUMENT_PIXELS = 1_000_000_000  # 250 fine pages; some 30 s to convert
MAX_PAGE_POINTS = 14_400  # ISO 32000-1 annex C: the largest page a reader must know

STANDARD_WIDTH_PX = 1728  # ITU-T T.4: A4, 215 mm
STANDARD_DPI = 204.0
FINE_DPI = 196.0  # lines an inch; standard resolution has half as many, so its pixels are twice as high as wide
FALLBACK_DPI = (200.0, 200.0)

# Pillow has no error root: what a broken directory or strip raises depends on which tag is broken.
_BROKEN_TIFF = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
    MemoryError,
    struct.error,
    UserWarning,  # "truncated file", where the interpreter was told to make warnings errors
)
# PDFium gives the file a random id; ISO 32000-1 §14.4 would have it follow from the content.
_FILE_ID = re.compile(rb"/ID\[<[0-9A-F]{32}><[0-9A-F]{32}>\](?=>>\s+startxref\s+\d+\s+%%EOF\s*\Z)")
_NO_DATE = time.gmtime(0)  # Pillow would write the present: the same fax must give the same bytes
PDFIUM_LOCK = threading.Lock()  # PDFium is not thread-safe: one document at a time in the process


@dataclass(frozen=True, kw_only=True, slots=True)
class FaxDocument:
    """A readable document. `viewing_pdf` is a PDF of the same pages where the original is none."""

    media_type: str
    pages: int
    viewing_pdf: bytes | None = None


def read_document(content: bytes, *, max_pages: int) -> FaxDocument:
    """Check and count a PDF or TIFF; blocks for up to some 50 ms a TIFF page: call it in a thread.

    Every TIFF page is decoded (G3, G4, any compression libtiff knows), every PDF page is opened. Deterministic.
    Raises DecodeError for anything else: another type, broken, encrypted, no page, more than `max_pages` pages, or
    pages too large to unpack safely.
    """
    if content.startswith(TIFF_MAGICS):
        return _read_tiff(content, max_pages=max_pages)
    if PDF_MAGIC not in content[:PDF_MAGIC_WITHIN_BYTES]:
        _refuse("the document is neither PDF nor TIFF", content)
    return _read_pdf(content, max_pages=max_pages)


def _refuse(reason: str, content: bytes, cause: Exception | None = None) -> NoReturn:
    raise DecodeError(reason, data=content) from cause


def _check_count(pages: int, max_pages: int, content: bytes) -> None:
    if pages < 1:
        _refuse("the document has no pages", content)
    if pages > max_pages:
        _refuse(f"the document has {pages} pages, at most {max_pages} are taken", content)


def _read_pdf(content: bytes, *, max_pages: int) -> FaxDocument:
    with PDFIUM_LOCK:
        try:
            document = pypdfium2.PdfDocument(content)
        except pypdfium2.PdfiumError as error:
            _refuse(f"the PDF cannot be opened: {error}", content, error)
        try:
            pages = len(document)
            _check_count(pages, max_pages, content)
            for index in range(pages):
                _check_pdf_page(document, index, content)
        finally:
            document.close()
    return FaxDocument(media_type=PDF, pages=pages)


def _check_pdf_page(document: pypdfium2.PdfDocument, index: int, content: bytes) -> None:
    try:
        page = document[index]
    except pypdfium2.PdfiumError as error:
        _refuse(f"page {index + 1} of the PDF cannot be opened", content, error)
    try:
        if max(page.get_size()) > MAX_PAGE_POINTS:
            _refuse(f"page {index + 1} of the PDF is too large", content)
    finally:
        page.close()


def _read_tiff(content: bytes, *, max_pages: int) -> FaxDocument:
    try:
        with Image.open(BytesIO(content), formats=("TIFF",)) as image:
            _check_count(getattr(image, "n_frames", 1), max_pages, content)
            pages = _tiff_pages_as_pdf(image, content)
    except DecodeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        _refuse("the TIFF is too large to unpack", content, error)
    except _BROKEN_TIFF as error:
        _refuse(f"the TIFF cannot be read: {type(error).__name__}", content, error)
    return FaxDocument(media_type=TIFF, pages=len(pages), viewing_pdf=_join(pages))


def _tiff_pages_as_pdf(image: Image.Image, content: bytes) -> list[bytes]:
    """Return one small PDF a page: a page is in memory unpacked only while it is converted."""
    pages: list[bytes] = []
    total_pixels = 0
    for frame in ImageSequence.Iterator(image):
        pixels = frame.width * frame.height
        total_pixels += pixels
        if pixels > MAX_PAGE_PIXELS or total_pixels > MAX_DOCUMENT_PIXELS:
            _refuse(f"page {len(pages) + 1} of the TIFF is too large to unpack", content)
        frame.load()
        pages.append(_page_as_pdf(frame))
    return pages


def _page_as_pdf(frame: Image.Image) -> bytes:
    dpi = _resolution(frame)
    buffer = BytesIO()
    # Bilevel stays bilevel (Group 4 in the PDF, lossless); what PDF has no filter for becomes grey.
    page = frame if frame.mode in {"1", "L", "RGB"} else frame.convert("RGB" if frame.mode in {"P", "CMYK"} else "L")
    page.save(buffer, "PDF", dpi=dpi, creationDate=_NO_DATE, modDate=_NO_DATE)
    return buffer.getvalue()


def _resolution(frame: Image.Image) -> tuple[float, float]:
    """Return dots an inch across and down: the file's own if believable, else what its width in pixels says."""
    across, down = (float(value) for value in frame.info.get("dpi", (0, 0)))
    believable = 50 <= across <= 1200 and 50 <= down <= 1200  # noqa: PLR2004 - tags of 1 dpi or 72,000 dpi occur
    if believable:
        return across, down
    return (STANDARD_DPI, FINE_DPI) if frame.width == STANDARD_WIDTH_PX else FALLBACK_DPI


def _join(pages: list[bytes]) -> bytes:
    if len(pages) == 1:
        return pages[0]
    buffer = BytesIO()
    with PDFIUM_LOCK:
        joined = pypdfium2.PdfDocument(pages[0])  # not `new`, which writes the present into the document
        try:
            for page in pages[1:]:
                source = pypdfium2.PdfDocument(page)
                try:
                    joined.import_pages(source)
                finally:
                    source.close()
            joined.save(buffer)
        finally:
            joined.close()
    digest = hashlib.sha256(b"".join(pages)).hexdigest()[:32].upper().encode()
    return _FILE_ID.sub(b"/ID[<%b><%b>]" % (digest, digest), buffer.getvalue())
