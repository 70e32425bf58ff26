"""Telegram in by polling, against the local Bot API server."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appeals.envelope import Channel, ContactPointKind
from appeals.errors import ConfigurationError, PermanentError, TransientError
from config.channel_settings import TelegramSettings
from connectors.base import HealthState
from connectors.telegram import build
from connectors.telegram.bot_client import BotClient
from connectors.telegram.files import MAX_FILE_TRIES
from connectors.telegram.receiver import UpdateReceiver
from connectors.telegram.updates import UPDATE_KINDS, RawUpdate
from okno.outside.bot_api import BotApi, IncomingFile
from tests.integration.sms.recording_intake import RecordingCursors, RecordingIntake, make_ports
from tests.integration.telegram.conftest import Polling

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 32


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_text_is_registered_with_its_bytes(api: BotApi, intake: RecordingIntake, polling: Polling):
    """One message becomes one envelope; the raw blob is the update byte for byte, unknown fields and all."""
    content = (
        b'{"update_id":7 ,  "message":{"message_id":3,"from":{"id":42,"is_bot":false,"first_name":"\\u0410\\u043d\\u043d\\u0430",'
        b'"last_name":"K","language_code":"ru"},"chat":{"id":42,"type":"private"},"date":1700000000,"text":"hi","new":[1.50]}}'
    )
    api.inject_raw(content, update_id=7)
    async with polling():
        await api.wait_until_confirmed()
    envelope = intake.only
    assert intake.raw_of(envelope) == content
    assert envelope.channel is Channel.TELEGRAM
    assert envelope.external_id == f"{api.bot_id}:42:3:1700000000"
    assert envelope.sender is not None
    assert (envelope.sender.kind, envelope.sender.value, envelope.sender.name) == (
        ContactPointKind.TELEGRAM,
        "42",
        "Анна K",
    )
    assert (envelope.text, envelope.language) == ("hi", "ru")
    assert envelope.sent_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert envelope.threading.conversation == "telegram:42"


async def test_order_within_a_chat_and_all_of_many(api: BotApi, intake: RecordingIntake, polling: Polling):
    """250 messages of 5 citizens all come in, each citizen's in order."""
    for at in range(250):
        api.inject_message(str(at), chat_id=100 + at % 5)
    async with polling():
        await api.wait_until_confirmed()
    assert len(intake.envelopes) == 250
    for chat in range(100, 105):
        texts = [
            int(envelope.text)
            for envelope in intake.envelopes
            if envelope.sender and envelope.sender.value == str(chat)
        ]
        assert texts == sorted(texts)


async def test_files_are_downloaded(api: BotApi, intake: RecordingIntake, polling: Polling):
    """A photo's largest size, a document and a voice message become attachments, typed by content."""
    api.inject_message("Вот", photo=IncomingFile(content=PNG))
    api.inject_message(document=IncomingFile(content=b"%PDF-1.7\n", name="../акт.pdf", media_type="application/pdf"))
    api.inject_message(voice=IncomingFile(content=b"OggS\x00\x02" + b"\x00" * 40, media_type="audio/ogg"))
    async with polling():
        await api.wait_until_confirmed()
    photo, document, voice = intake.envelopes
    assert (photo.text, photo.attachments[0].inline, photo.attachments[0].detected_media_type) == (
        "Вот",
        True,
        "image/png",
    )
    assert document.attachments[0].name == "акт.pdf"
    assert voice.attachments[0].name.endswith(".ogg")
    assert intake.contents[photo.attachments[0].sha256] == PNG
    assert all(len(envelope.attachments) == 1 for envelope in intake.envelopes)


async def test_place_contact_reply_and_edit(api: BotApi, intake: RecordingIntake, polling: Polling):
    """A location, a contact, an answer to a message and an edited message keep their meaning."""
    api.inject_message(location={"latitude": 59.93, "longitude": 30.31})
    api.inject_message(contact={"phone_number": "+79161234567", "first_name": "Пётр"})
    api.inject_message("Да", reply_to_message={"message_id": 9, "date": 1, "chat": {"id": 1, "type": "private"}})
    api.inject_message("Дом 6", edited=True)
    async with polling():
        await api.wait_until_confirmed()
    place, contact, answer, edit = intake.envelopes
    assert place.location is not None
    assert (place.location.latitude, place.location.longitude) == (59.93, 30.31)
    assert "+79161234567" in contact.text
    assert answer.threading.in_reply_to == ("700001:9",)
    assert (edit.text, edit.marks) == ("Дом 6", ("edited",))
    assert edit.threading.conversation == place.threading.conversation


