"""An office with the web form and the letter desk on loopback: the real registry, intake, console and connectors."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from argon2 import PasswordHasher
from uuid_utils.compat import uuid7

from agent_console.app import install
from agent_console.deps import ConsoleDeps
from appeals.agent import Agent, Role
from appeals.answer_route import AnswerRoutes
from appeals.appeal import Appeal
from appeals.blobs import open_blob_store
from appeals.conversation import Conversation
from appeals.cursors import RegistryCursors
from appeals.database import registry_url
from appeals.envelope import Channel
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.lifecycle import Classification, Lifecycle
from appeals.outbox import Outbox
from appeals.registry import Registry
from appeals.rethreading import Rethreading
from appeals.routing import OfferDraft, Placement, RoutingChange
from appeals.transcripts import Transcripts
from config.channel_settings import PaperSettings, WebSettings
from config.settings import ConsoleSettings, DeadlineSettings, DeliverySettings, OfficeSettings, RegistrySettings
from connectors.base import ConnectorPorts
from connectors.delivery import DeliveryWorker
from connectors.paper.connector import PaperConnector
from connectors.web.connector import WebConnector
from queues.memory import MemoryQueues
from queues.notifier import QueueNotifier
from queues.port import WorkItem

SECRET_KEY = b"k" * 32
PASSWORD = "correct horse"
HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)


@dataclass
class Clock:
    """Real time, which a test may move on."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Office:
    """Everything that runs."""

    url: str
    clock: Clock
    registry: Registry
    lifecycle: Lifecycle
    intake: Intake
    outbox: Outbox
    web: WebConnector
    paper: PaperConnector
    runner: web.AppRunner
    stack: AsyncExitStack
    stop_site: Callable[[], Any]
    start_site: Callable[[], Any]

    async def client(self) -> aiohttp.ClientSession:
        """Return a browser: cookies of its own, the header of our pages."""
        jar = aiohttp.CookieJar(unsafe=True)  # unsafe: cookies of an IP address
        headers = {"X-Okno-Request": "1"}
        return await self.stack.enter_async_context(aiohttp.ClientSession(self.url, cookie_jar=jar, headers=headers))

    async def logged_in(self, agent_id: str) -> aiohttp.ClientSession:
        """Return a browser in which the agent has logged in."""
        client = await self.client()
        async with client.post("/api/v1/session", json={"agent_id": agent_id, "password": PASSWORD}) as response:
            assert response.status == 200, await response.text()
        return client

    async def assign(self, number: str, agent_id: str) -> Appeal:
        """Give an appeal to an agent, as the router and they would."""
        appeal = await self.registry.appeal_by_number(number)
        found = Classification(
            appeal_id=appeal.id,
            version=appeal.version,
            topic="housing.lift",
            confidence=0.9,
            language="ru",
            priority=50,
        )
        assert not await self.lifecycle.classify([found])
        appeal = await self.registry.appeal(appeal.id)
        fence = await self.registry.fence("router") or 1
        await self.lifecycle.take_fence("router", fence)
        offer = OfferDraft(id=uuid7(), agent_id=agent_id, step=0, due_at=self.clock() + timedelta(minutes=1))
        placement = Placement(queue="housing", rule="lift", priority=50, rule_set="0" * 64)
        change = RoutingChange(
            appeal_id=appeal.id, version=appeal.version, placement=placement, offer=offer, record={"rule": "lift"}
        )
        assert not await self.lifecycle.commit_routing([change], fence=fence)
        return await self.lifecycle.accept_offer(offer.id, agent_id)

    async def deliver(self) -> None:
        """Hand every reply that is due to its connector, as the delivery worker does."""
        worker = DeliveryWorker(
            self.registry,
            self.outbox,
            [self.web, self.paper],
            settings=DeliverySettings(),
            secret_key=SECRET_KEY,
            now=self.clock,
        )
        while due := await self.outbox.due(limit=100):  # the replies of one appeal go out one after another
            await worker.handle([WorkItem(id=str(one), fields={"reply_id": str(one)}, tries=1) for one in due])

    async def conversation(self, number: str) -> Conversation:
        """Return an appeal with everything said in it."""
        return await self.registry.conversation((await self.registry.appeal_by_number(number)).id)


OpenOffice = Callable[..., Awaitable[Office]]
"""The fixture `open_office`: runs another office; keyword arguments are those of `running_office`."""


