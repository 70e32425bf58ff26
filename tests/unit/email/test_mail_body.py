"""What is in a mail beside its text: winmail.dat, invitations, signatures, uuencode, and what is marked."""

import base64
import binascii
import struct
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.email.parsing.calendar_event import read_calendar
from connectors.email.parsing.flowed import unflow
from connectors.email.parsing.message_parser import ParsedMail, parse_mail
from connectors.email.parsing.protection import read_armour, signed_content
from connectors.email.parsing.rtf import rtf_text
from connectors.email.parsing.tnef import SIGNATURE, read_tnef
from connectors.email.parsing.uuencode import take_out_files


def _mail(*parts: tuple[str, bytes], kind: str = "multipart/mixed", head: str = "") -> ParsedMail:
    """Parse a multipart of (header, content) parts, the contents in base64."""
    body = b"".join(
        b"--b\r\n%s\r\nContent-Transfer-Encoding: base64\r\n\r\n%s" % (header.encode(), base64.encodebytes(content))
        for header, content in parts
    )
    separator = "" if ";" in kind else ";"
    return parse_mail(
        f"From: a@b.ru\r\n{head}Content-Type: {kind}{separator} boundary=b\r\n\r\n".encode() + body + b"--b--\r\n"
    )


TEXT = ("Content-Type: text/plain; charset=utf-8", "Нет воды.".encode())


