"""Pressed buttons: a topic or a rating is registered on its appeal; language and consent are kept of the chat."""

from collections.abc import Awaitable, Callable, Mapping

import structlog

from appeals.envelope import AppealEnvelope, BlobRef
from appeals.errors import OknoError
from appeals.registration import Registration
from connectors.base import ConnectorPorts
from connectors.telegram.bot_client import BotClient
from connectors.telegram.buttons import Action, Button, Buttons
from connectors.telegram.chats import ChatRecord, ChatRecords, Consent
from connectors.telegram.dialogue import Dialogue
from connectors.telegram.envelope import Circumstances, build_note, contact_point
from connectors.telegram.message import CallbackQuery
from connectors.telegram.phrases import phrase
from connectors.telegram.updates import ButtonPress

logger = structlog.get_logger(__name__)

JSON_MEDIA_TYPE = "application/json"

Keep = Callable[[AppealEnvelope, Mapping[str, bytes]], Awaitable[Registration]]
"""Registers an envelope with its bytes."""


class Presses:
    """Takes pressed buttons in. The press is answered only after what it says is committed."""

    def __init__(
        self,
        client: BotClient,
        chats: ChatRecords,
        buttons: Buttons,
        dialogue: Dialogue,
        ports: ConnectorPorts,
        *,
        connector: str,
        bot_id: int,
        keep: Keep,
    ) -> None:
        self._client = client
        self._chats = chats
        self._buttons = buttons
        self._dialogue = dialogue
        self._ports = ports
        self._connector = connector
        self._bot_id = bot_id
        self._keep = keep

    async def take(self, press: ButtonPress, content: bytes, *, method: str) -> None:
        """Take one press in. Raises TransientError if what it says was not kept, PermanentError if it never can be."""
        query = press.query
        record = await self._chats.of(query.sender.id)
        language = self._dialogue.language_of(record, query.sender)
        button = await self._genuine(query)
        if button is None:
            logger.info("connector.press_refused", connector=self._connector)
            await self._end(query, phrase("button_old", language))
            return
        match button.action:
            case Action.SHOW_TOPICS:
                answer = ""
            case Action.TOPIC | Action.RATE:
                answer = await self._register(query, button, content, method=method, language=language)
            case Action.LANGUAGE:
                language, answer = await self._choose_language(query, button)
            case Action.CONSENT:
                answer = await self._decide(query, button, record, content, method=method, language=language)
        await self._end(query, answer)
        await self._redraw(query, button, language)

    async def _genuine(self, query: CallbackQuery) -> Button | None:
        """Return what was pressed, if we put that button there, for that person, and its appeal is still theirs."""
        if query.message is None or query.message.chat.id != query.sender.id:  # our buttons are in private chats only
            return None
        button = self._buttons.read(query.data, query.message.chat.id)
        if button is None or button.action in (Action.LANGUAGE, Action.CONSENT):
            return button
        known = await self._ports.desk.status(button.number, contact_point(query.sender))
        return button if known is not None else None

    async def _register(
        self, query: CallbackQuery, button: Button, content: bytes, *, method: str, language: str
    ) -> str:
        if button.action is Action.TOPIC:
            title = self._buttons.topic_title(button.value, language)
            field, text, answer = "topic", f"[тема / topic: {title}]", phrase("topic_taken", language, title=title)
        else:
            field, text = "satisfaction", f"[оценка ответа / rating of the answer: {button.value} из / of 5]"
            answer = phrase("satisfaction_taken", language, value=button.value)
        await self._note(query, text, {field: button.value}, number=button.number, content=content, method=method)
        return answer

    async def _choose_language(self, query: CallbackQuery, button: Button) -> tuple[str, str]:
        await self._chats.set_language(query.sender.id, button.value)
        return button.value, phrase("language_set", button.value)

    async def _decide(
        self,
        query: CallbackQuery,
        button: Button,
        record: ChatRecord,
        content: bytes,
        *,
        method: str,
        language: str,
    ) -> str:
        """Keep the decision, and show it on the appeal that is open, if one is."""
        text = next(
            (
                text
                for candidate in ("ru", "en")
                if self._dialogue.asks_consent
                for text, text_id in [self._dialogue.consent_text(candidate)]
                if text_id == button.about
            ),
            None,
        )
        if text is None:  # the office has another text now: ask about that one
            await self._dialogue.greet(query.sender.id, record, language)
            return phrase("button_old", language)
        consent = Consent(given=button.value == "yes", at=self._ports.now(), text_id=button.about, language=language)
        await self._chats.decide_consent(query.sender.id, consent, text=text)
        open_appeals = await self._ports.desk.open_appeals(contact_point(query.sender))
        if open_appeals:
            words = "дано / given" if consent.given else "не дано / refused"
            await self._note(
                query,
                f"[согласие на обработку данных / consent to data processing: {words}]",
                {"consent": consent.summary()},
                number=open_appeals[0].number,
                content=content,
                method=method,
            )
        return self._dialogue.decided(consent, language)[:200]

    async def _note(
        self, query: CallbackQuery, text: str, fields: Mapping[str, str], *, number: str, content: bytes, method: str
    ) -> None:
        raw = BlobRef.of(content, JSON_MEDIA_TYPE)
        circumstances = Circumstances(
            connector=self._connector,
            bot_id=self._bot_id,
            method=method,
            received_at=self._ports.now(),
            fields=fields,
        )
        envelope = build_note(
            query.sender,
            text,
            circumstances,
            external_id=f"{self._bot_id}:press:{query.id}",
            appeal_number=number,
            raw=raw,
        )
        await self._keep(envelope, {raw.sha256: content})

    async def _end(self, query: CallbackQuery, text: str) -> None:
        try:
            await self._client.answer_press(query.id, text)
        except OknoError as error:  # too old, mostly: what it said is kept
            logger.info("connector.press_unanswered", connector=self._connector, reason=str(error))

    async def _redraw(self, query: CallbackQuery, button: Button, language: str) -> None:
        """Show the choice in the keyboard; what Telegram does not take is no loss."""
        if query.message is None:
            return
        chat = query.message.chat.id
        match button.action:
            case Action.SHOW_TOPICS:
                keyboard = self._buttons.topics(chat, button.number, language)
            case Action.TOPIC:
                keyboard = self._buttons.topics(chat, button.number, language, chosen=button.value)
            case Action.RATE:
                keyboard = self._buttons.ratings(chat, button.number, chosen=button.value)
            case Action.LANGUAGE:
                keyboard = self._buttons.languages(chat, chosen=button.value)
            case Action.CONSENT:
                keyboard = self._buttons.consent(chat, button.about, language, chosen=button.value)
        try:
            await self._client.change_keyboard(chat, query.message.message_id, keyboard)
        except OknoError as error:
            logger.info("connector.keyboard_unchanged", connector=self._connector, reason=str(error))
