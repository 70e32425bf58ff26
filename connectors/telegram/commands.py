"""The bot's commands: answered at once, no appeals.

Whatever could be a citizen's words is not taken for a command: an unknown or wordless command with further words is
registered like any text, and what follows /new is the first message of the new appeal.
"""

from zoneinfo import ZoneInfo

import structlog

from appeals.appeal import AppealState
from appeals.citizen_desk import AppealStatus
from appeals.errors import TransientError
from config.settings import OfficeSettings
from connectors.base import CitizenDesk
from connectors.telegram.chats import ChatRecord, ChatRecords
from connectors.telegram.dialogue import Dialogue
from connectors.telegram.envelope import writer_of
from connectors.telegram.message import Message
from connectors.telegram.phrases import phrase, state_name
from connectors.telegram.updates import ChatMessage

logger = structlog.get_logger(__name__)


class Commands:
    """Answers /start, /status, /new, /help and what looks like another one."""

    def __init__(
        self, dialogue: Dialogue, chats: ChatRecords, desk: CitizenDesk, *, office: OfficeSettings, connector: str
    ) -> None:
        self._dialogue = dialogue
        self._chats = chats
        self._desk = desk
        self._timezone = ZoneInfo(office.timezone)
        self._connector = connector
        self.bot_address = ""  # https://t.me/…, once it is known

    async def handle(self, incoming: ChatMessage) -> bool:
        """Answer a command; False if the message is none, or has words that must be registered.

        Raises TransientError if /new could not be kept.
        """
        message = incoming.message
        command, words = message.command, message.command_words
        if not command or message.business_connection_id:  # that chat belongs to a person, not to the bot
            return False
        record = await self._chats.of(message.person)
        language = self._dialogue.language_of(record, message.sender)
        if not message.chat.is_private:
            if words:
                return False
            await self._dialogue.say(message.chat.id, phrase("command_privately", language, link=self.bot_address))
            return True
        return await self._answer(command, words, message, record=record, language=language)

    async def _answer(self, command: str, words: str, message: Message, *, record: ChatRecord, language: str) -> bool:
        chat = message.chat.id
        match command:
            case "/start":  # its words are the payload of a link, not the citizen's
                await self._dialogue.greet(chat, record, language)
            case "/status":
                await self._dialogue.say(chat, await self._status(words, message, language))
            case "/new":
                await self._chats.begin_talk(message.person, message.message_id)
                if words:
                    return False
                await self._dialogue.say(chat, phrase("new", language))
            case _ if words:
                return False
            case "/help":
                await self._dialogue.say(chat, phrase("help", language))
            case _:
                await self._dialogue.say(chat, phrase("unknown_command", language))
        logger.info("connector.command_answered", connector=self._connector, command=_known(command))
        return True

    async def _status(self, words: str, message: Message, language: str) -> str:
        asker = writer_of(message)
        try:
            if words:
                found = await self._desk.status(words, asker)
                return self._line(found, language) if found else phrase("not_found", language)
            appeals = await self._desk.open_appeals(asker)
        except TransientError as error:
            logger.warning("connector.status_unavailable", connector=self._connector, reason=str(error))
            return phrase("status_unavailable", language)
        return "\n\n".join(self._line(status, language) for status in appeals) or phrase("no_appeals", language)

    def _line(self, status: AppealStatus, language: str) -> str:
        line = phrase(
            "status_line",
            language,
            number=status.number,
            state=state_name(status.state, language),
            subject=status.subject,
        )
        if status.state in (AppealState.ANSWERED, AppealState.CLOSED):
            return line
        day = status.deadline_at.astimezone(self._timezone).date()
        date = day.strftime("%d.%m.%Y") if language == "ru" else day.isoformat()
        return f"{line}\n{phrase('deadline', language, date=date)}"


def _known(command: str) -> str:
    """Return the command for the log; what a stranger typed stays out of it."""
    return command if command in {"/start", "/status", "/new", "/help"} else "other"
