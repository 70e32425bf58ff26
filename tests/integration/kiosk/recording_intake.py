"""A small intake in memory, and a loopback server for a connector's hooks: shared by the kiosk and fax tests."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from aiohttp import web
from yarl import URL

from appeals.envelope import AppealEnvelope
from appeals.errors import OknoError
from appeals.registration import Contents, QuarantineItem, Registration
from appeals.reply import DeliveryState
from connectors.base import Connector, ConnectorPorts


class RecordingIntake:
    """Keeps what it is handed by the port's own rules: idempotent, all bytes there, or `failure` raised and nothing kept."""

    def __init__(self) -> None:
        self.failure: OknoError | None = None
        self.envelopes: dict[tuple[str, str], AppealEnvelope] = {}
        self.contents: dict[str, bytes] = {}
        self.quarantined: dict[tuple[str, str], tuple[QuarantineItem, bytes]] = {}
        self._registrations: dict[tuple[str, str], Registration] = {}

    async def register(self, envelope: AppealEnvelope, contents: Contents) -> Registration:
        if self.failure is not None:
            raise self.failure
        for sha256 in (envelope.raw.sha256, *(attachment.sha256 for attachment in envelope.attachments)):
            assert hashlib.sha256(contents[sha256]).hexdigest() == sha256
        envelope.model_dump_json()  # what a registry must be able to store
        key = (envelope.connector, envelope.external_id)
        duplicate = key in self.envelopes
        if not duplicate:
            self.envelopes[key] = envelope
            self.contents |= contents
            self._registrations[key] = Registration(
                appeal_id=uuid4(),
                secret_code="CODE-0001",
                number=f"100-000-{len(self.envelopes):04d}",
                envelope_id=envelope.id,
                duplicate=False,
                joined=False,
            )
        kept = self._registrations[key]
        return replace(kept, duplicate=duplicate)

    async def quarantine(self, item: QuarantineItem, content: bytes) -> UUID:
        if self.failure is not None and not self.failure_spares_quarantine:
            raise self.failure
        assert item.reason
        self.quarantined[(item.connector, hashlib.sha256(content).hexdigest())] = (item, content)
        return uuid4()

    failure_spares_quarantine = False  # True: the failure is about one message, not about the store

    @property
    def only(self) -> AppealEnvelope:
        (envelope,) = self.envelopes.values()
        return envelope

    @property
    def nothing_kept(self) -> bool:
        return not self.envelopes and not self.quarantined


class MemoryCursors:
    """Keeps cursors in a dictionary; `failure` raised if set, as by a registry that is down."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], str] = {}
        self.failure: OknoError | None = None

    async def get(self, connector: str, name: str) -> str | None:
        if self.failure is not None:
            raise self.failure
        return self.values.get((connector, name))

    async def put(self, connector: str, name: str, value: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.values[(connector, name)] = value


class RecordingReports:
    """Knows the replies in `known`; notes what is reported of them."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.states: list[tuple[str, DeliveryState, str]] = []

    async def report(self, connector: str, *, external_id: str, state: DeliveryState, detail: str = "") -> bool:
        if not connector or external_id not in self.known:
            return False
        self.states.append((external_id, state, detail))
        return True


def make_ports(
    intake: RecordingIntake,
    *,
    reports: RecordingReports | None = None,
    public_url: str = "http://127.0.0.1",
    cursors: MemoryCursors | None = None,
):
    """Return ports over the recording parts and the real clock."""
    return ConnectorPorts(
        intake=intake,
        cursors=cursors or MemoryCursors(),
        signing_key=b"k" * 32,
        reports=reports or RecordingReports(),
        now=lambda: datetime.now(UTC),
        public_url=public_url,
    )


@asynccontextmanager
async def serving(connector: Connector) -> AsyncIterator[str]:
    """Start `connector`, serve its routes on loopback and yield the base URL; stop it at the end."""
    application = web.Application()
    application.add_routes(connector.routes())
    runner = web.AppRunner(
        application, access_log=None, lingering_time=0.2
    )  # the default waits 10 s for a body cut off
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await connector.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await connector.stop()
        await runner.cleanup()


async def declare_body(url: str, *, size_bytes: int, authorization: str = "") -> bytes:
    """Send the headers of a POST with a body of `size_bytes`, none of the body, and return the answer's headers."""
    target = URL(url)
    reader, writer = await asyncio.open_connection(target.host, target.port)
    lines = (
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.host}",
        f"Content-Length: {size_bytes}",
        f"Authorization: {authorization}",
    )
    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
    try:
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout=10)
    finally:
        writer.close()
        await writer.wait_closed()
