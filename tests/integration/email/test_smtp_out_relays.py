"""Mail out over one relay and several: TLS, log-in, fail-over, delivery reports, refusals by stage."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trustme
from uuid_utils.compat import uuid7

from appeals.errors import ConfigurationError, PermanentError, TransientError
from config.channel_settings import EmailSettings, RelayServer
from connectors.email.sending.composer import OutboundMail
from connectors.email.sending.relay import Relay
from okno.outside.smtp_relay import SmtpRelay

MESSAGE_ID = f"{uuid7().hex}@okno.example"
MAIL = OutboundMail(
    mail_from="appeals@okno.example",
    rcpt_to="ivan+x=y@example.org",
    content=b"From: appeals@okno.example\r\nTo: ivan@example.org\r\n\r\n.Hello\r\n",
    needs_smtputf8=False,
    message_id=MESSAGE_ID,
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def _server_tls(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@asynccontextmanager
async def _client(relay: SmtpRelay, **settings: object) -> AsyncIterator[Relay]:
    client = Relay(EmailSettings(relay_port=relay.port, **settings))
    try:
        yield client
    finally:
        await client.close()


async def test_delivery_reports_are_asked_for():
    """Where the relay knows DSN, it is asked for failures and delays, headers only, under our message id."""
    async with SmtpRelay() as relay, _client(relay) as client:
        await client.deliver(MAIL)
        (mail,) = await relay.wait_for(1)
    assert mail.dsn == (
        "RET=HDRS",
        f"ENVID={MESSAGE_ID}",
        "NOTIFY=FAILURE,DELAY",
        "ORCPT=rfc822;ivan+2Bx+3Dy@example.org",
    )
    assert mail.content == MAIL.content


@pytest.mark.parametrize(("dsn", "notify"), [(("success", "failure"), "SUCCESS,FAILURE"), ((), "NEVER")])
async def test_which_reports(dsn: tuple[str, ...], notify: str):
    """`email.dsn` says which reports; none means NEVER."""
    async with SmtpRelay() as relay, _client(relay, dsn=dsn) as client:
        await client.deliver(MAIL)
        assert f"NOTIFY={notify}" in relay.messages[0].dsn


async def test_a_relay_without_dsn():
    """A relay that knows no DSN is asked for nothing."""
    async with SmtpRelay(dsn=False) as relay, _client(relay) as client:
        await client.deliver(MAIL)
        assert relay.messages[0].dsn == ()


async def test_starttls_with_our_authority(authority: trustme.CA, ca_file: Path):
    """STARTTLS to a relay whose certificate our file vouches for; log-in after it."""
    async with SmtpRelay(tls=_server_tls(authority), password="right") as relay:
        settings = {"relay_tls": "starttls", "relay_ca_file": ca_file, "relay_username": "okno"}
        async with _client(relay, **settings, relay_password="right") as client:
            await client.deliver(MAIL)
        assert relay.messages[0].by_tls
        async with _client(relay, **settings, relay_password="wrong") as client:
            with pytest.raises(TransientError):
                await client.deliver(MAIL)
            assert "535" in client.trouble
    assert len(relay.messages) == 1


@pytest.mark.parametrize("fault", ["unknown authority", "another name"])
async def test_a_certificate_that_is_not_trusted(authority: trustme.CA, ca_file: Path, fault: str):
    """A relay that cannot prove who it is gets no mail, and the reason says so."""
    tls = _server_tls(trustme.CA()) if fault == "unknown authority" else _server_tls(authority, "relay.example")
    async with SmtpRelay(tls=tls) as relay, _client(relay, relay_tls="starttls", relay_ca_file=ca_file) as client:
        with pytest.raises(TransientError):
            await client.deliver(MAIL)
        assert "certificate is not trusted" in client.trouble
    assert relay.messages == []


async def test_a_relay_that_offers_no_tls(ca_file: Path):
    """If TLS is asked for and not offered, nothing is sent in the clear."""
    async with SmtpRelay() as relay, _client(relay, relay_tls="starttls", relay_ca_file=ca_file) as client:
        with pytest.raises(TransientError):
            await client.deliver(MAIL)
    assert relay.messages == []


def test_a_ca_file_without_certificates(tmp_path: Path):
    """A file that holds no certificates is refused at the start, by the setting's name."""
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    with pytest.raises(ConfigurationError, match=r"email\.relay_ca_file"):
        Relay(EmailSettings(relay_tls="tls", relay_ca_file=file))
    fallback = RelayServer(host="x", tls="tls", ca_file=file)
    with pytest.raises(ConfigurationError, match=r"relay_fallbacks\.0\.ca_file"):
        Relay(EmailSettings(relay_fallbacks=(fallback,)))


