"""The short reader of plain mails and the standard library build the same tree."""

import importlib.util
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appeals.errors import DecodeError
from connectors.email.mime import MAX_PARTS, read_any, read_mime, read_plain

CORPUS = sorted((Path(__file__).parents[2] / "data" / "mail" / "mikel").glob("*.eml"))


def _cpython_corpus() -> list[Path]:
    """Return CPython's own test mails, where the interpreter brought its `test` package."""
    try:
        found = importlib.util.find_spec("test.test_email")
    except ImportError:
        return []
    if found is None or found.origin is None:
        return []
    return sorted((Path(found.origin).parent / "data").glob("msg_*.txt"))


@pytest.mark.parametrize("path", [*CORPUS, *_cpython_corpus()], ids=lambda path: path.name)
def test_both_readers_agree_on_real_mails(path: Path):
    """Whatever the short reader takes of a corpus, with CRLF or LF, the standard library reads the same."""
    raw = path.read_bytes()
    unix = raw.replace(b"\r\n", b"\n")
    for content in (raw, unix, unix.replace(b"\n", b"\r\n")):
        plain = read_plain(content)
        assert plain is None or plain == read_any(content)
        read_mime(content)


def test_the_corpus_is_there():
    """The corpus in the repository is read, not an empty folder."""
    assert len(CORPUS) >= 40


@pytest.mark.parametrize("cte", ["7bit", "8bit", "quoted-printable", "base64"])
@pytest.mark.parametrize("subtype", ["plain", "html"])
def test_ordinary_mails_take_the_short_way(cte: str, subtype: str):
    """Mails as the standard library writes them are read by the short reader, and alike."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = "Отопление " * 20
    message["From"] = "Иван <ivan@example.org>"
    message.set_content("No heating" if cte == "7bit" else "Нет отопления\n" * 30, subtype=subtype, cte=cte)
    raw = message.as_bytes()
    plain = read_plain(raw)
    assert plain is not None
    assert plain == read_any(raw)


_LINES = st.lists(
    st.sampled_from(
        [
            b"Subject: a", b"subject : b", b"From: x@y.z", b" folded", b"\tfolded too", b"X-8: \xd0\xff", b"NoColon", b": empty",
            b"Content-Type: text/plain", b"Content-Type: text/html; charset=koi8-r", b'Content-Type: text/plain; charset="utf-8"; format=flowed',
            b"Content-Type: multipart/mixed; boundary=b", b"Content-Type: broken", b"Content-Type: TEXT/PLAIN; CharSet=UTF-8;",
            b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: Quoted-Printable", b"Content-Transfer-Encoding: 8bit",
            b"Content-Transfer-Encoding: x-uuencode", b"Content-Disposition: attachment; filename=a", b"", b"body =D0=9F text", b"0J/R", b"--b", b"--b--",
            b"X:", b"X: \x00", b"X: \rlone", b"From me Mon", b"Message-ID: <a@b>", b"Content-Type: text/plain; charset*=utf-8''koi8-r",
        ]
    ),
    max_size=14,
)  # fmt: skip


@given(_LINES, st.sampled_from([b"\r\n", b"\n"]))
def test_both_readers_agree_on_made_up_mails(lines: list[bytes], end: bytes):
    """Any arrangement of good and bad lines that the short reader takes, the standard library reads the same."""
    raw = end.join(lines) + end
    plain = read_plain(raw)
    if plain is not None:
        assert plain == read_any(raw)


@given(st.binary(max_size=400))
def test_any_bytes_can_be_read(raw: bytes):
    """Any bytes are a mail of some sort."""
    read_mime(raw)
    plain = read_plain(b"Subject: x\r\n\r\n" + raw)
    assert plain is not None
    assert plain == read_any(b"Subject: x\r\n\r\n" + raw)


def test_too_deep_and_too_many_is_a_decode_error():
    """Nesting and part counts beyond reason are DecodeErrors that hold the bytes."""
    deep = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (level, level) for level in range(2000)
    )
    wide = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * (MAX_PARTS + 1) + b"--b--\n"
    for raw in (deep, wide):
        with pytest.raises(DecodeError) as caught:
            read_mime(raw)
        assert caught.value.data == raw