# ---- winmail.dat
def _attribute(level: int, name: int, data: bytes) -> bytes:
    return struct.pack("<BII", level, name, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def _properties(*items: tuple[int, int, bytes]) -> bytes:
    """Return a property list of (id, type, value): strings and bytes alone, as [MS-OXTNEF] has them."""
    content = struct.pack("<I", len(items))
    for name, kind, value in items:
        content += struct.pack("<HHII", kind, name, 1, len(value)) + value + bytes(-len(value) % 4)
    return content


def _winmail(*attributes: bytes) -> bytes:
    code_page = _attribute(1, 0x00069007, struct.pack("<II", 1251, 0))
    return SIGNATURE + struct.pack("<H", 1) + code_page + b"".join(attributes)


def _file(title: str, data: bytes, *properties: tuple[int, int, bytes]) -> bytes:
    return (
        _attribute(2, 0x00069002, bytes(14))
        + _attribute(2, 0x00018010, title.encode("cp1251") + b"\0")
        + _attribute(2, 0x0006800F, data)
        + _attribute(2, 0x00069005, _properties(*properties))
    )


HTML_PROPERTIES = _attribute(1, 0x00069003, _properties((0x1013, 0x102, b"<p>From <b>HTML</b></p>")))


def test_winmail_is_unpacked():
    """Its files come out with long names, types and content ids, byte for byte; the wrapping itself is no file."""
    data = b"%PDF-1.7 zeros at the end" + bytes(5)
    long_name = "счёт за воду.pdf".encode("utf-16-le") + b"\0\0"
    winmail = _winmail(
        _file(
            "S4ET.PDF", data, (0x3707, 0x1F, long_name), (0x370E, 0x1E, b"application/pdf\0"), (0x3712, 0x1E, b"i@x\0")
        ),
        _file("акт.txt", b"text"),
    )
    mail = _mail(TEXT, ("Content-Type: application/ms-tnef; name=winmail.dat", winmail))
    assert [(item.name, item.content) for item in mail.files] == [("счёт за воду.pdf", data), ("акт.txt", b"text")]
    assert (mail.files[0].declared_media_type, mail.files[0].content_id) == ("application/pdf", "i@x")
    assert (mail.text, mail.marks) == ("Нет воды.", ("winmail",))


def test_the_text_in_winmail_is_read_if_there_is_no_other():
    """Plain text, HTML or RTF of Outlook is the mail's text only if the mail has none; its HTML is shown in any case."""
    name = "Content-Type: application/octet-stream; name=winmail.dat"
    html = _winmail(HTML_PROPERTIES)
    assert _mail((name, html)).text == "From HTML"
    beside = _mail(TEXT, (name, html))
    assert (beside.text, beside.html) == ("Нет воды.", "<p>From <b>HTML</b></p>")
    assert _mail((name, _winmail(_attribute(1, 0x0002800C, "Нет света".encode("cp1251"))))).text == "Нет света"
    rtf = rb"{\rtf1\ansi\ansicpg1251 Hello {\b world}\par \'cf\'f0\'e8\'e2\'e5\'f2}"
    wrapped = struct.pack("<II4sI", len(rtf) + 12, len(rtf), b"MELA", 0) + rtf
    assert rtf_text(wrapped).split() == ["Hello", "world", "Привет"]
    assert _mail((name, _winmail(_attribute(1, 0x00069003, _properties((0x1009, 0x102, wrapped)))))).text.split()[
        :2
    ] == ["Hello", "world"]


def test_a_message_embedded_in_winmail_gives_its_files():
    """A message attached to the message: its text becomes a file, its files are unpacked as well."""
    inner = _winmail(_attribute(1, 0x0002800C, b"inner text"), _file("inner.txt", b"inner file"))
    outer = _winmail(
        _attribute(2, 0x00069002, bytes(14)),
        _attribute(2, 0x00018010, b"Forwarded\0"),
        _attribute(2, 0x00069005, _properties((0x3701, 0x0D, bytes(16) + inner))),
    )
    message = read_tnef(outer)
    assert message is not None
    assert [(item.name, item.content) for item in message.files] == [
        ("Forwarded", b"inner text"),
        ("inner.txt", b"inner file"),
    ]


def test_a_damaged_winmail_is_kept_as_a_file():
    """What cannot be unpacked stays what it was, and is marked."""
    mail = _mail(TEXT, ("Content-Type: application/ms-tnef; name=winmail.dat", SIGNATURE + b"\1\0damaged"))
    assert [item.name for item in mail.files] == ["winmail.dat"]
    assert mail.marks == ("winmail",)


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6))
def test_any_winmail_can_be_looked_at(tail: bytes, changes: list[tuple[int, int]]):
    """Any bytes, and real ones with bytes changed, give a message or None at once: no count makes it loop."""
    read_tnef(SIGNATURE + tail)
    content = bytearray(_winmail(HTML_PROPERTIES, _file("a.txt", b"x" * 50, (0x3707, 0x1F, b"a\0b\0"))))
    for place, value in changes:
        content[6 + place % (len(content) - 6)] = value
    read_tnef(bytes(content))
    read_tnef(_winmail(_attribute(1, 0x00069003, struct.pack("<I", 0xFFFFFFFF) + tail)))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_rtf_can_be_looked_at(tail: bytes):
    """Compressed RTF of any bytes gives a string."""
    assert isinstance(rtf_text(tail), str)
    assert isinstance(rtf_text(struct.pack("<II4sI", len(tail) + 12, len(tail), b"MELA", 0) + tail), str)
    rtf = b"{\\rtf1" + tail + b"}"
    assert isinstance(rtf_text(struct.pack("<II4sI", len(rtf) + 12, len(rtf), b"MELA", 0) + rtf), str)


@pytest.mark.parametrize(
    "piece", [rb"{\field{\*\fldinst{", rb"\f0", rb"{\fonttbl{\f0", b"{", b"\\'e", b"\\bin99999999 \\pict"]
)
def test_hostile_rtf_takes_no_time(piece: bytes):
    """What the library's patterns run away on is kept from them."""
    rtf = b"{\\rtf1{\\fonttbl" + piece * 3000
    rtf_text(struct.pack("<II4sI", len(rtf) + 12, len(rtf), b"MELA", 0) + rtf)


# ---- invitations
ICS = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260301T000000Z\r\n"
    "DTSTART;TZID=Europe/Moscow:20260314T100000\r\nDTEND;TZID=Europe/Moscow:20260314T110000\r\nSUMMARY:Приём главы\r\n"
    "LOCATION:ул. Ленина\\, 5\r\nORGANIZER;CN=Иван:mailto:ivan@x.example\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
