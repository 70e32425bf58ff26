"""How many pixels and pages a picture has, from its headers alone: nothing is decoded."""

import struct
from collections.abc import Iterator

from appeals import findings
from connectors.screening.budget import Budget
from connectors.screening.kinds import BMP, GIF, JPEG, PNG, WEBP

MAX_JPEG_SEGMENTS = 2000  # before the frame; real ones have about ten, a colour profile in parts a hundred
MAX_TIFF_ENTRIES = 4096  # tags of one page; real ones have about twenty
_WIDTH, _LENGTH = 256, 257  # TIFF 6.0: ImageWidth, ImageLength
_ENTRY_BYTES, _BIG_ENTRY_BYTES = 12, 20  # TIFF 6.0 §2; BigTIFF
_SHORT, _LONG, _LONG8 = 3, 4, 16
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # ITU-T T.81 table B.1
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xDA)})  # without a length


def inspect_picture(content: bytes, kind: str, *, max_pixels: int) -> set[str]:
    """Return findings on a PNG, JPEG, GIF, BMP or WebP."""
    try:
        size = _SIZES[kind](content)
    except (struct.error, IndexError):
        return set()  # cut off or broken: a browser shows what it can, and unpacks nothing
    return {findings.PICTURE_BOMB} if size is not None and size[0] * size[1] > max_pixels else set()


def _png(content: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from(">II", content, 16)  # IHDR comes first: ISO/IEC 15948 §5.6
    return width, height


def _gif(content: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from("<HH", content, 6)
    return width, height


def _bmp(content: bytes) -> tuple[int, int] | None:
    if content[14] == 12:  # noqa: PLR2004 - BITMAPCOREHEADER
        width, height = struct.unpack_from("<HH", content, 18)
    else:
        width, height = struct.unpack_from("<ii", content, 18)
    return abs(width), abs(height)


def _webp(content: bytes) -> tuple[int, int] | None:
    chunk = content[12:16]
    if chunk == b"VP8X":
        return int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", content, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg(content: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        if at + 9 >= len(content):
            break
        if content[at] != 0xFF:  # noqa: PLR2004 - every marker begins so
            return None
        marker = content[at + 1]
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        at += 1 if marker == 0xFF else 2 if marker in _BARE_MARKERS else 2 + _length(content, at)  # noqa: PLR2004
    return None


def _length(content: bytes, at: int) -> int:
    return max(2, int.from_bytes(content[at + 2 : at + 4], "big"))


_SIZES = {PNG: _png, JPEG: _jpeg, GIF: _gif, BMP: _bmp, WEBP: _webp}


# ---- TIFF
def inspect_tiff(content: bytes, budget: Budget, *, max_pages: int, max_pixels: int) -> set[str]:
    """Return findings on a TIFF or BigTIFF: its directories are walked, each once (TIFF 6.0 §2)."""
    pages, found = 0, set()
    try:
        for width, height in _tiff_pages(content, budget):
            pages += 1
            if width * height > max_pixels:
                found.add(findings.PICTURE_BOMB)
            if pages > max_pages:
                found.add(findings.TOO_MANY_PAGES)
                break
    except struct.error:
        found.add(findings.UNCHECKED)
    return found


def _tiff_pages(content: bytes, budget: Budget) -> Iterator[tuple[int, int]]:
    order = "<" if content.startswith(b"II") else ">"
    is_big = content[2:4] in {b"+\0", b"\0+"}
    count_form, entry_bytes, offset_form = ("Q", _BIG_ENTRY_BYTES, "Q") if is_big else ("H", _ENTRY_BYTES, "I")
    (offset,) = struct.unpack_from(order + offset_form, content, 8 if is_big else 4)
    seen: set[int] = set()
    while offset and offset not in seen:
        budget.check_time()
        seen.add(offset)
        (count,) = struct.unpack_from(order + count_form, content, offset)
        if count > MAX_TIFF_ENTRIES:
            raise struct.error("too many tags")
        first = offset + struct.calcsize(order + count_form)
        yield _tiff_size(content, order, first=first, count=count, entry_bytes=entry_bytes)
        (offset,) = struct.unpack_from(order + offset_form, content, first + count * entry_bytes)


def _tiff_size(content: bytes, order: str, *, first: int, count: int, entry_bytes: int) -> tuple[int, int]:
    size = {_WIDTH: 0, _LENGTH: 0}
    value_bytes = 4 if entry_bytes == _ENTRY_BYTES else 8
    for at in range(first, first + count * entry_bytes, entry_bytes):
        tag, form = struct.unpack_from(order + "HH", content, at)
        if tag in size:
            letter = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}.get(form, "I")
            (size[tag],) = struct.unpack_from(order + letter, content, at + entry_bytes - value_bytes)
        elif tag > _LENGTH:
            break  # tags are ascending
    return size[_WIDTH], size[_LENGTH]
