"""Mail through the real intake into a real registry on SQLite, and the citizen's answer back into the same appeal."""

from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from appeals.blobs import FileBlobStore
from appeals.database import registry_url
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.notify import SilentNotifier
from appeals.numbering import reply_token
from appeals.registry import Registry
from appeals.reply import Reply, ReplyKind
from config.settings import DeadlineSettings, OfficeSettings, RegistrySettings
from connectors.base import OutboundMessage

from .conftest import MAILBOX, Dial, OpenOffice

SECRET = b"a secret key for the tests alone"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    """Open a registry on SQLite in a folder of its own."""
    registry = Registry(registry_url("", tmp_path), blobs=FileBlobStore(tmp_path / "blobs"))
    await registry.migrate()
    yield registry
    await registry.close()


@pytest.fixture
async def intake(registry: Registry) -> AsyncIterator[Intake]:
    """Run the real intake."""
    policy = IntakePolicy(
        secret_key=SECRET, public_url="http://127.0.0.1", office=OfficeSettings(), deadlines=DeadlineSettings()
    )
    async with Intake(registry, settings=RegistrySettings(), policy=policy, notifier=SilentNotifier()) as intake:
        yield intake


def _outbound(reply: Reply, registry: Registry, *, number: str) -> OutboundMessage:
    return OutboundMessage(
        reply_id=reply.id,
        kind=reply.kind,
        appeal_number=number,
        recipient=reply.recipient,
        subject=reply.subject,
        text=reply.text,
        language=reply.language,
        message_id=reply.message_id,
        in_reply_to=reply.in_reply_to,
        reply_token=reply_token(SECRET, reply.appeal_id),
        read_blob=registry.read_blob,
    )


def _mail(**headers: str) -> bytes:
    message = EmailMessage()
    for name, value in {
        "From": "Иван <ivan@example.org>",
        "To": MAILBOX,
        "Date": "Mon, 03 Mar 2025 10:00:00 +0300",
    }.items():
        message[name] = value
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content("Нет отопления третий день.")
    message.add_attachment(b"%PDF-1.4 " + b"x" * 100_000, maintype="application", subtype="pdf", filename="акт.pdf")
    return message.as_bytes(policy=message.policy.clone(linesep="\r\n"))


async def test_the_round_trip(open_office: OpenOffice, dial: Dial, registry: Registry, intake: Intake):
    """In, acknowledged, answered by the citizen to the Reply-To: one appeal, with the original bytes of both mails."""
    office = await open_office(intake)
    wire = await dial(office.port)
    raw = _mail(Subject="Отопление", Message_ID="<one@example.org>")
    first = await wire.transaction(raw.removesuffix(b"\r\n"))
    number = first.rpartition(" ")[2]
    assert await wire.transaction(raw.removesuffix(b"\r\n")) == first
    appeal = await registry.appeal_by_number(number)
    conversation = await registry.conversation(appeal.id)
    (acknowledgement,) = conversation.replies
    assert acknowledgement.kind is ReplyKind.ACKNOWLEDGEMENT
    await office.connector.send(_outbound(acknowledgement, registry, number=number))
    (caught,) = await office.relay.wait_for(1)
    answer_to = caught.parsed()["Reply-To"].addresses[0].addr_spec
    answer = _mail(Subject="совсем другая тема", Message_ID="<two@example.org>")
    reply = await wire.transaction(answer.removesuffix(b"\r\n"), rcpt_to=answer_to)
    assert reply == first
    conversation = await registry.conversation(appeal.id)
    assert len(conversation.envelopes) == 2
    originals = [await registry.read_blob(envelope.raw.sha256) for envelope in conversation.envelopes]
    assert originals == [raw, answer]
    attachment = conversation.envelopes[0].attachments[0]
    assert attachment.name == "акт.pdf"
    assert (await registry.read_blob(attachment.sha256)).startswith(b"%PDF")


async def test_in_reply_to_alone_joins_the_appeal(
    open_office: OpenOffice, dial: Dial, registry: Registry, intake: Intake
):
    """A mail client that drops the plus-address still threads by our Message-ID."""
    office = await open_office(intake)
    wire = await dial(office.port)
    first = await wire.transaction(_mail(Subject="a", Message_ID="<one@example.org>").removesuffix(b"\r\n"))
    appeal = await registry.appeal_by_number(first.rpartition(" ")[2])
    (reply,) = (await registry.conversation(appeal.id)).replies
    second = _mail(Subject="b", Message_ID="<two@example.org>", In_Reply_To=f"<{reply.message_id}>")
    assert await wire.transaction(second.removesuffix(b"\r\n")) == first


async def test_a_fault_in_decoding_is_quarantined_for_real(
    open_office: OpenOffice, dial: Dial, registry: Registry, intake: Intake, monkeypatch: pytest.MonkeyPatch
):
    """A mail that trips our decoding is in the registry's quarantine, with its bytes and what a retry needs."""

    def stumble(_raw: bytes, *, mail_from: str | None) -> None:
        raise ZeroDivisionError(mail_from)

    monkeypatch.setattr("connectors.email.receiver.parse_mail", stumble)
    office = await open_office(intake)
    wire = await dial(office.port)
    assert (await wire.transaction(b"Subject: x\r\n\r\ny")).startswith("250 2.6.0 ")
    (entry,) = await registry.quarantined()
    assert await registry.read_blob(entry.sha256) == b"Subject: x\r\n\r\ny\r\n"
    assert entry.context["mail_from"] == "ivan@example.org"
    assert entry.stage == "decode"
    monkeypatch.undo()
    assert (await office.connector.retry(b"Subject: x\r\n\r\ny\r\n", entry.context)).number


async def test_a_registry_out_of_reach_is_451(open_office: OpenOffice, dial: Dial, registry: Registry, intake: Intake):
    """When the database goes away, mail is refused with 451 and nothing is acknowledged."""
    office = await open_office(intake)
    wire = await dial(office.port)
    async with registry.database.write() as connection:
        await connection.exec_driver_sql("DROP TABLE envelopes")
    assert (await wire.transaction(_mail(Subject="x").removesuffix(b"\r\n"))).startswith("451 4.3.0 ")
