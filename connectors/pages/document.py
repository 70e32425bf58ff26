"""The fax document: PDF or TIFF checked, counted, and made viewable in a browser. Runs in the reading process only.

The daemon asks for it through `connectors.fax.pages.PageRenderer`.
"""

import hashlib
import re
import time
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NoReturn

import pypdfium2  # type: ignore[import-untyped]

from appeals.errors import DecodeError
from connectors.pages.records import PDF, TIFF, PagedDocument
from connectors.pages.tiff import BROKEN_IMAGE, MAGICS, TiffDocument, TiffPage

PDF_MAGIC = b"%PDF-"
PDF_MAGIC_WITHIN_BYTES = 1024  # ISO 32000-1 annex H.3.4.1: readers accept what comes before it
MAX_COUNTED_PAGES = 10_000
MAX_PAGE_POINTS = 14_400  # ISO 32000-1 annex C: the largest page a reader must know

# PDFium gives the file a random id; ISO 32000-1 §14.4 would have it follow from the content.
_FILE_ID = re.compile(rb"/ID\[<[0-9A-F]{32}><[0-9A-F]{32}>\](?=>>\s+startxref\s+\d+\s+%%EOF\s*\Z)")
_NO_DATE = time.gmtime(0)  # Pillow would write the present: the same fax must give the same bytes


def read_as_answer(content: bytes, *, max_pages: int) -> tuple[dict[str, Any], Sequence[bytes]]:
    """Return what `read_document` does as header and bytes."""
    document = read_document(content, max_pages=max_pages)
    header = {
        "media_type": document.media_type,
        "pages": document.pages,
        "marks": list(document.marks),
        "description": document.description,
    }
    return header, () if document.viewing_pdf is None else (document.viewing_pdf,)


def read_document(content: bytes, *, max_pages: int) -> PagedDocument:
    """Check and count a PDF or TIFF. Every TIFF page is decoded, every PDF page is opened. Deterministic.

    A TIFF whose last page is cut off is taken as far as it goes and marked truncated.
    Raises DecodeError for anything else: another type, broken, encrypted, no page, more than `max_pages` pages, or
    pages too large to unpack safely.
    """
    if content.startswith(MAGICS):
        return _read_tiff(content, max_pages=max_pages)
    if PDF_MAGIC not in content[:PDF_MAGIC_WITHIN_BYTES]:
        _refuse("the document is neither PDF nor TIFF", content)
    return _read_pdf(content, max_pages=max_pages)


def open_pdf(content: bytes) -> pypdfium2.PdfDocument:
    """Return an opened PDF; close it. Raises DecodeError."""
    try:
        return pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        _refuse(f"the PDF cannot be opened: {error}", content, error)


def open_pdf_page(document: pypdfium2.PdfDocument, index: int) -> pypdfium2.PdfPage:
    """Return a page of credible size; close it. `index` counts from 0. Raises DecodeError."""
    if not 0 <= index < len(document):
        _refuse(f"the PDF has no page {index + 1}", b"")
    try:
        page = document[index]
    except pypdfium2.PdfiumError as error:
        _refuse(f"page {index + 1} of the PDF cannot be opened", b"", error)
    if max(page.get_size()) > MAX_PAGE_POINTS or min(page.get_size()) <= 0:
        page.close()
        _refuse(f"page {index + 1} of the PDF is too large", b"")
    return page


def join_pdfs(pages: Sequence[bytes]) -> bytes:
    """Return one PDF of several; the same bytes for the same parts. Raises DecodeError."""
    if len(pages) == 1:
        return pages[0]
    buffer = BytesIO()
    joined = open_pdf(pages[0])  # not `new`, which writes the present into the document
    try:
        for page in pages[1:]:
            source = open_pdf(page)
            try:
                joined.import_pages(source)
            finally:
                source.close()
        joined.save(buffer)
    finally:
        joined.close()
    digest = hashlib.sha256(b"".join(pages)).hexdigest()[:32].upper().encode()
    return _FILE_ID.sub(b"/ID[<%b><%b>]" % (digest, digest), buffer.getvalue())


def page_as_pdf(page: TiffPage) -> bytes:
    """Return a small PDF of one page in its true shape."""
    image = page.image
    buffer = BytesIO()
    # Bilevel stays bilevel (Group 4 in the PDF, lossless); what PDF has no filter for becomes grey.
    kept = image if image.mode in {"1", "L", "RGB"} else image.convert("RGB" if image.mode in {"P", "CMYK"} else "L")
    kept.save(buffer, "PDF", dpi=page.dpi, creationDate=_NO_DATE, modDate=_NO_DATE)
    return buffer.getvalue()


def _read_pdf(content: bytes, *, max_pages: int) -> PagedDocument:
    document = open_pdf(content)
    try:
        pages = len(document)
        _check_count(pages, max_pages, content)
        for index in range(pages):
            open_pdf_page(document, index).close()
    finally:
        document.close()
    return PagedDocument(media_type=PDF, pages=pages)


def _read_tiff(content: bytes, *, max_pages: int) -> PagedDocument:
    document = TiffDocument(content)
    _check_count(document.count(at_most=MAX_COUNTED_PAGES), max_pages, content)
    try:
        pages = [page_as_pdf(page) for page in document.pages()]
    except BROKEN_IMAGE as error:
        _refuse(f"the TIFF cannot be read: {type(error).__name__}", content, error)
    return PagedDocument(
        media_type=TIFF,
        pages=len(pages),
        viewing_pdf=join_pdfs(pages),
        marks=("truncated",) if document.truncated else (),
        description=document.description,
    )


def _check_count(pages: int, max_pages: int, content: bytes) -> None:
    if pages < 1:
        _refuse("the document has no pages", content)
    if pages > max_pages:
        _refuse(f"the document has {pages} pages, at most {max_pages} are taken", content)


def _refuse(reason: str, content: bytes, cause: Exception | None = None) -> NoReturn:
    raise DecodeError(reason, data=content) from cause
