"""The hash of a body as DKIM counts it, beside dkimpy's."""

import hashlib

import pytest
from dkim.canonicalization import CanonicalizationPolicy
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.email.authenticity import dkim_body
from connectors.email.authenticity.dkim_body import LineTooLongError, body_hash
from connectors.email.authenticity.dkim_signatures import header_block, is_ambiguous

_PIECES = st.lists(
    st.sampled_from([b"\r\n", b"\n", b" ", b"\t", b"  ", b"a", b"text", b"\r", b".", b"\xff"]), max_size=40
)


def _by_dkimpy(body: bytes, *, relaxed: bool) -> bytes:
    policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed" if relaxed else b"simple/simple")
    lines = body.replace(b"\r\n", b"\n").split(b"\n")
    return policy.canonicalize_body(b"\r\n".join(lines))


@given(
    pieces=_PIECES,
    relaxed=st.booleans(),
    piece_bytes=st.sampled_from([1, 2, 7, 1000]),
    limit=st.none() | st.integers(0, 50),
)
@example(pieces=[b"\r\n"] * 5, relaxed=True, piece_bytes=1, limit=None)
@example(pieces=[], relaxed=False, piece_bytes=1, limit=None)
@example(pieces=[b"a", b" ", b"\r\n", b"\r\n", b"b"], relaxed=True, piece_bytes=1, limit=3)
def test_any_body(*, pieces: list[bytes], relaxed: bool, piece_bytes: int, limit: int | None):
    """Whatever the body and however it is cut, the hash is that of dkimpy's canonical form."""
    body = b"".join(pieces) + b"\r\n"  # as SMTP hands it over
    before = dkim_body.PIECE_BYTES
    dkim_body.PIECE_BYTES = piece_bytes
    try:
        found = body_hash(b"x: y\r\n\r\n" + body, 8, relaxed=relaxed, limit_bytes=limit)
    finally:
        dkim_body.PIECE_BYTES = before
    canonical = _by_dkimpy(body, relaxed=relaxed)
    assert found.length_bytes == len(canonical)
    assert found.digest == hashlib.sha256(canonical[:limit]).digest()


def test_a_line_without_an_end():
    """A mail of one endless line is no mail: it is not hashed."""
    with pytest.raises(LineTooLongError):
        body_hash(b"a" * 3_000_000, 0, relaxed=True)


@pytest.mark.parametrize(
    ("raw", "header"),
    [
        (b"A: b\r\nC: d\r\n\r\nbody\r\n\r\nx", b"A: b\r\nC: d\r\n"),
        (b"A: b\nC: d\n\nbody\n\nx", b"A: b\nC: d\n"),
        (b"A: b\n\r\nbody", b"A: b\n"),
        (b"\r\nbody\r\n\r\n", b""),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"", b""),
    ],
)
def test_where_the_header_ends(raw: bytes, header: bytes):
    """The first empty line ends the header, whatever its line ends."""
    assert header_block(raw) == header


def test_ambiguous_headers():
    """Bare CR and NUL are found in the header, and only there."""
    assert is_ambiguous(b"A: b\rFrom: x\r\n\r\nbody")
    assert is_ambiguous(b"A\x00: b\r\n\r\nbody")
    assert not is_ambiguous(b"A: b\r\n\r\nbo\rdy\x00")