def make_empty_registry(folder: Path) -> Path:
    """Migrate an SQLite registry once for all tests, which copy it."""

    async def migrate() -> None:
        registry = Registry(registry_url("", folder), blobs=open_blob_store("", options={}, data_dir=folder))
        await registry.migrate()
        await registry.close()

    asyncio.run(migrate())
    return folder / "okno.db"


@asynccontextmanager
async def running_office(
    folder: Path,
    *,
    empty_registry: Path,
    pages_dir: Path | None = None,
    web_settings: WebSettings | None = None,
    paper_settings: PaperSettings | None = None,
) -> AsyncIterator[Office]:
    """Run an office with agents ivanova and petrov and supervisor boss."""
    async with AsyncExitStack() as stack:
        clock = Clock()
        queues = MemoryQueues()
        await queues.start()
        stack.push_async_callback(queues.stop)
        notifier = QueueNotifier(queues)
        shutil.copy(empty_registry, folder / "okno.db")
        blobs = open_blob_store("", options={}, data_dir=folder)
        registry = Registry(registry_url("", folder), blobs=blobs, now=clock)
        stack.push_async_callback(registry.close)
        inline_bytes = RegistrySettings().inline_blob_max_bytes
        routes = AnswerRoutes(connectors={"web": Channel.WEB, "paper": Channel.PAPER, "email": Channel.EMAIL})
        lifecycle = Lifecycle(
            registry,
            notifier=notifier,
            mail_domain="okno.localhost",
            inline_blob_max_bytes=inline_bytes,
            routes=routes,
        )
        office = OfficeSettings(name="Комитет по благоустройству")
        policy = IntakePolicy(
            secret_key=SECRET_KEY, public_url="http://okno.example", office=office, deadlines=DeadlineSettings()
        )
        intake = await stack.enter_async_context(
            Intake(registry, settings=RegistrySettings(), policy=policy, notifier=notifier)
        )
        outbox = Outbox(registry, notifier=notifier)
        for agent_id, role in (("ivanova", Role.AGENT), ("petrov", Role.AGENT), ("boss", Role.SUPERVISOR)):
            await lifecycle.put_agent(Agent(id=agent_id, name=agent_id.title(), role=role), HASH)
        ports = ConnectorPorts(
            intake=intake,
            cursors=RegistryCursors(registry),
            reports=outbox,
            now=clock,
            public_url="http://okno.example",
            office=office,
            signing_key=SECRET_KEY,
        )
        citizens = WebConnector(web_settings or WebSettings(difficulty_bits=4), ports)
        paper = PaperConnector(paper_settings or PaperSettings(), ports)
        for connector in (citizens, paper):
            await connector.start()
            stack.push_async_callback(connector.stop)
        deps = ConsoleDeps(
            registry=registry,
            lifecycle=lifecycle,
            outbox=outbox,
            transcripts=Transcripts(registry, notifier=notifier),
            rethreading=Rethreading(registry, notifier=notifier, policy=policy),
            queues=queues,
            settings=ConsoleSettings(log_in_attempts_per_minute=100, status_attempts_per_minute=1000),
            office=office,
            secret_key=SECRET_KEY,
            public_url="",
            now=clock,
            uploads_dir=folder / "uploads",
            pages_dir=pages_dir or folder / "dist",
            routes=routes,
            letters=paper.desk,
        )
        app = web.Application()
        app.add_routes(citizens.routes())
        install(app, deps)
        runner = web.AppRunner(app, shutdown_timeout=1.0, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        first = web.TCPSite(runner, "127.0.0.1", 0)
        await first.start()
        port = runner.addresses[0][1]
        sites = [first]

        async def stop_site() -> None:
            await sites.pop().stop()
            for connection in list(runner.server.connections):
                connection.force_close()

        async def start_site() -> None:
            sites.append(web.TCPSite(runner, "127.0.0.1", port))
            await sites[-1].start()

        clients = await stack.enter_async_context(AsyncExitStack())
        yield Office(
            url=f"http://127.0.0.1:{port}",
            clock=clock,
            registry=registry,
            lifecycle=lifecycle,
            intake=intake,
            outbox=outbox,
            web=citizens,
            paper=paper,
            runner=runner,
            stack=clients,
            stop_site=stop_site,
            start_site=start_site,
        )


async def eventually(condition: Callable[[], Any], *, within_s: float = 10.0) -> None:
    """Poll a condition until it holds."""
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.02)
