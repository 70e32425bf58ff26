"""What each of the 17 real updates of 2017 must yield; tests/data/telegram/SOURCE.txt says where they are from."""

import asyncio
from pathlib import Path

import pytest

from okno.outside.bot_api import BotApi
from tests.integration.sms.recording_intake import RecordingIntake
from tests.integration.telegram.conftest import Polling

SAMPLES = Path(__file__).parents[2] / "data" / "telegram"
GONE = "[файл не получен / file not received: "  # the files of 2017 are not on our server

YIELDS = {  # file -> (the text, or how it begins, marks)
    "edited_message": ("hi there (edited)", ("edited",)),
    "forwarded_message": ("[переслано от / forwarded from: Name]\nmessage text", ("forwarded",)),
    "message": ("Hi, world!", ()),
    "message_with_audio": (f"{GONE}audio-12345.mp3: ", ("file_missing",)),
    "message_with_document": ("doc description\n" + GONE, ("file_missing",)),
    "message_with_game": ("[игра / game: Karate Kido]", ()),
    "message_with_location": ("[место / place: 55.693416, 37.624605]", ()),
    "message_with_photo": (f"photo description\n{GONE}photo-12345.jpg: ", ("file_missing",)),
    "message_with_sticker": ("[стикер / sticker 🛠]", ()),
    "message_with_video": (f"description\n{GONE}video-12345.mp4: ", ("file_missing",)),
    "message_with_voice": (f"{GONE}voice-12345.ogg: ", ("file_missing",)),
    "reply_message": ("> Quoted message\nReply to quoted message", ()),
}
PASSED_OVER = ("message_with_successful_payment", "pre_checkout_query", "shipping_query")  # nobody wrote them
QUARANTINED = ("inline_query", "message_with_invoice")  # no updates: a bare query and a bare message


def inject(api: BotApi, name: str) -> bytes:
    content = (SAMPLES / f"{name}.json").read_bytes()
    api.inject_raw(content, update_id=1)
    return content


def test_every_sample_has_its_line():
    """No file of the folder is left out of the table."""
    assert {path.stem for path in SAMPLES.glob("*.json")} == {*YIELDS, *PASSED_OVER, *QUARANTINED}


@pytest.mark.parametrize("name", YIELDS)
async def test_message(api: BotApi, intake: RecordingIntake, polling: Polling, name: str):
    """Each is registered with its words and marks, and its bytes as they came."""
    content = inject(api, name)
    async with polling():
        await api.wait_until_confirmed()
    text, marks = YIELDS[name]
    assert intake.only.text.startswith(text)
    assert intake.only.marks == marks
    assert intake.raw_of(intake.only).split() == content.split()


@pytest.mark.parametrize("name", PASSED_OVER)
async def test_what_nobody_wrote(api: BotApi, intake: RecordingIntake, polling: Polling, name: str):
    """Payments are neither appeals nor faults."""
    inject(api, name)
    async with polling():
        await api.wait_until_confirmed()
    assert not intake.envelopes
    assert not intake.quarantined


@pytest.mark.parametrize("name", QUARANTINED)
async def test_what_is_no_update(api: BotApi, intake: RecordingIntake, polling: Polling, name: str):
    """It is kept with its bytes; without an id it cannot be confirmed, so health says so and the bot slows down."""
    content = inject(api, name)
    async with polling() as connector, asyncio.timeout(30):
        while "without an id" not in connector.health().detail:
            await asyncio.sleep(0.01)
    assert len(intake.quarantined) <= 2
    item, kept = intake.quarantined[0]
    assert "update_id" in item.reason
    assert kept.split() == content.split()
