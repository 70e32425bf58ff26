"""A look into a PDF without rendering it: pages, pictures, scripts, encryption, and what its streams unpack to.

The file is walked once from its beginning, as a repairing reader would, not along its cross-reference table, which may
say anything. Text between streams and in object streams is searched; compressed streams are unpacked to be counted.
"""

import re
import zlib
from collections.abc import Iterator
from contextlib import suppress

from appeals import findings
from connectors.screening.budget import Budget

DICT_BYTES = 64 * 1024  # before `stream`: where its dictionary is looked for
CHUNK_BYTES = 256 * 1024
OBJECTS_BYTES = 32 * 1024 * 1024  # of unpacked object streams that are searched
MAX_LAYERS = 5  # of compression over one stream
MAX_DEPTH = 100  # of a page tree
PAGES_ENOUGH = 10**9  # a tree that refers to itself again and again is counted no further

_STREAM = re.compile(rb"(?<!end)stream\r?\n")
_OBJ = re.compile(rb"(?<!\d)(\d{1,10})\s+\d{1,5}\s+obj\b")
_FLATE = re.compile(rb"/(?:FlateDecode|Fl)\b")
_LENGTH = re.compile(rb"/Length\s+(\d{1,10})(?!\d|\s+\d+\s+R)")
_FIRST = re.compile(rb"/First\s+(\d{1,10})")
_KIDS = re.compile(rb"/Kids\s*\[([^\]]*)")
_COUNT = re.compile(rb"/Count\s+(\d{1,10})")
_REFERENCE = re.compile(rb"(?<!\d)(\d{1,10})\s+\d{1,5}\s+R\b")
_ACTIVE = re.compile(rb"/(?:JavaScript|JS|Launch|RichMedia)\b")
_FILES = re.compile(rb"/EmbeddedFiles?\b")
_ENCRYPT = re.compile(rb"/Encrypt\b")
_HEX_NAME = re.compile(rb"/[A-Za-z]*#[0-9A-Fa-f]{2}")
_HEX = re.compile(rb"#([0-9A-Fa-f]{2})")
_WIDTH, _HEIGHT = re.compile(rb"/Width\s+(\d{1,9})\b"), re.compile(rb"/Height\s+(\d{1,9})\b")


class _Pages:
    """The page tree's nodes by object number, each with the numbers of its kids (ISO 32000-1 §7.7.3)."""

    def __init__(self) -> None:
        self._kids: dict[int, list[int]] = {}
        self._claimed = 0

    def note(self, number: int, text: bytes) -> None:
        """Note an object, if it is a node."""
        kids = _KIDS.search(text)
        if kids is None:
            return
        self._kids[number] = [int(kid) for kid in _REFERENCE.findall(kids[1])]
        if claimed := _COUNT.search(text):
            self._claimed = max(self._claimed, int(claimed[1]))

    def count(self, budget: Budget) -> int:
        """Return how many pages a reader may find: as the nodes claim, or by following them."""
        known: dict[int, int] = {}
        return max(self._claimed, *(self._leaves(number, known, budget, depth=0) for number in self._kids), 0)

    def _leaves(self, number: int, known: dict[int, int], budget: Budget, *, depth: int) -> int:
        if number not in self._kids:
            return 1
        if depth > MAX_DEPTH:
            return PAGES_ENOUGH
        if number not in known:
            budget.check_time()
            known[number] = 0  # a node that is its own descendant adds nothing
            total = sum(self._leaves(kid, known, budget, depth=depth + 1) for kid in self._kids[number])
            known[number] = min(total, PAGES_ENOUGH)
        return known[number]


def inspect_pdf(content: bytes, budget: Budget, *, max_pages: int, max_pixels: int) -> set[str]:
    """Return findings on a PDF (ISO 32000-1). Raises BombError, OutOfTimeError."""
    found: set[str] = set()
    pages = _Pages()
    texts: list[bytes] = []
    at = kept_bytes = 0
    for match in _STREAM.finditer(content):
        budget.check_time()
        if match.start() < at:  # inside a stream that has been passed over
            continue
        text = content[at : match.start()]
        texts.append(text)
        dictionary = _dictionary(text)
        if _pixels(dictionary) > max_pixels:
            found.add(findings.PICTURE_BOMB)
        objects = _unpack(content, match.end(), dictionary, budget, keep_bytes=OBJECTS_BYTES - kept_bytes)
        kept_bytes += len(objects)
        found |= _look_at_packed(objects, dictionary, pages)
        at = _end_of_stream(content, match.end(), dictionary)
    texts.append(content[at:])
    found |= _look_at_text(_plain(b"\n".join(texts)), pages)
    if pages.count(budget) > max_pages:
        found.add(findings.TOO_MANY_PAGES)
    return found


