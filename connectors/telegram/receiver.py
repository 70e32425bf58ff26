"""Taking updates in: the one way for polling and webhook."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import partial

import structlog

from appeals.envelope import Attachment, BlobRef, Channel
from appeals.errors import OknoError, PermanentError, TransientError
from appeals.registration import QuarantineItem, Registration
from connectors.base import ConnectorPorts
from connectors.media import describe_attachment
from connectors.problem import register_or_quarantine
from connectors.telegram.bot_client import BotClient
from connectors.telegram.envelope import MessageFile, build_envelope, files_of
from connectors.telegram.message import Message
from connectors.telegram.updates import ChatMessage, Ignored, RawUpdate, read_update

logger = structlog.get_logger(__name__)

JSON_MEDIA_TYPE = "application/json"
MAX_FILE_TRIES = 8  # of a file that the server cannot give just now; then the message goes on without it (P4)
MAX_FILES_REMEMBERED = 1_000
GREETING = (
    "Здравствуйте! Напишите сюда своё обращение: текст, фото, документ или голосовое сообщение. "
    "Мы зарегистрируем его и пришлём номер; ответ придёт в этот же чат.\n\n"
    "Hello! Write your appeal here: text, a photo, a document or a voice message. "
    "We will register it and send you its number; the answer will come to this chat."
)


class UpdateReceiver:
    """Registers, quarantines, or passes over one update; when it returns, the update may be acknowledged."""

    def __init__(
        self, client: BotClient, ports: ConnectorPorts, *, connector: str, bot_id: int, max_file_bytes: int
    ) -> None:
        self._client = client
        self._ports = ports
        self._connector = connector
        self._bot_id = bot_id
        self._max_file_bytes = max_file_bytes
        self._file_tries: Counter[str] = Counter()
        self.last_message_at: datetime | None = None

    async def receive(self, update: RawUpdate, *, method: str) -> None:
        """Take one update in. `method`: how we know that it is Telegram's, for the envelope.

        Raises TransientError if nothing was kept: it must come again.
        """
        try:
            incoming = read_update(update.content)
        except PermanentError:
            pass  # read again, and quarantined, below
        else:
            if isinstance(incoming, Ignored):
                self._log_ignored(update, incoming)
                return
            if incoming.message.command == "/start":
                await self._greet(incoming)
                return
        item = QuarantineItem(
            connector=self._connector,
            channel=Channel.TELEGRAM,
            stage="decode",
            reason="",
            context={"method": method},
        )
        register = partial(self.register, update.content, method=method)
        await register_or_quarantine(self._ports.intake, register, item=item, content=update.content)

    async def register(self, content: bytes, *, method: str) -> Registration:
        """Register one update's message. Raises DecodeError, PermanentError or TransientError."""
        incoming = read_update(content)
        if isinstance(incoming, Ignored):
            raise PermanentError(incoming.reason)
        attachments, contents, notes = await self._fetch_files(incoming.message)
        raw = BlobRef.of(content, JSON_MEDIA_TYPE)
        envelope = build_envelope(
            incoming,
            attachments,
            notes=notes,
            connector=self._connector,
            bot_id=self._bot_id,
            method=method,
            raw=raw,
            received_at=self._ports.now(),
        )
        registration = await self._ports.intake.register(envelope, {**contents, raw.sha256: content})
        self.last_message_at = envelope.received_at
        logger.info(
            "connector.message_registered",
            connector=self._connector,
            appeal_id=str(registration.appeal_id),
            duplicate=registration.duplicate,
        )
        return registration

    async def _fetch_files(self, message: Message) -> tuple[list[Attachment], Mapping[str, bytes], list[str]]:
        """Return the attachments, their bytes, and a note for each file that can never be had."""
        files = files_of(message)
        fetched = await asyncio.gather(*(self._fetch(file) for file in files))
        attachments: list[Attachment] = []
        contents: dict[str, bytes] = {}
        notes: list[str] = []
        for file, result in zip(files, fetched, strict=True):
            if isinstance(result, str):
                notes.append(f"[файл не получен / file not received: {file.name}: {result}]")
                continue
            attachment = describe_attachment(file.name, file.media_type, result, inline=file.inline)
            attachments.append(attachment)
            contents[attachment.sha256] = result
        return attachments, contents, notes

    async def _fetch(self, file: MessageFile) -> bytes | str:
        """Return the bytes, or why they will never come. Raises TransientError: the update is taken again."""
        size = file.reference.file_size
        if size is not None and size > self._max_file_bytes:
            return f"larger than {self._max_file_bytes} bytes"
        try:
            return await self._client.download(file.reference.file_id, max_bytes=self._max_file_bytes)
        except TransientError as error:
            if error.retry_after_s is not None or not self._give_up(file.reference.file_id):
                raise
            logger.warning("connector.file_missing", connector=self._connector, reason=str(error))
            return str(error)
        except PermanentError as error:
            logger.warning("connector.file_missing", connector=self._connector, reason=str(error))
            return str(error)

    def _give_up(self, file_id: str) -> bool:
        """Count a failed try; True if it was the last: one file must not hold up the bot for ever."""
        if len(self._file_tries) >= MAX_FILES_REMEMBERED:
            self._file_tries.clear()
        self._file_tries[file_id] += 1
        return self._file_tries[file_id] >= MAX_FILE_TRIES

    async def _greet(self, incoming: ChatMessage) -> None:
        """Answer /start. Not a citizen's appeal: a greeting that fails is logged and not tried again."""
        if incoming.edited:
            return
        try:
            await self._client.send_text(incoming.message.chat.id, GREETING)
        except OknoError as error:
            logger.warning("connector.greeting_failed", connector=self._connector, reason=str(error))

    def _log_ignored(self, update: RawUpdate, ignored: Ignored) -> None:
        logger.info(
            "connector.update_ignored",
            connector=self._connector,
            update_id=update.update_id,
            reason=ignored.reason,
        )
