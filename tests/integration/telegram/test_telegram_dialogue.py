"""What the bot says by itself: commands, language, consent, buttons."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from appeals.appeal import AppealState
from appeals.envelope import ContactPoint, ContactPointKind
from appeals.errors import PermanentError, TransientError
from appeals.reply import ReplyKind
from connectors.base import Connector, OutboundMessage
from okno.outside.bot_api import BotApi, SentMessage
from tests.integration.sms.recording_intake import RecordingCursors, RecordingDesk, RecordingIntake
from tests.integration.telegram.conftest import Polling

ANNA, BORIS = 700_001, 700_002
NUMBER = "482-719-3566"  # with its check digit
CONSENT = {"ru": "Согласие на обработку данных", "en": "Consent to data processing"}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def no_blob(sha256: str) -> bytes:
    raise AssertionError(sha256)


async def send(connector: Connector, api: BotApi, kind: ReplyKind, text: str = "Готово") -> SentMessage:
    """Send a reply of ours to Anna; return it as the server took it."""
    recipient = ContactPoint(kind=ContactPointKind.TELEGRAM, value=str(ANNA))
    message = OutboundMessage(
        reply_id=uuid4(),
        kind=kind,
        appeal_number=NUMBER,
        recipient=recipient,
        subject="",
        text=text,
        language="ru",
        message_id=f"{uuid4()}@okno",
        read_blob=no_blob,
    )
    await connector.send(message)
    return api.sent[-1]


def labels(api: BotApi, sent: SentMessage) -> list[str]:
    """Return what the buttons under a message say now."""
    rows = api.keyboards.get((sent.chat_id, sent.message_id), sent.keyboard)
    return [button["text"] for row in rows for button in row]


# ---- commands
async def test_commands_are_shown_in_both_languages(api: BotApi, polling: Polling):
    """Telegram learns them at the start, and in the office's language for everybody else."""
    async with polling():
        await until(lambda: set(api.commands) == {"", "ru", "en"})
    assert api.commands[""] == api.commands["ru"]
    assert [entry["command"] for entry in api.commands["en"]] == ["start", "status", "new", "help"]


async def test_start_greets_in_both_languages_until_one_is_chosen(
    api: BotApi, intake: RecordingIntake, polling: Polling
):
    """/start makes no appeal; the chosen language is kept over a restart and used for everything after."""
    api.inject_message("/start payload", chat_id=ANNA)
    async with polling():
        (greeting,) = await api.wait_for_sent()
        assert "Здравствуйте" in greeting.text
        assert "Hello" in greeting.text
        query = api.inject_press(greeting, greeting.button("English"))
        await until(lambda: query in api.press_answers)
        await until(lambda: "✓ English" in labels(api, greeting))
    async with polling():
        api.inject_message("/help", chat_id=ANNA)
        _, help_text = await api.wait_for_sent(count=2)
        api.inject_message("Leak", chat_id=ANNA)
        await until(lambda: bool(intake.envelopes))
    assert "begin a new appeal" in help_text.text
    assert intake.only.language == "en"


async def test_status_tells_of_ones_own_appeals_alone(
    api: BotApi, intake: RecordingIntake, desk: RecordingDesk, polling: Polling
):
    """Without a number all open ones; with one that appeal; another's number is no number of mine."""
    desk.add(str(ANNA), NUMBER)
    desk.add(str(ANNA), "100-000-0005", AppealState.CLOSED)
    texts = ("/status", f"/status {NUMBER}", "/status 100-000-0005", "/status", f"/status {NUMBER}")
    async with polling():
        for text, person in zip(texts, (ANNA, ANNA, ANNA, BORIS, BORIS), strict=True):
            api.inject_message(text, chat_id=person)
            await api.wait_until_confirmed()
        answers = await api.wait_for_sent(count=5)
    first, named, closed, none, foreign = (sent.text for sent in answers)
    assert first == named == f"№ {NUMBER}: ждёт специалиста. Нет воды\nОтвет не позднее 22.12.2026."
    assert closed == "№ 100-000-0005: закрыто. Нет воды"
    assert none == "Открытых обращений нет."
    assert foreign.startswith("Обращения с таким номером у вас нет")
    assert not intake.envelopes


async def test_status_while_the_registry_is_away(api: BotApi, desk: RecordingDesk, polling: Polling):
    """The citizen is asked to come again, and the channel goes on."""
    desk.down = TransientError("no store")
    api.inject_message("/status")
    async with polling():
        (answer,) = await api.wait_for_sent()
        await api.wait_until_confirmed()
    assert answer.text.startswith("Сейчас узнать не получилось")


async def test_new_begins_another_talk(api: BotApi, intake: RecordingIntake, polling: Polling):
    """After /new messages have a talk of their own, also after a restart; words after it are its first message."""
    async with polling():
        for text in ("Вода", "/new", "Свет", "Ещё свет"):
            api.inject_message(text)
        await api.wait_until_confirmed()
    async with polling():
        for text in ("И снова свет", "/new Дорога", "Яма"):
            api.inject_message(text)
        await api.wait_until_confirmed()
    talks: dict[str | None, list[str]] = {}
    for envelope in intake.envelopes:
        talks.setdefault(envelope.threading.conversation, []).append(envelope.text)
    assert list(talks.values()) == [["Вода"], ["Свет", "Ещё свет", "И снова свет"], ["/new Дорога", "Яма"]]
    assert [sent.text for sent in api.sent] == ["Следующее сообщение откроет новое обращение."]


