"""Messages between the daemon and a reading process: a JSON header and the bytes it announces.

Not pickle: what a document may have taken over must not be able to make the daemon run anything.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

PREFIX = struct.Struct(">I")
MAX_HEADER_BYTES = 1024 * 1024
MAX_BLOB_BYTES = 1024 * 1024 * 1024
SIZES = "blob_sizes"


def pack_header(header: Mapping[str, Any], blobs: Sequence[bytes]) -> bytes:
    """Return what goes before the blobs."""
    text = json.dumps({**header, SIZES: [len(blob) for blob in blobs]}).encode()
    return PREFIX.pack(len(text)) + text


def header_size(prefix: bytes) -> int:
    """Return how many bytes of header follow. Raises ValueError if that cannot be."""
    size: int = PREFIX.unpack(prefix)[0]
    if size > MAX_HEADER_BYTES:
        raise ValueError("the header is too long")
    return size


def read_header(text: bytes) -> tuple[dict[str, Any], list[int]]:
    """Return the header and the sizes of the blobs that follow. Raises ValueError if it is none."""
    header = json.loads(text)
    sizes = header.pop(SIZES, None) if isinstance(header, dict) else None
    if not isinstance(sizes, list) or not all(isinstance(size, int) and 0 <= size <= MAX_BLOB_BYTES for size in sizes):
        raise ValueError("no header")
    return header, sizes
