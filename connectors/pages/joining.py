"""The pages of an outgoing fax as one PDF. Runs in the reading process only."""

import time
from collections.abc import Sequence
from io import BytesIO

from PIL import Image

from connectors.pages.document import PDF_MAGIC, PDF_MAGIC_WITHIN_BYTES, join_pdfs, page_as_pdf
from connectors.pages.drawing import draw_page
from connectors.pages.tiff import MAGICS, TiffDocument

A4_PX = (1653, 2339)  # 200 dpi: a fax shows no more
A4_DPI = 200.0
MARGIN_PX = 80  # 10 mm: machines cut off the edge
MAX_PICTURE_PX = 3000
_NO_DATE = time.gmtime(0)


def join_pages(parts: Sequence[bytes]) -> bytes:
    """Return one PDF of PDFs, TIFFs and pictures, in order. Raises DecodeError at what cannot be read."""
    pages: list[bytes] = []
    for part in parts:
        if part.startswith(MAGICS):
            pages += [page_as_pdf(page) for page in TiffDocument(part).pages()]
        elif PDF_MAGIC in part[:PDF_MAGIC_WITHIN_BYTES]:
            pages.append(part)
        else:
            pages.append(_picture_as_pdf(part))
    return join_pdfs(pages)


def _picture_as_pdf(content: bytes) -> bytes:
    """Put a picture on an A4 page, turned if it is wider than high, as large as fits."""
    picture = draw_page(content, 1, max_px=MAX_PICTURE_PX)
    if picture.width > picture.height:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    room = (A4_PX[0] - 2 * MARGIN_PX, A4_PX[1] - 2 * MARGIN_PX)
    factor = min(room[0] / picture.width, room[1] / picture.height)
    picture = picture.resize((max(1, round(picture.width * factor)), max(1, round(picture.height * factor))))
    sheet = Image.new(picture.mode, A4_PX, "white")
    sheet.paste(picture, ((A4_PX[0] - picture.width) // 2, MARGIN_PX))
    buffer = BytesIO()
    sheet.save(buffer, "PDF", resolution=A4_DPI, creationDate=_NO_DATE, modDate=_NO_DATE)
    return buffer.getvalue()
