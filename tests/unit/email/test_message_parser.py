"""Real mails to `ParsedMail`: what each must yield."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.email.parsing.flowed import unflow
from connectors.email.parsing.html_text import html_text
from connectors.email.parsing.message_parser import ParsedMail, parse_mail

MAILS = Path(__file__).parents[2] / "data" / "mail" / "mikel"


def _parse(name: str) -> ParsedMail:
    return parse_mail((MAILS / f"{name}.eml").read_bytes())


EXPECTED: list[tuple[str, dict[str, Any]]] = [
    (
        "attachment_only_email",
        {"text": "", "files": ("blah.gz",), "subject": "this message JUST contains an attachment"},
    ),
    ("attachment_with_quoted_filename", {"files": ("Eelanalüüsi päring.jpg",), "subject": "Eelanalüüsi päring"}),
    ("attachment_message_rfc822", {"files": ("ForwardedMessage.eml",), "text": "This is the first part."}),
    ("attachment_content_location", {"files": ("attachment-1.jpg",), "text": "This is the first part."}),
    ("bad_encoded_subject", {"subject": "TEST", "text": "TEST"}),
    ("cant_parse_from", {"sender": "News@insideapple.apple.com"}),
    ("empty_in_reply_to", {"sender": "ak@g.com", "in_reply_to": ()}),
    ("encoding_madness", {"text": "Body Text", "automatic": True}),
    ("header_fields_with_empty_values", {"sender": "jorn@prikkprikkprikk.no", "subject": "Testmail"}),
    (
        "invalid_subject_characters",
        {"subject": "Formação FrenetikPolis: Mega Campanha Final Verão | Cursos de Setembro"},
    ),
    ("missing_body", {"text": "", "sender": "redacted@attglobal.net"}),
    ("multiple_content_types", {"text": "foo"}),
    ("raw_email_with_nested_attachment", {"files": ("truncated.png", "smime.p7s")}),
    ("raw_email_with_illegal_boundary", {"text": "Hello\nThis is an outlook test\n\nSo there.\n\nMe."}),
    ("sig_only_email", {"files": ("signature.asc",)}),
    ("two_from_in_message", {"sender": "tester1@test.com"}),
    ("raw_email_encoded_stack_level_too_deep", {"subject": "Nicolas Fouché has accepted your invitation to Gmail"}),
    ("japanese", {"subject": "まみむめも", "clean_text": "かきくえこ"}),
    ("japanese_attachment", {"files": ("てすと.txt",)}),
    ("japanese_iso_2022", {"subject": "まみむめも", "text": "すみません。"}),
    ("ks_c_5601-1987", {"text": "스티해"}),
    ("report_422", {"automatic": True, "files": ("attachment-1.txt", "attachment-2.txt")}),
    ("multipart_report_multiple_status", {"automatic": True}),
    ("basic_email", {"sender": "test@lindsaar.net", "subject": "Testing 123"}),
    ("raw_email_reply", {"clean_text": "Message body"}),
    ("raw_email_with_partially_quoted_subject", {"subject": 'Re: Test: "漢字" mid "漢字" tail'}),
    ("raw_email_trailing_dot", {"sender": "noreply@rubyforge.org", "automatic": True}),
    ("utf8_headers", {"sender": "jdöe@mächine.example", "subject": "Säying Hello"}),
    ("example03", {"message_id": "5678.21-Nov-1997@example.com"}),
]


@pytest.mark.parametrize(("name", "expected"), EXPECTED, ids=[name for name, _ in EXPECTED])
def test_real_mails(name: str, expected: dict[str, Any]):
    """Each mail of the corpus yields what its sender meant."""
    mail = _parse(name)
    found = {
        "sender": mail.sender.address if mail.sender else None,
        "subject": mail.subject,
        "text": mail.text,
        "clean_text": mail.clean_text,
        "files": tuple(item.name for item in mail.files),
        "automatic": mail.automatic,
        "in_reply_to": mail.in_reply_to,
        "message_id": mail.message_id,
    }
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("path", sorted(MAILS.glob("*.eml")), ids=lambda path: path.stem)
def test_every_mail_parses_alike_with_any_line_ends(path: Path):
    """With CRLF and with LF a mail gives the same strings and the same identity, all of them clean."""
    unix = path.read_bytes().replace(b"\r\n", b"\n")
    mail, other = parse_mail(unix), parse_mail(unix.replace(b"\n", b"\r\n"))
    for name in ("external_id", "sender", "subject", "text", "clean_text", "in_reply_to", "automatic", "sent_at"):
        assert getattr(mail, name) == getattr(other, name), name
    for text in (mail.subject, mail.text, mail.clean_text, *(item.name for item in mail.files)):
        assert "\x00" not in text
        text.encode("utf-8")


def test_threading_is_nearest_first():
    """In-Reply-To comes first, then References from its end, each id once."""
    mail = parse_mail(b"In-Reply-To: <c@x>\r\nReferences: <a@x>\r\n <b@x> <c@x>\r\n\r\n")
    assert mail.in_reply_to == ("c@x", "b@x", "a@x")


def test_alternatives_and_html():
    """Plain text is preferred to HTML, HTML is read where the plain part is blank, scripts and styles are not text."""
    head = b"Content-Type: multipart/alternative; boundary=b\r\n\r\n"
    html = b"--b\r\nContent-Type: text/html; charset=windows-1251\r\n\r\n<style>p{}</style><p>" + "Вода".encode(
        "cp1251"
    )
    html += b"<script>alert(1)</script></p><ul><li>one<li>two</ul>\r\n"
    plain = b"--b\r\nContent-Type: text/plain\r\n\r\nplain\r\n"
    blank = b"--b\r\nContent-Type: text/plain\r\n\r\n \r\n"
    assert parse_mail(head + plain + html + b"--b--").text == "plain"
    text = parse_mail(head + blank + html + b"--b--").text
    assert text.startswith("Вода")
    assert "* one" in text
    assert "alert" not in text
    assert "p{}" not in text


@pytest.mark.parametrize(
    "html", ["", "<", "<p>" * 5000, "<table><tr><td>" * 500, "&#0;&#xD800;x", "<p>a\x00b", "<!--", "<style>", "\ud800"]
)
def test_html_is_total(html: str):
    """Hostile HTML gives text that UTF-8 can hold, and no error."""
    text = html_text(html)
    assert "\x00" not in text
    text.encode("utf-8", "strict")


@pytest.mark.parametrize("tags", [300, 4000, 100_000])
def test_deeply_nested_html_loses_no_text(tags: int):
    """What a parser would drop for its depth is still read."""
    assert html_text("<div>" * tags + "Нет воды") == "Нет воды"


@pytest.mark.parametrize(
    "raw",
    [
        b"X: y\r\n" * 60_000,
        b"To: a@b.ru,\r\n " + b" c@d.ru,\r\n" * 40_000,
        b"\r\n".join([b"Content-Type: multipart/mixed; boundary=b", b"", *[b"--b\r\n"] * 20_000]),
    ],
    ids=["fields", "folded", "boundaries"],
)
def test_mails_beyond_reason_are_read_in_part(raw: bytes):
    """A header of megabytes or tens of thousands of parts is read up to the limits."""
    assert len(parse_mail(raw).files) < 1001


def test_very_long_text_is_cut_at_a_line():
    """More than a megabyte of text is cut at a line's end; the original is kept elsewhere."""
    mail = parse_mail(b"Subject: x\r\n\r\n" + "строка текста\r\n".encode() * 100_000)
    assert 400_000 < len(mail.text) <= 1024 * 1024
    assert mail.text.endswith("строка текста")


