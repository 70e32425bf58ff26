"""A registry on each of its two databases, and messages to register."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from appeals.agent import Agent
from appeals.appeal import Appeal
from appeals.blobs import FileBlobStore
from appeals.database import registry_url
from appeals.envelope import AppealEnvelope, BlobRef, Channel, ContactPoint, ContactPointKind
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.lifecycle import Classification, Lifecycle
from appeals.notify import Changes
from appeals.registration import Registration
from appeals.registry import Registry
from appeals.routing import OfferDraft, Placement, RoutingChange
from config.settings import DeadlineSettings, OfficeSettings, RegistrySettings

SECRET_KEY = b"k" * 32
INLINE_MAX_BYTES = 1_000


class Recorder:
    """A notifier that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Changes] = []

    async def notify(self, changes: Changes) -> None:
        self.told.append(changes)

    def all(self, name: str) -> list[Any]:
        return [item for changes in self.told for item in getattr(changes, name)]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database of each kind; "" is SQLite in the data folder."""
    return "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
async def registry(database_url: str, tmp_path: Path) -> AsyncIterator[Registry]:
    opened = Registry(registry_url(database_url, tmp_path), blobs=FileBlobStore(tmp_path / "blobs"))
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.fixture
def notifier() -> Recorder:
    return Recorder()


@pytest.fixture
def policy() -> IntakePolicy:
    return IntakePolicy(
        secret_key=SECRET_KEY,
        public_url="https://okno.example",
        office=OfficeSettings(),
        deadlines=DeadlineSettings(),
    )


@pytest.fixture
async def intake(registry: Registry, policy: IntakePolicy, notifier: Recorder) -> AsyncIterator[Intake]:
    settings = RegistrySettings(inline_blob_max_bytes=INLINE_MAX_BYTES)
    async with Intake(registry, settings=settings, policy=policy, notifier=notifier) as opened:
        yield opened


@pytest.fixture
def lifecycle(registry: Registry, notifier: Recorder) -> Lifecycle:
    return Lifecycle(registry, notifier=notifier, mail_domain="okno.localhost", inline_blob_max_bytes=INLINE_MAX_BYTES)


@pytest.fixture
def message() -> Callable[..., tuple[AppealEnvelope, dict[str, bytes]]]:
    """Make an envelope and its contents: `message("id", sender="a@x.org", text=…, **envelope fields)`."""

    def make(
        external_id: str, *, sender: str | None = "citizen@example.org", text: str = "Нет отопления", **values: Any
    ) -> tuple[AppealEnvelope, dict[str, bytes]]:
        raw = f"{external_id}\n{text}".encode()
        given = {
            "channel": Channel.EMAIL,
            "connector": "email",
            "external_id": external_id,
            "received_at": datetime.now(UTC),
            "sender": None if sender is None else ContactPoint(kind=ContactPointKind.EMAIL, value=sender),
            "subject": "Отопление",
            "text": text,
            "clean_text": text,
            "raw": BlobRef.of(raw),
        }
        envelope = AppealEnvelope.model_validate(given | values)
        return envelope, {envelope.raw.sha256: raw}

    return make


@pytest.fixture
def registered(intake: Intake, message: Callable[..., Any]) -> Callable[..., Any]:
    """Register one message and return its registration."""

    async def register(external_id: str = "m1", **values: Any) -> Registration:
        return await intake.register(*message(external_id, **values))

    return register


async def assign(appeal_id: UUID, lifecycle: Lifecycle, registry: Registry, *, fence: int = 1) -> Appeal:
    """Bring a registered appeal into anna's hands."""
    await lifecycle.put_agent(Agent(id="anna", name="Anna", skills={"triage": 1}), "hash")
    await lifecycle.take_fence("router", fence)
    appeal = await registry.appeal(appeal_id)
    found = {"topic": "unknown", "confidence": 0.1, "language": "ru", "priority": 10}
    await lifecycle.classify([Classification(appeal_id=appeal_id, version=appeal.version, **found)])
    appeal = await registry.appeal(appeal_id)
    draft = OfferDraft(id=uuid4(), agent_id="anna", step=0, due_at=registry.now())
    placement = Placement(queue="triage", rule="r", priority=1, rule_set="h" * 64)
    change = RoutingChange(appeal_id=appeal_id, version=appeal.version, placement=placement, offer=draft)
    assert not await lifecycle.commit_routing([change], fence=fence)
    return await lifecycle.accept_offer(draft.id, "anna")
