"""Front MTAs: XCLIENT, XFORWARD and the PROXY protocol name the real client, from trusted networks alone."""

import asyncio
import struct

import pytest

from appeals.errors import PermanentError

from .conftest import MAILBOX, Dial, Office, OpenOffice, Wire

MAIL = b"From: ivan@example.org\r\nSubject: Heating\r\n\r\nNo heating."


async def _context(office: Office, wire: Wire) -> dict[str, str]:
    """Send a mail that cannot be registered; return what the quarantine knows of its way."""
    office.intake.register_error = PermanentError("never")
    assert (await wire.transaction(MAIL)).startswith("250 2.6.0 ")
    return dict(office.intake.quarantined[-1][0].context)


async def test_xclient(open_office: OpenOffice, dial: Dial):
    """XCLIENT is offered to a front MTA; address and greeting come from it, in any number of commands."""
    office = await open_office(client_address="xclient")
    wire = await dial(office.port, hello=None)
    await wire.reply()
    assert "XCLIENT ADDR DESTADDR DESTPORT HELO LOGIN NAME PORT PROTO REVERSE_NAME" in await wire.command("EHLO front")
    assert (await wire.command("XCLIENT NAME=mail.example.org ADDR=192.0.2.7")).startswith("220 okno.localhost ")
    assert (await wire.command("MAIL FROM:<a@b.example>")).startswith("503 ")
    assert (await wire.command("XCLIENT HELO=a+2Bb.example.org PROTO=ESMTP")).startswith("220 ")
    assert (await wire.command("EHLO front")).startswith("250")
    context = await _context(office, wire)
    assert (context["peer"], context["front"], context["helo"]) == ("192.0.2.7", "127.0.0.1", "a+b.example.org")


async def test_xforward_is_for_one_mail(open_office: OpenOffice, dial: Dial):
    """Postfix names the client of each mail by XFORWARD; the next mail is another client's."""
    office = await open_office(client_address="xclient")
    wire = await dial(office.lmtp_port, hello="LHLO front")
    sent = "XFORWARD NAME=[UNAVAILABLE] ADDR=IPV6:2001:DB8::1 HELO=mx.example.org PROTO=ESMTP SOURCE=REMOTE"
    assert (await wire.command(sent)).startswith("250 2.0.0 ")
    context = await _context(office, wire)
    assert (context["peer"], context["front"], context["helo"]) == ("2001:db8::1", "127.0.0.1", "mx.example.org")
    context = await _context(office, wire)
    assert (context["peer"], context.get("front", ""), context["helo"]) == ("127.0.0.1", "", "front")


@pytest.mark.parametrize("settings", [{}, {"client_address": "xclient", "trusted_networks": ()}])
async def test_nobody_else_may_name_the_client(open_office: OpenOffice, dial: Dial, settings: dict[str, object]):
    """Without the setting, and from other networks, XCLIENT is neither offered nor taken."""
    office = await open_office(**settings)
    wire = await dial(office.port, hello=None)
    await wire.reply()
    assert "XCLIENT" not in await wire.command("EHLO x")
    assert (await wire.command("XCLIENT ADDR=192.0.2.7")).startswith("550 5.7.0 ")
    assert (await wire.command("XFORWARD ADDR=192.0.2.7")).startswith("550 5.7.0 ")
    assert (await _context(office, wire))["peer"] == "127.0.0.1"


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        "ADDR",
        "ADDR=",
        "ADDR=192.0.2",
        "ADDR=x",
        "WHAT=1",
        "HELO=a=b",
        "HELO=+0A",
        "NAME=" + "x" * 256,
        "ADDR=IPV6:192.0.2.1.1",
    ],
)
async def test_malformed_attributes(open_office: OpenOffice, dial: Dial, attributes: str):
    """What is not in the protocol gets 501 and changes nothing."""
    office = await open_office(client_address="xclient")
    wire = await dial(office.port)
    reply = await wire.command(f"XCLIENT {attributes}".strip())
    if attributes == "ADDR=":
        return  # an empty xtext is allowed: not known
    assert reply.startswith("501 5.5.4 ")
    assert (await _context(office, wire))["peer"] == "127.0.0.1"


async def test_no_other_client_in_the_midst_of_a_mail(open_office: OpenOffice, dial: Dial):
    """XCLIENT and XFORWARD between MAIL and the end of data get 503."""
    office = await open_office(client_address="xclient")
    wire = await dial(office.port)
    await wire.command("MAIL FROM:<a@b.example>")
    assert (await wire.command("XCLIENT ADDR=192.0.2.7")).startswith("503 5.5.1 ")
    assert (await wire.command("XFORWARD ADDR=192.0.2.7")).startswith("503 5.5.1 ")


def _proxy_v2(address: str) -> bytes:
    source = bytes(int(part) for part in address.split("."))
    body = source + b"\x7f\0\0\1" + struct.pack("!HH", 4000, 25)
    return b"\r\n\r\n\x00\r\nQUIT\n" + b"\x21\x11" + struct.pack("!H", len(body)) + body


@pytest.mark.parametrize(
    ("header", "peer"),
    [
        (b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 25\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::1 ::1 4000 25\r\n", "2001:db8::1"),
        (_proxy_v2("192.0.2.9"), "192.0.2.9"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ],
    ids=["1-ipv4", "1-ipv6", "2-ipv4", "1-unknown"],
)
async def test_proxy_protocol(open_office: OpenOffice, dial: Dial, header: bytes, peer: str):
    """A load balancer's PROXY header, version 1 or 2, names the client (HAProxy's PROXY protocol)."""
    office = await open_office(client_address="proxy")
    wire = await dial(office.port, hello=None)
    await wire.send(header)
    assert (await wire.reply()).startswith("220 okno.localhost")
    await wire.command("EHLO x")
    context = await _context(office, wire)
    assert context["peer"] == peer
    assert context.get("front", "") == ("127.0.0.1" if peer != "127.0.0.1" else "")


@pytest.mark.parametrize(
    "header", [b"EHLO x\r\n", b"PROXY TCP4 x y 1 2\r\n", b"PROXY TCP4 1.2.3.4\r\n", b"\x00" * 40, b"PRO"]
)
async def test_no_proxy_header_no_session(open_office: OpenOffice, dial: Dial, header: bytes):
    """Whoever does not begin with a proper header is hung up on without a word."""
    office = await open_office(client_address="proxy")
    wire = await dial(office.port, hello=None)
    await wire.send(header)
    wire.writer.write_eof()
    assert await asyncio.wait_for(wire._reader.read(), 10) == b""


async def test_proxied_clients_are_counted(open_office: OpenOffice, dial: Dial):
    """The limit by address holds for the clients behind the balancer, not for the balancer."""
    office = await open_office(client_address="proxy", max_connections_per_address=1)
    header = b"PROXY TCP4 192.0.2.%d 127.0.0.1 4000 25\r\n"
    replies = []
    for host in (1, 1, 2):
        wire = await dial(office.port, hello=None)
        await wire.send(header % host)
        replies.append((await wire.reply())[:9])
    assert replies == ["220 okno.", "421 4.7.0", "220 okno."]


async def test_proxy_headers_come_from_fronts_alone(open_office: OpenOffice, dial: Dial):
    """A stranger cannot pretend to be a balancer."""
    office = await open_office(client_address="proxy", trusted_networks=("192.0.2.0/24",))
    wire = await dial(office.port, hello=None)
    assert (await wire.reply()).startswith("421 4.7.0 Only our front servers")
    local = await dial(office.lmtp_port, hello="LHLO x")
    assert (await local.command(f"RCPT TO:<{MAILBOX}>")).startswith("503 ")
