"""Taking updates in: the one way for polling and webhook."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

import structlog

from appeals.envelope import AppealEnvelope, BlobRef, Channel
from appeals.errors import DecodeError, PermanentError, TransientError
from appeals.registration import QuarantineItem, Registration
from config.channel_settings import TelegramSettings
from connectors.base import ConnectorPorts
from connectors.problem import register_or_quarantine
from connectors.telegram.albums import MAX_GROUP_CHARS, AlbumKey, AlbumStage, Taken
from connectors.telegram.bot_client import BotClient
from connectors.telegram.buttons import Buttons
from connectors.telegram.chats import ChatRecords
from connectors.telegram.commands import Commands
from connectors.telegram.dialogue import Dialogue
from connectors.telegram.envelope import (
    Circumstances,
    ReceivedMessage,
    album_external_id,
    build_envelope,
    build_withdrawal,
    business_external_id,
    message_external_id,
)
from connectors.telegram.files import FileFetcher
from connectors.telegram.message import Message
from connectors.telegram.phrases import phrase
from connectors.telegram.presses import JSON_MEDIA_TYPE, Presses
from connectors.telegram.updates import (
    ButtonPress,
    ChatMessage,
    Ignored,
    RawUpdate,
    Withdrawal,
    read_update,
    split_array,
)

logger = structlog.get_logger(__name__)


class UpdateReceiver:
    """Registers, answers, quarantines, or passes over one update; when it returns, it may be acknowledged."""

    def __init__(
        self, client: BotClient, ports: ConnectorPorts, *, connector: str, bot_id: int, settings: TelegramSettings
    ) -> None:
        self._ports = ports
        self._connector = connector
        self._bot_id = bot_id
        self._username = ""
        self._files = FileFetcher(client, connector=connector, max_bytes=settings.max_file_bytes)
        self.chats = ChatRecords(ports.cursors, connector=connector, bot_id=bot_id, now=ports.now)
        self.buttons = Buttons(ports.signing_key, taxonomy=ports.taxonomy, now=ports.now)
        self._dialogue = Dialogue(
            client, self.chats, self.buttons, connector=connector, office=ports.office, consent=settings.consent
        )
        self._commands = Commands(self._dialogue, self.chats, ports.desk, office=ports.office, connector=connector)
        self._presses = Presses(
            client,
            self.chats,
            self.buttons,
            self._dialogue,
            ports,
            connector=connector,
            bot_id=bot_id,
            keep=self._keep,
        )
        self.albums = AlbumStage(
            ports.cursors,
            connector=connector,
            bot_id=bot_id,
            linger_s=settings.album_linger_s,
            register=self._take_album,
        )
        self.last_message_at: datetime | None = None

    def know_username(self, username: str) -> None:
        """Note the bot's own name: groups address it by that."""
        self._username = username
        self._commands.bot_address = f"https://t.me/{username}"

    async def receive(self, update: RawUpdate, *, method: str) -> None:
        """Take one update in. `method`: how we know that it is Telegram's, for the envelope.

        Raises TransientError if nothing was kept: it must come again. Anything else that goes wrong ends in
        quarantine: one update never holds up the bot (P4).
        """
        try:
            await self._receive(update, method=method)
        except TransientError:
            raise
        except PermanentError as error:
            await self._quarantine(update.content, method=method, reason=str(error))
        except Exception as error:
            logger.exception("connector.update_failed", connector=self._connector)
            await self._quarantine(update.content, method=method, reason=f"unexpected {type(error).__name__}: {error}")

    async def _receive(self, update: RawUpdate, *, method: str) -> None:
        incoming = read_update(update.content)
        match incoming:
            case Ignored():
                self._log_ignored(incoming.reason)
            case ButtonPress():
                await self._presses.take(incoming, update.content, method=method)
            case Withdrawal():
                await self._take_withdrawal(incoming, update.content, method=method)
            case ChatMessage():
                await self._take_message(incoming, update.content, method=method)

    async def register(self, content: bytes, *, method: str) -> Registration:
        """Register one update, or an array of the updates of one album.

        Raises DecodeError, PermanentError or TransientError.
        """
        contents = split_array(content) if content.lstrip()[:1] == b"[" else [content]
        return await self._register(contents, method=method)

    # ---- one update
    async def _take_message(self, incoming: ChatMessage, content: bytes, *, method: str) -> None:
        message = incoming.message
        if _is_album_part(incoming):
            key = AlbumKey(message.chat.id, message.media_group_id)
            taken = await self.albums.add(key, message.message_id, content, method=method)
            if taken is not Taken.STRAGGLER:
                return
        else:
            await self.albums.settle(message.chat.id)
        if not self._is_for_us([message]):
            self._log_ignored("written in a group, to others")
            return
        if await self._commands.handle(incoming):
            return
        await self._register_or_quarantine([content], method=method)

    async def _take_album(self, _: AlbumKey, contents: Sequence[bytes], method: str) -> str:
        """Register an album's parts; return the external id they have together, "" if they have none."""
        messages = [incoming.message for incoming in _read_messages(contents)]
        if not self._is_for_us(messages):
            self._log_ignored("an album in a group, to others")
            return ""
        await self._register_or_quarantine(contents, method=method)
        return self._external_id(messages) if len(messages) > 1 else ""

    async def _take_withdrawal(self, incoming: Withdrawal, content: bytes, *, method: str) -> None:
        chat = incoming.deletion.chat.id
        await self.albums.settle(chat)
        if not (await self.chats.of(chat)).business_connection_id:  # none of their messages ever came to us
            self._log_ignored("a deletion in a chat without appeals")
            return
        await self._register_or_quarantine([content], method=method)

    async def _register_or_quarantine(self, contents: Sequence[bytes], *, method: str) -> None:
        content = contents[0] if len(contents) == 1 else b"[" + b",".join(contents) + b"]"
        register = partial(self._register, contents, method=method)
        item = self._quarantine_item(method, reason="")
        result: Registration | UUID = await register_or_quarantine(
            self._ports.intake, register, item=item, content=content
        )
        if isinstance(result, Registration) and not result.duplicate:
            await self._follow_up(read_update(contents[0]))

    async def _quarantine(self, content: bytes, *, method: str, reason: str) -> None:
        logger.warning("connector.message_quarantined", connector=self._connector, stage="decode", reason=reason)
        await self._ports.intake.quarantine(self._quarantine_item(method, reason=reason), content)

    def _quarantine_item(self, method: str, *, reason: str) -> QuarantineItem:
        return QuarantineItem(
            connector=self._connector,
            channel=Channel.TELEGRAM,
            stage="decode",
            reason=reason,
            context={"method": method},
        )

    # ---- registering
    async def _register(self, contents: Sequence[bytes], *, method: str) -> Registration:
        if len(contents) == 1 and isinstance(incoming := read_update(contents[0]), Withdrawal):
            return await self._register_withdrawal(incoming, contents[0], method=method)
        parts = [
            ReceivedMessage(incoming=incoming, files=await self._files.fetch(incoming.message))
            for incoming in _read_messages(contents)
        ]
        content = contents[0] if len(contents) == 1 else b"[" + b",".join(contents) + b"]"
        raw = BlobRef.of(content, JSON_MEDIA_TYPE)
        incoming = parts[0].incoming
        circumstances = await self._circumstances(incoming, method=method)
        external_id = self._external_id([part.incoming.message for part in parts])
        if incoming.edited:
            external_id = f"{external_id}:edit:{incoming.update_id}"
        envelope = build_envelope(parts, circumstances, external_id=external_id, raw=raw)
        files = {sha256: data for part in parts for sha256, data in part.files.contents.items()}
        return await self._keep(envelope, {**files, raw.sha256: content})

    async def _register_withdrawal(self, withdrawal: Withdrawal, content: bytes, *, method: str) -> Registration:
        """Register that messages were deleted, one envelope each; return the last one's registration."""
        deletion, raw = withdrawal.deletion, BlobRef.of(content, JSON_MEDIA_TYPE)
        record = await self.chats.of(deletion.chat.id)
        for number in deletion.message_ids:
            begun_at = record.talk_of(number)
            circumstances = Circumstances(
                connector=self._connector,
                bot_id=self._bot_id,
                method=method,
                received_at=self._ports.now(),
                conversation=_conversation(deletion.chat.id, begun_at),
                revises=business_external_id(self._bot_id, deletion.chat.id, number),
            )
            envelope = build_withdrawal(deletion, number, circumstances, raw=raw)
            registration = await self._keep(envelope, {raw.sha256: content})
        return registration

    async def _keep(self, envelope: AppealEnvelope, contents: Mapping[str, bytes]) -> Registration:
        registration = await self._ports.intake.register(envelope, contents)
        self.last_message_at = envelope.received_at
        logger.info(
            "connector.message_registered",
            connector=self._connector,
            appeal_id=str(registration.appeal_id),
            duplicate=registration.duplicate,
        )
        return registration

    async def _circumstances(self, incoming: ChatMessage, *, method: str) -> Circumstances:
        message = incoming.message
        record = await self.chats.note_business(message.person, message.business_connection_id)
        begun_at = record.talk_of(message.message_id) if message.chat.is_private else max(record.talks, default=None)
        fields = {}
        if self._dialogue.asks_consent:
            fields["consent"] = record.consent.summary() if record.consent else "not given yet"
        return Circumstances(
            connector=self._connector,
            bot_id=self._bot_id,
            method=method,
            received_at=self._ports.now(),
            conversation=_conversation(message.person, begun_at),
            language=record.language,
            revises=await self._revised(message) if incoming.edited else None,
            fields=fields,
        )

    async def _revised(self, message: Message) -> str:
        """Return the external id of what an edit changes: the message's own, or its album's."""
        album = ""
        if message.media_group_id:
            key = AlbumKey(message.chat.id, message.media_group_id)
            album = await self.albums.external_id_of(key, message.message_id)
        return album or message_external_id(self._bot_id, message)

    def _external_id(self, messages: Sequence[Message]) -> str:
        first = messages[0]
        if len(messages) == 1:
            return message_external_id(self._bot_id, first)
        numbers = [message.message_id for message in messages]
        return album_external_id(self._bot_id, first.chat.id, first.media_group_id, numbers)

    # ---- around it
    def _is_for_us(self, messages: Sequence[Message]) -> bool:
        """Tell whether a message is meant for the bot: in a group only what names it, answers it or commands it."""
        return messages[0].chat.is_private or any(self._names_us(message) for message in messages)

    def _names_us(self, message: Message) -> bool:
        answered = message.reply_to_message
        if answered is not None and answered.sender is not None and answered.sender.id == self._bot_id:
            return True
        if message.command and "@" not in message.text.split(maxsplit=1)[0]:
            return True
        return bool(self._username) and f"@{self._username}".lower() in f"{message.text} {message.caption}".lower()

    async def _follow_up(self, incoming: object) -> None:
        """Say what the citizen should know beside the acknowledgement; it fails without harm."""
        if not isinstance(incoming, ChatMessage) or incoming.edited:
            return
        message = incoming.message
        if message.sender is None or message.sender.is_bot or message.business_connection_id:
            return
        try:
            record = await self.chats.of(message.person)
            if message.chat.is_private:
                await self._dialogue.ask_consent_if_due(message.sender, record, now=self._ports.now())
            else:
                language = self._dialogue.language_of(record, message.sender)
                link = f"https://t.me/{self._username}"
                await self._dialogue.say(message.chat.id, phrase("write_privately", language, link=link))
        except TransientError as error:  # the message itself is kept
            logger.warning("connector.dialogue_failed", connector=self._connector, reason=str(error))
        except Exception:  # a bug of ours; to take the message again would not help the citizen
            logger.exception("connector.dialogue_failed", connector=self._connector)

    def _log_ignored(self, reason: str) -> None:
        logger.info("connector.update_ignored", connector=self._connector, reason=reason)


def _conversation(person: int, begun_at: int | None) -> str:
    """Return the name of a running talk; /new begins another one."""
    return f"telegram:{person}" + (f":{begun_at}" if begun_at else "")


def _is_album_part(incoming: ChatMessage) -> bool:
    return not incoming.edited and 0 < len(incoming.message.media_group_id) <= MAX_GROUP_CHARS


def _read_messages(contents: Sequence[bytes]) -> list[ChatMessage]:
    """Read updates that must all be messages. Raises DecodeError or PermanentError."""
    messages = []
    for content in contents:
        incoming = read_update(content)
        if isinstance(incoming, Ignored):
            raise PermanentError(incoming.reason)
        if not isinstance(incoming, ChatMessage):
            raise DecodeError("the update is no message", data=content)
        messages.append(incoming)
    if not messages:
        raise DecodeError("an album without parts", data=b"[]")
    return messages
