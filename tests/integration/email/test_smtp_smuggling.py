"""Nothing but CRLF.CRLF ends a mail (CVE-2023-51764 and its kin), whatever other servers took for an end."""

import itertools

import pytest

from .conftest import MAILBOX, Dial, Office

INNER = b"MAIL FROM:<boss@okno.localhost>%(end)sRCPT TO:<appeals@okno.localhost>%(end)sDATA%(end)sSubject: smuggled%(end)s%(end)sx"
LINE_ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\x00\n")
ODD_ENDS = (b"\x85", b"\x0b", b"\xe2\x80\xa8", b"\x00\r\n")
PAIRS = (
    *itertools.product(LINE_ENDS, repeat=2),
    *itertools.product([b"\r\n"], ODD_ENDS),
    *itertools.product(ODD_ENDS, [b"\r\n"]),
)
FALSE_ENDS = [end for end in (before + b"." + after for before, after in PAIRS) if b"\r\n.\r\n" not in end]


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
async def test_a_false_end_smuggles_nothing(office: Office, dial: Dial, false_end: bytes):
    """A mail that holds another behind a false end of data is one mail, kept with all its bytes."""
    mail = b"Subject: outer\r\n\r\ntext" + false_end + INNER % {b"end": b"\r\n"}
    wire = await dial(office.port)
    assert (await wire.transaction(mail)).startswith("250 2.0.0 ")
    assert (await wire.command("NOOP")).startswith("250 2.0.0 OK")
    ((envelope, contents),) = office.intake.registered
    assert envelope.subject == "outer"
    assert contents[envelope.raw.sha256] == mail.replace(b"\r\n.", b"\r\n") + b"\r\n"


async def test_pipelined_commands_behind_a_true_end_are_another_mail(office: Office, dial: Dial):
    """What comes behind CRLF.CRLF is a command, as RFC 2920 wants."""
    wire = await dial(office.port)
    await wire.command("MAIL FROM:<a@b.example>")
    await wire.command(f"RCPT TO:<{MAILBOX}>")
    await wire.command("DATA")
    await wire.send(b"Subject: one\r\n\r\nx\r\n.\r\nMAIL FROM:<c@d.example>\r\n")
    assert (await wire.reply()).startswith("250 2.0.0 registered")
    assert (await wire.reply()).startswith("250 2.1.0 ")


async def test_nul_and_bare_line_ends_are_kept(office: Office, dial: Dial):
    """NUL, bare CR and bare LF are no reason to lose a mail: the raw bytes stay, the text is clean (P6)."""
    mail = b"Subject: a\r\n\r\none\ntwo\rthree\x00four\r\n.. five"
    wire = await dial(office.port)
    assert (await wire.transaction(mail)).startswith("250 2.0.0 ")
    envelope, contents = office.intake.registered[0]
    assert contents[envelope.raw.sha256] == mail.replace(b"\r\n..", b"\r\n.") + b"\r\n"
    assert "\x00" not in envelope.text
    assert "\r" not in envelope.text