async def test_greeting_that_fails_holds_nothing_up(api: BotApi, intake: RecordingIntake, polling: Polling):
    """A citizen who has blocked the bot already does not stop the channel."""
    api.blocked.add(5)
    api.inject_message("/start", chat_id=5)
    api.inject_message("Вода")
    async with polling():
        await api.wait_until_confirmed()
    assert intake.only.text == "Вода"


async def test_offset_waits_for_the_registry(
    api: BotApi, intake: RecordingIntake, cursors: RecordingCursors, polling: Polling
):
    """While the intake is down nothing is confirmed and the cursor stays; then everything comes in once (P1, P2)."""
    intake.down = TransientError("no store")
    first = api.inject_message("раз")
    api.inject_message("два", chat_id=6)
    async with polling() as connector:
        await until(lambda: intake.calls >= 2)
        await until(lambda: connector.health().state is HealthState.DOWN)
        assert api.updates.ids[0] == first
        assert not cursors.values
        intake.down = None
        await api.wait_until_confirmed()
        await until(lambda: connector.health().state is HealthState.UP)
    assert sorted(envelope.text for envelope in intake.envelopes) == ["два", "раз"]
    ((_, stored),) = cursors.values.items()
    assert int(stored.split()[0]) == first + 2


async def test_failure_in_one_chat_keeps_its_updates_only(
    api: BotApi, intake: RecordingIntake, cursors: RecordingCursors, polling: Polling
):
    """The offset stops at the first update that is not kept, though later ones of other chats are."""
    broken = True
    intake.failure = lambda envelope: TransientError("one") if broken and envelope.text == "2" else None
    ids = [api.inject_message(str(at), chat_id=at) for at in (1, 2, 3)]
    async with polling():
        await until(lambda: len(intake.envelopes) == 2 and bool(cursors.values))
        assert api.updates.ids[-2:] == ids[1:]
        ((_, stored),) = cursors.values.items()
        assert int(stored.split()[0]) == ids[1]
        broken = False
        await api.wait_until_confirmed()
    assert sorted(envelope.text for envelope in intake.envelopes) == ["1", "2", "3"]


@pytest.mark.parametrize(
    "update",
    [
        {"message": {"text": "no chat"}},
        {"message": 5},
        {"message": {"message_id": 1, "chat": {"id": "x"}, "date": 1}},
        {"message": {"message_id": 1, "chat": {"id": 1}, "date": 10**30, "text": "x"}},
        {"message": {"message_id": 1, "chat": {"id": 1}, "date": 1, "text": {"a": 1}}},
        {"message": {"message_id": 1, "chat": {"id": 1}, "date": 1, "location": {"latitude": 500, "longitude": 0}}},
    ],
)
async def test_bad_update_is_quarantined_and_passed(
    api: BotApi, intake: RecordingIntake, polling: Polling, update: dict[str, Any]
):
    """An update that cannot be read is kept with its bytes and reason; the next one comes in (P4)."""
    api.inject_update(dict(update))
    api.inject_message("Вода")
    async with polling():
        await api.wait_until_confirmed()
    ((item, content),) = intake.quarantined
    assert item.stage == "decode"
    assert json.loads(content)["message"] == update["message"]
    assert intake.only.text == "Вода"


async def test_bug_of_ours_costs_one_update(
    api: BotApi, intake: RecordingIntake, polling: Polling, monkeypatch: pytest.MonkeyPatch
):
    """An update that brings out a fault of ours is kept with its bytes; the next one comes in (P4)."""

    async def fail(*_: object, **__: object) -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr("connectors.telegram.commands.Commands._answer", fail)
    api.inject_message("/help")
    api.inject_message("Вода")
    async with polling():
        await api.wait_until_confirmed()
    ((item, content),) = intake.quarantined
    assert item.reason == "unexpected RuntimeError: a bug"
    assert b"/help" in content
    assert intake.only.text == "Вода"


