"""The tree of parts, beside the standard library's over whole corpora and over made-up mails."""

import importlib.util
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.policy import SMTP
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.email.parsing.mime import MAX_DEPTH, MAX_PARTS, MimePart, read_mime

CORPUS = sorted((Path(__file__).parents[2] / "data" / "mail" / "mikel").glob("*.eml"))
# Where the standard library reads something else, and why that is not wanted.
EXCEPTIONS = {
    "example13.eml": "it ends the header at `To    :`, which RFC 5322 §4.5.8 allows",
    "raw_email_incorrect_header.eml": "it ends the header at a broken line, and loses From, To and Date below it",
    "msg_25.txt": "it finds no parts without a boundary parameter; the boundary can be seen in the text",
    "msg_31.txt": "the same",
}


def _cpython_corpus() -> list[Path]:
    """Return CPython's own test mails, where the interpreter brought its `test` package."""
    try:
        found = importlib.util.find_spec("test.test_email")
    except ImportError:
        return []
    if found is None or found.origin is None:
        return []
    return sorted((Path(found.origin).parent / "data").glob("msg_*.txt"))


def _shape(part: MimePart) -> list[tuple[str, bytes]]:
    """Return the leaves of our tree: type and content, line ends aside. What is a mail itself is not compared."""
    if part.children:
        return [leaf for child in part.children for leaf in _shape(child)]
    if part.media_type.startswith("message/"):
        return [(part.media_type, b"")]
    return [(part.media_type, _plain(part.content))]


def _library_shape(message: Message) -> list[tuple[str, bytes]]:
    """Return the same of the standard library's tree."""
    payload = message.get_payload()
    if isinstance(payload, list) and message.get_content_maintype() == "multipart":
        return [leaf for child in payload for leaf in _library_shape(child)]
    if message.get_content_maintype() == "message":
        return [(message.get_content_type(), b"")]
    content = message.get_payload(decode=True)
    return [(message.get_content_type().split()[0], _plain(content if isinstance(content, bytes) else b""))]


