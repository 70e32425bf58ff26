"""Each kind of message a citizen can send, as an agent reads it; groups, connected accounts, conflicts."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from connectors.base import HealthState
from okno.outside.bot_api import BotApi, IncomingFile
from tests.integration.sms.recording_intake import RecordingIntake
from tests.integration.telegram.conftest import Polling

ANNA = 700_001
PERSON = {"id": ANNA, "is_bot": False, "first_name": "Анна", "language_code": "ru"}
OWNER = {"id": 900_001, "is_bot": False, "first_name": "Пресс-служба"}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("fields", "text", "marks"),
    [
        (
            {"poll": {"question": "Когда дадут воду?", "options": [{"text": "Сегодня"}, {"text": "Никогда"}]}},
            "[опрос / poll: Когда дадут воду? — Сегодня; Никогда]",
            (),
        ),
        ({"dice": {"emoji": "🎲", "value": 6}}, "[🎲 6]", ()),
        (
            {"checklist": {"title": "Двор", "tasks": [{"id": 1, "text": "Яма"}, {"id": 2, "text": "Свет"}]}},
            "[список дел / checklist: Двор — Яма; Свет]",
            (),
        ),
        ({"story": {"id": 1}}, "[сообщение другого вида / a message of another kind: story]", ()),
        ({"sticker": {"file_id": "x", "emoji": "😡"}}, "[стикер / sticker 😡]", ()),
        (
            {"venue": {"location": {"latitude": 1, "longitude": 2}, "title": "Парк", "address": "Мира, 5"}},
            "[место / place: Парк, Мира, 5]",
            (),
        ),
        (
            {
                "text": "Слухи",
                "forward_origin": {"type": "channel", "chat": {"id": -1, "type": "channel", "title": "ЖКХ"}},
            },
            "[переслано от / forwarded from: ЖКХ]\nСлухи",
            ("forwarded",),
        ),
        (
            {"text": "Слухи", "forward_origin": {"type": "hidden_user", "sender_user_name": "Кто-то"}},
            "[переслано от / forwarded from: Кто-то]\nСлухи",
            ("forwarded",),
        ),
        (
            {"text": "Слухи", "forward_origin": {"type": "user", "sender_user": {"id": 3, "first_name": "Пётр"}}},
            "[переслано от / forwarded from: Пётр]\nСлухи",
            ("forwarded",),
        ),
    ],
)
async def test_what_has_no_words_is_said_in_words(
    api: BotApi, intake: RecordingIntake, polling: Polling, fields: dict[str, Any], text: str, marks: tuple[str, ...]
):
    """Polls, dice, forwards and unknown kinds are readable; nothing a citizen sends becomes an empty appeal."""
    api.inject_message(**fields)
    async with polling():
        await api.wait_until_confirmed()
    assert (intake.only.clean_text, intake.only.marks) == (text, marks)


@pytest.mark.parametrize(
    ("contact", "phone"),
    [
        ({"phone_number": "79161234567", "first_name": "Анна", "user_id": ANNA}, "+79161234567"),
        ({"phone_number": "+79161234567", "first_name": "Анна", "user_id": ANNA}, "+79161234567"),
        ({"phone_number": "79161234567", "first_name": "Сосед", "user_id": 5}, None),
        ({"phone_number": "79161234567", "first_name": "Сосед"}, None),
        ({"phone_number": "112", "first_name": "Анна", "user_id": ANNA}, None),
    ],
)
async def test_only_ones_own_number_is_a_field(
    api: BotApi, intake: RecordingIntake, polling: Polling, contact: dict[str, Any], phone: str | None
):
    """A shared contact is text; the sender's own telephone number is a field, in E.164."""
    api.inject_message(contact=contact)
    async with polling():
        await api.wait_until_confirmed()
    assert contact["phone_number"] in intake.only.text
    assert intake.only.fields.get("phone") == phone


@pytest.mark.parametrize("kind", ["audio", "video", "video_note", "animation"])
async def test_every_kind_of_file_is_fetched(api: BotApi, intake: RecordingIntake, polling: Polling, kind: str):
    """Sound and pictures in motion come as attachments, too."""
    reference = api._file(IncomingFile(content=b"ID3" + b"\x00" * 40))
    api.inject_message(**{kind: reference})
    async with polling():
        await api.wait_until_confirmed()
    (attachment,) = intake.only.attachments
    assert intake.contents[attachment.sha256].startswith(b"ID3")