def test_format_flowed():
    """Flowed lines are joined, quote depths kept, signatures and stuffed spaces left alone (RFC 3676)."""
    assert unflow("one \ntwo\n> q \n> r\n-- \nme\n  stuffed", delsp=False) == "one two\n> q r\n-- \nme\n stuffed"
    assert unflow("日 \n本", delsp=True) == "日本"


@pytest.mark.parametrize(
    ("header", "automatic"),
    [
        (b"Auto-Submitted: auto-replied", True),
        (b"Auto-Submitted: no", False),
        (b"Auto-Submitted: auto-generated (rejected)", True),
        (b"Precedence: bulk", True),
        (b"Precedence: first-class", False),
        (b"List-Id: <list.example.org>", True),
        (b"X-Autoreply: yes", True),
        (b"X-Auto-Response-Suppress: All", True),
        (b"X-Auto-Response-Suppress: DR, RN, NRN", False),
        (b"X-Autorespond: x", True),
        (b"Return-Path: <>", True),
        (b"Return-Path: <ivan@example.org>", False),
        (b"From: MAILER-DAEMON@example.org", True),
        (b"From: no-reply@example.org", True),
        (b"From: noreply+x@example.org", True),
        (b"From: bounce-123@example.org", True),
        (b"From: noreen@example.org", False),
        (b"From: ivan@example.org", False),
        (b"Content-Type: multipart/report; report-type=delivery-status; boundary=b", True),
    ],
)
def test_automatic(header: bytes, automatic: bool):  # noqa: FBT001 - a table
    """Machines are known by RFC 3834, vendors' headers, their names and an empty return path."""
    assert parse_mail(header + b"\r\n\r\nx").automatic is automatic


