"""Replies out: text in parts, files, buttons, each part once."""

from collections.abc import Sequence
from dataclasses import replace

from telegram import InlineKeyboardMarkup, Message

from appeals.envelope import Attachment
from appeals.errors import PermanentError
from appeals.reply import ReplyKind
from config.channel_settings import TelegramSettings
from config.section import MIB
from connectors.base import OutboundMessage, Receipt
from connectors.parts import SentParts, split_text, units_of
from connectors.telegram.bot_client import BotClient, ChatMovedError, Placement
from connectors.telegram.buttons import Buttons
from connectors.telegram.chats import ChatRecord, ChatRecords
from connectors.telegram.phrases import known_language, phrase

MAX_TEXT_UNITS = 4_096  # UTF-16; https://core.telegram.org/bots/api#sendmessage
MAX_CAPTION_UNITS = 1_024  # https://core.telegram.org/bots/api#senddocument
MAX_DOCUMENT_BYTES = 50 * MIB  # https://core.telegram.org/bots/api#sending-files

Part = str | Attachment | tuple[str, Attachment]
"""One message: a text, a file, or a file with its caption."""


class ReplySender:
    """Sends replies to citizens' chats."""

    def __init__(
        self, client: BotClient, chats: ChatRecords, buttons: Buttons, *, settings: TelegramSettings, language: str
    ) -> None:
        self._client = client
        self._chats = chats
        self._buttons = buttons
        self._settings = settings
        self._language = language  # of citizens whose own is unknown
        self._sent_parts = SentParts()

    async def send(self, message: OutboundMessage) -> Receipt:
        """Send the text, split if it is long, then each file; the first one's id names the whole.

        A short text goes with an only file as its caption. Raises TransientError or PermanentError.
        """
        chat_id = _chat_id(message.recipient.value)
        record = await self._chats.of(chat_id)
        language = record.language or known_language(message.language, default=self._language)
        parts = _parts(message, language, rated=self._rated(message))
        try:
            try:
                await self._send_parts(chat_id, parts, message=message, record=record, language=language)
            except ChatMovedError as moved:
                await self._send_parts(moved.chat_id, parts, message=message, record=record, language=language)
        except PermanentError:
            self._sent_parts.finish(message.message_id)
            raise
        ids = self._sent_parts.of(message.message_id)
        self._sent_parts.finish(message.message_id)
        return Receipt(external_id=ids[0], detail=", ".join(ids))

    async def _send_parts(
        self, chat_id: int, parts: Sequence[Part], *, message: OutboundMessage, record: ChatRecord, language: str
    ) -> None:
        connection = record.business_connection_id
        taken = len(self._sent_parts.of(message.message_id))
        last_text = max((at for at, part in enumerate(parts) if not isinstance(part, Attachment)), default=-1)
        for at, part in enumerate(parts[taken:], start=taken):
            placement = Placement(business_connection_id=connection)
            if at == 0:
                placement = replace(placement, answers=_answered(message, chat_id))
            if at == last_text and not connection:  # buttons come back to the bot, not to the connected account
                placement = replace(placement, keyboard=self._keyboard(chat_id, message, language))
            sent = await self._send_part(chat_id, part, message=message, placement=placement)
            self._sent_parts.add(message.message_id, f"{sent.chat_id}:{sent.message_id}")

    async def _send_part(
        self,
        chat_id: int,
        part: Part,
        *,
        message: OutboundMessage,
        placement: Placement,
    ) -> Message:
        if isinstance(part, str):
            return await self._client.send_text(chat_id, part, placement)
        caption, attachment = part if isinstance(part, tuple) else ("", part)
        content = await message.read_blob(attachment.sha256)
        return await self._client.send_document(
            chat_id, content, name=attachment.name, caption=caption, placement=placement
        )

    def _rated(self, message: OutboundMessage) -> bool:
        return message.kind is ReplyKind.ANSWER and self._settings.rating_buttons

    def _keyboard(self, chat_id: int, message: OutboundMessage, language: str) -> InlineKeyboardMarkup | None:
        if message.kind is ReplyKind.ACKNOWLEDGEMENT and self._settings.topic_buttons:
            return self._buttons.topics_closed(chat_id, message.appeal_number, language)
        if self._rated(message):
            return self._buttons.ratings(chat_id, message.appeal_number)
        return None


def _parts(message: OutboundMessage, language: str, *, rated: bool) -> tuple[Part, ...]:
    """Return what is sent, in order. Raises PermanentError if Telegram cannot carry it."""
    text = message.text.strip()
    if not text and not message.attachments:
        raise PermanentError("the answer is empty")
    for attachment in message.attachments:
        if attachment.size_bytes > MAX_DOCUMENT_BYTES:
            raise PermanentError(f"{attachment.name}: Telegram takes files of up to {MAX_DOCUMENT_BYTES} bytes")
    if message.appeal_number not in text:  # which of several appeals; an answer to our message brings it back
        text = f"{phrase('about', language, number=message.appeal_number)}\n\n{text}".strip()
    if rated:
        text = f"{text}\n\n{phrase('satisfaction', language)}"
    if len(message.attachments) == 1 and units_of(text) <= MAX_CAPTION_UNITS:
        return ((text, message.attachments[0]),)
    return (*split_text(text, limit=MAX_TEXT_UNITS), *message.attachments)


def _answered(message: OutboundMessage, chat_id: int) -> int | None:
    """Return the citizen's newest message in that chat that the reply is to."""
    for reference in reversed(message.in_reply_to):
        chat, _, number = reference.rpartition(":")
        if chat == str(chat_id) and number.isascii() and number.isdigit():
            return int(number)
    return None


def _chat_id(value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise PermanentError("the recipient is not a Telegram chat") from error
