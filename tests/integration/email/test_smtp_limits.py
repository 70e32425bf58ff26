"""Limits: connections of one address, errors, idle commands, pace, loops; postmaster and SIZE."""

import asyncio

import pytest

from .conftest import MAILBOX, Dial, Office, OpenOffice

MAIL = b"From: ivan@example.org\r\nSubject: Heating\r\nMessage-ID: <limits@example.org>\r\n\r\nNo heating."
OUTSIDE = {"trusted_networks": ()}  # loopback counts as anybody


async def test_connections_of_one_address(open_office: OpenOffice, dial: Dial):
    """One host gets so many connections over all ports; a place that is left is used again."""
    office = await open_office(**OUTSIDE, max_connections_per_address=2)
    first = await dial(office.port)
    await dial(office.lmtp_port, hello="LHLO x")
    refused = await dial(office.port, hello=None)
    assert (await refused.reply()).startswith("421 4.7.0 Too many connections from your address")
    assert await refused.reply() == ""
    await first.command("QUIT")
    assert await first.reply() == ""
    await dial(office.port)


async def test_front_mtas_are_not_counted(open_office: OpenOffice, dial: Dial):
    """A front MTA on a trusted network may open more connections, and may err more, than a stranger."""
    office = await open_office(max_connections_per_address=1, max_errors=1, max_idle_commands=1)
    await dial(office.port)
    wire = await dial(office.port)
    for _ in range(5):
        assert (await wire.command("RCPT TO:<x@y.example>")).startswith("503 ")
        assert (await wire.command("NOOP")).startswith("250 ")
    assert (await wire.transaction(MAIL)).startswith("250 2.0.0 ")


async def test_too_many_errors(open_office: OpenOffice, dial: Dial):
    """A client that guesses mailboxes is hung up on, and what it sent along is not looked at any more."""
    office = await open_office(**OUTSIDE, max_errors=3)
    wire = await dial(office.port)
    await wire.command("MAIL FROM:<a@b.example>")
    guesses = b"".join(b"RCPT TO:<guess%d@okno.localhost>\r\n" % number for number in range(4))
    good = b"RCPT TO:<appeals@okno.localhost>\r\nDATA\r\n" + MAIL + b"\r\n.\r\n"
    await wire.send(guesses + good)
    assert [(await wire.reply())[:9] for _ in range(5)] == ["550 5.1.1"] * 3 + ["421 4.7.0", ""]
    assert office.intake.registered == []


@pytest.mark.parametrize("command", ["NOOP", "RSET", "EHLO again", "VRFY x", "HELP"])
async def test_too_many_commands_without_a_mail(open_office: OpenOffice, dial: Dial, command: str):
    """A client that only keeps its place is hung up on; a mail in between begins the count anew."""
    office = await open_office(**OUTSIDE, max_idle_commands=3)
    wire = await dial(office.port)  # EHLO was the first
    for _ in range(2):
        assert (await wire.command(command))[:1] == "2"
    await wire.command("EHLO x") if command == "EHLO again" else None
    other = await dial(office.port)
    assert (await other.transaction(MAIL)).startswith("250 2.0.0 ")
    for _ in range(3):
        assert (await other.command(command))[:1] == "2"
    assert (await other.command(command)).startswith("421 4.7.0 ")
    assert await other.reply() == ""


async def test_a_drip_of_a_mail_is_cut_off(open_office: OpenOffice, dial: Dial):
    """A client that feeds DATA byte by byte, never silent for long, does not hold its place (slowloris)."""
    office = await open_office(**OUTSIDE, command_timeout_s=0.3, data_min_bytes_per_s=1000)
    wire = await dial(office.port)
    await wire.command("MAIL FROM:<a@b.example>")
    await wire.command(f"RCPT TO:<{MAILBOX}>")
    await wire.command("DATA")

    async def drip() -> None:
        while True:
            await wire.send(b"x")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    try:
        assert (await wire.reply()).startswith("421 4.4.2 ")
    finally:
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
    assert office.intake.registered == []


async def test_a_mail_has_its_time(open_office: OpenOffice, dial: Dial):
    """However fast a client sends, a mail that does not end within data_timeout_s is cut off."""
    office = await open_office(**OUTSIDE, command_timeout_s=5.0, data_timeout_s=0.3)
    wire = await dial(office.port)
    await wire.command("MAIL FROM:<a@b.example>")
    await wire.command(f"RCPT TO:<{MAILBOX}>")
    await wire.command("DATA")

    async def pour() -> None:
        while True:
            await wire.send(b"x" * 100)
            await asyncio.sleep(0.01)

    pouring = asyncio.create_task(pour())
    try:
        assert (await wire.reply()).startswith("421 4.4.2 ")
    finally:
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)


