"""A real Postfix in front: LMTP with XFORWARD, retries, refusals."""

import smtplib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appeals.errors import TransientError
from tests.postfix import DOMAIN, PostfixServer

from .conftest import Office, OpenOffice
from .dns_server import DnsServer, running_dns_server
from .test_smtp_authenticity import CLIENT, MAIL, results_of

APPEALS, HOUSING = f"appeals@{DOMAIN}", f"housing@{DOMAIN}"


@pytest.fixture
async def name_server() -> AsyncIterator[DnsServer]:
    """Run a name server where example.org sends from one address and asks to reject the rest."""
    async with running_dns_server() as server:
        server.add_txt("example.org", f"v=spf1 ip4:{CLIENT} -all")
        server.add_txt("_dmarc.example.org", "v=DMARC1; p=reject")
        yield server


@pytest.fixture
async def office(open_office: OpenOffice, name_server: DnsServer, postfix_server: PostfixServer) -> Office:
    """Open an office where Postfix hands its mail to, and which believes it about the client."""
    return await open_office(
        lmtp_port=postfix_server.lmtp_port,
        mailboxes=(APPEALS, HOUSING),
        client_address="xclient",
        dns_servers=(name_server.address,),
    )


def _send(postfix: PostfixServer, mail: bytes, *, client: str, to: tuple[str, ...]) -> str:
    """Send a mail to Postfix, which is told by XCLIENT that it comes from `client`; returns its queue id."""
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=20) as connection:
        connection.ehlo()
        assert connection.docmd(f"XCLIENT ADDR={client} NAME=mx.example.org")[0] == 220
        connection.ehlo("mx.example.org")
        connection.mail("ivan@example.org")
        for address in to:
            assert connection.rcpt(address)[0] == 250
        code, reply = connection.data(mail)
        assert code == 250, reply
        return reply.decode().rpartition(" ")[2]


async def test_postfix_says_who_the_client_is(office: Office, postfix_server: PostfixServer):
    """By XFORWARD over LMTP the real client's address gets through Postfix, so SPF and DMARC see it."""
    for client, result in ((CLIENT, "pass"), ("203.0.113.66", "fail")):
        mail = MAIL.replace(b"one@", client.encode() + b"@")
        sent = await office.blocking(_send, postfix_server, mail, client=client, to=(APPEALS,))
        await office.blocking(postfix_server.wait_for, sent, "status=sent (250 2.0.0 registered as ")
        assert results_of(office.intake.envelope) == {"spf": result, "dkim": "none", "dmarc": result}


async def test_several_recipients_and_a_token(office: Office, postfix_server: PostfixServer):
    """A mail to two mailboxes and a plus-address comes in one transaction and is one envelope, its token kept."""
    plus = f"appeals+t0k3n@{DOMAIN}"
    sent = await office.blocking(_send, postfix_server, MAIL, client=CLIENT, to=(HOUSING, plus))
    for address in (HOUSING, plus):
        line = await office.blocking(postfix_server.wait_for, sent, f"to=<{address}>")
        assert "status=sent (250 2.0.0 registered as 482-719-0000)" in line
    assert len(office.intake.registered) == 1
    assert office.intake.envelope.threading.reply_token == "t0k3n"
    assert {point.value for point in office.intake.envelope.recipients} >= {APPEALS, HOUSING}


async def test_postfix_keeps_what_okno_cannot(office: Office, postfix_server: PostfixServer):
    """While the registry is down Postfix keeps the mail and tries again; then it is registered once (P1, P2)."""
    office.intake.register_error = TransientError("down")
    sent = await office.blocking(_send, postfix_server, MAIL, client=CLIENT, to=(APPEALS,))
    line = await office.blocking(postfix_server.wait_for, sent, "status=deferred")
    assert "451 4.3.0 Cannot keep the message now" in line
    assert office.intake.registered == []
    office.intake.register_error = None
    await office.blocking(postfix_server.wait_for, sent, "status=sent (250 2.0.0 registered as 482-719-0000)")
    assert len(office.intake.registered) == 1


async def test_postfix_tells_the_sender(office: Office, postfix_server: PostfixServer):
    """An unknown mailbox and a mail in a loop bounce at once."""
    sent = await office.blocking(_send, postfix_server, MAIL, client=CLIENT, to=(f"nobody@{DOMAIN}",))
    assert "550 5.1.1 No such mailbox here" in await office.blocking(postfix_server.wait_for, sent, "status=bounced")
    hops = b"Received: from a by b; Mon, 3 Mar 2025 10:00:00 +0300\r\n" * 50  # Postfix adds the 51st
    sent = await office.blocking(_send, postfix_server, hops + MAIL, client=CLIENT, to=(APPEALS,))
    assert "554 5.4.6 Too many hops" in await office.blocking(postfix_server.wait_for, sent, "status=bounced")
    assert office.intake.registered == []


def test_postfix_is_set_up_as_the_page_says():
    """The settings that the documentation gives are those that are tested here."""
    page = (Path(__file__).parents[3] / "docs" / "channels" / "email.md").read_text(encoding="utf-8")
    tested = (Path(__file__).parents[2] / "postfix.py").read_text(encoding="utf-8")
    for line in ("lmtp_send_xforward_command = yes", "recipient_delimiter = +"):
        assert line in page
        assert line in tested
