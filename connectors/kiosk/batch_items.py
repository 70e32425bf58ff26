"""The forms of a batch, one after the other: NDJSON (a form a line), or a JSON array of forms."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

CHUNK_ITEMS = 64
CHUNK_BYTES = 8 * 1024 * 1024
MAX_ARRAY_BYTES = 64 * 1024 * 1024  # an array must be held whole: more goes as NDJSON

_BLANK = re.compile(rb"[ \t\r\n]*")
_END = re.compile(r"\s*\]?\s*\Z")
_SEPARATOR = re.compile(r"[ \t\r\n]*,?[ \t\r\n]*")


class ArrayTooLargeError(Exception):
    """The array is larger than MAX_ARRAY_BYTES."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchItem:
    """One form as it stands in the batch; `body` is None if it is larger than a form may be."""

    index: int
    body: bytes | None


def batch_items(spool: IO[bytes], *, max_item_bytes: int) -> Iterator[BatchItem]:
    """Yield the forms from the spool's beginning; `body` holds the very bytes. Nothing is checked but the size.

    Raises ArrayTooLargeError. An array that breaks off or holds rubbish ends with the rest of it as one last item.
    """
    spool.seek(0)
    head = _BLANK.sub(b"", spool.read(1024).lstrip(b"\xef\xbb\xbf"), count=1)
    spool.seek(0)
    if head.startswith(b"["):
        yield from _of_array(spool, max_item_bytes=max_item_bytes)
        return
    for index, line in enumerate(_lines(spool, max_bytes=max_item_bytes)):
        yield BatchItem(index=index, body=line)


def next_chunk(items: Iterator[BatchItem]) -> list[BatchItem]:
    """Return the next few items, none at the end: as many as are worth a hop to a thread."""
    chunk: list[BatchItem] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += len(item.body or b"")
        if len(chunk) >= CHUNK_ITEMS or size >= CHUNK_BYTES:
            break
    return chunk


def _lines(spool: IO[bytes], *, max_bytes: int) -> Iterator[bytes | None]:
    while line := spool.readline(max_bytes + 1):
        if len(line) > max_bytes and not line.endswith(b"\n"):
            while rest := spool.readline(1024 * 1024):
                if rest.endswith(b"\n"):
                    break
            yield None
        elif stripped := line.strip():
            yield stripped


def _of_array(spool: IO[bytes], *, max_item_bytes: int) -> Iterator[BatchItem]:
    content = spool.read(MAX_ARRAY_BYTES + 1)
    if len(content) > MAX_ARRAY_BYTES:
        raise ArrayTooLargeError
    text = content.decode("utf-8", "surrogateescape")
    decoder = json.JSONDecoder()
    place, index = text.index("[") + 1, 0
    while True:
        found = _SEPARATOR.match(text, place)
        place = found.end() if found else place
        if _END.match(text, place):
            return
        try:
            _, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = len(text)
        body = text[place:end].encode("utf-8", "surrogateescape")
        yield BatchItem(index=index, body=body if len(body) <= max_item_bytes else None)
        place, index = end, index + 1
