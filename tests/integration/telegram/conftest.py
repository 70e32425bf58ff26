"""A bot, the local Bot API server, and the ports behind it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from config.channel_settings import TelegramSettings
from connectors.base import Connector
from connectors.telegram import build
from okno.outside.bot_api import BotApi
from tests.integration.sms.recording_intake import RecordingCursors, RecordingDesk, RecordingIntake, make_ports

Polling = Callable[..., AbstractAsyncContextManager[Connector]]


@pytest.fixture
async def api() -> AsyncIterator[BotApi]:
    async with BotApi() as server:
        yield server


@pytest.fixture
def intake() -> RecordingIntake:
    return RecordingIntake()


@pytest.fixture
def cursors() -> RecordingCursors:
    return RecordingCursors()


@pytest.fixture
def desk() -> RecordingDesk:
    return RecordingDesk()


@pytest.fixture
def telegram_settings(api: BotApi) -> Callable[..., TelegramSettings]:
    def make(**changes: Any) -> TelegramSettings:
        values = {"enabled": True, "token": api.token, "api_url": api.url, "poll_timeout_s": 5.0}
        return TelegramSettings(**{**values, **changes})

    return make


@pytest.fixture
def polling(
    telegram_settings: Callable[..., TelegramSettings],
    intake: RecordingIntake,
    cursors: RecordingCursors,
    desk: RecordingDesk,
):
    """Run a polling connector for the length of a block."""

    @asynccontextmanager
    async def run(**changes: Any) -> AsyncIterator[Connector]:
        connector = build(telegram_settings(**changes), make_ports(intake, cursors=cursors, desk=desk))
        await connector.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(connector.work())
            try:
                yield connector
            finally:
                await connector.stop()

    return run
