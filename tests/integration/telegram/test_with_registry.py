"""SMS and Telegram with the real intake and registry behind them: the way of a message up to its commit and back."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from appeals.blobs import open_blob_store
from appeals.citizen_desk import RegistryDesk
from appeals.cursors import RegistryCursors
from appeals.database import registry_url
from appeals.envelope import ContactPoint, ContactPointKind
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.notify import SilentNotifier
from appeals.outbox import Outbox
from appeals.registry import Registry
from appeals.reply import ReplyKind
from config.channel_settings import SmsSettings, TelegramSettings
from config.settings import DeadlineSettings, OfficeSettings, RegistrySettings
from connectors.base import Connector, ConnectorPorts, OutboundMessage
from connectors.sms import build as build_sms
from connectors.telegram import build as build_telegram
from okno.outside.bot_api import BotApi, IncomingFile, SentMessage
from okno.outside.twilio_api import MediaFile, TwilioApi
from tests.integration.sms.recording_intake import serving


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    registry = Registry(registry_url("", tmp_path), blobs=open_blob_store("", options={}, data_dir=tmp_path))
    await registry.migrate()
    yield registry
    await registry.close()


@pytest.fixture
async def make_ports(registry: Registry) -> AsyncIterator[Callable[[str], ConnectorPorts]]:
    notifier = SilentNotifier()
    policy = IntakePolicy(
        secret_key=b"k" * 32, public_url="http://localhost", office=OfficeSettings(), deadlines=DeadlineSettings()
    )
    async with Intake(registry, settings=RegistrySettings(), policy=policy, notifier=notifier) as intake:
        yield lambda url: ConnectorPorts(
            intake=intake,
            cursors=RegistryCursors(registry),
            reports=Outbox(registry, notifier=notifier),
            now=lambda: datetime.now(UTC),
            public_url=url,
        )


async def test_sms_talk_is_one_appeal(registry: Registry, make_ports: Callable[[str], ConnectorPorts]):
    """Two messages of one number join one appeal with the MMS file's bytes; a replay adds nothing; another number is another appeal."""
    async with TwilioApi() as twilio:
        section = SmsSettings(
            account_sid=twilio.account_sid,
            auth_token=twilio.auth_token,
            number=twilio.number,
            api_url=twilio.url,
            media_hosts=("127.0.0.1",),
        )
        async with serving(lambda url: build_sms(section, make_ports(url))) as (_, url):
            hook = f"{url}/hooks/twilio/sms"
            first = await twilio.post_incoming(hook, sender="+79161234567", body="Нет воды")
            media = [MediaFile(content=b"\x89PNG\r\n\x1a\n" + b"\x00" * 90_000)]
            await twilio.post_incoming(hook, sender="+79161234567", body="Вот фото", media=media)
            sid = first.message_sid
            await twilio.post_incoming(hook, sender="+79161234567", body="Нет воды", message_sid=sid)
            await twilio.post_incoming(hook, sender="+79160000001", body="Яма")
    appeals = await registry.list_appeals()
    assert len(appeals) == 2
    conversation = await registry.conversation(appeals[-1].id)
    assert [envelope.text for envelope in conversation.envelopes] == ["Нет воды", "Вот фото"]
    (attachment,) = conversation.envelopes[1].attachments
    assert await registry.read_blob(attachment.sha256) == media[0].content


async def test_telegram_talk_is_one_appeal_and_the_offset_is_durable(
    registry: Registry, make_ports: Callable[[str], ConnectorPorts]
):
    """Messages of one chat join one appeal; a second run begins at the committed offset; bad ones are in quarantine."""
    async with BotApi() as api:
        section = TelegramSettings(token=api.token, api_url=api.url, poll_timeout_s=5.0)
        for texts in (("Нет света", "Уже час"), ("Всё ещё нет",)):
            for text in texts:
                api.inject_message(text, voice=IncomingFile(content=b"OggS" + b"\x00" * 40))
            api.inject_update({"message": {"text": texts[0]}})
            connector = build_telegram(section, make_ports("http://localhost"))
            await connector.start()
            async with asyncio.TaskGroup() as group:
                group.create_task(connector.work())
                await api.wait_until_confirmed()
                await connector.stop()
    (appeal,) = await registry.list_appeals()
    conversation = await registry.conversation(appeal.id)
    assert [envelope.text for envelope in conversation.envelopes] == ["Нет света", "Уже час", "Всё ещё нет"]
    assert len(await registry.quarantined()) == 2
    assert await registry.cursor("telegram", f"offset:{api.bot_id}")


async def test_telegram_in_depth(registry: Registry, make_ports: Callable[[str], ConnectorPorts]):
    """An album, its edit, a vote and /new: one appeal with all of them, the vote among its attributes, then another."""
    async with BotApi() as api:
        section = TelegramSettings(token=api.token, api_url=api.url, poll_timeout_s=5.0, album_linger_s=0.2)
        ports = make_ports("http://localhost")
        connector = build_telegram(section, replace(ports, desk=RegistryDesk(registry)))
        await connector.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(connector.work())
            api.inject_album(b"\x89PNG\r\n\x1a\n1", b"\x89PNG\r\n\x1a\n2", caption="Яма", group="9")
            first = json.loads(api.updates._waiting[0].content)["message"]
            await until(registry, envelopes=1)
            (appeal,) = await registry.list_appeals()
            api.inject_update({"edited_message": first | {"caption": "Яма, Мира 5", "edit_date": first["date"] + 5}})
            sent = await answer(connector, api, appeal.number)
            query = api.inject_press(sent, sent.button("4"))
            await api.wait_until_confirmed()
            assert "4" in api.press_answers[query]
            for text in ("/new", "Свет", f"/status {appeal.number}"):
                api.inject_message(text)
            await api.wait_until_confirmed()
            await connector.stop()
    appeals = await registry.list_appeals()
    assert len(appeals) == 2
    road = next(item for item in appeals if item.number == appeal.number)
    conversation = await registry.conversation(road.id)
    album, edit, vote = conversation.envelopes
    assert len(album.attachments) == 2
    assert (edit.text, edit.revises) == ("Яма, Мира 5", album.external_id)
    assert vote.fields == {"satisfaction": "4"}
    assert road.attributes["satisfaction"] == "4"
    assert appeal.number in api.sent[-1].text


async def until(registry: Registry, *, envelopes: int) -> None:
    async with asyncio.timeout(30):
        while True:
            appeals = await registry.list_appeals()
            found = [await registry.conversation(appeal.id) for appeal in appeals]
            if sum(len(conversation.envelopes) for conversation in found) >= envelopes:
                return
            await asyncio.sleep(0.02)


async def answer(connector: Connector, api: BotApi, number: str) -> SentMessage:
    message = OutboundMessage(
        reply_id=uuid4(),
        kind=ReplyKind.ANSWER,
        appeal_number=number,
        recipient=ContactPoint(kind=ContactPointKind.TELEGRAM, value="700001"),
        subject="",
        text="Засыпали",
        language="ru",
        message_id=f"{uuid4()}@okno",
        read_blob=registry_has_none,
    )
    await connector.send(message)
    return api.sent[-1]


async def registry_has_none(sha256: str) -> bytes:
    raise AssertionError(sha256)
