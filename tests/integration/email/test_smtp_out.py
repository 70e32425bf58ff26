"""Answers out over a real relay."""

import asyncio
import base64
import hashlib
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from uuid_utils.compat import uuid7

from appeals.envelope import Attachment, ContactPoint, ContactPointKind
from appeals.errors import ConfigurationError, PermanentError, TransientError
from appeals.reply import DeliveryState, ReplyKind
from config.channel_settings import EmailSettings
from connectors.base import HealthState, OutboundMessage
from connectors.email.sending.composer import Composer

from .conftest import Office, OpenOffice


def _message(content: bytes = b"", **changes: Any) -> OutboundMessage:
    async def read_blob(sha256: str) -> bytes:
        assert hashlib.sha256(content).hexdigest() == sha256
        return content

    values: dict[str, Any] = {
        "reply_id": uuid7(),
        "kind": ReplyKind.ANSWER,
        "appeal_number": "482-719-3561",
        "recipient": ContactPoint(kind=ContactPointKind.EMAIL, value="ivan@example.org", name="Иван"),
        "subject": "Re: Нет отопления в доме по улице Ленина, подъезды с первого по четвёртый",
        "text": "Здравствуйте!\n\nОтопление включат завтра.\n.\nАдминистрация",
        "language": "ru",
        "message_id": "reply-1@okno.localhost",
        "in_reply_to": ("first@example.org", "second" + "x" * 120 + "@example.org"),
        "reply_token": "t0ken",
        "read_blob": read_blob,
        **changes,
    }
    return OutboundMessage(**values)


async def test_an_answer_reaches_the_relay(office: Office):
    """Text, subject, threading headers and the token's address arrive as they were; a person's answer is not marked."""
    message = _message()
    receipt = await office.connector.send(message)
    assert (receipt.external_id, receipt.state) == ("reply-1@okno.localhost", DeliveryState.SENT)
    (caught,) = await office.relay.wait_for(1)
    assert (caught.mail_from, caught.rcpt_to) == ("appeals@okno.localhost", ("ivan@example.org",))
    mail = caught.parsed()
    assert mail["Subject"] == message.subject
    assert mail.get_content().replace("\r\n", "\n").rstrip() == message.text
    assert mail["From"] == "appeals@okno.localhost"
    assert mail["Reply-To"] == "appeals+t0ken@okno.localhost"
    assert mail["Message-ID"] == "<reply-1@okno.localhost>"
    raw = message_from_bytes(caught.content, policy=policy.compat32)
    assert raw["In-Reply-To"].strip() == f"<{message.in_reply_to[-1]}>"
    assert raw["References"].split() == [f"<{item}>" for item in message.in_reply_to]
    assert mail["Date"].datetime is not None
    assert "Auto-Submitted" not in mail
    assert mail["Content-Language"] == "ru"
    assert all(len(line) <= 998 for line in caught.content.splitlines())
    assert caught.content.isascii()


@pytest.mark.parametrize(
    ("kind", "marked"), [(ReplyKind.ACKNOWLEDGEMENT, "auto-replied"), (ReplyKind.NOTICE, "auto-generated")]
)
async def test_mail_from_the_daemon_is_marked(office: Office, kind: ReplyKind, marked: str):
    """Acknowledgements and notices say that a machine wrote them (RFC 3834 §5)."""
    await office.connector.send(_message(kind=kind))
    (caught,) = await office.relay.wait_for(1)
    assert caught.parsed()["Auto-Submitted"] == marked


async def test_attachments_go_out(office: Office):
    """A file arrives with its name, type and bytes."""
    content = b"%PDF-1.7 \x00\xff"
    attachment = Attachment(
        name="ответ.pdf",
        declared_media_type="application/pdf",
        detected_media_type="application/pdf",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )
    await office.connector.send(_message(content, attachments=(attachment,)))
    (caught,) = await office.relay.wait_for(1)
    (part,) = caught.parsed().iter_attachments()
    assert (part.get_filename(), part.get_content_type(), part.get_content()) == (
        "ответ.pdf",
        "application/pdf",
        content,
    )


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("451 4.3.0 later", TransientError),
        ("421 4.3.2 closing", TransientError),
        ("550 5.1.1 unknown", PermanentError),
        ("554 5.7.1 spam", PermanentError),
    ],
)
async def test_refusals(office: Office, reply: str, error: type[Exception]):
    """4xx is tried again later, 5xx is not; the next mail goes through."""
    office.relay.refuse_next(reply)
    with pytest.raises(error) as refused:
        await office.connector.send(_message())
    assert reply[:3] in str(refused.value)
    await office.connector.send(_message())
    assert len(office.relay.messages) == 1


async def test_a_relay_that_is_down(office: Office):
    """Without the relay sending is a TransientError and health is degraded; once it is back both are well."""
    await office.relay.stop()
    with pytest.raises(TransientError):
        await office.connector.send(_message())
    assert office.connector.health().state is HealthState.DEGRADED
    await office.relay.start()
    await office.connector.send(_message())
    assert office.connector.health().state is HealthState.UP


