"""The email connector on a real port, beside a real relay, over an intake that keeps everything in memory."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from appeals.envelope import AppealEnvelope
from appeals.registration import Contents, QuarantineItem, Registration
from appeals.reply import DeliveryState
from config.channel_settings import EmailSettings
from connectors.base import ConnectorPorts
from connectors.email import build
from connectors.email.connector import EmailConnector
from okno.outside.smtp_relay import SmtpRelay

MAILBOX = "appeals@okno.localhost"


@dataclass
class MemoryIntake:
    """An intake without a registry: de-duplicates and keeps, or fails as it is told."""

    registered: list[tuple[AppealEnvelope, dict[str, bytes]]] = field(default_factory=list)
    quarantined: list[tuple[QuarantineItem, bytes]] = field(default_factory=list)
    register_error: Exception | None = None
    quarantine_error: Exception | None = None
    gate: asyncio.Event | None = None  # if set, `register` waits for it before it commits
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    _known: dict[tuple[str, str], Registration] = field(default_factory=dict)

    async def register(self, envelope: AppealEnvelope, contents: Contents) -> Registration:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.register_error is not None:
            raise self.register_error
        for reference in (envelope.raw, *envelope.attachments):
            assert hashlib.sha256(contents[reference.sha256]).hexdigest() == reference.sha256
        AppealEnvelope.model_validate_json(envelope.model_dump_json().encode("utf-8"))
        key = (envelope.connector, envelope.external_id)
        if key in self._known:
            return replace(self._known[key], duplicate=True)
        number = f"482-719-{len(self._known):04d}"
        registration = Registration(
            appeal_id=uuid7(),
            number=number,
            envelope_id=envelope.id,
            secret_code="K7QM-2XRD",
            duplicate=False,
            joined=False,
        )
        self._known[key] = registration
        self.registered.append((envelope, dict(contents)))
        return registration

    async def quarantine(self, item: QuarantineItem, content: bytes) -> UUID:
        if self.quarantine_error is not None:
            raise self.quarantine_error
        self.quarantined.append((item, content))
        return uuid7()

    @property
    def envelope(self) -> AppealEnvelope:
        """The newest envelope."""
        return self.registered[-1][0]


class MemoryCursors:
    """No cursor is used by SMTP; this one would keep them."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], str] = {}

    async def get(self, connector: str, name: str) -> str | None:
        return self._values.get((connector, name))

    async def put(self, connector: str, name: str, value: str) -> None:
        self._values[connector, name] = value


class MemoryReports:
    """Keeps what was reported."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, DeliveryState]] = []

    async def report(self, connector: str, *, external_id: str, state: DeliveryState, detail: str = "") -> bool:  # noqa: ARG002
        self.reports.append((external_id, state))
        return True


@dataclass(kw_only=True)
class Office:
    """A running connector and what is around it."""

    connector: EmailConnector
    intake: MemoryIntake
    relay: SmtpRelay
    port: int
    lmtp_port: int

    async def blocking(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Run a blocking client (smtplib) in a thread."""
        return await asyncio.to_thread(call, *args, **named)


OpenOffice = Callable[..., Awaitable[Office]]


def _port(addresses: tuple[str, ...], scheme: str) -> int:
    return next((int(item.rpartition(":")[2]) for item in addresses if item.startswith(f"{scheme}:")), 0)


@asynccontextmanager
async def running_office(intake: Any, changes: Mapping[str, Any]) -> AsyncIterator[Office]:
    """Start a relay and a connector over `intake`, with changed settings."""
    async with SmtpRelay() as relay:
        settings = EmailSettings(
            **{
                "smtp_port": 0,
                "lmtp_port": 0,
                "mailboxes": (MAILBOX, "housing@okno.localhost"),
                "relay_port": relay.port,
                "max_message_bytes": 1024 * 1024,
                **changes,
            },
        )
        ports = ConnectorPorts(
            intake=intake,
            cursors=MemoryCursors(),
            reports=MemoryReports(),
            now=lambda: datetime.now(UTC),
            public_url="http://127.0.0.1",
        )
        connector = build(settings, ports)
        assert isinstance(connector, EmailConnector)
        await connector.start()
        try:
            addresses = connector.health().addresses
            yield Office(
                connector=connector,
                intake=intake,
                relay=relay,
                port=_port(addresses, "smtp"),
                lmtp_port=_port(addresses, "lmtp"),
            )
        finally:
            await connector.stop()


@pytest.fixture
async def open_office() -> AsyncIterator[OpenOffice]:
    """Return a function that starts an office with changed settings; it is closed after the test."""
    async with AsyncExitStack() as stack:

        async def start(intake: Any = None, **changes: Any) -> Office:
            return await stack.enter_async_context(running_office(intake or MemoryIntake(), changes))

        yield start


@pytest.fixture
async def office(open_office: OpenOffice) -> Office:
    """Start an office with the usual settings."""
    return await open_office()


class Wire:
    """A raw SMTP client: what it sends is what the test says, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """Return one whole reply, its lines joined by line ends; empty at the end of the connection."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self._reader.readline(), 10)).decode("utf-8")
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def command(self, line: str | bytes) -> str:
        await self.send((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        return await self.reply()

    async def transaction(self, content: bytes, *, rcpt_to: str = MAILBOX, mail_from: str = "ivan@example.org") -> str:
        """Send one mail after EHLO; returns the reply to its end. `content` must be ready for DATA."""
        assert (await self.command(f"MAIL FROM:<{mail_from}>")).startswith("250 2.1.0")
        assert (await self.command(f"RCPT TO:<{rcpt_to}>")).startswith("250 2.1.5")
        assert (await self.command("DATA")).startswith("354 ")
        await self.send(content + b"\r\n.\r\n")
        return await self.reply()


Dial = Callable[..., Awaitable[Wire]]


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Return a function that opens a raw connection and reads the greeting (`greet` sends EHLO or LHLO too)."""
    wires: list[Wire] = []

    async def connect(port: int, *, hello: str | None = "EHLO test.example.org") -> Wire:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
        wires.append(wire)
        if hello is not None:
            assert (await wire.reply()).startswith("220 ")
            assert (await wire.command(hello)).startswith("250")
        return wire

    yield connect
    for wire in wires:
        wire.writer.close()
        with suppress(ConnectionError):
            await wire.writer.wait_closed()
