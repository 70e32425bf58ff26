"""The end of DATA is found wherever it is, however the bytes arrive."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.email.smtp.smtp_data import DataOverrunError, read_data

_PIECES = st.lists(
    st.sampled_from([b"\r\n", b".", b"..", b"\r", b"\n", b"a", b"text.\r\n", b".\n", b"\n.\n"]), max_size=60
)


async def _read(wire: bytes, *, chunk: int, limit: int = 10_000, reader_limit: int = 64) -> tuple[bytes | None, bytes]:
    """Return the mail and what was left for the next command."""
    reader = asyncio.StreamReader(limit=reader_limit)
    task = asyncio.ensure_future(read_data(reader, limit_bytes=limit))
    for start in range(0, len(wire), chunk):
        reader.feed_data(wire[start : start + chunk])
        await asyncio.sleep(0)
    reader.feed_eof()
    return await task, await reader.read()


@given(_PIECES, st.integers(1, 70))
def test_what_is_stuffed_comes_back(pieces: list[bytes], chunk: int):
    """Any mail, stuffed by the rules and cut into any pieces, is read back whole, and the next command is left alone."""
    mail = b"".join(pieces) + b"\r\n"
    stuffed = (b"\r\n" + mail).replace(b"\r\n.", b"\r\n..")[2:]
    assert asyncio.run(_read(stuffed + b".\r\nQUIT\r\n", chunk=chunk)) == (mail, b"QUIT\r\n")


@pytest.mark.parametrize("chunk", [1, 2, 1000])
def test_an_empty_mail(chunk: int):
    """A dot at once is an empty mail; blank lines alone are kept."""
    assert asyncio.run(_read(b".\r\nNOOP\r\n", chunk=chunk)) == (b"", b"NOOP\r\n")
    blank = b"\r\n" * 200
    assert asyncio.run(_read(blank + b".\r\n", chunk=chunk)) == (blank, b"")


@given(st.integers(0, 300), st.integers(1, 70))
def test_the_limit_is_exact(size: int, chunk: int):
    """A mail of the limit is taken, one byte more is read to its end and dropped, far more ends the reading."""
    wire = b"x" * size + b"\r\n.\r\nNOOP\r\n"
    if size + 2 <= 100:
        assert asyncio.run(_read(wire, chunk=chunk, limit=100)) == (b"x" * size + b"\r\n", b"NOOP\r\n")
    elif size + 2 <= 200:
        assert asyncio.run(_read(wire, chunk=chunk, limit=100)) == (None, b"NOOP\r\n")
    elif size > 210:
        with pytest.raises(DataOverrunError):
            asyncio.run(_read(wire, chunk=chunk, limit=100))


def test_a_connection_that_ends_too_early():
    """Without its end nothing is a mail."""
    for wire in (b"", b"\r\n", b"Subject: x\r\n\r\nbody", b"body\n.\n", b"body\r\n.\n"):
        with pytest.raises(EOFError):
            asyncio.run(_read(wire, chunk=3))
