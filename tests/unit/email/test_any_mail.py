"""Any bytes, and real mails with bytes changed: always an envelope, the same one twice, of strings that stores take."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appeals.envelope import AppealEnvelope
from appeals.registration import Contents
from connectors.email.envelope_builder import SmtpEnvelope, build_envelope
from connectors.email.mailboxes import Mailboxes
from connectors.email.parsing.message_parser import parse_mail
from connectors.email.parsing.mime import read_mime

MAILS = [path.read_bytes() for path in sorted((Path(__file__).parents[2] / "data" / "mail" / "mikel").glob("*.eml"))]
MAILBOXES = Mailboxes(("appeals@okno.localhost",), sender="office@okno.localhost")
NOW = datetime(2026, 3, 2, tzinfo=UTC)

_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "delete", "insert", "double"]),
        st.integers(min_value=0, max_value=1 << 16),
        st.one_of(
            st.binary(min_size=1, max_size=6),
            st.sampled_from(
                [b"\r", b"\n", b"\r\n\r\n", b"\0", b"=?", b"?=", b"--", b";", b'"', b"\xff", b"<", b":", b"=D0", b"charset=utf-16", b"boundary=", b"\nbegin 644 x\n"]
            ),
        ),
    ),
    max_size=12,
)  # fmt: skip


def _changed(raw: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    content = bytearray(raw)
    for what, place, piece in changes:
        at = place % (len(content) + 1)
        if what == "set":
            content[at : at + len(piece)] = piece
        elif what == "delete":
            del content[at : at + 10 * len(piece)]
        elif what == "insert":
            content[at:at] = piece
        else:
            content[at:at] = content[at : at + 200]
    return bytes(content)


def _envelope(raw: bytes) -> tuple[AppealEnvelope, Contents]:
    smtp = SmtpEnvelope(mail_from="ivan@example.org", rcpt_to=("appeals@okno.localhost",))
    mail = parse_mail(raw, mail_from=smtp.mail_from)
    return build_envelope(mail, raw, smtp=smtp, mailboxes=MAILBOXES, connector="email", received_at=NOW)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _check(raw: bytes) -> None:
    envelope, contents = _envelope(raw)
    again, same = _envelope(raw)
    assert envelope.model_copy(update={"id": again.id}) == again
    assert contents == same
    document = json.loads(envelope.model_dump_json(by_alias=True))
    for text in _strings(document):
        text.encode("utf-8")
        assert "\x00" not in text
    references = [envelope.raw, *envelope.attachments, *filter(None, [envelope.html])]
    assert {item.sha256 for item in references} == set(contents)
    assert all(len(contents[item.sha256]) == item.size_bytes for item in references)
    assert bool(envelope.clean_text) == bool(envelope.text.strip())


@settings(deadline=None)
@given(st.sampled_from(MAILS), _CHANGES)
def test_real_mails_with_bytes_changed(raw: bytes, changes: list[tuple[str, int, bytes]]):
    """A mail damaged on its way gives an envelope, the same twice, whose strings PostgreSQL and JSON take."""
    _check(_changed(raw, changes))


@settings(deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"Content-Type: text/html\n\n", b"Content-Type: multipart/mixed; boundary=b\n\n--b\n"]),
)
def test_any_bytes(raw: bytes, head: bytes):
    """Any bytes give one, with or without a header before them."""
    _check(head + raw)


@settings(deadline=None)
@given(st.sampled_from(MAILS), st.integers(min_value=0, max_value=1 << 16))
def test_a_mail_cut_anywhere(raw: bytes, place: int):
    """A mail that ends too early gives what had come until then."""
    _check(raw[: place % (len(raw) + 1)])


@settings(deadline=None)
@given(st.sampled_from(MAILS), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_line_ends_do_not_matter(raw: bytes, end: bytes):
    """With LF, CRLF or lone CRs a mail has the same fields and the same parts."""
    unix = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    ours, theirs = read_mime(unix.replace(b"\n", end)), read_mime(unix)
    assert ours.headers.get("subject") == theirs.headers.get("subject")
    assert len(ours.children) == len(theirs.children)


_HEAD = b"From: a@b.ru\r\n"
_PARTS = _HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
_HTML = _HEAD + b"Content-Type: text/html\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        _PARTS + b"--b\r\n\r\n" * 100_000,
        _PARTS + b"--bx\r\n" * 100_000,
        _PARTS + b"".join(b"--b\r\nContent-Type: multipart/mixed; boundary=c%d\r\n\r\n--c%d\r\n\r\nx\r\n" % (at, at) for at in range(800)),
        _HEAD + b"\r\n" + b"> a\r\nb\r\n" * 20_000,
        _HEAD + b"\r\n" + b"On 3 Mar 2025 10:00 a@b.ru\r\n" * 15_000,
        _HEAD + b"\r\n" + b"begin 644 x\r\n" * 30_000,
        _HEAD + b"\r\n" + b"-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\n" * 10_000,
        _HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"QUJD!" * 200_000,
        _HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * 500_000,
        _HTML + b"<div>" * 200_000,
        _HTML + (b"<table><tr><td>" * 100 + b"x" + b"</table>" * 100) * 50,
        _HTML + b"<img src='data:image/png;base64," + b"iVBORw0K" * 100_000,
        b"Subject: " + b"=?utf-8?B?0J8=?= " * 14_000 + b"\r\n\r\nx",
        b"From: " + b"(" * 60_000 + b"\r\n\r\nx",
        b"From: " + b'"a\\" <' * 10_000 + b"\r\n\r\nx",
        b"To: " + b"a <a@b.ru>, " * 20_000 + b"\r\n\r\nx",
        b"References: " + b"<" * 60_000 + b"\r\n\r\nx",
        b"Content-Type: text/plain; " + b"a*0=b; " * 30_000 + b"\r\n\r\nx",
        b"Subject: x\r\r" + b"y\r" * 500_000,
    ],
    ids=range(19),
)  # fmt: skip
def test_hostile_mails_are_read_in_linear_time(raw: bytes):
    """Mails made to be slow give an envelope; the test hangs if a pattern or a loop runs away."""
    _envelope(raw)
