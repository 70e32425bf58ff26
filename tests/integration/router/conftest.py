"""A real registry, real queues and leaders on them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest

from appeals.agent import Agent, AgentStatus
from appeals.appeal import Appeal, AppealState
from appeals.blobs import open_blob_store
from appeals.database import registry_url
from appeals.envelope import AppealEnvelope, BlobRef, Channel, ContactPoint, ContactPointKind
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.lifecycle import Classification, Lifecycle
from appeals.registry import Registry
from config.settings import DeadlineSettings, OfficeSettings, RegistrySettings, RoutingSettings
from queues.memory import MemoryQueues
from queues.notifier import QueueNotifier
from queues.port import Queues
from router.conditions import OfficeClock
from router.leader import Leader
from router.rules_source import RulesSource

RULES = """
version: 1
queues:
  housing: {skills: {housing: 1}}
  triage: {skills: {triage: 1}}
ageing: {priority_point: 10m}
rules:
  - name: housing
    when: topic.startsWith("housing.")
    queue: housing
  - name: everything else
    when: "true"
    queue: triage
"""
DEADLINE_S = 10.0
T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T]], *, what: str) -> T:
    """Poll until `look` finds something true; fail after DEADLINE_S."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not (found := await look()):
                await asyncio.sleep(0.01)
            return found
    except TimeoutError:
        pytest.fail(f"waited {DEADLINE_S} s for {what}")


class Desk:
    """An office with a registry and queues, in which leaders come and go."""

    def __init__(
        self, registry: Registry, queues: Queues, *, intake: Intake, lifecycle: Lifecycle, rules: Path
    ) -> None:
        self.registry = registry
        self.queues = queues
        self.intake = intake
        self.lifecycle = lifecycle
        self.rules_path = rules

    async def write(self, number: int, *, topic: str = "housing.heating", priority: int = 50) -> Appeal:
        """Send a citizen's mail: registered and classified."""
        raw = f"message {number}".encode()
        envelope = AppealEnvelope(
            channel=Channel.EMAIL,
            connector="email",
            external_id=f"m{number}",
            received_at=datetime.now(UTC),
            sender=ContactPoint(kind=ContactPointKind.EMAIL, value=f"c{number}@example.org"),
            subject=f"Appeal {number}",
            language="ru",
            raw=BlobRef.of(raw),
        )
        registration = await self.intake.register(envelope, {envelope.raw.sha256: raw})
        appeal = await self.registry.appeal(registration.appeal_id)
        await self.lifecycle.classify(
            [
                Classification(
                    appeal_id=appeal.id,
                    version=appeal.version,
                    topic=topic,
                    confidence=0.9,
                    language="ru",
                    priority=priority,
                )
            ]
        )
        return await self.registry.appeal(appeal.id)

    async def join(self, name: str, **fields: object) -> None:
        """Let an agent come to work and connect."""
        agent = Agent(**{"id": name, "name": name, "capacity_units": 3, "skills": {"housing": 3}, **fields})
        await self.lifecycle.put_agent(agent)
        await self.queues.beat(name, "c1", ttl_s=60.0)
        await self.lifecycle.set_status(name, AgentStatus.AVAILABLE)

    def leader(self, holder: str = "one", **settings: object) -> Leader:
        values = {"tick_s": 0.05, "lease_ttl_s": 0.9, "wrap_up_s": 0.0, "decline_delay_s": 0.05, **settings}
        return Leader(
            self.registry,
            self.lifecycle,
            self.queues,
            settings=RoutingSettings(**values),
            rules=RulesSource(self.rules_path),
            office=OfficeClock(timezone=ZoneInfo("Europe/Moscow")),
            holder=holder,
        )

    @asynccontextmanager
    async def leading(self, leader: Leader) -> AsyncIterator[Leader]:
        task = asyncio.create_task(leader.run())
        try:
            await self.until_leading(leader)
            yield leader
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until_leading(self, leader: Leader) -> None:
        async def leads() -> bool:
            return leader.health().role == "leading"

        await eventually(leads, what="a leader")

    async def in_state(self, state: AppealState, count: int) -> list[Appeal]:
        async def found() -> list[Appeal]:
            appeals = await self.registry.list_appeals(states=[state], limit=1000)
            return appeals if len(appeals) == count else []

        return await eventually(found, what=f"{count} appeals {state.value}")

    async def messages(self, agent_id: str, kind: str) -> list[dict[str, object]]:
        entries = await self.queues.read_agent_queue(agent_id, after_id="0", count=1000, block_s=0.0)
        return [dict(entry.message) for entry in entries if entry.message["type"] == kind]


@asynccontextmanager
async def open_desk(folder: Path, queues: Queues, *, url: str = "") -> AsyncIterator[Desk]:
    rules = folder / "routing.yaml"
    rules.write_text(RULES)
    blobs = open_blob_store("", options={}, data_dir=folder)
    registry = Registry(registry_url(url, folder), blobs=blobs)
    await registry.migrate()
    await queues.start()
    notifier = QueueNotifier(queues)
    lifecycle = Lifecycle(registry, notifier=notifier, mail_domain="okno.localhost", inline_blob_max_bytes=65536)
    policy = IntakePolicy(
        secret_key=b"k" * 32, public_url="http://localhost", office=OfficeSettings(), deadlines=DeadlineSettings()
    )
    try:
        async with Intake(registry, settings=RegistrySettings(), policy=policy, notifier=notifier) as intake:
            yield Desk(registry, queues, intake=intake, lifecycle=lifecycle, rules=rules)
    finally:
        await queues.stop()
        await registry.close()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, MemoryQueues()) as desk:
        yield desk