def _plain(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").rstrip(b"\n")


@pytest.mark.parametrize("path", [*CORPUS, *_cpython_corpus()], ids=lambda path: path.name)
def test_both_readers_agree_on_real_mails(path: Path):
    """Parts, types and contents of a corpus are what the standard library finds, with CRLF and with LF."""
    raw = path.read_bytes()
    unix = raw.replace(b"\r\n", b"\n")
    for content in (raw, unix, unix.replace(b"\n", b"\r\n")):
        ours = _shape(read_mime(content))
        if path.name not in EXCEPTIONS:
            assert ours == _library_shape(message_from_bytes(content, policy=policy.compat32))


def test_the_corpus_is_there():
    """The corpus in the repository is read, not an empty folder."""
    assert len(CORPUS) >= 40


def _message(**cte: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["Subject"] = "Отопление " * 20
    message["From"] = "Иван <ivan@example.org>"
    message.set_content("Нет отопления\n" * 30, **cte)
    return message


@pytest.mark.parametrize("cte", ["8bit", "quoted-printable", "base64"])
def test_mails_of_the_standard_library_are_read_alike(cte: str):
    """Mails as the standard library writes them, with alternatives, files and an attached mail, come out the same."""
    message = _message(cte=cte)
    message.add_alternative("<p>Нет отопления</p>" * 20, subtype="html", cte=cte)
    message.add_attachment(bytes(range(256)) * 50, maintype="application", subtype="pdf", filename="счёт.pdf")
    message.add_attachment(_message(cte="base64"))
    raw = message.as_bytes()
    tree = read_mime(raw)
    assert _shape(tree) == _library_shape(message_from_bytes(raw, policy=policy.compat32))
    assert tree.children[1].filename == "счёт.pdf"
    assert read_mime(tree.children[2].content) == read_mime(_message(cte="base64").as_bytes())


def test_an_attached_mail_stays_byte_for_byte():
    """What the standard library would fold anew and escape (`>From`) is left alone: a signature covers the bytes."""
    inner = b"Subject: " + b"long " * 40 + b"\r\nX-Odd:y\r\n\r\nFrom here on\r\n.\r\n"
    raw = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
        + inner
        + b"\r\n--b--"
    )
    (part,) = read_mime(raw).children
    assert part.content == inner


@pytest.mark.parametrize(
    ("raw", "leaves"),
    [
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo", ["one", "two"]),  # no end
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\none\n--b--\n--b\n\nepilogue", ["one"]),
        (b"Content-Type: multipart/mixed\n\n--x y\nContent-Type: text/plain\n\none\n--x y--", ["one"]),  # no boundary
        (b"Content-Type: multipart/mixed; boundary=wrong\n\n--b\nContent-Type: text/plain\n\none\n--b--", ["one"]),
        (b'Content-Type: multipart/mixed; boundary="a"; boundary="b"\n\n--a\n\none\n--a--', ["one"]),
        (b"Content-Type: multipart/mixed; boundary=b\n\nno parts at all", ["no parts at all"]),
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b--\n", ["--b--"]),
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--bc\n--b \t\n\ntwo\n--b--", ["one\n--bc", "two"]),
        (b"Content-Type: multipart/mixed; boundary=b\r\r--b\r\rone\r--b--\r", ["one"]),  # lone CRs
        (b"Content-Type: multipart/mixed; boundary=b\r\r\n\r\r\n--b\r\r\n\r\r\none\r\r\n--b--", ["one"]),
        (b"\r\n\r\nSubject: x\r\n\r\none", ["one"]),  # blank lines before the header
        (b"From ivan@example.org Mon Mar  3 10:00:00 2025\nSubject: x\n\none", ["one"]),
        (b">From ivan@example.org Mon Mar  3 10:00:00 2025\nSubject: x\n\none", ["one"]),
        (b"Subject: x\nno colon here\nFrom: a@b.ru\n\none", ["one"]),
        (b"Subject: x\nThe text begins at once.\nIt says: nothing", ["The text begins at once.\nIt says: nothing"]),
        (b"\xef\xbb\xbfSubject: x\n\none", ["one"]),
        (b"Subject: x\x00y\nX:\x00\n\none", ["one"]),
        (b"Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\nLS1iCgpvbmUKLS1iLS0=", ["one"]),
        (b"", [""]),
        (b"Subject: x", [""]),
    ],
)  # fmt: skip
def test_broken_structures_are_read_as_they_were_meant(raw: bytes, leaves: list[str]):
    """Missing, wrong and doubled boundaries, odd line ends, mbox lines and broken fields lose no text."""
    assert [_plain(content).decode() for _, content in _shape(read_mime(raw))] == leaves


@pytest.mark.parametrize(
    ("body", "encoding", "content"),
    [
        (b"0J/RgNC40LLQtdGC\r\n", b"base64", "Привет".encode()),
        (b"0J/RgNC40\r\nLLQtdGC", b"BASE64;", "Привет".encode()),
        (b"0J/RgNC40LLQtdG", b"base64", "Привет".encode()[:-1]),  # cut short
        (b"0J_/RgNC40LLQtdGC", b"base64", "Привет".encode()),  # a strange character
        (b"0J/RgA==0LjQstC10YI=", b"base64", "Привет".encode()),  # padded runs joined
        (b"0J/RgNC40LLQtSE=\r\n____\r\nlist footer, unsubscribe", b"base64", "Приве!".encode()),
        (b"This is no base64, whatever it says!", b"base64", b"This is no base64, whatever it says!"),
        ("Привет, это не base64".encode(), b"base64", "Привет, это не base64".encode()),
        (b"=D0=9F=D1=80=\r\n!", b"quoted printable", "Пр!".encode()),
        (b"=D0=9F=D1=80=D0=B8=D0=B2=D0=B5=D1=82", b"7bit", "Привет".encode()),  # nobody declared it
        (b"a=3Db and 50=25", b"7bit", b"a=3Db and 50=25"),
        (b"begin 644 x\n#0V%T\n`\nend\n", b"x-uuencode", b"Cat"),
        (b"text", b"unknown-8bit", b"text"),
    ],
)
def test_transfer_encodings(body: bytes, encoding: bytes, content: bytes):
    """Transfer encodings are undone by what the bytes are, also where the label is misspelt, wrong or missing."""
    assert read_mime(b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body).content == content


def test_base64_that_nobody_declared():
    """A text that is base64 from end to end, and readable below it, is decoded; a code word is not."""
    import base64  # noqa: PLC0415 - this test alone

    text = "Прошу включить отопление в доме номер пять.\n" * 3
    assert read_mime(b"Subject: x\n\n" + base64.encodebytes(text.encode())).content.decode() == text
    for content in (b"A" * 64, base64.encodebytes(bytes(range(256))), b"deadbeef" * 9):
        assert read_mime(b"Subject: x\n\n" + content).content == content


_LINES = st.lists(
    st.sampled_from(
        [
            b"Subject: a", b"From: x@y.z", b" folded", b"\tfolded too", b"X-8: \xd0\xff", b": empty", b"Content-Type: text/plain",
            b"Content-Type: text/html; charset=koi8-r", b'Content-Type: text/plain; charset="utf-8"; format=flowed',
            b"Content-Type: multipart/mixed; boundary=b", b'Content-Type: multipart/alternative; boundary="c"', b"Content-Type: TEXT/PLAIN; CharSet=UTF-8;",
            b"Content-Transfer-Encoding: Quoted-Printable", b"Content-Transfer-Encoding: 8bit", b"Content-Disposition: attachment; filename=a",
            b"", b"", b"body =D0=9F text", b"0J/R", b"--b", b"--b", b"--b--", b"--c", b"--c--", b"--bc", b"X:", b"Message-ID: <a@b>",
        ]
    ),
    max_size=24,
)  # fmt: skip


@settings(deadline=None)
@given(_LINES, st.sampled_from([b"\r\n", b"\n"]))
def test_both_readers_agree_on_made_up_mails(lines: list[bytes], end: bytes):
    """Whatever parts the standard library finds in any arrangement of good lines, we find the same."""
    raw = b"Subject: x" + end + end.join(lines) + end
    message = message_from_bytes(raw, policy=policy.compat32)
    has_parts = all(part.is_multipart() for part in message.walk() if part.get_content_maintype() == "multipart")
    # Behind a known encoding we take anything; the library then takes the encoding for an unknown one.
    is_plain = not any(str(part.get("content-transfer-encoding", "")).split()[1:] for part in message.walk())
    if has_parts and is_plain and not any(part.defects for part in message.walk()):
        assert _shape(read_mime(raw)) == _library_shape(message)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_can_be_read(raw: bytes):
    """Any bytes are a mail of some sort, and the same one twice."""
    assert read_mime(raw) == read_mime(raw)
    assert read_mime(b"Subject: x\r\n\r\n" + raw).headers.get("subject") == "x"


def test_too_deep_and_too_many_is_marked():
    """Nesting and part counts beyond the limits are marked; what is within them, and the rest's bytes, are there."""
    deep = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (level, level) for level in range(2000)
    )
    wide = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * (MAX_PARTS + 1) + b"--b--\n"
    tree = read_mime(deep)
    assert tree.truncated
    levels = 0
    while tree.children:
        (tree,) = tree.children
        levels += 1
    assert levels == MAX_DEPTH
    assert b"b1999" in tree.content
    tree = read_mime(wide)
    assert tree.truncated
    assert len(tree.children) == MAX_PARTS - 1


@pytest.mark.parametrize("line", [b"X: y\r\n", b"To: a@b.ru,\r\n c@d.ru,\r\n", b"X : y\r\n"])
def test_an_endless_header_is_cut(line: bytes):
    """Of a header of megabytes the beginning is read, then the text after it; the mail is marked."""
    tree = read_mime(b"Subject: x\r\n" + line * 60_000 + b"\r\nthe text")
    assert tree.truncated
    assert (tree.headers.get("subject"), tree.content) == ("x", b"the text")
