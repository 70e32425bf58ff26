"""A fax's whole way in: the gateway's call, its pages at the second try, the registry, the transcript."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from appeals.blobs import open_blob_store
from appeals.cursors import RegistryCursors
from appeals.database import registry_url
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.notify import SilentNotifier
from appeals.outbox import Outbox
from appeals.registry import Registry
from appeals.transcript import TranscriptSource, TranscriptState
from appeals.transcripts import Transcripts
from config.channel_settings import FaxSettings, RecognitionSettings, TelnyxFaxSettings
from config.settings import DeadlineSettings, OfficeSettings, RegistrySettings
from connectors.base import ConnectorPorts
from connectors.fax.connector import FaxConnector
from connectors.fax.telnyx import TelnyxGateway
from connectors.pages.renderer import PageRenderer
from connectors.recognition.worker import RecognitionWorker
from okno.outside.telnyx_fax import TelnyxFaxServer
from queues.port import WorkItem
from tests.integration.kiosk.recording_intake import serving
from tests.integration.recognition.conftest import bad_line, tiff

DEADLINE_S = 20
TEXT = "Прошу принять меры по восстановлению отопления.\nС понедельника батареи холодные, заявка не выполнена."


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    registry = Registry(registry_url("", tmp_path), blobs=open_blob_store("", options={}, data_dir=tmp_path))
    await registry.migrate()
    yield registry
    await registry.close()


@pytest.fixture
async def ports(registry: Registry) -> AsyncIterator[ConnectorPorts]:
    notifier = SilentNotifier()
    policy = IntakePolicy(
        secret_key=b"k" * 32, public_url="http://localhost", office=OfficeSettings(), deadlines=DeadlineSettings()
    )
    async with Intake(registry, settings=RegistrySettings(), policy=policy, notifier=notifier) as intake:
        yield ConnectorPorts(
            intake=intake,
            cursors=RegistryCursors(registry),
            reports=Outbox(registry, notifier=notifier),
            now=lambda: datetime.now(UTC),
            public_url="http://127.0.0.1:1",
        )


async def receive(ports: ConnectorPorts, gateway: TelnyxFaxServer, *fax_ids: str) -> None:
    """Have the gateway tell of faxes whose pages cannot be had at first; return when all are registered."""
    telnyx = TelnyxFaxSettings(
        api_url=gateway.url, api_key=gateway.api_key, public_key=gateway.public_key, media_hosts=("127.0.0.1",)
    )
    settings = FaxSettings(enabled=True, gateway="telnyx", telnyx=telnyx)
    sender = TelnyxGateway(settings, public_url=ports.public_url, now=ports.now)
    connector = FaxConnector(settings, ports, gateways=(sender,), fetch_retry_s=0.1)
    async with serving(connector) as url:
        gateway.webhook_url = f"{url}/hooks/fax/telnyx"
        work = asyncio.create_task(connector.work())
        for fax_id in fax_ids:
            event = gateway.received_event(fax_id, sender="+78121234567", recipient="+78120000000")
            assert await gateway.post(event) == 503
        deadline = time.monotonic() + DEADLINE_S
        while any(not gateway.stored[fax_id].fetched for fax_id in fax_ids) or connector.health().state != "up":
            assert time.monotonic() < deadline, connector.health()
            await asyncio.sleep(0.05)
        await connector.stop()
        await work


async def test_faxes_are_fetched_registered_and_read(
    registry: Registry, ports: ConnectorPorts, pages: PageRenderer, tesseract_path: Path
):
    """A typed fax gets its text, a white one is left to an agent; both are appeals before anybody read them."""
    transcripts = Transcripts(registry, notifier=SilentNotifier())
    async with TelnyxFaxServer() as gateway:
        gateway.store(tiff(bad_line(TEXT)), "error", fax_id="typed")
        gateway.store(tiff(Image.new("1", (1728, 1200), 1)), "truncated", fax_id="white")
        await receive(ports, gateway, "typed", "white")
    waiting = await transcripts.pending(limit=10)
    assert len(waiting) == 2
    worker = RecognitionWorker(
        transcripts,
        registry.read_blob,
        RecognitionSettings(command=str(tesseract_path), processes=1),
        renderer=pages,
    )
    items = [WorkItem(id=str(item), fields={"envelope_id": str(item)}, tries=1) for item in waiting]
    await worker.handle(items)
    assert not await transcripts.pending(limit=10)
    found = {}
    for appeal in await registry.list_appeals():
        (envelope,) = (await registry.conversation(appeal.id)).envelopes
        (found[envelope.external_id],) = await transcripts.of_appeal(appeal.id)
    assert (found["typed"].state, found["typed"].source) == (TranscriptState.DONE, TranscriptSource.OCR)
    assert "восстановлению отопления" in found["typed"].text
    assert found["white"].state is TranscriptState.NEEDED