async def test_new_that_cannot_be_kept_comes_again(
    api: BotApi, intake: RecordingIntake, cursors: RecordingCursors, polling: Polling
):
    """/new is confirmed only once it is committed."""
    cursors.down = TransientError("no store")
    api.inject_message("/new")
    api.inject_message("Свет")
    async with polling() as connector:
        await until(lambda: "no store" in connector.health().detail)
        cursors.down = None
        await api.wait_until_confirmed()
    assert intake.only.threading.conversation != f"telegram:{ANNA}"


@pytest.mark.parametrize("text", ["/help нет воды", "/авария на Мира, 5", "/avaria на Мира, 5", "/"])
async def test_words_behind_a_slash_are_registered(api: BotApi, intake: RecordingIntake, polling: Polling, text: str):
    """Whatever may be an appeal is one, though it begins like a command."""
    api.inject_message(text)
    async with polling():
        await api.wait_until_confirmed()
    assert intake.only.text == text


async def test_commands_in_a_row_hold_nobody_up(api: BotApi, intake: RecordingIntake, polling: Polling):
    """Who sends forty commands at once gets a few answers; the others' messages do not wait for it."""
    for _ in range(40):
        api.inject_message("/help", chat_id=ANNA)
    api.inject_message("Вода", chat_id=BORIS)
    async with polling():
        await api.wait_until_confirmed()
    assert intake.only.text == "Вода"
    assert 5 <= len(api.sent) <= 10


async def test_unknown_command_is_said_to_be_one(api: BotApi, intake: RecordingIntake, polling: Polling):
    """A lone unknown command is answered, and the citizen knows that nothing was registered."""
    api.inject_message("/statistics")
    async with polling():
        (answer,) = await api.wait_for_sent()
    assert "не зарегистрировано" in answer.text
    assert not intake.envelopes


# ---- consent
async def test_without_consent_the_message_is_registered_and_the_bot_asks(
    api: BotApi, intake: RecordingIntake, desk: RecordingDesk, cursors: RecordingCursors, polling: Polling
):
    """The message is kept first; the decision is kept with its text, shown on the open appeal, and told by /start."""
    async with polling(consent=CONSENT):
        api.inject_message("Нет воды")
        api.inject_message("Уже час")
        (question,) = await api.wait_for_sent()
        await until(lambda: len(intake.envelopes) == 2)
        assert question.text == CONSENT["ru"]
        desk.add(str(ANNA), NUMBER)
        query = api.inject_press(question, question.button("Согласен(на)"))
        await until(lambda: query in api.press_answers)
        api.inject_message("Спасибо")
        api.inject_message("/start")
        _, _, told = await api.wait_for_sent(count=3)
    before, _, decision, after = intake.envelopes
    assert before.fields["consent"] == "not given yet"
    assert decision.automatic
    assert decision.threading.appeal_number == NUMBER
    assert decision.fields["consent"] == after.fields["consent"]
    assert after.fields["consent"].startswith("given 20")
    assert "Вы дали согласие" in told.text
    text_id = after.fields["consent"].removesuffix(")")[-8:]
    assert cursors.values["telegram", f"consent_text:{text_id}"] == CONSENT["ru"]


async def test_refused_consent_is_kept_and_not_asked_again(api: BotApi, intake: RecordingIntake, polling: Polling):
    """No is an answer."""
    async with polling(consent=CONSENT):
        api.inject_message("Нет воды")
        (question,) = await api.wait_for_sent()
        query = api.inject_press(question, question.button("Не согласен(на)"))
        await until(lambda: query in api.press_answers)
        api.inject_message("Уже час")
        await until(lambda: len(intake.envelopes) == 2)
    assert intake.envelopes[-1].fields["consent"].startswith("refused 20")
    assert len(api.sent) == 1


async def test_consent_to_a_text_that_has_changed_is_asked_anew(api: BotApi, polling: Polling):
    """A button under an old text decides nothing."""
    async with polling(consent=CONSENT):
        api.inject_message("Нет воды")
        (question,) = await api.wait_for_sent()
    async with polling(consent={"ru": "Новый текст"}):
        query = api.inject_press(question, question.button("Согласен(на)"))
        await until(lambda: query in api.press_answers)
        await until(lambda: any(sent.text == "Новый текст" for sent in api.sent))
    assert api.press_answers[query] == "Эта кнопка больше не действует."