async def test_edits_name_what_they_change(api: BotApi, intake: RecordingIntake, polling: Polling):
    """An edit, and an edit of an edit, revise the first message and are kept each."""
    api.inject_message("Дом 5")
    first = json.loads(api.updates._waiting[0].content)["message"]
    for at, text in enumerate(("Дом 6", "Дом 7"), start=1):
        api.inject_update({"edited_message": first | {"text": text, "edit_date": first["date"] + at}})
    async with polling():
        await api.wait_until_confirmed()
    original, *edits = intake.envelopes
    assert [edit.text for edit in edits] == ["Дом 6", "Дом 7"]
    assert {edit.revises for edit in edits} == {original.external_id}
    assert all(edit.marks == ("edited",) for edit in edits)
    assert len({envelope.external_id for envelope in intake.envelopes}) == 3


async def test_live_location_is_registered_once(api: BotApi, intake: RecordingIntake, polling: Polling):
    """The moves of a shared live location are no messages; its end is an edit."""
    place = {"latitude": 59.93, "longitude": 30.31}
    api.inject_message(location=place | {"live_period": 900})
    api.inject_message(location=place | {"live_period": 900}, edited=True)
    api.inject_message(location=place, edited=True)
    async with polling():
        await api.wait_until_confirmed()
    assert [envelope.marks for envelope in intake.envelopes] == [(), ("edited",)]


async def test_group_is_told_where_the_answer_comes(api: BotApi, intake: RecordingIntake, polling: Polling):
    """What names the bot is registered, and the group is told to open a private chat; commands work only there."""
    chat = {"id": -100, "type": "supergroup", "title": "Двор"}
    message = {"from": PERSON, "chat": chat, "date": 1}
    for number, text in enumerate(("привет всем", "@okno_local_bot нет воды", "/status@okno_local_bot", "/help@other")):
        api.inject_update({"message": message | {"message_id": number + 1, "text": text}})
    async with polling():
        await api.wait_until_confirmed()
        registered, command = await api.wait_for_sent(count=2)
    assert intake.only.text == "@okno_local_bot нет воды"
    assert (registered.chat_id, command.chat_id) == (-100, -100)
    assert "https://t.me/okno_local_bot" in registered.text
    assert command.text.startswith("Команды работают в личном чате")


def business(number: int, person: dict[str, Any], text: str) -> dict[str, Any]:
    chat = {"id": ANNA, "type": "private", "first_name": "Анна"}
    message = {"message_id": number, "from": person, "chat": chat, "date": 1_700_000_000 + number, "text": text}
    return message | {"business_connection_id": "BC1"}


async def test_connected_account(api: BotApi, intake: RecordingIntake, polling: Polling):
    """Messages to an account that has connected the bot: edits and deletions name theirs; the owner's are not ours."""
    api.inject_update({"business_message": business(5, PERSON, "Нет воды")})
    api.inject_update({"business_message": business(6, OWNER, "Разберёмся")})
    api.inject_update({"business_message": business(7, PERSON, "/status")})
    api.inject_update(
        {"edited_business_message": business(5, PERSON, "Нет горячей воды") | {"edit_date": 1_700_000_099}}
    )
    deleted = {"business_connection_id": "BC1", "chat": {"id": ANNA, "type": "private"}, "message_ids": [5, 7]}
    api.inject_update({"deleted_business_messages": deleted})
    api.inject_update({"deleted_business_messages": deleted | {"chat": {"id": 4, "type": "private"}}})
    async with polling():
        await api.wait_until_confirmed()
    first, command, edit, *withdrawn = intake.envelopes
    assert (first.text, command.text, edit.text) == ("Нет воды", "/status", "Нет горячей воды")
    assert edit.revises == first.external_id
    assert [envelope.revises for envelope in withdrawn] == [first.external_id, command.external_id]
    assert all(envelope.withdrawn and envelope.automatic and envelope.marks == ("withdrawn",) for envelope in withdrawn)
    assert not api.sent


@pytest.mark.parametrize("status", [409])
async def test_second_poller_is_named_in_health(api: BotApi, intake: RecordingIntake, polling: Polling, status: int):
    """409 says what to do, the webhook is taken off again, and polling goes on when the other is gone."""
    async with polling() as connector:
        await until(lambda: connector.health().state is HealthState.UP)
        before = api.calls["deletewebhook"]
        api.fail_next("getUpdates", status, times=2, description="Conflict: terminated by other getUpdates request")
        api.inject_message("Вода")
        await until(lambda: "one process" in connector.health().detail)
        assert connector.health().state is HealthState.DOWN
        await api.wait_until_confirmed()
        await until(lambda: connector.health().state is HealthState.UP)
    assert api.calls["deletewebhook"] > before
    assert intake.only.text == "Вода"