async def test_a_command_fed_byte_by_byte(open_office: OpenOffice, dial: Dial):
    """A command line that never ends is not waited for."""
    office = await open_office(**OUTSIDE, command_timeout_s=0.05)
    wire = await dial(office.port)

    async def drip() -> None:
        while True:
            await wire.send(b"N")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    try:
        assert (await wire.reply()).startswith("421 4.4.2 ")
    finally:
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_mail_in_a_loop(office: Office, dial: Dial):
    """A mail that more than 50 servers have handed on is refused for good (RFC 5321 §6.3); 50 are taken."""
    wire = await dial(office.port)
    hop = b"RECEIVED: from a by b; Mon, 3 Mar 2025 10:00:00 +0300\r\n"
    assert (await wire.transaction(hop * 51 + MAIL)).startswith("554 5.4.6 ")
    assert (await wire.transaction(hop * 50 + MAIL + b"\r\nReceived: quoted in the text")).startswith("250 2.0.0 ")
    local = await dial(office.lmtp_port, hello="LHLO front")
    assert (await local.transaction(hop * 60 + MAIL)).startswith("554 5.4.6 ")
    assert len(office.intake.registered) == 1


async def test_postmaster_is_always_there(open_office: OpenOffice, dial: Dial):
    """postmaster, with and without a domain of ours, in any case, goes to the mailbox that is named (RFC 5321 §4.5.1)."""
    office = await open_office(postmaster="housing@okno.localhost")
    wire = await dial(office.port)
    for number, rcpt_to in enumerate(("postmaster@okno.localhost", "PostMaster", "POSTMASTER@Okno.LocalHost")):
        mail = MAIL.replace(b"limits@", b"limits%d@" % number)
        assert (await wire.transaction(mail, rcpt_to=rcpt_to)).startswith("250 2.0.0 ")
        assert [point.value for point in office.intake.envelope.recipients] == ["housing@okno.localhost"]
    await wire.command("MAIL FROM:<a@b.example>")
    assert (await wire.command("RCPT TO:<postmaster@elsewhere.example>")).startswith("550 5.1.1 ")


async def test_postmaster_goes_to_the_first_mailbox_by_default(office: Office, dial: Dial):
    """Nobody has to set anything for postmaster to be read."""
    wire = await dial(office.port)
    await wire.transaction(MAIL, rcpt_to="postmaster@okno.localhost")
    assert [point.value for point in office.intake.envelope.recipients] == [MAILBOX]


async def test_size_is_believed_and_checked(open_office: OpenOffice, dial: Dial):
    """A client that announces less than it sends is still held to the limit (RFC 1870 §6.3)."""
    office = await open_office(max_message_bytes=2048)
    wire = await dial(office.port)
    assert (await wire.command("MAIL FROM:<a@b.example> SIZE=2049")).startswith("552 5.3.4 ")
    assert (await wire.command("MAIL FROM:<a@b.example> SIZE=10")).startswith("250 ")
    await wire.command(f"RCPT TO:<{MAILBOX}>")
    await wire.command("DATA")
    await wire.send(MAIL + b"y" * 4000 + b"\r\n.\r\n")
    assert (await wire.reply()).startswith("552 5.3.4 ")
    assert office.intake.registered == []


async def test_one_mail_to_several_mailboxes_over_lmtp(office: Office, dial: Dial):
    """LMTP answers once for each recipient, unknown ones at RCPT, and the mail is one envelope (RFC 2033 §4.2)."""
    wire = await dial(office.lmtp_port, hello="LHLO front")
    await wire.command("MAIL FROM:<ivan@example.org>")
    for rcpt_to, code in ((MAILBOX, "250"), ("nobody@okno.localhost", "550"), ("housing@okno.localhost", "250")):
        assert (await wire.command(f"RCPT TO:<{rcpt_to}>")).startswith(code)
    await wire.command("DATA")
    await wire.send(MAIL + b"\r\n.\r\nNOOP\r\n")
    assert [await wire.reply() for _ in range(2)] == ["250 2.0.0 registered as 482-719-0000"] * 2
    assert (await wire.reply()) == "250 2.0.0 OK"
    assert len(office.intake.registered) == 1
    assert {point.value for point in office.intake.envelope.recipients} == {MAILBOX, "housing@okno.localhost"}


async def test_one_mail_over_several_ways_is_one_envelope(office: Office, dial: Dial):
    """To two mailboxes, by SMTP and LMTP, with the trace fields, line ends and folding of each way: one number (P2)."""
    mail = MAIL.replace(b"Subject: Heating", b"Subject: Heating in the\r\n whole house") + b"\r\n\r\nBye"
    wire = await dial(office.port)
    first = await wire.transaction(mail)
    trace = b"Return-Path: <ivan@example.org>\r\nDelivered-To: housing@okno.localhost\r\nReceived: by mx; Mon\r\n"
    verdicts = b"Authentication-Results: mx.okno.localhost; dkim=none\r\nX-Spam-Status: No\r\n"
    local = await dial(office.lmtp_port, hello="LHLO mx")
    again = (trace + verdicts + mail).replace(b"in the\r\n whole", b"in the whole")
    assert await local.transaction(again, rcpt_to="housing@okno.localhost") == first
    assert await wire.transaction(mail.replace(b"\r\n", b"\n").replace(b"\n.", b"\n..")) == first
    assert len(office.intake.registered) == 1