def test_null_envelope_sender_is_automatic():
    """MAIL FROM:<> says a machine wrote it; an unknown envelope says nothing."""
    assert parse_mail(b"From: a@b.ru\r\n\r\n", mail_from="").automatic
    assert not parse_mail(b"From: a@b.ru\r\n\r\n", mail_from=None).automatic


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b'filename="../../etc/passwd"', "passwd"),
        (b'filename="C:\\\\temp\\\\a.doc"', "a.doc"),
        (b'filename="a\tb.txt"', "a b.txt"),
        (b'filename=".."', "attachment-1"),
        (b"filename*=utf-8''%D1%81%D1%87%D1%91%D1%82.pdf", "счёт.pdf"),
        (b'filename="=?koi8-r?B?08/U?=.pdf"', "сот.pdf"),
        ('filename="счёт.pdf"'.encode("cp1251"), "счёт.pdf"),
        (b"filename*=utf-8''gpj%E2%80%AEexe.exe", "gpjexe.exe"),
        (b"filename*=utf-8''a%00b", "a b"),
        (b'filename="' + b"x" * 300 + b'.docx"', "x" * 195 + ".docx"),
    ],
)  # fmt: skip
def test_attachment_names(raw: bytes, name: str):
    """Names are decoded and reduced to something safe to show and to save."""
    mail = parse_mail(b"Content-Type: application/x-odd\r\nContent-Disposition: attachment; " + raw + b"\r\n\r\nabc")
    assert [item.name for item in mail.files] == [name]


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"%PDF-1.7\n%x", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "image/png"),
        (b"MZ" + bytes(100), "application/octet-stream"),
        ("просто текст".encode(), "text/plain"),
        (b"\x00\x01\x02", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_media_types_come_from_the_content(content: bytes, media_type: str):
    """The name and the declared type say nothing about what a file is."""
    head = b'Content-Type: image/jpeg; name="a.jpg"\r\nContent-Disposition: attachment; filename="a.jpg"\r\n'
    (item,) = parse_mail(head + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + content).files
    assert item.declared_media_type == "image/jpeg"
    if content.startswith(b"MZ"):
        assert item.detected_media_type != "image/jpeg"
    else:
        assert item.detected_media_type == media_type


_PIECES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                b"\r\n", b"\r\n\r\n", b"Subject: ", b"From: ", b"=?utf-8?B?", b"?=", b"Content-Type: ", b"multipart/mixed; boundary=b", b"\r\n--b\r\n",
                b"message/rfc822", b"message/delivery-status", b"text/html; charset=", b"Content-Transfer-Encoding: base64", b"Content-Disposition: attachment; filename*=",
                b"utf-8''%ff", b"<a@b>", b"References: ", b"Date: ", b"begin 644 x\n", b"text/plain; format=flowed", b"<p>", b"\x00", b"--b--",
            ]
        ),
    ),
    max_size=25,
)  # fmt: skip


@settings(deadline=None)
@given(_PIECES)
def test_any_bytes_parse(pieces: list[bytes]):
    """Any bytes give a ParsedMail whose strings PostgreSQL and JSON take."""
    mail = parse_mail(b"".join(pieces))
    names = [point.name + point.address for point in (*mail.recipients, *mail.delivered_to)]
    files = [item.name + item.declared_media_type + item.detected_media_type for item in mail.files]
    ids = [mail.message_id or "", *mail.in_reply_to]
    for text in (mail.subject, mail.text, mail.clean_text, *names, *files, *ids):
        assert "\x00" not in text
        text.encode("utf-8")
    assert len(mail.subject) <= 998
    assert "\n" not in mail.subject
