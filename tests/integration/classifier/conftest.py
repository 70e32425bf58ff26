"""A small trained model on disk, a real registry on SQLite with an intake, and queues in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from appeals.appeal import Appeal, AppealState
from appeals.blobs import open_blob_store
from appeals.database import registry_url
from appeals.envelope import AppealEnvelope, BlobRef, Channel, ContactPoint, ContactPointKind
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.lifecycle import Lifecycle
from appeals.registry import Registry
from classifier.dataset import LabelledText
from classifier.training import train
from config.settings import DeadlineSettings, OfficeSettings, RegistrySettings
from config.taxonomy import Taxonomy, load_taxonomy
from queues.memory import MemoryQueues
from queues.notifier import QueueNotifier
from queues.port import Queues

EXAMPLES = {
    "housing.heating": ["the radiator is cold", "no heating at home", "cold radiators again", "батареи холодные"],
    "roads.pothole": ["a pothole in the road", "the road is broken", "potholes everywhere", "яма на дороге"],
    "unknown": ["hello", "thank you", "happy new year", "спасибо"],
}


@dataclass(frozen=True, kw_only=True)
class Office:
    """What a classifying process works with."""

    registry: Registry
    lifecycle: Lifecycle
    intake: Intake
    queues: Queues

    async def receive(self, text: str, *, subject: str = "") -> UUID:
        """Register one message of a new citizen; its id is put onto the stream `classify`."""
        raw = f"{subject}\n{text}".encode()
        number = len(await self.registry.list_appeals(limit=1000))
        envelope = AppealEnvelope(
            channel=Channel.EMAIL,
            connector="email",
            external_id=f"message-{number}",
            received_at=self.registry.now(),
            sender=ContactPoint(kind=ContactPointKind.EMAIL, value=f"citizen{number}@example.org"),
            subject=subject,
            text=text,
            clean_text=text,
            raw=BlobRef.of(raw),
        )
        registration = await self.intake.register(envelope, {envelope.raw.sha256: raw})
        return registration.appeal_id

    async def registered(self) -> list[Appeal]:
        """Return the appeals that still have no topic."""
        return await self.registry.list_appeals(states=[AppealState.REGISTERED], limit=1000)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    registry = Registry(registry_url("", tmp_path), blobs=open_blob_store("", options={}, data_dir=tmp_path))
    await registry.migrate()
    queues = MemoryQueues()
    await queues.start()
    notifier = QueueNotifier(queues)
    lifecycle = Lifecycle(registry, notifier=notifier, mail_domain="okno.localhost", inline_blob_max_bytes=65536)
    policy = IntakePolicy(
        secret_key=b"k" * 32, public_url="http://localhost", office=OfficeSettings(), deadlines=DeadlineSettings()
    )
    try:
        async with Intake(registry, settings=RegistrySettings(), policy=policy, notifier=notifier) as intake:
            yield Office(registry=registry, lifecycle=lifecycle, intake=intake, queues=queues)
    finally:
        await queues.stop()
        await registry.close()


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    return load_taxonomy()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory, taxonomy: Taxonomy) -> Path:
    rows = [LabelledText(text=text, topic=topic) for topic, texts in EXAMPLES.items() for text in texts]
    path = tmp_path_factory.mktemp("model") / "model.skops"
    train(rows, priorities=taxonomy.priorities).save(path)
    return path
