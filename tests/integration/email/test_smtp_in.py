"""Mail in over real SMTP and LMTP connections."""

import asyncio
import re
import smtplib
from email.message import EmailMessage

import pytest

from appeals.envelope import Channel
from appeals.errors import PermanentError, TransientError
from connectors.base import HealthState

from .conftest import MAILBOX, Dial, Office, OpenOffice

MAIL = (
    b"From: Ivan <ivan@example.org>\r\nTo: appeals@okno.localhost\r\nSubject: Heating\r\n"
    b"Date: Mon, 03 Mar 2025 10:00:00 +0300\r\nMessage-ID: <one@example.org>\r\n\r\nNo heating since Monday."
)


def _send(
    port: int,
    message: EmailMessage | bytes,
    *,
    to: tuple[str, ...] = (MAILBOX,),
    sender: str = "ivan@example.org",
    options: tuple[str, ...] = (),
) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        content = message if isinstance(message, bytes) else message.as_bytes()
        client.sendmail(sender, list(to), content, mail_options=options)


async def test_a_mail_is_registered_before_it_is_acknowledged(office: Office, dial: Dial):
    """The 250 carries the number, comes after the commit, and the raw bytes are the mail's own."""
    wire = await dial(office.port)
    reply = await wire.transaction(MAIL)
    assert reply == "250 2.0.0 registered as 482-719-0000"
    envelope, contents = office.intake.registered[0]
    assert envelope.channel is Channel.EMAIL
    assert envelope.connector == "email"
    assert envelope.sender.value == "ivan@example.org"
    assert envelope.sender.name == "Ivan"
    assert [point.value for point in envelope.recipients] == [MAILBOX]
    assert envelope.subject == "Heating"
    assert envelope.text == "No heating since Monday."
    assert envelope.threading.message_id == "one@example.org"
    assert not envelope.automatic
    assert contents[envelope.raw.sha256] == MAIL + b"\r\n"