async def test_connections_are_kept_and_replaced(office: Office):
    """Several mails use one connection; if the relay has hung up meanwhile, the next mail opens another."""
    for _ in range(3):
        await office.connector.send(_message())
    assert office.relay.connections_made == 1
    office.relay.drop_connections()
    await asyncio.gather(*(office.connector.send(_message()) for _ in range(20)))
    assert len(office.relay.messages) == 23
    assert office.relay.connections_made <= 1 + 4


async def test_nothing_can_add_a_header(office: Office):
    """Line ends in subject, ids, token and language cannot start a header or the body."""
    await office.connector.send(
        _message(
            subject="Hi\r\nBcc: all@example.org\r\n\r\nbody\x00",
            in_reply_to=("a@b\r\nX-Evil: 1", "ok@example.org"),
            reply_token="t\r\nX-Evil: 1",
            language="ru\r\nX-Evil: 1",
        ),
    )
    (caught,) = await office.relay.wait_for(1)
    mail = caught.parsed()
    assert mail["Bcc"] is None
    assert mail["X-Evil"] is None
    assert mail["Subject"] == "Hi Bcc: all@example.org body"
    assert mail["References"] == "<ok@example.org>"


@pytest.mark.parametrize(
    "address",
    [
        "ivan@example.org\r\nRCPT TO:<x@y.z>",
        "no address",
        "a@b, c@d",
        "a b@c.d",
        "@",
        '"q"@x.y',
        "a@" + "x" * 70 + "..y",
    ],
)
async def test_unusable_recipients_are_refused(office: Office, address: str):
    """An address that could say more than one recipient, or none, is a PermanentError before anything is sent."""
    with pytest.raises(PermanentError):
        await office.connector.send(_message(recipient=ContactPoint(kind=ContactPointKind.EMAIL, value=address)))
    assert office.relay.messages == []


async def test_a_telephone_is_no_recipient(office: Office):
    """Only email contact points can be mailed to."""
    with pytest.raises(PermanentError):
        await office.connector.send(_message(recipient=ContactPoint(kind=ContactPointKind.PHONE, value="+79990000000")))


async def test_international_recipients(office: Office):
    """A domain in Cyrillic goes as punycode, a local part in Cyrillic over SMTPUTF8."""
    await office.connector.send(_message(recipient=ContactPoint(kind=ContactPointKind.EMAIL, value="ivan@почта.рф")))
    await office.connector.send(_message(recipient=ContactPoint(kind=ContactPointKind.EMAIL, value="иван@почта.рф")))
    first, second = await office.relay.wait_for(2)
    assert first.rcpt_to == ("ivan@xn--80a1acny.xn--p1ai",)
    assert second.rcpt_to == ("иван@xn--80a1acny.xn--p1ai",)


async def test_our_acknowledgement_is_recognised_when_it_bounces_back(office: Office):
    """What we send is taken in as automatic if a relay returns it to our mailbox."""
    await office.connector.send(_message(kind=ReplyKind.ACKNOWLEDGEMENT))
    (caught,) = await office.relay.wait_for(1)
    await office.connector.retry(caught.content, {"mail_from": "appeals@okno.localhost", "rcpt_to": "[]"})
    assert office.intake.envelope.automatic


def test_the_sender_may_have_a_name():
    """`email.sender` may be a name with an address; one without an address is a ConfigurationError."""
    composer = Composer("Администрация города <office@example.org>", mailboxes=("appeals@example.org",))
    assert composer.address == "office@example.org"
    assert composer.reply_address("t") == "appeals+t@example.org"
    with pytest.raises(ConfigurationError):
        Composer("nobody", mailboxes=EmailSettings().mailboxes)


async def test_a_signed_mail_verifies_at_its_destination(open_office: OpenOffice, tmp_path: Path):
    """What arrives, with Cyrillic, long lines, dots and a file, still carries a valid signature of each key."""
    records = {}
    keys = []
    for selector, private, kind in (
        ("r", rsa.generate_private_key(public_exponent=65537, key_size=2048), "rsa"),
        ("e", ed25519.Ed25519PrivateKey.generate(), "ed25519"),
    ):
        file = tmp_path / f"{selector}.pem"
        pkcs8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(private.private_bytes(*pkcs8))
        form = (
            (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            if kind == "rsa"
            else (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        )
        public = base64.b64encode(private.public_key().public_bytes(*form)).decode()
        records[f"{selector}._domainkey.okno.localhost."] = f"v=DKIM1; k={kind}; p={public}".encode()
        keys.append({"selector": selector, "key_file": file})
    office = await open_office(dkim=keys, sender="Администрация города <appeals@okno.localhost>")
    content = b"%PDF-1.7 \x00\xff"
    attachment = Attachment(
        name="ответ.pdf",
        declared_media_type="application/pdf",
        detected_media_type="application/pdf",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )
    await office.connector.send(_message(content, attachments=(attachment,), text="Дом\n.\n..\n" + "слово " * 300))
    await office.connector.send(_message(text=".\nFrom here\n" + "word " * 300))
    for caught in await office.relay.wait_for(2):
        for index in (0, 1):
            message = dkim.DKIM(caught.content)
            assert message.verify(idx=index, dnsfunc=lambda name, timeout=5: records[name.decode()])  # noqa: ARG005