async def test_message_the_intake_refuses_is_quarantined_and_can_be_retried(
    api: BotApi, intake: RecordingIntake, polling: Polling
):
    """A permanent failure of registration keeps the bytes; `retry` registers them later."""
    intake.failure = lambda envelope: PermanentError("too odd") if envelope.text == "x" else None
    api.inject_message("x")
    async with polling() as connector:
        await api.wait_until_confirmed()
        ((item, content),) = intake.quarantined
        assert (item.stage, item.reason) == ("register", "too odd")
        intake.failure = lambda _: None
        await connector.retry(content, item.context)
        with pytest.raises(PermanentError):
            await connector.retry(b"{}", {})
    assert intake.only.text == "x"


@pytest.mark.parametrize(
    "update",
    [
        {"channel_post": {"message_id": 1, "chat": {"id": -1, "type": "channel"}, "date": 1, "text": "x"}},
        {"message": {"message_id": 1, "chat": {"id": -1, "type": "channel"}, "date": 1, "text": "x"}},
        {"inline_query": {"id": "1"}},
        {"message": {"message_id": 1, "chat": {"id": 1, "type": "private"}, "date": 1, "pinned_message": {}}},
        {},
    ],
)
async def test_what_no_citizen_wrote_is_passed_over(
    api: BotApi, intake: RecordingIntake, polling: Polling, update: dict[str, Any]
):
    """Channel posts, queries and service messages make neither appeals nor quarantine."""
    api.inject_update(dict(update))
    async with polling():
        await api.wait_until_confirmed()
    assert not intake.envelopes
    assert not intake.quarantined


async def test_bots_are_automatic_and_groups_belong_to_the_writer(
    api: BotApi, intake: RecordingIntake, polling: Polling
):
    """In a group only what names the bot is taken, each writer has a talk of their own, and bots are automatic."""
    group = {"id": -100, "type": "supergroup"}
    for user, is_bot in ((8, False), (9, True)):
        message = {
            "message_id": user,
            "from": {"id": user, "is_bot": is_bot, "first_name": "N"},
            "chat": group,
            "date": 1,
            "text": f"Яма, @{api.username.upper()}" if user == 8 else "/report@okno_local_bot яма",
        }
        api.inject_update({"message": message})
    api.inject_update({"message": message | {"message_id": 10, "text": "не вам"}})
    async with polling():
        await api.wait_until_confirmed()
    person, bot = sorted(intake.envelopes, key=lambda envelope: envelope.external_id)
    assert (person.automatic, bot.automatic) == (False, True)
    assert person.threading.conversation == "telegram:8"
    assert person.sender is not None
    assert person.sender.value == "8"


async def test_strings_of_the_envelope_are_clean(api: BotApi, intake: RecordingIntake, polling: Polling):
    """NUL and lone surrogates do not reach the envelope; the bytes keep them."""
    content = (
        b'{"update_id":9,"message":{"message_id":1,"from":{"id":1,"is_bot":false,"first_name":"A\\u0000\\ud800"},'
        b'"chat":{"id":1,"type":"private"},"date":1,"text":"a\\u0000b\\udfff"}}'
    )
    api.inject_raw(content, update_id=9)
    async with polling():
        await api.wait_until_confirmed()
    assert intake.only.text == "ab\ufffd"
    assert intake.raw_of(intake.only) == content


async def test_file_that_is_gone_never_costs_the_message(api: BotApi, intake: RecordingIntake, polling: Polling):
    """Too large, unknown or vanished files are noted in the text."""
    api.inject_message("А", document=IncomingFile(content=b"x" * 2000, name="a.bin"))
    person = {"id": 1, "first_name": "N"}
    message = {"message_id": 1, "chat": person, "from": person, "date": 1, "document": {"file_id": "unknown"}}
    api.inject_update({"message": message})
    async with polling(max_file_bytes=1000):
        await api.wait_until_confirmed()
    large, unknown = intake.envelopes
    assert large.text.startswith("А\n[файл не получен / file not received: a.bin: larger than 1000 bytes")
    assert "rong file_id" in unknown.text


