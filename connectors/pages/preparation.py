"""A page made ready for text recognition. Runs in the reading process only.

Tesseract reads letters best when they are 20 to 30 pixels high, that is at 300 dots an inch, and in straight lines.
"""

from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from typing import Any

from PIL import Image, ImageFilter

from connectors.pages.drawing import draw_page, square_pixels
from connectors.pages.tiff import MAGICS, TiffDocument

READING_DPI = 300
A4_WIDTH_PX = 2480  # at READING_DPI: what a picture's shorter side is taken for
MAX_PX = 5_000  # the longest side; half as much again as A4
MAX_UPSCALING = 3.0
CELL_PX = 20  # of the ink map: about a letter

SKEW_PX = 900  # the width at which the skew is measured
MAX_SKEW_DEGREES = 3.0
SKEW_STEP_DEGREES = 0.25
DARK_BELOW = 128

CROWD = 25  # pixels around and with one, five by five
LONE_DOTS = 2  # two dots together are noise too, a full stop has nine
BLACK_ROW = 8  # of 255, the mean of a row: a rule of a form leaves the margins white
MAX_BLACK_ROWS = 100  # more are a picture


def prepare_page(content: bytes, page: int) -> tuple[dict[str, Any], tuple[bytes, bytes]]:
    """Return a page as `PageRenderer.prepare_page` has it: header, and PNG and ink map. Raises DecodeError."""
    image, bilevel = _draw(content, page)
    image = _straighten(image)
    if bilevel:
        image = image.filter(ImageFilter.GaussianBlur(0.8))  # the saw-teeth of fax pixels look like serifs
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1, dpi=(READING_DPI, READING_DPI))
    ink = Image.eval(image, lambda level: 255 - level).reduce(CELL_PX)
    return {"dpi": READING_DPI, "ink_columns": ink.width, "ink_cell_px": CELL_PX}, (buffer.getvalue(), ink.tobytes())


def _draw(content: bytes, page: int) -> tuple[Image.Image, bool]:
    """Return the page in grey at READING_DPI, and whether it had black and white only."""
    if not content.startswith(MAGICS):
        image = draw_page(content, page, max_px=MAX_PX).convert("L")
        return _scale(image, A4_WIDTH_PX / min(image.size)), False
    scanned = TiffDocument(content).page(page - 1)
    bilevel = scanned.image.mode == "1"
    if bilevel:
        scanned = replace(scanned, image=_clean(scanned.image))
    image = square_pixels(scanned).convert("L")
    return _scale(image, READING_DPI / max(scanned.dpi)), bilevel


def _clean(page: Image.Image) -> Image.Image:
    """Return a black and white page without what the line added: lone dots, and rows that are all black."""
    grey = page.convert("L")
    ink = grey.point(lambda level: 0 if level else 1)
    crowd = ink.filter(ImageFilter.Kernel((5, 5), (1,) * CROWD, scale=1))
    grey.paste(255, mask=crowd.point(lambda count: 255 if count <= LONE_DOTS else 0))
    grey.paste(0, mask=crowd.point(lambda count: 255 if count >= CROWD - LONE_DOTS else 0))
    means = grey.resize((1, grey.height), Image.Resampling.BOX).tobytes()
    black_rows = [row for row, mean in enumerate(means) if mean < BLACK_ROW]
    for row in black_rows if len(black_rows) <= MAX_BLACK_ROWS else ():
        grey.paste(grey.crop((0, row - 1, grey.width, row)) if row else 255, (0, row, grey.width, row + 1))
    return grey


def _scale(image: Image.Image, factor: float) -> Image.Image:
    factor = min(factor, MAX_UPSCALING, MAX_PX / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def _straighten(image: Image.Image) -> Image.Image:
    angle = measure_skew(image)
    if abs(angle) < SKEW_STEP_DEGREES:
        return image
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=255)


def measure_skew(image: Image.Image) -> float:
    """Return by how many degrees to turn a grey page for its lines to run straight; 0 if none does it better.

    Lines of text make rows of pixels that are either dark or light: the angle at which neighbouring rows differ most
    is the right one (Postl, 1986).
    """
    small = image.resize((SKEW_PX, max(1, round(image.height * SKEW_PX / image.width))), Image.Resampling.BOX)
    dark = small.point(lambda level: 255 if level < DARK_BELOW else 0)
    steps = round(MAX_SKEW_DEGREES / SKEW_STEP_DEGREES)
    angles = [number * SKEW_STEP_DEGREES for number in range(-steps, steps + 1)]
    scores = [_sharpness(dark, angle) for angle in angles]
    best = scores.index(max(scores))
    straight = scores[steps]
    # An angle that is hardly better is noise.
    return angles[best] if scores[best] > 1.1 * straight else 0.0


def _sharpness(dark: Image.Image, angle: float) -> float:
    turned = dark.rotate(angle) if angle else dark
    rows = turned.resize((1, turned.height), Image.Resampling.BOX).tobytes()  # the mean of each row
    return float(sum((below - above) ** 2 for above, below in pairwise(rows)))