async def test_smtplib_sends_attachments(office: Office):
    """A mail built and sent by the standard library arrives with text, attachment, name and type."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Пётр <petr@example.org>", MAILBOX, "Жалоба на отопление"
    message.set_content("В доме холодно.\n\nС уважением,\nПётр")
    message.add_attachment(b"%PDF-1.4\n%test", maintype="application", subtype="octet-stream", filename="счёт.pdf")
    await office.blocking(_send, office.port, message)
    envelope, contents = office.intake.registered[0]
    assert envelope.subject == "Жалоба на отопление"
    assert envelope.sender.name == "Пётр"
    assert envelope.clean_text == "В доме холодно."
    (attachment,) = envelope.attachments
    assert (attachment.name, attachment.detected_media_type) == ("счёт.pdf", "application/pdf")
    assert attachment.declared_media_type == "application/octet-stream"
    assert contents[attachment.sha256] == b"%PDF-1.4\n%test"


async def test_ehlo_names_the_extensions(office: Office, dial: Dial):
    """SIZE with our limit, 8BITMIME, SMTPUTF8, PIPELINING and ENHANCEDSTATUSCODES are offered, CHUNKING is not."""
    wire = await dial(office.port, hello=None)
    assert (await wire.reply()).startswith("220 okno.localhost")
    lines = (await wire.command("EHLO test")).split("\n")
    offered = {line[4:] for line in lines[1:]}
    assert {"SIZE 1048576", "8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES"} <= offered
    assert "CHUNKING" not in offered
    assert (await wire.command("BDAT 3 LAST")).startswith("500 5.5.1 ")


async def test_recipients_are_checked_at_rcpt(office: Office, dial: Dial):
    """Unknown mailboxes get 550 5.1.1; ours are taken in any case and with a plus-part."""
    wire = await dial(office.port)
    await wire.command("MAIL FROM:<ivan@example.org>")
    assert (await wire.command("RCPT TO:<nobody@okno.localhost>")).startswith("550 5.1.1 ")
    assert (await wire.command("RCPT TO:<appeals@elsewhere.example>")).startswith("550 5.1.1 ")
    assert (await wire.command("DATA")).startswith("503 5.5.1 ")
    assert (await wire.command("RCPT TO:<Appeals@OKNO.localhost>")).startswith("250 2.1.5 ")
    assert (await wire.command("RCPT TO:<appeals+tok3n@okno.localhost>")).startswith("250 2.1.5 ")


async def test_the_plus_token_reaches_the_envelope_and_is_not_shown(office: Office, dial: Dial):
    """The token is taken from the SMTP recipient, and the recipients hold the mailbox without it."""
    wire = await dial(office.port)
    await wire.transaction(MAIL, rcpt_to="appeals+abc123@okno.localhost")
    assert office.intake.envelope.threading.reply_token == "abc123"
    assert [point.value for point in office.intake.envelope.recipients] == [MAILBOX]


async def test_a_redelivery_gets_the_same_number(office: Office, dial: Dial):
    """The same mail again, through another relay that added trace fields, is registered once (P2)."""
    wire = await dial(office.port)
    first = await wire.transaction(MAIL)
    again = b"Return-Path: <ivan@example.org>\r\nReceived: from a by b; Mon, 3 Mar 2025 10:00:01 +0300\r\n" + MAIL
    assert await wire.transaction(again) == first
    assert len(office.intake.registered) == 1


async def test_one_mail_to_two_mailboxes_is_one_appeal(office: Office, dial: Dial):
    """In one transaction or in two, a mail to two of our mailboxes has one external id."""
    wire = await dial(office.port)
    await wire.command("MAIL FROM:<ivan@example.org>")
    await wire.command("RCPT TO:<appeals@okno.localhost>")
    await wire.command("RCPT TO:<housing@okno.localhost>")
    await wire.command("DATA")
    await wire.send(MAIL + b"\r\n.\r\n")
    first = await wire.reply()
    assert (
        await wire.transaction(b"Delivered-To: housing@okno.localhost\r\n" + MAIL, rcpt_to="housing@okno.localhost")
        == first
    )
    assert len(office.intake.registered) == 1
    assert {point.value for point in office.intake.envelope.recipients} == {MAILBOX, "housing@okno.localhost"}


async def test_mails_that_share_a_message_id_are_both_kept(office: Office, dial: Dial):
    """A sender that reuses a Message-ID loses nothing (P1)."""
    wire = await dial(office.port)
    first = await wire.transaction(MAIL)
    assert await wire.transaction(MAIL.replace(b"Monday", b"Sunday")) != first
    assert await wire.transaction(MAIL.replace(b"Subject: Heating", b"Subject: Water")) != first
    assert len(office.intake.registered) == 3


async def test_pipelined_commands_are_answered_in_order(office: Office, dial: Dial):
    """All commands of two mails in one write get their replies in order (RFC 2920)."""
    wire = await dial(office.port)
    other = MAIL.replace(b"one@", b"two@")
    commands = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<appeals@okno.localhost>\r\nDATA\r\n"
    await wire.send(commands + MAIL + b"\r\n.\r\n" + commands + other + b"\r\n.\r\nQUIT\r\n")
    codes = [(await wire.reply())[:9] for _ in range(9)]
    assert codes == [
        "250 2.1.0",
        "250 2.1.5",
        "354 End d",
        "250 2.0.0",
        "250 2.1.0",
        "250 2.1.5",
        "354 End d",
        "250 2.0.0",
        "221 2.0.0",
    ]
    assert len(office.intake.registered) == 2


async def test_a_client_that_closes_its_half_is_still_answered(office: Office, dial: Dial):
    """Everything sent before the client's end of file is processed and answered."""
    wire = await dial(office.port)
    commands = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<appeals@okno.localhost>\r\nDATA\r\n"
    await wire.send(commands + MAIL + b"\r\n.\r\n")
    wire.writer.write_eof()
    replies = [await wire.reply() for _ in range(5)]
    assert replies[3].startswith("250 2.0.0 registered as ")
    assert replies[4] == ""


