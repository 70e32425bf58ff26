"""The bytes between DATA and the lone dot, read in large pieces instead of line by line."""

import asyncio

from appeals.errors import PermanentError

END_OF_DATA = b"\r\n.\r\n"
OVERRUN_FACTOR = 2  # a client that sends so many times the limit is cut off instead of listened to
MAX_HEAD_BYTES = 64  # read one by one: a mail that begins with more blank lines and dots is read line by line

_LAST_LINE = b".\r\n"
_ENDS_BEGUN = tuple(END_OF_DATA[:length] for length in range(1, len(END_OF_DATA)))


class DataOverrunError(PermanentError):
    """The client sends on and on: hang up."""


async def read_data(reader: asyncio.StreamReader, *, limit_bytes: int) -> bytes | None:
    """Return the mail, dots unstuffed (RFC 5321 §4.5.2); None if it is over the limit, once all of it is read.

    Only CRLF.CRLF ends it: anything laxer would let one mail smuggle in another. Raises DataOverrunError, and EOFError
    if the connection ends first.
    """
    data = await _read_head(reader)
    # Once no end has begun, the whole of it can be looked for, which finds it in one call.
    separator = _LAST_LINE if data.endswith(_ENDS_BEGUN) else END_OF_DATA
    size = len(data) - 2
    while not data.endswith(END_OF_DATA):
        try:
            piece = await reader.readuntil(separator)
        except asyncio.LimitOverrunError as error:
            piece = await reader.readexactly(error.consumed)
        size += len(piece)
        data += piece
        if size > limit_bytes * OVERRUN_FACTOR + len(END_OF_DATA):
            raise DataOverrunError("the mail is far over the limit and does not end")
        if size > limit_bytes + len(END_OF_DATA):
            del data[: -len(END_OF_DATA)]
    if size - len(_LAST_LINE) > limit_bytes:
        return None
    del data[-len(_LAST_LINE) :]
    if b"\r\n." in data:
        data = data.replace(b"\r\n.", b"\r\n")
    return bytes(memoryview(data)[2:])


async def _read_head(reader: asyncio.StreamReader) -> bytearray:
    """Read byte by byte until no end has begun, or it is there: a mail may be empty."""
    data = bytearray(b"\r\n")  # stands for the one that ended the DATA command
    while data.endswith(_ENDS_BEGUN) and not data.endswith(END_OF_DATA) and len(data) < MAX_HEAD_BYTES:
        data += await reader.readexactly(1)
    return data


def count_hops(content: bytes) -> int:
    """Return how many servers have passed the mail on: its Received fields (RFC 5321 §6.3)."""
    end = content.find(b"\r\n\r\n")
    return (b"\n" + content[: None if end < 0 else end]).lower().count(b"\nreceived:")
