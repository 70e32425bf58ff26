"""A whole console on loopback: the real registry on SQLite, queues in memory, a real HTTP server and real clients."""

import asyncio
import hashlib
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from argon2 import PasswordHasher
from uuid_utils.compat import uuid7

from agent_console.app import Console, install
from agent_console.deps import ConsoleDeps
from appeals.agent import Agent, Role
from appeals.appeal import Appeal
from appeals.blobs import open_blob_store
from appeals.database import registry_url
from appeals.envelope import AppealEnvelope, Attachment, BlobRef, Channel, ContactPoint, ContactPointKind
from appeals.errors import PermanentError
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.lifecycle import Classification, Lifecycle
from appeals.outbox import Outbox
from appeals.registry import Registry
from appeals.rethreading import Rethreading
from appeals.routing import OfferDraft, Placement, RoutingChange
from appeals.transcripts import Transcripts
from config.settings import ConsoleSettings, DeadlineSettings, OfficeSettings, RegistrySettings
from queues.memory import MemoryQueues
from queues.notifier import QueueNotifier
from queues.port import Queues

SECRET_KEY = b"k" * 32
PASSWORD = "correct horse"
WAIT_S = 5.0  # deadline for anything that should happen at once
HEADERS = {"X-Okno-Request": "1"}


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Hash once and cheaply: argon2 is slow on purpose."""
    return PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)


@dataclass(frozen=True)
class Parts:
    """What a connector would say of a text: one part a letter."""

    parts: int
    encoding: str = "gsm7"
    units: int = 1
    units_per_part: int = 160
    price: Decimal | None = Decimal("0.50")
    currency: str = "EUR"
    costly: tuple[str, ...] = ()


class OnePage:
    """A renderer to whom everything is one page that shows its own bytes."""

    async def page_count(self, content: bytes) -> int:  # noqa: ARG002
        return 1

    async def render_page(self, content: bytes, page: int, *, max_px: int) -> bytes:  # noqa: ARG002
        if page > 1:
            raise PermanentError("no such page")
        return content


@dataclass
class Clock:
    """Real time, which a test may move on."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class AgentClient:
    """A console's client over a real websocket."""

    socket: aiohttp.ClientWebSocketResponse
    seen: list[dict[str, Any]] = field(default_factory=list)  # messages from the queue, in order of arrival

    async def receive(self) -> dict[str, Any]:
        """Return the next message; keeps those from the queue in `seen`."""
        message: dict[str, Any] = await self.socket.receive_json(timeout=WAIT_S)
        if "id" in message:
            self.seen.append(message)
        return message

    async def command(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Send a command and return its answer; queue messages that come before it go to `seen`."""
        request_id = secrets.token_hex(8)
        await self.socket.send_json({"type": type_, "request_id": request_id, **fields})
        while True:
            message = await self.receive()
            if message.get("request_id") == request_id:
                return message

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first message, seen before or yet to come, that is wanted."""
        for message in self.seen:
            if wanted(message):
                return message
        while True:
            message = await self.receive()
            if wanted(message):
                return message

    @property
    def last_id(self) -> str:
        """The id of the last queue message."""
        return str(self.seen[-1]["id"])


@dataclass
class Site:
    """A running console and everything behind it."""

    url: str
    clock: Clock
    registry: Registry
    lifecycle: Lifecycle
    intake: Intake
    queues: Queues
    console: Console
    deps: ConsoleDeps
    runner: web.AppRunner
    stack: AsyncExitStack

    async def client(self) -> aiohttp.ClientSession:
        """Return a browser: cookies of its own, the header of our pages."""
        jar = aiohttp.CookieJar(unsafe=True)  # unsafe: cookies of an IP address
        return await self.stack.enter_async_context(aiohttp.ClientSession(self.url, cookie_jar=jar, headers=HEADERS))

    async def logged_in(self, agent_id: str) -> aiohttp.ClientSession:
        """Return a browser in which the agent has logged in."""
        client = await self.client()
        async with client.post("/api/v1/session", json={"agent_id": agent_id, "password": PASSWORD}) as response:
            assert response.status == 200, await response.text()
        return client

    async def upload(self, client: aiohttp.ClientSession, content: bytes, *, name: str = "plan.pdf") -> dict[str, Any]:
        """Upload a file and return its view."""
        form = aiohttp.FormData(quote_fields=False)  # names as browsers send them: UTF-8
        form.add_field("file", content, filename=name)
        async with client.post("/api/v1/uploads", data=form) as response:
            assert response.status == 201, await response.text()
            view: dict[str, Any] = await response.json()
            return view

    async def console_of(
        self, agent_id: str, *, after_id: str | None = None, client: aiohttp.ClientSession | None = None
    ) -> tuple[AgentClient, dict[str, Any]]:
        """Return a greeted websocket of the agent and the welcome."""
        client = client or await self.logged_in(agent_id)
        socket = await self.stack.enter_async_context(client.ws_connect("/ws/agent"))
        agent = AgentClient(socket)
        welcome = await agent.command("hello", after_id=after_id)
        assert welcome["type"] == "welcome", welcome
        return agent, welcome

    async def register(
        self,
        *,
        subject: str = "Холодные батареи",
        text: str = "Третий день холодно.",
        files: dict[str, tuple[str, bytes]] | None = None,
        findings: tuple[str, ...] = (),
        html: bytes | None = None,
        **values: Any,
    ) -> Appeal:
        """Register a citizen's mail as a connector would and return its appeal. `files`: name -> (media type, bytes)."""
        raw = f"{subject}\n{text}\n{secrets.token_hex(8)}".encode()
        contents = {hashlib.sha256(raw).hexdigest(): raw}
        attachments = []
        for name, (media_type, content) in (files or {}).items():
            sha256 = hashlib.sha256(content).hexdigest()
            contents[sha256] = content
            attachments.append(
                Attachment(
                    name=name,
                    declared_media_type=media_type,
                    detected_media_type=media_type,
                    sha256=sha256,
                    size_bytes=len(content),
                    content_id=name,
                    findings=findings,
                )
            )
        if html is not None:
            contents[hashlib.sha256(html).hexdigest()] = html
        sender = ContactPoint(kind=ContactPointKind.EMAIL, value=f"{secrets.token_hex(4)}@example.org", name="Анна")
        given = {
            "channel": Channel.EMAIL,
            "connector": "email",
            "external_id": secrets.token_hex(8),
            "received_at": self.clock(),
            "sender": sender,
            "subject": subject,
            "text": text,
            "clean_text": text,
            "attachments": tuple(attachments),
            "html": html and BlobRef.of(html, "text/html"),
            "raw": BlobRef.of(raw, "message/rfc822"),
        }
        envelope = AppealEnvelope.model_validate(given | values)
        registration = await self.intake.register(envelope, contents)
        return await self.registry.appeal(registration.appeal_id)

    async def offer(self, agent_id: str, appeal: Appeal | None = None, *, within_s: float = 60.0) -> UUID:
        """Offer an appeal to an agent as the router's leader would; returns the offer's id."""
        appeal = appeal or await self.register()
        found = Classification(
            appeal_id=appeal.id,
            version=appeal.version,
            topic="housing.heating",
            confidence=0.9,
            language="ru",
            priority=50,
        )
        assert not await self.lifecycle.classify([found])
        appeal = await self.registry.appeal(appeal.id)
        fence = await self.registry.fence("router")
        if fence == 0:
            fence = 1
            assert await self.lifecycle.take_fence("router", fence)
        draft = OfferDraft(id=uuid7(), agent_id=agent_id, step=0, due_at=self.clock() + timedelta(seconds=within_s))
        placement = Placement(queue="housing", rule="heating", priority=50, rule_set="0" * 64)
        record = {"rule": "heating", "chosen": agent_id}
        change = RoutingChange(
            appeal_id=appeal.id, version=appeal.version, placement=placement, offer=draft, record=record
        )
        assert not await self.lifecycle.commit_routing([change], fence=fence)
        await self.queues.push([(agent_id, offer_message(await self.registry.appeal(appeal.id), draft))])
        return draft.id


def offer_message(appeal: Appeal, draft: OfferDraft) -> dict[str, object]:
    """Return the message of docs/architecture.md, "Agent queues"."""
    return {
        "type": "offer",
        "offer_id": str(draft.id),
        "appeal_id": str(appeal.id),
        "number": appeal.number,
        "subject": appeal.subject,
        "channel": appeal.channel.value,
        "topic": appeal.topic,
        "queue": appeal.queue,
        "priority": appeal.priority,
        "language": appeal.language,
        "waiting_since": appeal.waiting_since.isoformat(),
        "deadline_at": appeal.deadline_at.isoformat(),
        "due_at": draft.due_at.isoformat(),
        "step": draft.step,
    }


SiteFactory = Callable[..., Awaitable[Site]]


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate an SQLite registry once for all tests, which copy it."""
    folder = tmp_path_factory.mktemp("registry")

    async def migrate() -> None:
        registry = Registry(registry_url("", folder), blobs=open_blob_store("", options={}, data_dir=folder))
        await registry.migrate()
        await registry.close()

    asyncio.run(migrate())
    return folder / "okno.db"


@asynccontextmanager
async def _site(
    folder: Path,
    *,
    password_hash: str,
    settings: ConsoleSettings,
    public_url: str,
    database_url: str = "",
    queues: Queues | None = None,
) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        clock = Clock()
        queues = queues or MemoryQueues()
        await queues.start()
        stack.push_async_callback(queues.stop)
        notifier = QueueNotifier(queues)
        registry = Registry(
            registry_url(database_url, folder), blobs=open_blob_store("", options={}, data_dir=folder), now=clock
        )
        stack.push_async_callback(registry.close)
        await registry.migrate()
        limits = RegistrySettings()
        lifecycle = Lifecycle(
            registry,
            notifier=notifier,
            mail_domain="okno.localhost",
            inline_blob_max_bytes=limits.inline_blob_max_bytes,
        )
        policy = IntakePolicy(
            secret_key=SECRET_KEY, public_url=public_url, office=OfficeSettings(), deadlines=DeadlineSettings()
        )
        intake = await stack.enter_async_context(Intake(registry, settings=limits, policy=policy, notifier=notifier))
        for agent_id, role in (("ivanova", Role.AGENT), ("petrov", Role.AGENT), ("boss", Role.SUPERVISOR)):
            await lifecycle.put_agent(Agent(id=agent_id, name=agent_id.title(), role=role), password_hash)
        deps = ConsoleDeps(
            registry=registry,
            lifecycle=lifecycle,
            outbox=Outbox(registry, notifier=notifier),
            transcripts=Transcripts(registry, notifier=notifier),
            rethreading=Rethreading(registry, notifier=notifier, policy=policy),
            queues=queues,
            settings=settings,
            office=OfficeSettings(),
            secret_key=SECRET_KEY,
            public_url=public_url,
            now=clock,
            uploads_dir=folder / "uploads",
            pages_dir=folder / "dist",
            estimate=lambda connector, text: Parts(parts=len(text)) if connector == "sms" else None,
            pages=OnePage(),
        )
        app = web.Application()
        console = install(app, deps)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        clients = await stack.enter_async_context(AsyncExitStack())
        yield Site(
            url=f"http://127.0.0.1:{port}",
            clock=clock,
            registry=registry,
            lifecycle=lifecycle,
            intake=intake,
            queues=queues,
            console=console,
            deps=deps,
            runner=runner,
            stack=clients,
        )


@pytest.fixture
async def make_site(tmp_path: Path, password_hash: str, empty_registry: Path) -> AsyncIterator[SiteFactory]:
    """Return a factory of sites; keyword arguments are ConsoleSettings' and those of `_site`."""
    async with AsyncExitStack() as stack:

        async def make(
            *,
            public_url: str = "http://okno.example",
            database_url: str = "",
            queues: Queues | None = None,
            **settings: Any,
        ) -> Site:
            if not database_url:
                shutil.copy(empty_registry, tmp_path / "okno.db")
            return await stack.enter_async_context(
                _site(
                    tmp_path,
                    password_hash=password_hash,
                    settings=ConsoleSettings(**{"log_in_attempts_per_minute": 100, **settings}),
                    public_url=public_url,
                    database_url=database_url,
                    queues=queues,
                )
            )

        yield make


@pytest.fixture
async def site(make_site: SiteFactory) -> Site:
    """Serve a console with default settings and three users: agents ivanova and petrov, supervisor boss."""
    return await make_site()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll a condition until it holds; fails after WAIT_S."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def poll() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Give tests `eventually`, which importlib mode lets them import from nowhere."""
    return eventually
