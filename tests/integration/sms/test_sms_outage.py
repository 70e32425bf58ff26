"""Call-backs in every order against the real outbox, and hooks that fail while the registry is away."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from appeals.appeal import Appeal
from appeals.blobs import open_blob_store
from appeals.cursors import RegistryCursors
from appeals.database import registry_url
from appeals.errors import TransientError
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.notify import SilentNotifier
from appeals.outbox import DeliveryOutcome, Outbox
from appeals.registry import Registry
from appeals.reply import DeliveryState, Reply
from config.channel_settings import SmsSettings
from config.settings import DeadlineSettings, OfficeSettings, RegistrySettings
from connectors.base import Connector, ConnectorPorts, OutboundMessage, Receipt
from connectors.sms import build
from okno.outside.twilio_api import TwilioApi
from tests.integration.sms.recording_intake import RecordingCursors, RecordingIntake, make_ports, serving

CITIZEN = "+79161234567"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    registry = Registry(registry_url("", tmp_path), blobs=open_blob_store("", options={}, data_dir=tmp_path))
    await registry.migrate()
    yield registry
    await registry.close()


@pytest.fixture
async def twilio() -> AsyncIterator[TwilioApi]:
    async with TwilioApi() as server:
        server.final_status = None
        yield server


@pytest.fixture
async def office(registry: Registry, twilio: TwilioApi) -> AsyncIterator[tuple[Connector, Outbox, str]]:
    """Serve the connector with the real intake and outbox behind it; yield them and the URL of its hooks."""
    notifier = SilentNotifier()
    outbox = Outbox(registry, notifier=notifier)
    policy = IntakePolicy(
        secret_key=b"k" * 32, public_url="http://localhost", office=OfficeSettings(), deadlines=DeadlineSettings()
    )
    section = SmsSettings(
        account_sid=twilio.account_sid, auth_token=twilio.auth_token, number=twilio.number, api_url=twilio.url
    )
    async with Intake(registry, settings=RegistrySettings(), policy=policy, notifier=notifier) as intake:

        def make(url: str) -> Connector:
            ports = ConnectorPorts(
                intake=intake,
                cursors=RegistryCursors(registry),
                reports=outbox,
                now=lambda: datetime.now(UTC),
                public_url=url,
            )
            return build(section, ports)

        async with serving(make) as (connector, url):
            yield connector, outbox, url


def outbound(reply: Reply, appeal: Appeal, registry: Registry) -> OutboundMessage:
    return OutboundMessage(
        reply_id=reply.id,
        kind=reply.kind,
        appeal_number=appeal.number,
        recipient=reply.recipient,
        subject=reply.subject,
        text=reply.text,
        language=reply.language,
        message_id=reply.message_id,
        read_blob=registry.read_blob,
    )


async def take_reply(registry: Registry, outbox: Outbox) -> tuple[Reply, Appeal]:
    (reply,) = await outbox.begin(await outbox.due(limit=10))
    (appeal,) = await registry.list_appeals()
    return reply, appeal


async def settle(outbox: Outbox, reply: Reply, receipt: Receipt) -> None:
    await outbox.settle([DeliveryOutcome(reply=reply, state=receipt.state, external_id=receipt.external_id)])


async def state_of(registry: Registry, appeal_id: UUID) -> tuple[DeliveryState, str]:
    (reply,) = (await registry.conversation(appeal_id)).replies
    return reply.state, reply.error


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("sent", "delivered"), DeliveryState.DELIVERED),
        (("delivered", "sent", "queued"), DeliveryState.DELIVERED),
        (("read", "delivered", "sent", "read"), DeliveryState.READ),
        (("undelivered", "sent"), DeliveryState.FAILED),
        (("sent", "sent"), DeliveryState.SENT),
    ],
)
@pytest.mark.parametrize("overtaking", [True, False])
async def test_the_furthest_state_stays(
    registry: Registry,
    twilio: TwilioApi,
    office: tuple[Connector, Outbox, str],
    statuses: tuple[str, ...],
    expected: DeliveryState,
    overtaking: bool,  # noqa: FBT001
):
    """Late, doubled, reordered, before our own call is settled: the registry ends with what really became of it."""
    connector, outbox, url = office
    await twilio.post_incoming(f"{url}/hooks/twilio/sms", sender=CITIZEN, body="Нет воды")
    reply, appeal = await take_reply(registry, outbox)
    receipt = await connector.send(outbound(reply, appeal, registry))
    (sent,) = twilio.sent
    if not overtaking:
        await settle(outbox, reply, receipt)
    posting = [asyncio.create_task(twilio.report(sent, status, error_code="30003")) for status in statuses[:1]]
    if overtaking:
        await asyncio.sleep(0)  # the first call-back is on its way before the commit
        await settle(outbox, reply, receipt)
    answers = [(await task).status for task in posting]
    answers += [(await twilio.report(sent, status, error_code="30003")).status for status in statuses[1:]]
    assert set(answers) == {204}
    state, error = await state_of(registry, appeal.id)
    assert state is expected
    assert bool(error) == (expected is DeliveryState.FAILED)


async def test_registry_that_comes_and_goes_loses_and_doubles_nothing(
    twilio: TwilioApi, monkeypatch: pytest.MonkeyPatch
):
    """Hooks that got 503, were never called, or were called twice: each message is registered once by the catch-up."""
    monkeypatch.setattr("connectors.catch_up.INTERVAL_S", 0.02)
    chance = random.Random(3)  # noqa: S311 - trouble that can be repeated
    intake, cursors = RecordingIntake(), RecordingCursors()
    cursors.values["sms", "caught_up_to"] = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    troubled = True
    intake.failure = lambda _: TransientError("no store") if troubled and chance.random() < 0.4 else None
    section = SmsSettings(
        account_sid=twilio.account_sid, auth_token=twilio.auth_token, number=twilio.number, api_url=twilio.url
    )
    texts = [f"сообщение {at}" for at in range(40)]
    for life in range(4):
        async with serving(lambda url: build(section, make_ports(intake, cursors=cursors, public_url=url))) as (
            connector,
            url,
        ):
            working = asyncio.create_task(connector.work())
            for text in texts[life * 10 : life * 10 + 10]:
                form = twilio.incoming_form(sender=CITIZEN, body=text)
                for _ in range(chance.choice((0, 1, 2))):
                    await twilio.post_form(f"{url}/hooks/twilio/sms", form)
            if life == 3:
                troubled = False
                async with asyncio.timeout(30):
                    while len(intake.envelopes) < len(texts):
                        await asyncio.sleep(0.01)
            await connector.stop()
            await working
    assert sorted(envelope.text for envelope in intake.envelopes) == sorted(texts)
