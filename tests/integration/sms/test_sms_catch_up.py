"""Messages whose hook call was lost: asked for at Twilio, registered once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from appeals.errors import TransientError
from config.channel_settings import SmsSettings
from connectors.sms import build
from okno.outside.twilio_api import MediaFile, TwilioApi
from tests.integration.sms.recording_intake import RecordingCursors, RecordingIntake, make_ports, serving

CITIZEN = "+79161234567"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 32


@pytest.fixture
async def twilio() -> AsyncIterator[TwilioApi]:
    async with TwilioApi() as server:
        yield server


@pytest.fixture
def intake() -> RecordingIntake:
    return RecordingIntake()


@pytest.fixture
def cursors() -> RecordingCursors:
    cursors = RecordingCursors()
    cursors.values["sms", "caught_up_to"] = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    return cursors


async def run_once(twilio: TwilioApi, intake: RecordingIntake, cursors: RecordingCursors, *, posts: int = 0) -> None:
    """Run the connector until its first round of catching up is over."""
    section = SmsSettings(
        account_sid=twilio.account_sid,
        auth_token=twilio.auth_token,
        number=twilio.number,
        api_url=twilio.url,
        media_hosts=("127.0.0.1",),
    )
    before = dict(cursors.values)
    async with serving(lambda url: build(section, make_ports(intake, cursors=cursors, public_url=url))) as (sms, url):
        for _ in range(posts):
            await twilio.post_incoming(f"{url}/hooks/twilio/sms", sender=CITIZEN, body="по крючку")
        working = asyncio.create_task(sms.work())
        async with asyncio.timeout(30):
            while cursors.values == before and not intake.down:
                await asyncio.sleep(0.01)
            while intake.down and not intake.calls:
                await asyncio.sleep(0.01)
        await sms.stop()
        await working


async def test_missed_messages_come_in_with_their_files(
    twilio: TwilioApi, intake: RecordingIntake, cursors: RecordingCursors
):
    """What Twilio took while we were down is registered in order, files included, under its own SID."""
    first = twilio.incoming_form(sender=CITIZEN, body="Нет воды")
    twilio.incoming_form(sender=CITIZEN, body="Фото", media=[MediaFile(content=PNG, media_type="image/png")])
    await run_once(twilio, intake, cursors)
    text, photo = intake.envelopes
    assert (text.external_id, text.text) == (first["MessageSid"], "Нет воды")
    assert text.threading.conversation == f"sms:{twilio.number}:{CITIZEN}"
    assert intake.contents[photo.attachments[0].sha256] == PNG


async def test_nothing_is_registered_twice(twilio: TwilioApi, intake: RecordingIntake, cursors: RecordingCursors):
    """Messages that came by their hook, and those of an earlier round, stay one registration each (P2)."""
    twilio.incoming_form(sender=CITIZEN, body="пропущено")
    await run_once(twilio, intake, cursors, posts=2)
    assert intake.calls == 3
    await run_once(twilio, intake, cursors)
    assert len(intake.envelopes) == 3


async def test_first_start_imports_no_history(twilio: TwilioApi, intake: RecordingIntake):
    """A number that was in use before Okno does not flood the office with its past."""
    twilio.incoming_form(sender=CITIZEN, body="давно")
    cursors = RecordingCursors()
    await run_once(twilio, intake, cursors)
    assert not intake.envelopes
    assert cursors.values


async def test_cursor_waits_for_the_registry(twilio: TwilioApi, intake: RecordingIntake, cursors: RecordingCursors):
    """While the intake is down the cursor stays, and the next round brings the message."""
    twilio.incoming_form(sender=CITIZEN, body="Вода")
    before = dict(cursors.values)
    intake.down = TransientError("no store")
    await run_once(twilio, intake, cursors)
    assert cursors.values == before
    intake.down = None
    await run_once(twilio, intake, cursors)
    assert intake.only.text == "Вода"
