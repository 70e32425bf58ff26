"""Telegram in by webhook: posts over real HTTP with the secret in path and header."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appeals.errors import TransientError
from config.channel_settings import TelegramSettings
from connectors.base import Connector, HealthState
from connectors.telegram import build
from okno.outside.bot_api import BotApi
from tests.integration.sms.recording_intake import RecordingIntake, make_ports, serving
from tests.integration.telegram.conftest import Polling

SECRET = "s3cret_-Token"
HEADER = "X-Telegram-Bot-Api-Secret-Token"


@asynccontextmanager
async def working(connector: Connector) -> AsyncIterator[None]:
    """Run the connector's loop for the length of a block, and stop it."""
    async with asyncio.TaskGroup() as group:
        group.create_task(connector.work())
        try:
            yield
        finally:
            await connector.stop()


@pytest.fixture
async def served(
    telegram_settings: Callable[..., TelegramSettings], intake: RecordingIntake
) -> AsyncIterator[tuple[Connector, str]]:
    section = telegram_settings(mode="webhook", webhook_secret=SECRET)
    async with serving(lambda url: build(section, make_ports(intake, public_url=url))) as served:
        yield served


async def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=headers) as response,
    ):
        return response.status, response.content_type


async def test_updates_are_posted_and_confirmed_after_the_commit(
    api: BotApi, served: tuple[Connector, str], intake: RecordingIntake
):
    """The connector sets its webhook with the secret; the server's posts are registered and confirmed by 200."""
    api.inject_message("Вода")
    api.inject_message("Свет", chat_id=9)
    async with working(served[0]):
        await api.wait_until_confirmed()
        assert api.updates.webhook is not None
        assert api.updates.webhook.secret == SECRET
    assert [envelope.text for envelope in intake.envelopes] == ["Вода", "Свет"]
    assert intake.envelopes[0].authenticity[0].method == "secret_token"
    assert api.updates.webhook_statuses == [200, 200]


async def test_registry_down_is_503_and_telegram_comes_again(
    api: BotApi, served: tuple[Connector, str], intake: RecordingIntake
):
    """While the intake is down nothing is confirmed; afterwards the update comes in once."""
    intake.down = TransientError("no store")
    api.inject_message("Вода")
    async with working(served[0]):
        async with asyncio.timeout(30):
            while not api.updates.webhook_statuses:
                await asyncio.sleep(0.01)
        assert api.updates.ids
        assert not intake.envelopes
        intake.down = None
        await api.wait_until_confirmed()
    assert intake.only.text == "Вода"
    assert set(api.updates.webhook_statuses[:-1]) == {503}


async def test_replay_registers_nothing_new(served: tuple[Connector, str], intake: RecordingIntake):
    """The same update posted twice is 200 twice and one registration."""
    body = b'{"update_id":1,"message":{"message_id":1,"chat":{"id":1,"type":"private"},"date":1,"text":"x"}}'
    for _ in range(2):
        status, _ = await post(f"{served[1]}/hooks/telegram/{SECRET}", body, {HEADER: SECRET})
        assert status == 200
    assert intake.raw_of(intake.only) == body


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [
        ("wrong", SECRET, 404),
        (SECRET, "wrong", 403),
        (SECRET, None, 403),
        ("%D1%8F", SECRET, 404),
        (SECRET, "пароль", 403),
    ],
)
async def test_strangers_are_refused(
    served: tuple[Connector, str], intake: RecordingIntake, path: str, header: str | None, status: int
):
    """Without both secrets nothing is read or kept, and the refusal is a problem document."""
    body = b'{"update_id":1,"message":{"message_id":1,"chat":{"id":1,"type":"private"},"date":1,"text":"x"}}'
    headers = {} if header is None else {HEADER: header}
    assert await post(f"{served[1]}/hooks/telegram/{path}", body, headers) == (status, "application/problem+json")
    assert not intake.envelopes
    assert not intake.quarantined