@asynccontextmanager
async def _two_relays() -> AsyncIterator[tuple[SmtpRelay, SmtpRelay, Relay]]:
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(SmtpRelay()) for _ in range(2)]
        fallback = RelayServer(host="127.0.0.1", port=second.port)
        client = await stack.enter_async_context(_client(first, relay_fallbacks=(fallback,)))
        yield first, second, client


async def test_the_second_relay_takes_over():
    """While the first relay is down mails go by the second, which health says; the first is tried last for a while."""
    async with _two_relays() as (first, second, client):
        await client.deliver(MAIL)
        await first.stop()
        await client.deliver(MAIL)
        assert "cannot be reached" in client.trouble
        await first.start()
        await client.deliver(MAIL)  # the first one rests
        assert (len(first.messages), len(second.messages)) == (1, 2)
        await second.stop()
        await client.deliver(MAIL)
        assert (len(first.messages), len(second.messages)) == (2, 2)
        assert str(second.port) in client.trouble
        assert str(first.port) not in client.trouble


async def test_all_relays_are_down():
    """With no relay left it is a transient fault, and every relay's trouble is named."""
    async with _two_relays() as (first, second, client):
        await first.stop()
        await second.stop()
        with pytest.raises(TransientError, match="relay_unusable"):
            await client.deliver(MAIL)
        assert str(first.port) in client.trouble
        assert str(second.port) in client.trouble


@pytest.mark.parametrize(
    "reply",
    [
        "421 4.3.2 closing",
        "530 5.7.0 Authentication required",
        "554 5.7.1 <x>: Relay access denied",
        "550 5.7.1 Unable to relay",
    ],
)
async def test_a_relay_that_refuses_us(reply: str):
    """A refusal that is about us sends the mail to the next relay, or makes it wait: it is no fault of the mail."""
    async with _two_relays() as (first, second, client):
        first.refuse_recipient(MAIL.rcpt_to, reply)
        await client.deliver(MAIL)
        assert (len(first.messages), len(second.messages)) == (0, 1)
        second.refuse_recipient(MAIL.rcpt_to, reply)
        with pytest.raises(TransientError):
            await client.deliver(MAIL)


async def test_greylisting_stays_with_its_relay():
    """A recipient that is deferred is tried again later where it was deferred, and does not go to the next relay."""
    async with _two_relays() as (first, second, client):
        first.refuse_recipient(MAIL.rcpt_to, "450 4.2.0 Greylisted, come back later")
        with pytest.raises(TransientError, match="too_much_mail"):
            await client.deliver(MAIL)
        assert second.messages == []
        first.refuse_recipient(MAIL.rcpt_to, None)
        await client.deliver(MAIL)
        assert len(first.messages) == 1
        assert first.connections_made == 1  # the refusal cost no connection


async def test_a_recipient_that_does_not_exist():
    """5xx for the recipient is final, in words an agent understands; the connection serves the next mail."""
    async with SmtpRelay() as relay, _client(relay) as client:
        relay.refuse_recipient(MAIL.rcpt_to, "550 5.1.1 No such user here")
        with pytest.raises(PermanentError, match=r"^mailbox_unknown: the recipient's mailbox does not exist \(550"):
            await client.deliver(MAIL)
        relay.refuse_recipient(MAIL.rcpt_to, None)
        await client.deliver(MAIL)
        assert relay.connections_made == 1


async def test_a_relay_that_takes_the_mail_and_hangs_up():
    """If the answer to the mail is lost nobody knows whether it was taken: neither sent again at once nor elsewhere."""
    async with _two_relays() as (first, second, client):
        await client.deliver(MAIL)
        first.drop_next()
        with pytest.raises(TransientError, match="before it had answered"):
            await client.deliver(MAIL)
        assert (len(first.messages), len(second.messages)) == (2, 0)
        await client.deliver(MAIL)
        assert (len(first.messages), len(second.messages)) == (3, 0)


async def test_an_address_in_cyrillic():
    """A local part that is not ASCII goes out as SMTPUTF8 with an 8-bit header."""
    content = "From: appeals@okno.example\r\nTo: иван@example.org\r\n\r\nx\r\n".encode()
    mail = OutboundMail(
        mail_from="appeals@okno.example",
        rcpt_to="иван@example.org",
        content=content,
        needs_smtputf8=True,
        message_id=MESSAGE_ID,
    )
    async with SmtpRelay() as relay, _client(relay) as client:
        await client.deliver(mail)
        assert (relay.messages[0].rcpt_to, relay.messages[0].content) == (("иван@example.org",), content)
        assert not [item for item in relay.messages[0].dsn if item.startswith("ORCPT")]