async def test_dots_are_unstuffed_and_lines_kept(office: Office, dial: Dial):
    """Leading dots come back as they were, long lines and bare line feeds survive, only CRLF.CRLF ends a mail."""
    wire = await dial(office.port)
    long_line = b"x" * 200_000
    await wire.transaction(MAIL + b"\r\n..dot\r\n...\r\nbare\n.\nfeed\n.\r\nno end\r\n" + long_line + b" end.")
    text = office.intake.envelope.text
    assert "\n.dot\n..\nbare\n.\nfeed\n.\nno end\n" in text
    assert text.endswith("x end.")


async def test_an_empty_mail_is_kept(office: Office, dial: Dial):
    """A mail of nothing at all is registered under its SMTP sender."""
    wire = await dial(office.port)
    await wire.command("MAIL FROM:<ivan@example.org>")
    await wire.command("RCPT TO:<appeals@okno.localhost>")
    await wire.command("DATA")
    assert (await wire.command(".")).startswith("250 2.0.0 registered")
    assert office.intake.envelope.sender.value == "ivan@example.org"
    assert office.intake.envelope.text == ""


async def test_too_large_is_refused_by_size_and_by_count(open_office: OpenOffice, dial: Dial):
    """26 MB announced is refused at MAIL; unannounced it is refused after DATA, and the connection goes on."""
    office = await open_office(max_message_bytes=25 * 1024 * 1024)
    wire = await dial(office.port)
    assert (await wire.command(f"MAIL FROM:<a@b.example> SIZE={26 * 1024 * 1024}")).startswith("552 5.3.4 ")
    await wire.command("MAIL FROM:<a@b.example>")
    await wire.command("RCPT TO:<appeals@okno.localhost>")
    await wire.command("DATA")
    block = (b"y" * 1022 + b"\r\n") * 1024
    for _ in range(26):
        await wire.send(block)
    assert (await wire.command(".")).startswith("552 5.3.4 ")
    assert (await wire.command("NOOP")).startswith("250 2.0.0 ")
    assert office.intake.registered == []
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        await office.blocking(_send, office.port, b"Subject: big\r\n\r\n" + block * 26)
    assert refused.value.smtp_code == 552


async def test_exactly_the_limit_is_taken(open_office: OpenOffice, dial: Dial):
    """A mail of the limit is taken, one byte more is not."""
    office = await open_office(max_message_bytes=2048)
    wire = await dial(office.port)
    content = b"Subject: limit\r\n\r\n"
    content += b"z" * (2048 - len(content) - 2)
    assert (await wire.transaction(content)).startswith("250 2.0.0 ")
    assert (await wire.transaction(content + b"z")).startswith("552 5.3.4 ")


async def test_a_client_that_ignores_the_limit_is_cut_off(open_office: OpenOffice, dial: Dial):
    """More than twice the limit without an end is answered 552 and hung up on."""
    office = await open_office(max_message_bytes=64 * 1024)
    wire = await dial(office.port)
    await wire.command("MAIL FROM:<a@b.example>")
    await wire.command("RCPT TO:<appeals@okno.localhost>")
    await wire.command("DATA")
    try:
        for _ in range(64):
            await wire.send(b"q" * 65536)
    except ConnectionError:
        return  # hung up while we were still talking
    assert (await wire.reply()).startswith("552 5.3.4 ")


async def test_limits_on_recipients_and_connections(open_office: OpenOffice, dial: Dial):
    """One recipient too many gets 452 4.5.3, one connection too many 421 4.7.0, and a free place is used again."""
    office = await open_office(max_recipients=1, max_connections=1)
    wire = await dial(office.port)
    await wire.command("MAIL FROM:<a@b.example>")
    await wire.command("RCPT TO:<appeals@okno.localhost>")
    assert (await wire.command("RCPT TO:<housing@okno.localhost>")).startswith("452 4.5.3 ")
    refused = await dial(office.port, hello=None)
    assert (await refused.reply()).startswith("421 4.7.0 ")
    assert await refused.reply() == ""
    assert (await wire.command("QUIT")).startswith("221 2.0.0 ")
    assert await wire.reply() == ""
    await dial(office.port)


