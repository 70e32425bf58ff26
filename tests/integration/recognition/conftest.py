"""Faxes as they come off the line, and a real Tesseract to read them."""

import random
from collections.abc import AsyncIterator
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw

from connectors.pages.renderer import PageRenderer
from okno.outside.fax_document import make_fax_document

FINE = (204, 196)
STANDARD = (204, 98)


@pytest.fixture
async def pages() -> AsyncIterator[PageRenderer]:
    renderer = PageRenderer(processes=1)
    yield renderer
    await renderer.close()


def bad_line(text: str, *, standard: bool = False, noise: float = 0.002, turn: float = 0.0) -> Image.Image:
    """Return a page of text as a bad line leaves it: black and white, lone dots, black rows, perhaps askew."""
    with Image.open(BytesIO(make_fax_document([text], "tiff", standard_resolution=standard))) as image:
        page = image.convert("L")
    if turn:
        page = page.rotate(turn, Image.Resampling.BICUBIC, fillcolor=255)
    page = page.point(lambda level: 255 if level > 140 else 0)
    dice = np.random.default_rng(20261016)
    pixels = np.array(page)
    dots = dice.random(pixels.shape) < noise
    pixels[dots] = 255 - pixels[dots]
    pixels[dice.integers(0, pixels.shape[0], size=5)] = 0
    return Image.fromarray(pixels).convert("1")


def handwriting(*, header: str) -> Image.Image:
    """Return a page that no machine reads: scrawls, below the line that the sender's machine printed."""
    dice = random.Random(3)  # noqa: S311 - no secret
    page = Image.new("L", (1728, 1200), 255)
    draw = ImageDraw.Draw(page)
    for line in range(7):
        left = 150
        while left < 1500:
            letters = dice.randint(3, 9)
            points = [
                (left + place * 4.3 + dice.uniform(-5, 5), 260 + line * 115 + dice.uniform(-24, 24))
                for place in range(letters * 6)
            ]
            draw.line(points, fill=0, width=4, joint="curve")
            left += letters * 26 + 50
    with Image.open(BytesIO(make_fax_document([header], "tiff"))) as printed:
        page.paste(printed.convert("L").crop((0, 100, 1728, 250)), (0, 0))
    return page.convert("1")


def tiff(*sheets: Image.Image, dpi: tuple[int, int] = FINE, compression: str = "group4") -> bytes:
    """Return the pages as a fax server writes them."""
    buffer = BytesIO()
    sheets[0].save(buffer, "TIFF", compression=compression, dpi=dpi, save_all=True, append_images=sheets[1:])
    return buffer.getvalue()
