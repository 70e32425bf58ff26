"""A connector that reads one IMAP mailbox, over an intake in memory whose cursors outlive it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from appeals.errors import TransientError
from config.channel_settings import EmailSettings, ImapMailbox
from connectors.base import ConnectorPorts
from connectors.email import build
from connectors.email.connector import EmailConnector
from tests.dovecot import PASSWORD, DovecotServer, MailUser

from .conftest import MAILBOX, MemoryCursors, MemoryIntake, MemoryReports

PATIENCE_S = 20.0  # a loaded machine


def mail(number: int, *, size_bytes: int = 0, subject: str = "Отопление") -> bytes:
    """Return a mail with an id of its own."""
    lines = [
        "Return-Path: <ivan@example.org>",
        f"Delivered-To: {MAILBOX}",
        "From: Ivan <ivan@example.org>",
        f"To: {MAILBOX}",
        f"Subject: {subject} {number}",
        f"Message-ID: <{number}@example.org>",
        f"Date: {format_datetime(datetime(2026, 11, 1, tzinfo=UTC))}",
        "Content-Type: text/plain; charset=utf-8",
        "",
        f"Холодно в комнате {number}.",
        *["x" * 70] * (size_bytes // 72),
    ]
    return "\r\n".join(lines).encode() + b"\r\n"


def mailbox(server: DovecotServer, user: MailUser, **changes: Any) -> ImapMailbox:
    """Return the settings that read `user`'s INBOX, all of it."""
    given = {"host": "127.0.0.1", "port": server.port, "tls": "none", "username": user.name, "password": PASSWORD}
    return ImapMailbox(**{**given, "since": "all", **changes})


class FailingCursors(MemoryCursors):
    """A store of cursors that fails as often as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.puts = 0

    async def put(self, connector: str, name: str, value: str) -> None:
        self.puts += 1
        if self.failures > 0:
            self.failures -= 1
            raise TransientError("the store of cursors is down")
        await super().put(connector, name, value)


class ImapOffice:
    """What a test needs of one office: its intake, its cursors, and the connector while it runs."""

    def __init__(self, *mailboxes: ImapMailbox, **changes: Any) -> None:
        self.mailboxes = mailboxes
        self.changes = changes
        self.intake = MemoryIntake()
        self.cursors = FailingCursors()
        self.connector: EmailConnector | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ImapOffice"]:
        """Run the connector."""
        settings = EmailSettings(
            **{"smtp_port": 0, "mailboxes": (MAILBOX,), "imap": self.mailboxes, "relay_port": 1, **self.changes}
        )
        ports = ConnectorPorts(
            intake=self.intake,
            cursors=self.cursors,
            reports=MemoryReports(),
            now=lambda: datetime.now(UTC),
            public_url="http://127.0.0.1",
        )
        connector = build(settings, ports)
        assert isinstance(connector, EmailConnector)
        self.connector = connector
        await connector.start()
        try:
            yield self
        finally:
            await connector.stop()

    @property
    def subjects(self) -> list[str]:
        """The subjects registered, in order."""
        return [envelope.subject for envelope, _ in self.intake.registered]

    @property
    def trouble(self) -> str:
        """What health says."""
        assert self.connector is not None
        return self.connector.health().detail

    async def until(self, condition: Callable[[], bool], *, what: str) -> None:
        """Poll until `condition` holds."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {PATIENCE_S:g} s; health: {self.trouble!r}") from None

    async def registered(self, count: int) -> None:
        """Wait until `count` mails are registered."""
        await self.until(lambda: len(self.intake.registered) >= count, what=f"{count} registered")

    async def settled(self, count: int) -> None:
        """Wait until the committed cursor stands at UID `count`."""
        await self.until(lambda: self.uid() >= count, what=f"cursor at {count}")

    def uid(self, folder: str = "INBOX", *, of: int = 0) -> int:
        """Return the UID of the cursor committed last, -1 if there is none."""
        value = self.cursors._values.get(("email", f"imap:{self.mailboxes[of].key}:{folder}"))
        return -1 if value is None else int(json.loads(value)["uid"])

    async def up(self) -> None:
        """Wait until every folder is read."""
        await self.until(lambda: "imap" not in self.trouble, what="mailboxes up")
