"""Days when everything fails now and then: nothing is lost and nothing is doubled."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from uuid import uuid4

import pytest

from appeals.envelope import AppealEnvelope, ContactPoint, ContactPointKind
from appeals.errors import OknoError, TransientError
from appeals.reply import ReplyKind
from config.channel_settings import TelegramSettings
from connectors.base import OutboundMessage
from connectors.telegram import build
from okno.outside.bot_api import BotApi, IncomingFile
from tests.integration.sms.recording_intake import RecordingCursors, RecordingIntake, make_ports, serving

CITIZENS = range(1, 6)
SECRET = "s3cret"


class FlakyCursors(RecordingCursors):
    """A store that is away now and then, before or after it has kept a value."""

    def __init__(self, chance: Callable[[], bool]) -> None:
        super().__init__()
        self._chance = chance

    async def put(self, connector: str, name: str, value: str) -> None:
        if self._chance():
            raise TransientError("away before")
        await super().put(connector, name, value)
        if self._chance():
            raise TransientError("away after")


def write_a_day(api: BotApi, chance: random.Random) -> Counter[str]:
    """Let citizens write texts, files and albums; return what must come in: each text once, each file once."""
    wanted: Counter[str] = Counter()
    for at in range(40):
        person, content = chance.choice(CITIZENS), b"%%PDF-1.7\n%d" % at
        kind = chance.choice(("text", "file", "album"))
        if kind == "text":
            api.inject_message(f"текст {at}", chat_id=person)
            wanted[f"текст {at}"] += 1
        elif kind == "file":
            api.inject_message(f"файл {at}", chat_id=person, document=IncomingFile(content=content, name="a.pdf"))
            wanted.update([f"файл {at}", content.decode()])
        else:
            photos = [content + b"-%d" % part for part in range(3)]
            api.inject_album(*photos, caption=f"альбом {at}", chat_id=person)
            wanted.update([f"альбом {at}", *(photo.decode() for photo in photos)])
    return wanted


def what_came(intake: RecordingIntake) -> Counter[str]:
    """Return every text and every file that was registered."""
    # A stop in mid-album registers what has come; the parts after it are messages of their own, without words.
    came = Counter(envelope.text for envelope in intake.envelopes if envelope.text)
    came.update(
        intake.contents[attachment.sha256].decode()
        for envelope in intake.envelopes
        for attachment in envelope.attachments
    )
    return came


async def some_work(api: BotApi, intake: RecordingIntake) -> None:
    """Return after a few registrations, or when all is confirmed; not at all costs."""
    enough = intake.calls + 5
    try:
        async with asyncio.timeout(0.4):
            while intake.calls < enough and api.updates.ids:
                await asyncio.sleep(0.005)
    except TimeoutError:
        return


def spoil(api: BotApi, chance: random.Random) -> None:
    """Let the Bot API fail in every way it has."""
    for _ in range(6):
        api.fail_next("getUpdates", chance.choice((429, 500, 502, 409)), retry_after_s=0)
        api.fail_next("getFile", chance.choice((429, 500)), retry_after_s=0)
        api.fail_next("file", 502)
        api.fail_next("setWebhook", 500)


@pytest.mark.parametrize("mode", ["polling", "webhook"])
@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_lost_or_doubled(
    api: BotApi,
    telegram_settings: Callable[..., TelegramSettings],
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    seed: int,
):
    """429, 5xx, 409, a registry and a store that come and go, kills and restarts in mid-album: each message once."""
    monkeypatch.setattr("connectors.telegram.polling.FIRST_BACK_OFF_S", 0.01)
    monkeypatch.setattr("connectors.telegram.connector.FIRST_BACK_OFF_S", 0.01)
    monkeypatch.setattr("connectors.telegram.albums.FIRST_RETRY_S", 0.02)
    monkeypatch.setattr("okno.outside.bot_updates.WEBHOOK_RETRY_S", 0.01)
    chance = random.Random(seed)  # noqa: S311 - trouble that can be repeated
    troubled = True
    intake, cursors = RecordingIntake(), FlakyCursors(lambda: troubled and chance.random() < 0.1)

    def failure(_: AppealEnvelope) -> OknoError | None:
        return TransientError("no store") if troubled and chance.random() < 0.15 else None

    intake.failure = failure
    wanted = write_a_day(api, chance)
    spoil(api, chance)
    section = telegram_settings(mode=mode, webhook_secret=SECRET, album_linger_s=0.03, poll_timeout_s=0)
    for life in range(5):
        troubled = life < 4
        api.updates.set_webhook(None)
        async with serving(lambda url: build(section, make_ports(intake, cursors=cursors, public_url=url))) as (
            connector,
            _,
        ):
            working = asyncio.create_task(connector.work())
            if troubled:
                await some_work(api, intake)
                working.cancel()  # wherever it is just now
            else:
                async with asyncio.timeout(30):
                    await api.wait_until_confirmed(timeout_s=30)
                    while what_came(intake).total() < wanted.total():
                        await asyncio.sleep(0.01)
                await connector.stop()
            await asyncio.gather(working, return_exceptions=True)
    assert what_came(intake) == wanted
    assert not intake.quarantined


async def test_answers_survive_flood_control_and_outages(
    api: BotApi, telegram_settings: Callable[..., TelegramSettings]
):
    """Every answer arrives whole, in order, each part once, though half of the calls fail."""
    connector = build(telegram_settings(rating_buttons=False), make_ports(RecordingIntake()))
    await connector.start()
    chance = random.Random(7)  # noqa: S311 - trouble that can be repeated
    texts = [f"{at} " + "слово " * chance.choice((10, 900, 1_500)) for at in range(8)]
    for at, text in enumerate(texts):
        message = OutboundMessage(
            reply_id=uuid4(),
            kind=ReplyKind.ANSWER,
            appeal_number="482-719-3566",
            recipient=ContactPoint(kind=ContactPointKind.TELEGRAM, value=str(100 + at)),
            subject="",
            text=text,
            language="ru",
            message_id=f"{at}@okno",
            read_blob=_no_blob,
        )
        for _ in range(40):
            if chance.random() < 0.5:
                api.fail_next("sendMessage", chance.choice((429, 500, 502)), retry_after_s=0)
            try:
                await connector.send(message)
            except TransientError:
                continue
            break
    await connector.stop()
    for at, text in enumerate(texts):
        parts = [sent.text for sent in api.sent if sent.chat_id == 100 + at]
        assert " ".join(" ".join(parts).split()).endswith(" ".join(text.split()))
        assert " ".join(parts).split().count(str(at)) == 1


async def _no_blob(sha256: str) -> bytes:
    raise AssertionError(sha256)