async def test_a_registry_that_is_down_gets_451(office: Office, dial: Dial):
    """TransientError becomes 451 4.3.0, nothing is quarantined, and the same mail is taken once it is back."""
    office.intake.register_error = TransientError("disk is full: /secret/path")
    wire = await dial(office.port)
    reply = await wire.transaction(MAIL)
    assert reply.startswith("451 4.3.0 ")
    assert "secret" not in reply
    assert office.intake.quarantined == []
    office.intake.register_error = None
    assert (await wire.transaction(MAIL)).startswith("250 2.0.0 ")


async def test_an_unexpected_error_keeps_its_text_inside(office: Office, dial: Dial):
    """A bug behind the server is answered 451 without a word of it."""
    office.intake.register_error = RuntimeError("password=hunter2")
    wire = await dial(office.port)
    reply = await wire.transaction(MAIL)
    assert reply.startswith("451 4.3.0 ")
    assert "hunter2" not in reply


async def test_what_cannot_be_registered_is_quarantined(office: Office, dial: Dial):
    """PermanentError: the bytes and the SMTP envelope go to quarantine, the sender gets 250 2.6.0, a retry works (P4)."""
    office.intake.register_error = PermanentError("the registry cannot hold this")
    wire = await dial(office.port)
    assert (await wire.transaction(MAIL, rcpt_to="appeals+t0k@okno.localhost")).startswith("250 2.6.0 ")
    item, content = office.intake.quarantined[0]
    assert content == MAIL + b"\r\n"
    assert item.stage == "register"
    assert item.context["mail_from"] == "ivan@example.org"
    with pytest.raises(PermanentError):
        await office.connector.retry(content, item.context)
    office.intake.register_error = None
    registration = await office.connector.retry(content, item.context)
    assert registration.number == "482-719-0000"
    assert office.intake.envelope.threading.reply_token == "t0k"


async def test_what_cannot_be_decoded_is_quarantined(office: Office, dial: Dial, monkeypatch: pytest.MonkeyPatch):
    """A mail that our decoding stumbles over is kept with its bytes; if the quarantine is down, the sender keeps it."""

    def stumble(_raw: bytes, *, mail_from: str | None) -> None:
        raise RecursionError(mail_from)

    monkeypatch.setattr("connectors.email.receiver.parse_mail", stumble)
    wire = await dial(office.port)
    assert (await wire.transaction(MAIL)).startswith("250 2.6.0 ")
    item, content = office.intake.quarantined[0]
    assert (item.stage, content) == ("decode", MAIL + b"\r\n")
    office.intake.quarantine_error = TransientError("down")
    assert (await wire.transaction(MAIL.replace(b"one@", b"two@"))).startswith("451 4.3.0 ")
    assert office.intake.registered == []


async def test_a_mail_nested_beyond_reason_is_registered(office: Office, dial: Dial):
    """Two hundred multiparts within each other are no reason to keep a citizen waiting: the mail is registered whole."""
    nested = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (depth, depth) for depth in range(200)
    )
    wire = await dial(office.port)
    mail = b"From: a@b.example\r\n" + nested + b"x"
    assert (await wire.transaction(mail)).startswith("250 2.0.0 ")
    envelope, contents = office.intake.registered[0]
    assert contents[envelope.raw.sha256] == mail + b"\r\n"


async def test_null_sender_is_automatic(office: Office, dial: Dial):
    """MAIL FROM:<> is taken and marked, so that nothing is ever sent back to a machine."""
    wire = await dial(office.port)
    assert (await wire.transaction(MAIL, mail_from="")).startswith("250 2.0.0 ")
    assert office.intake.envelope.automatic