def _plain(text: bytes) -> bytes:
    """Return the text with names written out: `/J#61vaScript` is `/JavaScript` (ISO 32000-1 §7.3.5)."""
    if _HEX_NAME.search(text) is None:
        return text
    return _HEX.sub(lambda match: bytes([int(match[1], 16)]), text)


def _found_in(text: bytes) -> set[str]:
    """Return what the words of a PDF's objects tell; files within it are not looked into."""
    patterns = {findings.SCRIPT: _ACTIVE, findings.UNCHECKED: _FILES}
    return {code for code, pattern in patterns.items() if pattern.search(text)}


def _look_at_text(text: bytes, pages: _Pages) -> set[str]:
    found = _found_in(text) | ({findings.ENCRYPTED} if _ENCRYPT.search(text) else set())
    for piece in text.split(b"endobj"):
        if b"/Kids" in piece:
            numbers = _OBJ.findall(piece)
            pages.note(int(numbers[-1]) if numbers else -1, piece)
    return found


def _look_at_packed(objects: bytes, dictionary: bytes, pages: _Pages) -> set[str]:
    """Look at an unpacked object stream: numbers and offsets, then the objects (ISO 32000-1 §7.5.7)."""
    objects = _plain(objects)
    first = _FIRST.search(dictionary)
    if b"/Kids" in objects and first is not None:
        start = int(first[1])
        with suppress(ValueError):  # no numbers: no object is where it should be
            table = [int(word) for word in objects[:start].split()]
            places = sorted(zip(table[1::2], table[::2], strict=False))
            ends = [place for place, _ in places[1:]] + [len(objects)]
            for (place, number), end in zip(places, ends, strict=True):
                pages.note(number, objects[start + place : start + end])
    return _found_in(objects)


def _dictionary(text: bytes) -> bytes:
    window = text[-DICT_BYTES:]
    starts = [match.end() for match in _OBJ.finditer(window)]
    return _plain(window[starts[-1] :] if starts else window)


def _pixels(dictionary: bytes) -> int:
    width, height = _WIDTH.search(dictionary), _HEIGHT.search(dictionary)
    return int(width[1]) * int(height[1]) if width and height else 0


def _end_of_stream(content: bytes, start: int, dictionary: bytes) -> int:
    length = _LENGTH.search(dictionary)
    if length is not None:
        end = start + int(length[1])
        if b"endstream" in content[end : end + 16]:
            return end
    end = content.find(b"endstream", start)
    return end if end >= 0 else start  # never ended: what follows may be anything, and is searched as text


def _unpack(content: bytes, start: int, dictionary: bytes, budget: Budget, *, keep_bytes: int) -> bytes:
    """Unpack a stream to count its bytes; return them if it is an object stream. Raises BombError."""
    layers = len(_FLATE.findall(dictionary))
    is_objects = b"/ObjStm" in dictionary
    if not layers:
        return content[start : _end_of_stream(content, start, dictionary)] if is_objects else b""
    chunks = _slices(content, start)
    for _ in range(min(layers, MAX_LAYERS)):
        chunks = _inflated(chunks, budget)
    kept = bytearray()
    with suppress(zlib.error):  # broken from here on: readers take what came before
        for chunk in chunks:
            if is_objects and len(kept) < keep_bytes:
                kept += chunk
    return bytes(kept)


def _slices(content: bytes, start: int) -> Iterator[bytes]:
    for at in range(start, len(content), CHUNK_BYTES):
        yield content[at : at + CHUNK_BYTES]


def _inflated(chunks: Iterator[bytes], budget: Budget) -> Iterator[bytes]:
    decompressor = zlib.decompressobj()
    for chunk in chunks:
        data = chunk
        while data and not decompressor.eof:
            unpacked = decompressor.decompress(data, CHUNK_BYTES)
            data = decompressor.unconsumed_tail
            budget.unpack(len(unpacked))
            if unpacked:
                yield unpacked
        if decompressor.eof:
            return
