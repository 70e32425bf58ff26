"""Fax documents as machines make them: PDF, and TIFF as it comes off the line."""

import threading
from collections.abc import Sequence
from io import BytesIO
from typing import Literal

import pypdfium2  # type: ignore[import-untyped]
from fontpkg_pt_sans import ROOT  # type: ignore[import-untyped]
from fpdf import FPDF
from PIL import Image

FAX_WIDTH_PX = 1728  # ITU-T T.4, A4
FAX_DPI = (204.0, 196.0)
STANDARD_DPI = (204.0, 98.0)
A4_INCHES_HIGH = 297 / 25.4
BLACK_BELOW = 160  # of 255: letters stay whole when grey becomes black and white
PDFIUM_LOCK = threading.Lock()  # PDFium is not thread-safe, and the demo runs in the daemon's process
TiffCompression = Literal["group4", "group3"]


def make_fax_document(
    pages: Sequence[str],
    format: Literal["pdf", "tiff"] = "pdf",  # noqa: A002 - the field's word
    *,
    compression: TiffCompression = "group4",
    standard_resolution: bool = False,
) -> bytes:
    """Return a document with one page of readable text each.

    "tiff": bilevel, 1728 pixels wide, Group 4 or Group 3, 204 x 196 dpi or, in `standard_resolution`, 204 x 98.
    """
    pdf = _make_pdf(pages)
    return pdf if format == "pdf" else _rasterise(pdf, compression, STANDARD_DPI if standard_resolution else FAX_DPI)


def _make_pdf(pages: Sequence[str]) -> bytes:
    document = FPDF(format="A4", unit="mm")
    document.set_auto_page_break(auto=False)
    document.add_font("PT Sans", fname=ROOT / "files" / "PT_Sans-Web-Regular.ttf")
    document.set_font("PT Sans", size=14)
    document.set_margins(20, 20, 20)
    for text in pages:
        document.add_page()
        document.multi_cell(0, 8, text, align="L")
    buffer = BytesIO()
    document.output(buffer)
    return buffer.getvalue()


def _rasterise(pdf: bytes, compression: TiffCompression, dpi: tuple[float, float]) -> bytes:
    size = (FAX_WIDTH_PX, round(A4_INCHES_HIGH * dpi[1]))
    with PDFIUM_LOCK:
        document = pypdfium2.PdfDocument(pdf)
        try:
            frames = [_rasterise_page(document, index, size) for index in range(len(document))]
        finally:
            document.close()
    buffer = BytesIO()
    frames[0].save(buffer, "TIFF", compression=compression, dpi=dpi, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _rasterise_page(document: pypdfium2.PdfDocument, index: int, size: tuple[int, int]) -> Image.Image:
    page = document[index]
    try:
        grey: Image.Image = page.render(scale=FAX_DPI[0] / 72, grayscale=True).to_pil()
    finally:
        page.close()
    bilevel = grey.resize(size).point(lambda level: 255 if level >= BLACK_BELOW else 0)
    return bilevel.convert("1", dither=Image.Dither.NONE)