async def test_any_bytes_with_the_secret_are_kept_or_passed(served: tuple[Connector, str], intake: RecordingIntake):
    """Any body ends in 200 with a registration, a quarantine entry or a pass; never in 5xx."""
    drawn: list[bytes] = [
        b"",
        b"[" * 100_000,
        b"\xff\xfe",
        b"null",
        b'{"update_id":1e999}',
        b'{"update_id":%s}' % (b"9" * 5000),
    ]

    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200))
    def draw(body: bytes) -> None:
        drawn.append(body)

    draw()
    for body in drawn:
        status, _ = await post(f"{served[1]}/hooks/telegram/{SECRET}", body, {HEADER: SECRET})
        assert status == 200
    assert {content for _, content in intake.quarantined} == set(drawn)


async def test_body_over_the_limit_is_413(served: tuple[Connector, str], intake: RecordingIntake):
    """A body no update can have is refused before it is read."""
    status, _ = await post(f"{served[1]}/hooks/telegram/{SECRET}", b"x" * 2_000_000, {HEADER: SECRET})
    assert status == 413
    assert not intake.quarantined


async def test_webhook_that_cannot_be_set_is_tried_again(api: BotApi, served: tuple[Connector, str]):
    """429, 5xx and refusals of setWebhook show in health and are tried again."""
    api.fail_next("setWebhook", 429, retry_after_s=1)
    api.fail_next("setWebhook", 400, description="Bad Request: bad webhook: HTTPS url must be provided")
    async with working(served[0]), asyncio.timeout(30):
        while "https url" not in served[0].health().detail:
            await asyncio.sleep(0.01)
        assert served[0].health().state is HealthState.DOWN
        while served[0].health().state is not HealthState.UP:
            await asyncio.sleep(0.01)
    assert api.calls["setwebhook"] == 3


async def test_webhook_is_watched(
    api: BotApi, served: tuple[Connector, str], intake: RecordingIntake, monkeypatch: pytest.MonkeyPatch
):
    """Health shows what Telegram says of the hook; one that somebody else has changed is set again."""
    monkeypatch.setattr("connectors.telegram.connector.WATCH_INTERVAL_S", 0.05)
    async with working(served[0]), asyncio.timeout(30):
        intake.down = TransientError("no store")
        api.inject_message("Вода")
        while "cannot deliver 1 updates" not in served[0].health().detail:
            await asyncio.sleep(0.01)
        assert served[0].health().state is HealthState.DOWN
        intake.down = None
        await api.wait_until_confirmed()
        while served[0].health().state is not HealthState.UP:
            await asyncio.sleep(0.01)
        api.updates.set_webhook(None)
        api.inject_message("Свет")
        await api.wait_until_confirmed()
    assert [envelope.text for envelope in intake.envelopes] == ["Вода", "Свет"]


async def test_change_from_webhook_to_polling(
    api: BotApi, served: tuple[Connector, str], intake: RecordingIntake, polling: Polling
):
    """A bot that was posted to and now polls loses nothing that came in between."""
    async with working(served[0]):
        api.inject_message("раз")
        await api.wait_until_confirmed()
    api.inject_message("два")
    async with polling():
        await api.wait_until_confirmed()
        assert api.updates.webhook is None
    assert [envelope.text for envelope in intake.envelopes] == ["раз", "два"]


async def test_polling_connector_has_no_hook(telegram_settings: Callable[..., Any], intake: RecordingIntake):
    """A bot that polls offers no address to guess at."""
    assert not build(telegram_settings(), make_ports(intake)).routes()


async def test_stopped_connector_answers_503(served: tuple[Connector, str], intake: RecordingIntake):
    """After `stop` Telegram is asked to come again."""
    await served[0].stop()
    status, _ = await post(f"{served[1]}/hooks/telegram/{SECRET}", b"{}", {HEADER: SECRET})
    assert status == 503
    assert not intake.quarantined
