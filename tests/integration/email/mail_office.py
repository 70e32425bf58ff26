"""An office with a real registry, intake, outbox, delivery and email connector, beside a real relay, on a clock of its own."""

import asyncio
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from uuid_utils.compat import uuid7

from appeals import tables
from appeals.blobs import FileBlobStore
from appeals.conversation import Conversation, QuarantineEntry
from appeals.database import registry_url
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.notify import SilentNotifier
from appeals.outbox import Outbox
from appeals.registry import Registry
from appeals.reply import DeliveryState, Reply, ReplyKind
from appeals.rows import reply_row
from appeals.threading import outbound_key
from config.channel_settings import EmailSettings
from config.settings import DeadlineSettings, DeliverySettings, OfficeSettings, RegistrySettings
from connectors.base import ConnectorPorts
from connectors.delivery import DeliveryWorker
from connectors.email import build
from connectors.email.connector import EmailConnector
from okno.outside.smtp_relay import RelayedMail, SmtpRelay
from queues.port import WorkItem

SECRET = b"a secret key for the tests alone"
MAILBOX = "appeals@okno.localhost"


class Clock:
    """Real time plus what was skipped."""

    def __init__(self) -> None:
        self.skipped = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.skipped


class NoCursors:
    """SMTP keeps no position."""

    async def get(self, connector: str, name: str) -> str | None:  # noqa: ARG002
        return None

    async def put(self, connector: str, name: str, value: str) -> None:  # noqa: ARG002
        raise AssertionError


@dataclass(kw_only=True)
class MailOffice:
    """What is running, and what tests do with it."""

    registry: Registry
    outbox: Outbox
    connector: EmailConnector
    delivery: DeliveryWorker
    relay: SmtpRelay
    clock: Clock
    port: int

    async def write(
        self, content: bytes | EmailMessage, *, mail_from: str = "ivan@example.org", to: str = MAILBOX
    ) -> None:
        """Send a mail into our SMTP port as an outside server does."""
        raw = content.as_bytes() if isinstance(content, EmailMessage) else content
        await asyncio.to_thread(_send, self.port, raw, mail_from, to)

    async def deliver(self) -> int:
        """Do what the sweeper and the worker do: send every reply that is due; returns how many were."""
        due = await self.outbox.due(limit=1000)
        await self.delivery.handle([WorkItem(id="0-0", fields={"reply_id": str(key)}, tries=1) for key in due])
        return len(due)

    async def deliver_all(self) -> None:
        """Send until nothing is due."""
        while await self.deliver():
            pass

    async def conversations(self) -> list[Conversation]:
        """Return all appeals, oldest first."""
        async with self.registry.database.read() as connection:
            ids = (await connection.execute(tables.appeals.select().order_by(tables.appeals.c.registered_at))).all()
        return [await self.registry.conversation(row.id) for row in ids]

    async def conversation(self) -> Conversation:
        """Return the only appeal there is."""
        (only,) = await self.conversations()
        return only

    async def quarantined(self) -> list[QuarantineEntry]:
        """Return what is held."""
        async with self.registry.database.read() as connection:
            rows = (await connection.execute(tables.quarantine.select())).all()
        return [QuarantineEntry.of(row) for row in rows]

    async def answer(self, text: str) -> Reply:
        """Queue an agent's answer to the only appeal, as the lifecycle does."""
        (appeal, acknowledgement) = await self._only()
        key = uuid7()
        values: dict[str, Any] = {"id": key, "kind": ReplyKind.ANSWER.value, "agent_id": "anna", "text": text}
        values |= {
            "message_id": f"{key.hex}@okno.localhost",
            "next_attempt_at": self.clock(),
            "created_at": self.clock(),
        }
        async with self.registry.transaction() as transaction:
            await transaction.connection.execute(insert(tables.replies), {**reply_row(acknowledgement), **values})
            thread = {"key": outbound_key(values["message_id"]), "appeal_id": appeal}
            await transaction.connection.execute(insert(tables.thread_keys), thread)
        return await self.reply(key)

    async def _only(self) -> tuple[UUID, Reply]:
        conversation = await self.conversation()
        return conversation.appeal.id, _queued(conversation.replies[0])

    async def reply(self, key: UUID) -> Reply:
        """Return a reply as it is now."""
        return next(reply for one in await self.conversations() for reply in one.replies if reply.id == key)


def _queued(reply: Reply) -> Reply:
    return replace(reply, state=DeliveryState.QUEUED, attempts=0, external_id=None, sent_at=None, error="")


def _send(port: int, raw: bytes, mail_from: str, to: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.sendmail(mail_from, [to], raw)


def citizens_mail(subject: str = "Отопление", *, message_id: str = "<one@example.org>", **headers: str) -> EmailMessage:
    """Return a plain mail of a citizen."""
    mail = EmailMessage()
    mail["From"] = headers.pop("sender", "Иван <ivan@example.org>")
    mail["To"] = MAILBOX
    mail["Subject"] = subject
    mail["Message-ID"] = message_id
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content("Нет отопления третий день.")
    return mail


@asynccontextmanager
async def mail_office(
    folder: Path, *, delivery: DeliverySettings | None = None, **email: Any
) -> AsyncIterator[MailOffice]:
    """Run an office in `folder`."""
    clock = Clock()
    folder.mkdir(exist_ok=True)
    registry = Registry(registry_url("", folder), blobs=FileBlobStore(folder / "blobs"))
    registry.now = clock  # type: ignore[method-assign]
    await registry.migrate()
    policy = IntakePolicy(
        secret_key=SECRET, public_url="https://okno.example", office=OfficeSettings(), deadlines=DeadlineSettings()
    )
    notifier = SilentNotifier()
    outbox = Outbox(registry, notifier=notifier)
    async with (
        SmtpRelay() as relay,
        Intake(registry, settings=RegistrySettings(), policy=policy, notifier=notifier) as intake,
    ):
        settings = EmailSettings(**{"smtp_port": 0, "relay_port": relay.port, **email})
        ports = ConnectorPorts(
            intake=intake, cursors=NoCursors(), reports=outbox, now=clock, public_url="https://okno.example"
        )
        connector = build(settings, ports)
        assert isinstance(connector, EmailConnector)
        worker = DeliveryWorker(
            registry, outbox, [connector], settings=delivery or DeliverySettings(), secret_key=SECRET, now=clock
        )
        await connector.start()
        port = int(connector.health().addresses[0].rpartition(":")[2])
        try:
            yield MailOffice(
                registry=registry,
                outbox=outbox,
                connector=connector,
                delivery=worker,
                relay=relay,
                clock=clock,
                port=port,
            )
        finally:
            await connector.stop()
            await registry.close()


def back_into(office: MailOffice, to: str = MAILBOX) -> Any:
    """Return a hook for the relay that delivers every mail straight into our own SMTP port, as a wrong MX would."""

    async def pass_on(mail: RelayedMail) -> None:
        await asyncio.to_thread(_send, office.port, mail.content, mail.mail_from, to)

    return pass_on
