"""TIFF as faxes come in it: G3 and G4, both resolutions, broken tags, pages cut off. Runs in the reading process only.

Source: TIFF 6.0 §10-11, ITU-T T.4 (Group 3) and T.6 (Group 4), RFC 2306 (TIFF for facsimile).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import NoReturn

from PIL import Image, TiffImagePlugin

from appeals.errors import DecodeError

MAGICS = (b"II*\x00", b"MM\x00*")
MAX_PAGE_PIXELS = 50_000_000  # A4 at 400 dpi (ITU-T T.30 superfine) has 16 million; a long strip may have more
MAX_DOCUMENT_PIXELS = 1_000_000_000  # 250 fine pages; some 30 s to convert

FAX_WIDTHS_PX = frozenset({1728, 2048, 2432})  # ITU-T T.4: A4, B4, A3 at 8 dots a millimetre
FAX_DPI_ACROSS = 204.0
FINE_DPI_DOWN = 196.0
STANDARD_DPI_DOWN = 98.0  # its pixels are twice as high as wide
STANDARD_MAX_ROWS_TO_WIDTH = 0.75  # an A4 page has 0.66 rows a column in standard resolution, 1.33 in fine
FALLBACK_DPI = (200.0, 200.0)
BELIEVABLE_DPI = (50.0, 1200.0)  # tags of 1 dpi or 72,000 dpi occur
CM_PER_INCH = 2.54
LINES_PER_CM = frozenset({38, 39, 77, 154})  # T.4's own, written without saying that centimetres are meant

IMAGE_DESCRIPTION = 270
PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_BYTE_COUNTS, T4_OPTIONS = 262, 266, 273, 278, 279, 292
FAX_COMPRESSIONS = {"group3": "group3", "group4": "group4", "tiff_ccitt": "group3"}
MIN_IS_BLACK = 1
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

# Pillow has no error root: what a broken directory or strip raises depends on which tag is broken.
BROKEN_IMAGE = (
    OSError,  # UnidentifiedImageError is one
    EOFError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
    struct.error,
    UserWarning,  # "truncated file", where the interpreter was told to make warnings errors
)
BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True, kw_only=True, slots=True)
class TiffPage:
    """One page. `whole` is False if its end was lost and left white."""

    image: Image.Image
    dpi: tuple[float, float]
    whole: bool = True


class TiffDocument:
    """A TIFF's pages, one in memory at a time."""

    def __init__(self, content: bytes) -> None:
        """Open it. Raises DecodeError if there is not one page to be found."""
        self._content = content
        self.description = ""
        self.truncated = False  # known after counting or reading: pages after the last one are lost
        try:
            self._image = Image.open(BytesIO(content), formats=("TIFF",))
            self.description = str(getattr(self._image, "tag_v2", {}).get(IMAGE_DESCRIPTION, ""))[:1000]
        except BOMB as error:
            _refuse("the TIFF is too large to unpack", content, error)
        except BROKEN_IMAGE as error:
            _refuse(f"the TIFF cannot be read: {type(error).__name__}", content, error)

    def count(self, *, at_most: int) -> int:
        """Return the number of pages whose directories are there; stops behind `at_most`."""
        pages = 0
        while pages <= at_most and self._seek(pages):
            pages += 1
        return pages

    def page(self, index: int) -> TiffPage:
        """Return one page; `index` counts from 0. Raises DecodeError."""
        if not self._seek(index):
            _refuse(f"the TIFF has no page {index + 1}", self._content)
        return self._load(index)

    def pages(self) -> Iterator[TiffPage]:
        """Yield the readable pages. Raises DecodeError if there is none, or if they are too large to unpack."""
        index, total_pixels = 0, 0
        while self._seek(index):
            total_pixels += self._image.width * self._image.height
            if total_pixels > MAX_DOCUMENT_PIXELS:
                _refuse("the TIFF is too large to unpack", self._content)
            try:
                page = self._load(index)
            except DecodeError:
                if index == 0 or self._seek(index + 1):
                    raise
                self.truncated = True  # the last page alone is beyond help: those before it are a fax
                return
            yield page
            index += 1

    def _seek(self, index: int) -> bool:
        """Go to a page; False if there is none. A directory that lies beyond the end of the file is a lost page."""
        try:
            self._image.seek(index)
        except EOFError:
            return False
        except BOMB as error:
            _refuse("the TIFF is too large to unpack", self._content, error)
        except BROKEN_IMAGE as error:
            if index == 0:
                _refuse(f"the TIFF cannot be read: {type(error).__name__}", self._content, error)
            self.truncated = True
            return False
        return True

    def _load(self, index: int) -> TiffPage:
        frame = self._image
        if frame.width * frame.height > MAX_PAGE_PIXELS:
            _refuse(f"page {index + 1} of the TIFF is too large to unpack", self._content)
        dpi = resolution(frame)
        try:
            frame.load()
            return TiffPage(image=frame.copy(), dpi=dpi)
        except BOMB as error:
            _refuse("the TIFF is too large to unpack", self._content, error)
        except BROKEN_IMAGE as error:
            saved = self._save_what_is_there(index)
            if saved is None:
                _refuse(f"page {index + 1} of the TIFF cannot be read: {type(error).__name__}", self._content, error)
            self.truncated = True
            return TiffPage(image=saved, dpi=dpi, whole=False)

    def _save_what_is_there(self, index: int) -> Image.Image | None:
        try:
            with Image.open(BytesIO(self._content), formats=("TIFF",)) as image:
                image.seek(index)
                return _decode_cut_page(image, self._content)
        except (*BROKEN_IMAGE, *BOMB):
            return None