BLOCK = (
    "Событие: Приём главы\nНачало: 2026-03-14 10:00+03:00 (Europe/Moscow)\nКонец: 2026-03-14 11:00+03:00 (Europe/Moscow)\n"
    "Место: ул. Ленина, 5\nОрганизатор: Иван <ivan@x.example>"
)


def test_an_invitation_becomes_fields_and_a_block():
    """What, when, where and who are fields of the envelope and stand below the text; the file stays."""
    mail = _mail(TEXT, ("Content-Type: text/calendar; method=REQUEST", ICS.encode()), kind="multipart/alternative")
    assert mail.fields == {
        "event_summary": "Приём главы",
        "event_start": "2026-03-14T10:00+03:00",
        "event_end": "2026-03-14T11:00+03:00",
        "event_location": "ул. Ленина, 5",
        "event_organizer": "Иван <ivan@x.example>",
        "event_method": "request",
    }
    assert (mail.text, mail.clean_text) == (f"Нет воды.\n\n{BLOCK}",) * 2
    assert mail.marks == ("calendar",)
    assert [item.declared_media_type for item in mail.files] == ["text/calendar"]


def test_other_invitations():
    """A file of .ics, a whole day, a duration, a cancelled and a broken date, an English one, and no event at all."""
    (event,) = read_calendar(ICS.replace(";TZID=Europe/Moscow:20260314T100000", ";VALUE=DATE:20260314").encode())
    assert event.start == "2026-03-14"
    (event,) = read_calendar(ICS.replace("DTEND;TZID=Europe/Moscow:20260314T110000", "DURATION:PT90M").encode())
    assert event.end == "2026-03-14T11:30+03:00"
    (event,) = read_calendar(ICS.replace("20260314T100000", "yesterday").encode())
    assert (event.summary, event.start) == ("Приём главы", "")
    (event,) = read_calendar(ICS.replace("REQUEST", "CANCEL").replace("Приём главы", "Meeting").encode())
    assert event.to_text(russian=False).startswith("Event cancelled: Meeting\nStart: 2026-03-14")
    assert read_calendar(ICS.encode("cp1251"))[0].summary == "Приём главы"
    assert read_calendar(ICS.partition("BEGIN:VEVENT")[0].encode()) == ()
    mail = _mail(TEXT, ("Content-Type: application/octet-stream; name=invite.ICS", b"no calendar"))
    assert (mail.fields, mail.marks, mail.text) == ({}, ("calendar",), "Нет воды.")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8))
def test_any_calendar_can_be_looked_at(changes: list[tuple[int, int]]):
    """A calendar with bytes changed gives events of clean strings, or none."""
    content = bytearray(ICS.encode())
    for place, value in changes:
        content[place % len(content)] = value
    for event in read_calendar(bytes(content)):
        "".join(event.to_fields().values()).encode("utf-8")


# ---- signed and encrypted
def _ber(tag: int, content: bytes, *, indefinite: bool = False) -> bytes:
    if indefinite:
        return bytes([tag, 0x80]) + content + b"\0\0"
    length = bytes([len(content)]) if len(content) < 128 else b"\x82" + struct.pack(">H", len(content))
    return bytes([tag]) + length + content


def _pkcs7(content: bytes, *, indefinite: bool) -> bytes:
    """Return a signed message without its signature: enough of RFC 5652 to hold the content."""
    data, signed = (binascii.a2b_hex(f"06092a864886f70d0107{last}") for last in ("01", "02"))
    halves = b"".join(_ber(0x04, half) for half in (content[:10], content[10:]))
    octets = _ber(0x24, halves, indefinite=True) if indefinite else _ber(0x04, content)
    inner = _ber(0x30, data + _ber(0xA0, octets, indefinite=indefinite), indefinite=indefinite)
    body = _ber(0x30, _ber(0x02, b"\1") + _ber(0x31, b"") + inner + _ber(0x31, b""), indefinite=indefinite)
    return _ber(0x30, signed + _ber(0xA0, body, indefinite=indefinite), indefinite=indefinite)