async def test_vanished_file_is_noted(api: BotApi, intake: RecordingIntake, polling: Polling):
    """A 404 at the download is about the file, not about the token."""
    api.fail_next("file", 404)
    api.inject_message("А", document=IncomingFile(content=b"x", name="a.bin"))
    async with polling():
        await api.wait_until_confirmed()
    assert "the file is gone" in intake.only.text


async def test_file_server_that_recovers(api: BotApi, intake: RecordingIntake, polling: Polling):
    """A 502 or 429 at the download makes the update come again, then it has its file."""
    api.fail_next("file", 502)
    api.fail_next("getFile", 429, retry_after_s=1)
    api.inject_message("А", document=IncomingFile(content=b"x", name="a.bin"))
    async with polling():
        await api.wait_until_confirmed()
    assert len(intake.only.attachments) == 1


async def test_file_that_fails_for_ever_does_not_hold_up_the_bot(api: BotApi, intake: RecordingIntake):
    """After a bounded number of tries the message goes on without its file (P4)."""
    api.fail_next("getFile", 500, times=100)
    api.inject_message("А", document=IncomingFile(content=b"x", name="a.bin"))
    (content,) = await api.updates.poll(offset=0, limit=1, timeout_s=1)
    client = BotClient(api.token, api_url=api.url)
    await client.open()
    ports = make_ports(intake)
    receiver = UpdateReceiver(
        client, ports, connector="telegram", bot_id=1, settings=TelegramSettings(max_file_bytes=1000)
    )
    update = RawUpdate(content=content, update_id=1, chat="1")
    for _ in range(MAX_FILE_TRIES - 1):
        with pytest.raises(TransientError):
            await receiver.receive(update, method="network")
    await receiver.receive(update, method="network")
    await client.close()
    assert "file not received" in intake.only.text


@pytest.mark.parametrize("status", [409, 429, 500, 502, 403, 400])
async def test_polling_outlives_refusals(api: BotApi, intake: RecordingIntake, polling: Polling, status: int):
    """Conflict, flood control and server errors are waited out; nothing is lost."""
    api.fail_next("getUpdates", status, retry_after_s=1 if status == 429 else None)
    api.inject_message("Вода")
    async with polling() as connector:
        await until(lambda: bool(connector.health().detail))
        await api.wait_until_confirmed()
    assert intake.only.text == "Вода"


async def test_polling_outlives_an_outage(api: BotApi, intake: RecordingIntake, polling: Polling):
    """The server goes away in mid-poll and comes back; messages of the meantime come in once."""
    api.inject_message("до")
    async with polling() as connector:
        await api.wait_until_confirmed()
        await api.stop()
        await until(lambda: connector.health().state is HealthState.DOWN)
        api.inject_message("во время")
        await api.start()
        await api.wait_until_confirmed()
        await until(lambda: connector.health().state is HealthState.UP)
    assert [envelope.text for envelope in intake.envelopes] == ["до", "во время"]


async def test_start_without_a_server_and_with_a_webhook_left_over(
    api: BotApi, intake: RecordingIntake, polling: Polling
):
    """A server that is down at the start is waited for; an old webhook is removed without losing updates."""
    api.fail_next("getMe", 502)
    api.fail_next("deleteWebhook", 502)
    api.inject_message("Вода")
    async with polling():
        await api.wait_until_confirmed()
    assert intake.only.text == "Вода"
    assert api.updates.webhook is None


async def test_refused_token_is_a_configuration_error(polling: Polling):
    """A wrong token stops the start, and the message does not repeat it."""
    with pytest.raises(ConfigurationError) as caught:
        async with polling(token="100200300:wrong-token"):
            pass
    assert "wrong-token" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"token": "nonsense"}, {"token": ""}, {"mode": "webhook"}, {"mode": "webhook", "webhook_secret": "a b"}]
)
async def test_unusable_settings_are_named(
    api: BotApi, telegram_settings: Callable[..., TelegramSettings], changes: dict[str, str]
):
    """Faults are found before anything is asked of Telegram."""
    with pytest.raises(ConfigurationError, match="telegram"):
        build(telegram_settings(**changes), make_ports(RecordingIntake()))
    assert not api.calls


