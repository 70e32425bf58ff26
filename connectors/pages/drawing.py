"""Pages as pictures: counted and drawn from PDF, TIFF, JPEG and PNG. Runs in the reading process only."""

from io import BytesIO
from typing import NoReturn

from PIL import Image, ImageOps

from appeals.errors import DecodeError
from connectors.pages.document import (
    MAX_COUNTED_PAGES,
    PDF_MAGIC,
    PDF_MAGIC_WITHIN_BYTES,
    open_pdf,
    open_pdf_page,
)
from connectors.pages.tiff import BOMB, BROKEN_IMAGE, MAGICS, MAX_PAGE_PIXELS, TiffDocument, TiffPage

POINTS_PER_INCH = 72
LONG_STRIP = 2.0  # longer than wide by so much: a page off the roll
MIN_PX = 16
EIGHT_OF_16_BITS = 1 / 257


def count_pages(content: bytes) -> int:
    """Return the number of pages. Raises DecodeError."""
    if content.startswith(MAGICS):
        return TiffDocument(content).count(at_most=MAX_COUNTED_PAGES)
    if _is_pdf(content):
        document = open_pdf(content)
        try:
            return len(document)
        finally:
            document.close()
    _open_picture(content)
    return 1


def render_page(content: bytes, page: int, *, max_px: int) -> bytes:
    """Return a page as PNG; see `PageRenderer.render_page`. Raises DecodeError."""
    image = draw_page(content, page, max_px=max_px)
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def draw_page(content: bytes, page: int, *, max_px: int) -> Image.Image:
    """Return a page as a grey or RGB picture with pixels as wide as high, no larger than `fit` says."""
    index = page - 1
    if content.startswith(MAGICS):
        return _shrink(square_pixels(TiffDocument(content).page(index)), max_px)
    if _is_pdf(content):
        return _draw_pdf_page(content, index, max_px)
    if index != 0:
        _refuse(f"a picture has no page {page}", content)
    return _shrink(_flatten(_open_picture(content)), max_px)


def square_pixels(page: TiffPage) -> Image.Image:
    """Return a fax page in its true shape: standard resolution's lines are doubled."""
    image = _flatten(page.image)
    across, down = page.dpi
    stretch = across / down
    if abs(stretch - 1) < 0.02:  # noqa: PLR2004 - 204 against 200: nobody sees that
        return image
    size = (image.width, round(image.height * stretch)) if stretch > 1 else (round(image.width / stretch), image.height)
    if size[0] * size[1] > MAX_PAGE_PIXELS:
        _refuse("the page is too large to unpack", b"")
    return image.resize(size, Image.Resampling.BICUBIC)


def fit(width: float, height: float, max_px: int) -> float:
    """Return the factor that makes a page fit: its longest side within `max_px`; a long strip stays legible."""
    longest, shortest = max(width, height), min(width, height)
    factor = max_px / longest
    if longest > LONG_STRIP * shortest:
        factor = min(max_px / (LONG_STRIP * shortest), (MAX_PAGE_PIXELS / (width * height)) ** 0.5)
    return float(factor)


def _draw_pdf_page(content: bytes, index: int, max_px: int) -> Image.Image:
    document = open_pdf(content)
    try:
        page = open_pdf_page(document, index)
        try:
            width, height = page.get_size()
            scale = fit(width, height, max_px)
            return _flatten(page.render(scale=scale, draw_annots=True, may_draw_forms=False).to_pil())
        finally:
            page.close()
    finally:
        document.close()


def _open_picture(content: bytes) -> Image.Image:
    try:
        image = Image.open(BytesIO(content), formats=("JPEG", "PNG"))
        if image.width * image.height > MAX_PAGE_PIXELS:
            _refuse("the picture is too large to unpack", content)
        image.load()
        return ImageOps.exif_transpose(image)
    except BOMB as error:
        _refuse("the picture is too large to unpack", content, error)
    except BROKEN_IMAGE as error:
        _refuse(f"the picture cannot be read: {type(error).__name__}", content, error)


def _flatten(image: Image.Image) -> Image.Image:
    """Return a picture as grey or RGB, transparency on white."""
    if image.mode in {"L", "RGB"}:
        return image
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        return ImageOps.autocontrast(image.convert("F").point(lambda level: level * EIGHT_OF_16_BITS + 0).convert("L"))
    return image.convert("RGB" if image.mode in {"P", "CMYK", "YCbCr", "LAB", "HSV"} else "L")


def _shrink(image: Image.Image, max_px: int) -> Image.Image:
    factor = fit(image.width, image.height, max_px)
    if factor >= 1:
        return image
    size = (max(MIN_PX, round(image.width * factor)), max(MIN_PX, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _is_pdf(content: bytes) -> bool:
    return PDF_MAGIC in content[:PDF_MAGIC_WITHIN_BYTES]


def _refuse(reason: str, content: bytes, cause: BaseException | None = None) -> NoReturn:
    raise DecodeError(reason, data=content) from cause