# ---- topic and rating
async def test_topic_is_chosen_under_the_acknowledgement(
    api: BotApi, intake: RecordingIntake, desk: RecordingDesk, polling: Polling
):
    """One button opens the list; the choice is registered on that appeal as an automatic envelope and shown."""
    desk.add(str(ANNA), NUMBER)
    async with polling() as connector:
        sent = await send(connector, api, ReplyKind.ACKNOWLEDGEMENT, f"Номер {NUMBER}")
        assert sent.text == f"Номер {NUMBER}"
        assert labels(api, sent) == ["Указать тему"]
        api.inject_press(sent, sent.button("Указать тему"))
        await until(lambda: "Отопление" in labels(api, sent))
        assert not intake.envelopes
        opened = api.keyboards[ANNA, sent.message_id]
        data = next(button["callback_data"] for row in opened for button in row if button["text"] == "Отопление")
        query = api.inject_press(sent, data)
        await until(lambda: "✓ Отопление" in labels(api, sent))
    envelope = intake.only
    assert envelope.automatic
    assert envelope.fields == {"topic": "housing.heating"}
    assert (envelope.threading.appeal_number, envelope.threading.conversation) == (NUMBER, None)
    assert json.loads(intake.raw_of(envelope))["callback_query"]["id"] == query
    assert api.press_answers[query] == "Тема: Отопление"


async def test_rating_may_be_changed(api: BotApi, intake: RecordingIntake, desk: RecordingDesk, polling: Polling):
    """Each press is registered; the last one counts, and the keyboard shows it."""
    desk.add(str(ANNA), NUMBER, AppealState.CLOSED)
    async with polling() as connector:
        sent = await send(connector, api, ReplyKind.ANSWER)
        for rating in ("2", "4"):
            query = api.inject_press(sent, sent.button(rating))
            await until(lambda query=query: query in api.press_answers)
        await until(lambda: "✓ 4" in labels(api, sent))
    assert labels(api, sent) == ["1", "2", "3", "✓ 4", "5"]
    assert [envelope.fields["satisfaction"] for envelope in intake.envelopes] == ["2", "4"]


@pytest.mark.parametrize("forgery", ["other chat", "other person", "other value", "nonsense", "foreign appeal"])
async def test_nobody_votes_for_others(
    api: BotApi, intake: RecordingIntake, desk: RecordingDesk, polling: Polling, forgery: str
):
    """A button's data counts in its own chat, from its own person, as it was signed, for an appeal of theirs."""
    if forgery != "foreign appeal":
        desk.add(str(ANNA), NUMBER)
        desk.add(str(BORIS), NUMBER)
    async with polling() as connector:
        sent = await send(connector, api, ReplyKind.ANSWER)
        data = sent.button("5")
        changes: dict[str, Any] = {
            "other chat": {"person": BORIS, "chat_id": BORIS},
            "other person": {"person": BORIS},
            "other value": {"data": data.replace(":5:", ":1:", 1)},
            "nonsense": {"data": "ё:::"},
        }.get(forgery, {})
        query = api.inject_press(sent, changes.pop("data", data), **changes)
        await until(lambda: query in api.press_answers)
    assert not intake.envelopes
    assert not intake.quarantined
    assert api.press_answers[query] == "Эта кнопка больше не действует."


async def test_press_waits_for_the_registry(
    api: BotApi, intake: RecordingIntake, desk: RecordingDesk, polling: Polling
):
    """A vote that cannot be kept is not confirmed and comes again; one that never can be goes to quarantine."""
    desk.add(str(ANNA), NUMBER)
    intake.down = TransientError("no store")
    async with polling() as connector:
        sent = await send(connector, api, ReplyKind.ANSWER)
        api.inject_press(sent, sent.button("5"))
        await until(lambda: intake.calls > 0)
        assert api.updates.ids
        intake.down = None
        await api.wait_until_confirmed()
        assert intake.only.fields == {"satisfaction": "5"}
        intake.failure = lambda _: PermanentError("too odd")
        api.inject_press(sent, sent.button("1"))
        await until(lambda: bool(intake.quarantined))


async def test_buttons_can_be_left_out(api: BotApi, polling: Polling):
    """The office may want no topics and no ratings."""
    async with polling(topic_buttons=False, rating_buttons=False) as connector:
        for kind in (ReplyKind.ACKNOWLEDGEMENT, ReplyKind.ANSWER):
            sent = await send(connector, api, kind)
            assert not sent.keyboard
    assert "Оцените" not in sent.text


async def test_reply_to_our_message_names_its_appeal(api: BotApi, intake: RecordingIntake, polling: Polling):
    """Our messages begin with the number they are about; a reply to one brings it back, a quote is shown apart."""
    async with polling() as connector:
        sent = await send(connector, api, ReplyKind.NOTICE)
        assert sent.text == f"Обращение № {NUMBER}\n\nГотово"
        ours = {
            "message_id": sent.message_id,
            "date": 1,
            "chat": {"id": ANNA, "type": "private"},
            "from": {"id": api.bot_id, "is_bot": True, "first_name": "Окно"},
            "text": sent.text,
        }
        api.inject_message("Не готово", reply_to_message=ours)
        api.inject_message("Не готово", reply_to_message=ours, quote={"text": "Готово", "position": 0})
        await api.wait_until_confirmed()
    whole, part = intake.envelopes
    assert whole.threading.appeal_number == part.threading.appeal_number == NUMBER
    assert (part.text, part.clean_text) == ("> Готово\nНе готово", "Не готово")
