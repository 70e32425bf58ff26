"""What the bot says by itself: greeting, consent, answers to commands. None of it is an appeal.

It is said once: what Telegram does not take is logged and not tried again, for the citizen can ask again.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

import structlog
from telegram import InlineKeyboardMarkup

from appeals.errors import OknoError
from config.settings import OfficeSettings
from connectors.telegram.bot_client import BotClient, Placement
from connectors.telegram.buttons import Buttons
from connectors.telegram.chats import ChatRecord, ChatRecords, Consent
from connectors.telegram.message import User
from connectors.telegram.phrases import known_language, phrase

logger = structlog.get_logger(__name__)

ASK_CONSENT_AGAIN_AFTER = timedelta(days=1)
TEXT_ID_CHARS = 8
PATIENCE_S = 0.2  # whoever sends commands faster than Telegram takes answers must not hold up the others' messages


class Dialogue:
    """Speaks to one citizen at a time, in their language."""

    def __init__(
        self,
        client: BotClient,
        chats: ChatRecords,
        buttons: Buttons,
        *,
        connector: str,
        office: OfficeSettings,
        consent: Mapping[Literal["ru", "en"], str],
    ) -> None:
        self._client = client
        self._chats = chats
        self._buttons = buttons
        self._connector = connector
        self._office = office
        self._consent: Mapping[str, str] = {str(language): text for language, text in consent.items()}

    @property
    def asks_consent(self) -> bool:
        """Whether the office has a text to consent to."""
        return bool(self._consent)

    def language_of(self, record: ChatRecord, person: User | None) -> str:
        """Return "ru" or "en": the citizen's choice, else that of their client, else the office's."""
        return record.language or known_language(person.language_code if person else "", default=self._office.language)

    def consent_text(self, language: str) -> tuple[str, str]:
        """Return the office's text in a language, and its id."""
        text = self._consent.get(language) or next(iter(self._consent.values()))
        return text, hashlib.sha256(text.encode()).hexdigest()[:TEXT_ID_CHARS]

    async def say(self, chat: int, text: str, keyboard: InlineKeyboardMarkup | None = None) -> bool:
        """Send one text; False if Telegram did not take it."""
        try:
            await self._client.send_text(chat, text, Placement(keyboard=keyboard), patience_s=PATIENCE_S)
        except OknoError as error:
            logger.warning("connector.dialogue_failed", connector=self._connector, reason=str(error))
            return False
        return True

    async def greet(self, chat: int, record: ChatRecord, language: str) -> None:
        """Answer /start: who we are, the choice of languages, and the consent."""
        text = phrase("greeting", language, office=self._office.name)
        if not record.language:  # not chosen yet: both, so that everybody can read it
            other = "en" if language == "ru" else "ru"
            text = f"{text}\n\n{phrase('greeting', other, office=self._office.name)}"
        await self.say(chat, text, self._buttons.languages(chat, chosen=record.language))
        if self.asks_consent:
            await self.show_consent(chat, record, language)

    async def show_consent(self, chat: int, record: ChatRecord, language: str) -> bool:
        """Show the text, what was decided about it so far, and the buttons to decide."""
        text, text_id = self.consent_text(language)
        chosen = ""
        if record.consent is not None:
            text = f"{text}\n\n{self.decided(record.consent, language)}"
            chosen = "yes" if record.consent.given else "no"
        return await self.say(chat, text, self._buttons.consent(chat, text_id, language, chosen=chosen))

    def decided(self, consent: Consent, language: str) -> str:
        """Return a citizen's decision in words."""
        if not consent.given:
            return phrase("consent_refused", language)
        return phrase("consent_given", language, date=f"{consent.at:%d.%m.%Y}")

    async def ask_consent_if_due(self, person: User, record: ChatRecord, *, now: datetime) -> None:
        """Ask whoever has not decided yet, once a day; their message is registered all the same."""
        if not self.asks_consent or record.consent is not None:
            return
        if record.asked_at is not None and now - record.asked_at < ASK_CONSENT_AGAIN_AFTER:
            return
        if await self.show_consent(person.id, record, self.language_of(record, person)):
            await self._chats.note_asked(person.id)