async def test_our_own_mail_coming_back_is_automatic(office: Office, dial: Dial):
    """A mail from one of our mailboxes is marked: answering it would be a loop."""
    wire = await dial(office.port)
    await wire.transaction(MAIL.replace(b"ivan@example.org>\r\nTo", b"Housing@okno.localhost>\r\nTo"))
    assert office.intake.envelope.automatic


async def test_smtputf8_addresses(office: Office, dial: Dial):
    """International addresses and headers in UTF-8 (RFC 6531, RFC 6532) are taken as they are."""
    wire = await dial(office.port)
    assert (await wire.command("MAIL FROM:<иван@почта.рф> SMTPUTF8 BODY=8BITMIME")).startswith("250 2.1.0 ")
    await wire.command("RCPT TO:<appeals@okno.localhost>")
    await wire.command("DATA")
    await wire.send("From: Иван <иван@почта.рф>\r\nSubject: Тёплая вода\r\n\r\nНет воды\r\n.\r\n".encode())
    assert (await wire.reply()).startswith("250 2.0.0 ")
    assert office.intake.envelope.sender.value == "иван@почта.рф"
    assert office.intake.envelope.subject == "Тёплая вода"


async def test_hostile_content_is_text(office: Office, dial: Dial):
    """A script in the subject stays text, 8-bit rubbish and NULs come out as clean strings."""
    wire = await dial(office.port)
    await wire.transaction(
        b"From: \xff\xfe<ivan@example.org>\r\nSubject: <script>alert(1)</script>\x00\xd0\xed \x1b[2J\r\nX: \x00\r\n\r\na\x00b\xff",
    )
    envelope = office.intake.envelope
    assert envelope.subject.startswith("<script>alert(1)</script>")
    for text in (envelope.subject, envelope.text, envelope.sender.name):
        assert not re.search("[\x00-\x09\x0b-\x1f\ud800-\udfff]", text)


async def test_malformed_commands_get_an_enhanced_status(office: Office, dial: Dial):
    """Whatever is wrong with a command, the reply has an enhanced status code (RFC 3463) and the session goes on."""
    wire = await dial(office.port)
    lines: list[bytes] = [
        b"MAIL FROM:<", b"MAIL FROM:<>> x", b"MAIL FROM:ivan@", b"MAIL", b"RCPT TO:<a@b>", b"DATA", b"VRFY x\xff", b"HELP x",
        b"MAIL FROM:<a@b.c> SIZE=abc", b"MAIL FROM:<a@b.c> BODY=ODD", b"MAIL FROM:<a@b.c> XYZ", b"MAIL FROM:<\xff\xfe@b.c>",
        b"EXPN list", b"\xff\xfe", b"NOOP", b"HELO", b"EHLO", b"STARTTLS", b"AUTH PLAIN", b"MAIL FROM:" + b"x" * 3000, b"RSET x",
        b"MAIL FROM:<@a,@b:c@d.e> X=Y", b'MAIL FROM:<"a b"@c.d> Z', b"RSET", b"DATA now",
    ]  # fmt: skip
    for line in lines:
        reply = await wire.command(line)
        assert re.match(r"[245]\d\d [245]\.\d+\.\d+ .", reply), (line, reply)
    assert (await wire.transaction(MAIL)).startswith("250 2.0.0 ")


async def test_too_many_unknown_commands_end_the_session(office: Office, dial: Dial):
    """A client that does not speak SMTP (HTTP, TLS) is hung up on."""
    wire = await dial(office.port)
    replies = [await wire.command("GET / HTTP/1.1") for _ in range(5)]
    assert replies[0].startswith("500 5.5.1 ")
    assert replies[-1].startswith("502 5.5.1 ")
    assert await wire.reply() == ""


