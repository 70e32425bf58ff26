"""A small intake in memory and a loopback server for hooks: shared by the SMS and Telegram tests."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from appeals.appeal import AppealState
from appeals.citizen_desk import AppealStatus
from appeals.envelope import AppealEnvelope, ContactPoint
from appeals.errors import OknoError
from appeals.numbering import normalise_number
from appeals.registration import Contents, QuarantineItem, Registration
from appeals.reply import DeliveryState
from connectors.base import Connector, ConnectorPorts


class RecordingIntake:
    """Keeps what it is handed by the port's own rules; `failure(envelope)` names the error to raise, if any."""

    def __init__(self) -> None:
        self.down: OknoError | None = None  # the store: neither registration nor quarantine
        self.failure: Callable[[AppealEnvelope], OknoError | None] = lambda _: None
        self.envelopes: list[AppealEnvelope] = []
        self.contents: dict[str, bytes] = {}
        self.quarantined: list[tuple[QuarantineItem, bytes]] = []
        self.calls = 0
        self.gate = asyncio.Event()  # cleared: registrations wait
        self.gate.set()
        self._registrations: dict[tuple[str, str], Registration] = {}

    async def register(self, envelope: AppealEnvelope, contents: Contents) -> Registration:
        self.calls += 1
        await self.gate.wait()
        if error := self.down or self.failure(envelope):
            raise error
        for sha256 in (envelope.raw.sha256, *(attachment.sha256 for attachment in envelope.attachments)):
            assert hashlib.sha256(contents[sha256]).hexdigest() == sha256
        stored = envelope.model_dump_json()
        assert "\\u0000" not in stored
        key = (envelope.connector, envelope.external_id)
        if key in self._registrations:
            return replace(self._registrations[key], duplicate=True)
        self.envelopes.append(envelope)
        self.contents |= contents
        self._registrations[key] = Registration(
            appeal_id=uuid4(),
            number=f"100-000-{len(self.envelopes):04d}",
            secret_code="CODE",
            envelope_id=envelope.id,
            duplicate=False,
            joined=False,
        )
        return self._registrations[key]

    async def quarantine(self, item: QuarantineItem, content: bytes) -> UUID:
        if self.down:
            raise self.down
        assert item.reason
        assert item.stage in {"decode", "register"}
        self.quarantined.append((item, content))
        return uuid4()

    @property
    def only(self) -> AppealEnvelope:
        (envelope,) = self.envelopes
        return envelope

    def raw_of(self, envelope: AppealEnvelope) -> bytes:
        return self.contents[envelope.raw.sha256]


class RecordingCursors:
    """Durable positions, in memory."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], str] = {}
        self.down: OknoError | None = None

    async def get(self, connector: str, name: str) -> str | None:
        if self.down:
            raise self.down
        return self.values.get((connector, name))

    async def put(self, connector: str, name: str, value: str) -> None:
        assert len(name) <= 128
        if self.down:
            raise self.down
        self.values[connector, name] = value

    async def replace(self, connector: str, name: str, value: str, *, expected: str | None) -> bool:
        if await self.get(connector, name) != expected:
            return False
        await self.put(connector, name, value)
        return True

    async def items(self, connector: str, prefix: str) -> dict[str, str]:
        if self.down:
            raise self.down
        return {name: value for (of, name), value in self.values.items() if of == connector and name.startswith(prefix)}

    async def drop(self, connector: str, name: str) -> None:
        if self.down:
            raise self.down
        self.values.pop((connector, name), None)


class RecordingDesk:
    """Knows the appeals in `appeals`, by the asker's value."""

    def __init__(self) -> None:
        self.appeals: dict[str, list[AppealStatus]] = {}
        self.down: OknoError | None = None

    def add(self, asker: str, number: str, state: AppealState = AppealState.WAITING) -> None:
        moment = datetime(2026, 11, 22, 9, tzinfo=UTC)
        status = AppealStatus(
            number=number,
            state=state,
            subject="Нет воды",
            registered_at=moment,
            deadline_at=moment + timedelta(days=30),
            answered_at=None,
            closed_at=None,
        )
        self.appeals.setdefault(asker, []).insert(0, status)

    async def status(self, number: str, asker: ContactPoint) -> AppealStatus | None:
        if self.down:
            raise self.down
        own = self.appeals.get(asker.value, [])
        return next((status for status in own if status.number == normalise_number(number)), None)

    async def open_appeals(self, asker: ContactPoint) -> list[AppealStatus]:
        if self.down:
            raise self.down
        return [status for status in self.appeals.get(asker.value, []) if status.state is not AppealState.CLOSED]


class RecordingReports:
    """Knows the replies in `known` and notes what is reported of them."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.states: list[tuple[str, DeliveryState, str]] = []

    async def report(self, connector: str, *, external_id: str, state: DeliveryState, detail: str = "") -> bool:
        assert connector
        if external_id not in self.known:
            return False
        self.states.append((external_id, state, detail))
        return True


def make_ports(
    intake: RecordingIntake,
    *,
    cursors: RecordingCursors | None = None,
    reports: RecordingReports | None = None,
    public_url: str = "http://127.0.0.1:1",
    **more: Any,
) -> ConnectorPorts:
    return ConnectorPorts(
        intake=intake,
        cursors=cursors or RecordingCursors(),
        reports=reports or RecordingReports(),
        now=lambda: datetime.now(UTC),
        public_url=public_url,
        signing_key=b"k" * 32,
        **more,
    )


@asynccontextmanager
async def serving(build: Callable[[str], Connector]) -> AsyncIterator[tuple[Connector, str]]:
    """Build a connector with the URL its hooks will have, start and serve it; yield it and the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        connector = build(url)
        application = web.Application()
        application.add_routes(connector.routes())
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        await connector.start()
        try:
            yield connector, url
        finally:
            await connector.stop()
            await runner.cleanup()