@pytest.mark.parametrize("indefinite", [False, True])
def test_what_is_signed_within_is_read(indefinite: bool):  # noqa: FBT001 - a table
    """The text of an opaquely signed mail is read, in DER and in BER; the signed file is kept."""
    content = "Content-Type: text/plain; charset=utf-8\r\n\r\nНет воды.\r\n".encode()
    pkcs7 = _pkcs7(content, indefinite=indefinite)
    assert signed_content(pkcs7) == content
    head = b"Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    mail = parse_mail(head + base64.encodebytes(pkcs7))
    assert (mail.text, mail.marks, [item.name for item in mail.files]) == (
        "Нет воды.",
        ("smime_signed",),
        ["smime.p7m"],
    )


@pytest.mark.parametrize(
    ("head", "marks"),
    [
        ("Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", ("smime_encrypted",)),
        ("Content-Type: application/x-pkcs7-mime; name=smime.p7m", ("smime_encrypted",)),
        ("Content-Type: application/pgp-encrypted", ("pgp_encrypted",)),
        ("Content-Type: application/pgp-signature", ("pgp_signed",)),
        ("Content-Type: application/x-pkcs7-signature; name=smime.p7s", ("smime_signed",)),
        ("Content-Type: application/pdf", ()),
    ],
)
def test_marks_of_parts(head: str, marks: tuple[str, ...]):
    """Encrypted and signing parts are kept as files and marked."""
    mail = _mail(TEXT, (head, b"bytes"))
    assert (mail.marks, len(mail.files), mail.text) == (marks, 1, "Нет воды.")


def test_marks_of_containers():
    """multipart/signed is marked by its protocol, its text is read; multipart/encrypted is marked."""
    signed = _mail(TEXT, kind='multipart/signed; protocol="application/pgp-signature";')
    assert (signed.marks, signed.text) == (("pgp_signed",), "Нет воды.")
    assert _mail(TEXT, kind='multipart/signed; protocol="application/pkcs7-signature";').marks == ("smime_signed",)
    assert _mail(("Content-Type: application/octet-stream", b"x"), kind="multipart/encrypted").marks == (
        "pgp_encrypted",
    )


ARMOURED = (
    "Before\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nНет воды.\n- -- \n- From here\n"
    "-----BEGIN PGP SIGNATURE-----\n\niQEz\n-----END PGP SIGNATURE-----\nAfter"
)


def test_pgp_in_the_text():
    """The armour of a signed text is set aside and its dashes are put right; an encrypted one is marked and left."""
    assert read_armour(ARMOURED) == ("Before\nНет воды.\n-- \nFrom here\nAfter", "pgp_signed")
    mail = parse_mail(b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + ARMOURED.encode())
    assert mail.text == ARMOURED
    assert mail.clean_text == "Before\nНет воды."
    assert mail.marks == ("pgp_signed",)
    assert parse_mail(b"\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nhQEM\r\n-----END PGP MESSAGE-----").marks == (
        "pgp_encrypted",
    )
    assert read_armour("-----BEGIN PGP SIGNED MESSAGE-----") == ("-----BEGIN PGP SIGNED MESSAGE-----", None)


@settings(deadline=None)
@given(st.binary(max_size=120))
def test_any_signed_message_can_be_looked_at(tail: bytes):
    """Any bytes around the data's identifier give bytes or None."""
    signed_content(binascii.a2b_hex("06092a864886f70d010701a0") + tail)
    signed_content(tail)


# ---- uuencode, flowed, limits
def test_uuencoded_files_come_out_of_the_text():
    """Files between `begin` and `end` become files, the text around them stays; a letter that begins so stays whole."""
    content = bytes(range(100)) * 3
    lines = "".join(binascii.b2a_uu(content[at : at + 45]).decode() for at in range(0, len(content), 45))
    text = f"Прилагаю акт.\nbegin 644 акт 1.bin\n{lines}`\nend\nСпасибо.\n"
    mail = parse_mail(b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text.replace("\n", "\r\n").encode())
    assert (mail.text, [(item.name, item.content) for item in mail.files]) == (
        "Прилагаю акт.\nСпасибо.",
        [("акт 1.bin", content)],
    )
    assert take_out_files("begin 644 words\nand no end\n")[1] == ()
    assert take_out_files("begin at the beginning\nend\n")[0] == "begin at the beginning\nend\n"