async def test_silent_and_slow_clients_time_out(open_office: OpenOffice, dial: Dial):
    """A client that says nothing, at the prompt or within DATA, gets 421 4.4.2 and is hung up on."""
    office = await open_office(command_timeout_s=0.15)
    silent = await dial(office.port)
    within = await dial(office.port)
    await within.command("MAIL FROM:<a@b.example>")
    await within.command("RCPT TO:<appeals@okno.localhost>")
    await within.command("DATA")
    await within.send(b"Subject: never")
    for wire in (silent, within):
        assert (await wire.reply()).startswith("421 4.4.2 ")
        assert await wire.reply() == ""
    assert office.intake.registered == []


async def test_waiting_for_the_registry_is_no_timeout(open_office: OpenOffice, dial: Dial):
    """A client is not hung up on while it waits for us to commit, however long that takes."""
    office = await open_office(command_timeout_s=0.1)
    office.intake.gate = asyncio.Event()
    wire = await dial(office.port)
    pending = asyncio.create_task(wire.transaction(MAIL))
    await office.intake.entered.wait()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(pending), 0.4)
    office.intake.gate.set()
    assert (await pending).startswith("250 2.0.0 ")


async def test_stop_finishes_what_is_in_hand(open_office: OpenOffice, dial: Dial):
    """At stop an idle connection gets 421 4.3.2, one in DATA gets its 250 first, and new ones are refused."""
    office = await open_office()
    office.intake.gate = asyncio.Event()
    idle, busy = await dial(office.port), await dial(office.port)
    pending = asyncio.create_task(busy.transaction(MAIL))
    await office.intake.entered.wait()
    stopping = asyncio.create_task(office.connector.stop())
    assert (await idle.reply()).startswith("421 4.3.2 ")
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", office.port)
    assert not stopping.done()
    office.intake.gate.set()
    assert (await pending).startswith("250 2.0.0 ")
    assert (await busy.reply()).startswith("421 4.3.2 ")
    await stopping
    assert office.connector.health().state is HealthState.STOPPED


async def test_health_reports_real_ports(office: Office):
    """With port 0 the real ports are reported, for both protocols."""
    health = office.connector.health()
    assert health.state is HealthState.UP
    assert health.addresses == (f"smtp://127.0.0.1:{office.port}", f"lmtp://127.0.0.1:{office.lmtp_port}")
    assert office.port != office.lmtp_port != 0


async def test_lmtp_answers_for_each_recipient(office: Office, dial: Dial):
    """LMTP greets with LHLO alone, and DATA has one reply for each recipient taken (RFC 2033 §4.2)."""
    wire = await dial(office.lmtp_port, hello=None)
    await wire.reply()
    assert (await wire.command("EHLO x")).startswith("500 5.5.1 ")
    assert (await wire.command("LHLO x")).startswith("250-")
    await wire.command("MAIL FROM:<ivan@example.org>")
    await wire.command("RCPT TO:<appeals@okno.localhost>")
    await wire.command("RCPT TO:<nobody@okno.localhost>")
    await wire.command("RCPT TO:<housing@okno.localhost>")
    await wire.command("DATA")
    await wire.send(MAIL + b"\r\n.\r\n")
    assert await wire.reply() == await wire.reply() == "250 2.0.0 registered as 482-719-0000"
    assert (await wire.command("NOOP")).startswith("250 ")

    def deliver() -> None:
        with smtplib.LMTP("127.0.0.1", office.lmtp_port) as client:
            client.sendmail("ivan@example.org", [MAILBOX], MAIL.replace(b"one@", b"two@"))

    await office.blocking(deliver)
    assert len(office.intake.registered) == 2


async def test_many_connections_share_the_loop(office: Office):
    """Fifty clients at once are all served, and nothing is lost or doubled."""

    async def one(index: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", office.port)
        content = MAIL.replace(b"one@", b"many%d@" % index)
        writer.write(b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<appeals@okno.localhost>\r\nDATA\r\n" + content)
        writer.write(b"\r\n.\r\nQUIT\r\n")
        assert b"registered as" in await reader.read()
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for index in range(50):
            group.create_task(one(index))
    assert len({envelope.external_id for envelope, _ in office.intake.registered}) == 50