def resolution(frame: Image.Image) -> tuple[float, float]:
    """Return dots an inch across and down: the file's own if believable, else what its size in pixels says."""
    try:
        across, down = (float(value) for value in frame.info.get("dpi", (0, 0)))
    except BROKEN_IMAGE:
        across, down = 0.0, 0.0
    if round(down) in LINES_PER_CM and across < FAX_DPI_ACROSS / 2:
        across, down = across * CM_PER_INCH, down * CM_PER_INCH
    low, high = BELIEVABLE_DPI
    if low <= across <= high and low <= down <= high:
        return across, down
    if frame.width not in FAX_WIDTHS_PX:
        return FALLBACK_DPI
    standard = frame.height / frame.width < STANDARD_MAX_ROWS_TO_WIDTH
    return FAX_DPI_ACROSS, STANDARD_DPI_DOWN if standard else FINE_DPI_DOWN


def _decode_cut_page(image: Image.Image, content: bytes) -> Image.Image | None:
    """Decode a bilevel fax page strip by strip, as far as its bytes go; None if that is nothing.

    libtiff gives up a whole strip whose data end too early. So each is followed by the data of white lines, in the
    same coding: what was sent is decoded, the decoder finds its way at the next line, the rest is white.
    """
    tags: TiffImagePlugin.ImageFileDirectory_v2 = getattr(image, "tag_v2")  # noqa: B009
    compression = FAX_COMPRESSIONS.get(str(image.info.get("compression")))
    if compression is None or image.mode != "1":
        return None
    page = Image.new("1", image.size, 1)
    rows_per_strip = min(int(tags.get(ROWS_PER_STRIP, image.height)), image.height)
    decoded = False
    for number, (offset, size) in enumerate(zip(tags[STRIP_OFFSETS], tags[STRIP_BYTE_COUNTS], strict=False)):
        top = number * rows_per_strip
        rows = min(rows_per_strip, image.height - top)
        data = content[offset : offset + size]
        if rows <= 0 or not data:
            break
        if tags.get(FILL_ORDER) == 2:  # noqa: PLR2004 - TIFF 6.0: the lowest bit first
            data = data.translate(REVERSED_BITS)
        page.paste(_decode_strip(data, (image.width, rows), compression, tags), (0, top))
        decoded = True
    return page if decoded else None


def _decode_strip(
    data: bytes, size: tuple[int, int], compression: str, tags: TiffImagePlugin.ImageFileDirectory_v2
) -> Image.Image:
    options = TiffImagePlugin.ImageFileDirectory_v2()
    options[ROWS_PER_STRIP] = size[1]
    if compression == "group3":
        options[T4_OPTIONS] = int(tags.get(T4_OPTIONS, 0))
    buffer = BytesIO()
    Image.new("1", size, 1).save(buffer, "TIFF", compression=compression, tiffinfo=options)
    template = buffer.getvalue()
    with Image.open(BytesIO(template)) as white:
        white_tags = getattr(white, "tag_v2", {})
        offset, length = white_tags[STRIP_OFFSETS][0], white_tags[STRIP_BYTE_COUNTS][0]
    padded = data + template[offset : offset + length]
    with Image.open(BytesIO(_with_strip(template, padded, offset_was=offset))) as strip:
        strip.load()
        decoded = strip.copy()
    if tags.get(PHOTOMETRIC, 0) != MIN_IS_BLACK:  # the template is written with black as 0
        decoded = decoded.point(lambda level: 255 - level)
    return _whiten_repeated_end(decoded) if compression == "group4" else decoded


def _with_strip(template: bytes, data: bytes, *, offset_was: int) -> bytes:
    """Return a TIFF of one strip with other data: put at the end, its place and length rewritten in the directory."""
    content = bytearray(template)
    directory = struct.unpack_from("<I", content, 4)[0]
    for number in range(struct.unpack_from("<H", content, directory)[0]):
        entry = directory + 2 + 12 * number
        tag = struct.unpack_from("<H", content, entry)[0]
        if tag == STRIP_OFFSETS:
            struct.pack_into("<HII", content, entry + 2, 4, 1, len(template))
        elif tag == STRIP_BYTE_COUNTS:
            struct.pack_into("<HII", content, entry + 2, 4, 1, len(data))
    if not template.startswith(MAGICS[0]) or offset_was >= len(template):
        raise ValueError("an unexpected TIFF template")
    return bytes(content) + data


def _whiten_repeated_end(strip: Image.Image) -> Image.Image:
    """Blank the rows at the end that repeat one another: Group 4 codes differences, so "no change" repeats a line."""
    row_bytes = (strip.width + 7) // 8
    packed = strip.tobytes()
    rows = [packed[start : start + row_bytes] for start in range(0, len(packed), row_bytes)]
    last = len(rows) - 1
    while last > 0 and rows[last] == rows[last - 1]:
        last -= 1
    strip.paste(1, (0, last + 1, strip.width, strip.height))
    return strip


def _refuse(reason: str, content: bytes, cause: BaseException | None = None) -> NoReturn:
    raise DecodeError(reason, data=content) from cause