def test_flowed_text():
    """RFC 3676: quote depths, stuffed spaces, signatures and DelSp."""
    assert unflow("> a \n> b\n>> c \n> d", delsp=False) == "> a b\n>> c \n> d"
    assert unflow("a \n-- \nb", delsp=False) == "a \n-- \nb"
    assert unflow(" >not quoted\n From", delsp=False) == ">not quoted\nFrom"
    assert unflow("日本 \n語", delsp=True) == "日本語"
    head = b"Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes\r\n\r\n"
    assert parse_mail(head + "日本 \r\n語".encode()).text == "日本語"


def test_limits_are_marked():
    """A mail that was read only in part says so."""
    assert parse_mail(b"Subject: x\r\n\r\n" + "строка текста\r\n".encode() * 100_000).marks == ("truncated",)
    assert "truncated" in parse_mail(b"X: y\r\n" * 60_000 + b"\r\nx").marks
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(80)
    )
    assert parse_mail(deep).marks == ("truncated",)


@pytest.mark.parametrize(
    ("parts", "text", "files"),
    [
        ([("Content-Type: text/plain", b"one"), ("Content-Type: image/png; name=a.png", b"x"), ("Content-Type: text/plain", b"two")], "one\n\ntwo", ["a.png"]),
        ([("Content-Type: text/plain; name=note.txt\r\nContent-Disposition: inline", b"only")], "only", ["note.txt"]),
        ([TEXT, ("Content-Type: text/plain; name=note.txt\r\nContent-Disposition: inline", b"file")], "Нет воды.", ["note.txt"]),
        ([TEXT, ("Content-Type: text/plain\r\nContent-Disposition: attachment", b"file")], "Нет воды.", ["attachment-1.txt"]),
        ([("Content-Type: text/markdown", b"*one*")], "*one*", []),
        ([TEXT, ("Content-Type: text/csv", b"a;b")], "Нет воды.", ["attachment-1.csv"]),
        ([TEXT, ("Content-Type: message/rfc822", b"Subject: s\r\n\r\nnot mixed in")], "Нет воды.", ["attachment-1.eml"]),
        ([], "", []),
    ],
)  # fmt: skip
def test_what_is_text_and_what_is_a_file(parts: list[tuple[str, bytes]], text: str, files: list[str]):
    """Unnamed text parts are the letter, named and attached ones are files, attached mails stay closed."""
    mail = _mail(*parts)
    assert (mail.text.strip("\n-b"), [item.name for item in mail.files]) == (text, files)


def test_alternatives_for_machines_are_left_out():
    """AMP and watch versions of the text are neither text nor files."""
    mail = _mail(
        TEXT,
        ("Content-Type: text/x-amp-html", b"<html amp4email>"),
        ("Content-Type: text/html", b"<b>x</b>"),
        kind="multipart/alternative",
    )
    assert (mail.text, mail.files, mail.html) == ("Нет воды.", (), "<b>x</b>")


def test_a_mail_of_the_standard_library_comes_back():
    """Text, HTML, an inline image and a file with a Russian name, as the standard library packs them."""
    message = EmailMessage()
    message["Subject"] = "Нет воды"
    message.set_content("текст")
    message.add_alternative("<p>текст <img src='cid:i@x'></p>", subtype="html")
    *_, html = message.iter_parts()
    html.add_related(b"\x89PNG\r\n\x1a\n", "image", "png", cid="<i@x>")
    message.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="счёт.pdf")
    mail = parse_mail(message.as_bytes())
    assert (mail.subject, mail.text, mail.html) == ("Нет воды", "текст", '<p>текст <img src="cid:i@x"></p>')
    assert [(item.name, item.inline) for item in mail.files] == [("attachment-1.png", True), ("счёт.pdf", False)]
