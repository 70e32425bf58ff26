"""Kiosk and fax with the real intake and registry behind them: the way of a message to its commit, and back."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest

from appeals.blobs import open_blob_store
from appeals.cursors import RegistryCursors
from appeals.database import registry_url
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.notify import SilentNotifier
from appeals.outbox import DeliveryOutcome, Outbox
from appeals.registry import Registry
from appeals.reply import DeliveryState, Reply
from config.channel_settings import FaxSettings, KioskDevice, KioskSettings
from config.settings import DeadlineSettings, OfficeSettings, RegistrySettings
from connectors.base import Connector, ConnectorPorts, OutboundMessage
from connectors.fax import build as build_fax
from connectors.http_outcome import basic_authorization
from connectors.kiosk import build as build_kiosk
from okno.outside.fax_gateway import FaxGatewayServer, make_fax_document
from okno.outside.kiosk import KioskClient, KioskPhoto, make_submission, sign
from tests.integration.kiosk.recording_intake import serving

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
CITIZEN = "+78121234567"
OURS = "+78120000000"


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


async def send(reply: Reply, connector: Connector, registry: Registry) -> str:
    """Send a reply as the delivery worker does, up to the commit of what the channel said."""
    outbox = Outbox(registry, notifier=SilentNotifier())
    (begun,) = await outbox.begin([reply.id])
    receipt = await connector.send(
        OutboundMessage(
            reply_id=begun.id,
            kind=begun.kind,
            appeal_number="482-719-3561",
            recipient=begun.recipient,
            subject=begun.subject,
            text=begun.text,
            language=begun.language,
            message_id=begun.message_id,
            in_reply_to=begun.in_reply_to,
            read_blob=registry.read_blob,
        )
    )
    await outbox.settle([DeliveryOutcome(reply=begun, state=receipt.state, external_id=receipt.external_id)])
    return receipt.external_id


async def delivery_state(registry: Registry, appeal_id: UUID) -> DeliveryState:
    (reply,) = (await registry.conversation(appeal_id)).replies
    return reply.state


async def test_kiosk_form_is_registered_acknowledged_and_kept_with_its_photo(registry: Registry, ports: ConnectorPorts):
    """A form with a large photo, delivered three times, is one appeal; its acknowledgement can be sent; bytes stay."""
    photo = KioskPhoto(name="двор.png", media_type="image/png", content=b"\x89PNG\r\n\x1a\n" + bytes(200_000))
    form = make_submission("Нет света\x00", citizen={"email": "anna@example.org", "name": "Анна"}, photos=[photo])
    connector = build_kiosk(KioskSettings(devices=(KioskDevice(id="hall-1", secrets=(SECRET,)),)), ports)
    async with serving(connector) as url, aiohttp.ClientSession() as session:
        kiosk = KioskClient(hook_url=f"{url}/hooks/kiosk/hall-1", secret=SECRET, session=session)
        answers = [await kiosk.deliver(form) for _ in range(3)]
        bad = '{"id": "\\ud800", "text": "\\u0000"}'
        headers = sign(bad, secret=SECRET, message_id="m")
        async with session.post(kiosk.hook_url, data=bad, headers=headers) as response:
            assert response.status == 202

        (appeal,) = await registry.list_appeals()
        assert {status for status, _ in answers} == {200}
        assert {answer["number"] for _, answer in answers} == {appeal.number}
        assert len({answer["code"] for _, answer in answers}) == 1
        conversation = await registry.conversation(appeal.id)
        (envelope,) = conversation.envelopes
        assert envelope.text == "Нет света"
        assert await registry.read_blob(envelope.attachments[0].sha256) == photo.content
        (acknowledgement,) = conversation.replies
        await send(acknowledgement, connector, registry)
    assert await delivery_state(registry, appeal.id) is DeliveryState.SENT
    (held,) = await registry.quarantined()
    assert (held.stage, held.context) == ("decode", {"kiosk_id": "hall-1"})
    assert await registry.read_blob(held.sha256) == bad.encode()


async def test_fax_is_registered_answered_and_the_answers_delivery_known(registry: Registry, ports: ConnectorPorts):
    """A TIFF fax becomes an appeal with both documents; the letter goes out; FAX_COMPLETED makes it delivered."""
    async with FaxGatewayServer(
        project_id="p1", key_id="k", key_secret="s", webhook_username="hook", webhook_password="pass", completes=False
    ) as gateway:
        settings = FaxSettings(
            api_url=gateway.url,
            project_id="p1",
            key_id="k",
            key_secret="s",
            webhook_username="hook",
            webhook_password="pass",
            number=OURS,
        )
        connector = build_fax(settings, ports)
        async with serving(connector) as url, aiohttp.ClientSession() as session:
            gateway.webhook_url = f"{url}/hooks/fax/sinch"
            document = make_fax_document(["Холодно"] * 3, "tiff")
            for _ in range(2):
                status = await gateway.send_incoming(document, sender=CITIZEN, recipient=OURS, fax_id="f1")
                assert status == 200
            odd = {"Content-Type": "application/json; x=\udcff", "Authorization": basic_authorization("hook", "pass")}
            body = json.dumps({"event": "INCOMING_FAX", "fax": {"id": "f2"}, "file": "SU5W\ud800"})
            async with session.post(gateway.webhook_url, data=body, headers=odd) as response:
                assert response.status == 200

            (appeal,) = await registry.list_appeals()
            conversation = await registry.conversation(appeal.id)
            for attachment in conversation.envelopes[0].attachments:
                assert len(await registry.read_blob(attachment.sha256)) == attachment.size_bytes
            await send(conversation.replies[0], connector, registry)
            (sent,) = gateway.sent
            sent.fax["labels"] = {}
            object.__setattr__(sent, "callback_url", f"http://hook:pass@{gateway.webhook_url.removeprefix('http://')}")
            assert await gateway.complete(sent) == 200
    assert sent.fax["to"] == CITIZEN
    assert await delivery_state(registry, appeal.id) is DeliveryState.DELIVERED
    assert len(await registry.quarantined()) == 1


async def test_spooled_file_taken_by_two_processes_is_one_appeal(
    registry: Registry, ports: ConnectorPorts, tmp_path: Path
):
    """Two connectors on one spool folder register a file once, and neither stumbles over the other's move."""
    spool = tmp_path / "spool"
    spool.mkdir()
    for index in range(5):
        (spool / f"{index}.pdf").write_bytes(make_fax_document([str(index)]))
    connectors = [build_fax(FaxSettings(spool_dir=spool), ports) for _ in range(2)]
    for connector in connectors:
        connector._spool._settle_s = 0.05
        await connector.start()
    async with asyncio.TaskGroup() as tasks:
        for connector in connectors:
            tasks.create_task(connector.work())
        deadline = time.monotonic() + 10
        while len(list((spool / "done").iterdir())) < 5:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        for connector in connectors:
            await connector.stop()
    assert len(await registry.list_appeals()) == 5