async def test_restart_goes_on_where_it_was(
    api: BotApi, intake: RecordingIntake, cursors: RecordingCursors, polling: Polling
):
    """A second run begins at the stored offset and registers only what is new."""
    api.inject_message("раз")
    async with polling():
        await until(lambda: bool(cursors.values))
    api.inject_message("два")
    async with polling():
        await api.wait_until_confirmed()
    assert [envelope.text for envelope in intake.envelopes] == ["раз", "два"]


async def test_stale_offset_is_not_trusted(
    api: BotApi, intake: RecordingIntake, cursors: RecordingCursors, polling: Polling
):
    """After a week ids may start lower: an old offset must not confirm them unseen."""
    week_ago = datetime.now(UTC) - timedelta(days=8)
    cursors.values["telegram", f"offset:{api.bot_id}"] = f"2000000000 {week_ago.isoformat()}"
    first = api.inject_message("после недели")
    async with polling():
        await api.wait_until_confirmed()
    assert intake.only.text == "после недели"
    assert cursors.values["telegram", f"offset:{api.bot_id}"].startswith(f"{first + 1} ")


async def test_health_is_up_soon_after_the_start(polling: Polling):
    """A long poll without updates does not leave the connector down until it ends."""
    async with asyncio.timeout(30), polling(poll_timeout_s=3600.0) as connector:
        assert connector.health().state is HealthState.DOWN
        await until(lambda: connector.health().state is HealthState.UP)


async def test_stop_ends_a_long_poll_at_once(api: BotApi, polling: Polling):
    """`stop` breaks the wait off and leaves nothing running."""
    async with asyncio.timeout(5), polling(poll_timeout_s=60.0) as connector:
        await until(lambda: api.calls.get("getupdates", 0) > 0)
        await connector.stop()
        assert connector.health().state is HealthState.STOPPED


async def test_stop_finishes_the_batch_in_hand(
    api: BotApi, intake: RecordingIntake, cursors: RecordingCursors, polling: Polling
):
    """Updates being registered when `stop` comes are registered, and the offset is kept past them."""
    intake.gate.clear()
    first = api.inject_message("раз")
    async with polling() as connector:
        await until(lambda: intake.calls == 1)
        stopping = asyncio.create_task(connector.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        intake.gate.set()
        await stopping
    assert intake.only.text == "раз"
    ((_, stored),) = cursors.values.items()
    assert int(stored.split()[0]) == first + 1


async def test_cancelled_work_loses_nothing(
    api: BotApi,
    intake: RecordingIntake,
    cursors: RecordingCursors,
    polling: Polling,
    telegram_settings: Callable[..., TelegramSettings],
):
    """Work that is cancelled in the middle of a batch leaves the offset; the next run takes the update in."""
    intake.gate.clear()
    api.inject_message("раз")
    connector = build(telegram_settings(), make_ports(intake, cursors=cursors))
    await connector.start()
    working = asyncio.create_task(connector.work())
    await until(lambda: intake.calls == 1)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await connector.stop()
    assert not cursors.values
    intake.gate.set()
    async with polling():
        await api.wait_until_confirmed()
    assert intake.only.text == "раз"


async def test_any_json_is_kept_or_passed(api: BotApi, intake: RecordingIntake, polling: Polling):
    """Whatever JSON an update of any kind holds, the offset moves past it and nothing escapes."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10)
    keys = st.sampled_from(
        [
            "message_id",
            "message_ids",
            "id",
            "chat",
            "from",
            "date",
            "text",
            "photo",
            "document",
            "file_id",
            "type",
            "location",
            "data",
            "message",
            "media_group_id",
            "business_connection_id",
            "reply_to_message",
        ]
    )
    values = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6), max_leaves=12
    )
    drawn: list[Any] = []

    @settings(max_examples=80, database=None, suppress_health_check=list(HealthCheck))
    @given(values)
    def draw(value: Any) -> None:
        drawn.append(value)

    draw()
    for at, value in enumerate(drawn):
        api.inject_update({UPDATE_KINDS[at % len(UPDATE_KINDS)]: value})
    async with polling():
        await api.wait_until_confirmed()
    assert intake.quarantined
