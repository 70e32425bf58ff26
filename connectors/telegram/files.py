"""Files of a message: which there are, and fetching them within limits."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from appeals.envelope import Attachment
from appeals.errors import PermanentError, TransientError
from connectors.media import describe_attachment
from connectors.telegram.bot_client import BotClient
from connectors.telegram.message import FileReference, Message

logger = structlog.get_logger(__name__)

MAX_FILE_TRIES = 8  # of a file that the server cannot give just now; then the message goes on without it (P4)
MAX_FILES_REMEMBERED = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageFile:
    """One file of a message: where it is, and what it is called."""

    reference: FileReference
    name: str
    media_type: str  # as declared
    inline: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedFiles:
    """What became of a message's files."""

    attachments: tuple[Attachment, ...] = ()
    contents: Mapping[str, bytes] = field(default_factory=dict)  # by SHA-256
    notes: tuple[str, ...] = ()  # one for each file that can never be had


def files_of(message: Message) -> tuple[MessageFile, ...]:
    """Return the message's files; of a picture the largest size alone, of a GIF one of its two entries."""
    number = message.message_id
    files: dict[str, MessageFile] = {}
    if message.photo:
        largest = max(message.photo, key=lambda size: (size.width * size.height, size.file_size or 0))
        files[largest.file_id] = MessageFile(
            reference=largest, name=f"photo-{number}.jpg", media_type="image/jpeg", inline=True
        )
    for reference, name, media_type in (
        (message.animation, f"animation-{number}.mp4", "video/mp4"),
        (message.document, f"document-{number}", ""),
        (message.audio, f"audio-{number}.mp3", "audio/mpeg"),
        (message.video, f"video-{number}.mp4", "video/mp4"),
        (message.voice, f"voice-{number}.ogg", "audio/ogg"),
        (message.video_note, f"video-{number}.mp4", "video/mp4"),
    ):
        if reference is not None and reference.file_id not in files:
            files[reference.file_id] = MessageFile(
                reference=reference, name=reference.file_name or name, media_type=reference.mime_type or media_type
            )
    return tuple(files.values())


class FileFetcher:
    """Fetches the files of messages through getFile."""

    def __init__(self, client: BotClient, *, connector: str, max_bytes: int) -> None:
        self._client = client
        self._connector = connector
        self._max_bytes = max_bytes
        self._tries: Counter[str] = Counter()

    async def fetch(self, message: Message) -> FetchedFiles:
        """Fetch all files of a message; one that can never be had is noted and costs nothing else.

        Raises TransientError for one that cannot be had just now: the update is taken again.
        """
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
        return FetchedFiles(attachments=tuple(attachments), contents=contents, notes=tuple(notes))

    async def _fetch(self, file: MessageFile) -> bytes | str:
        """Return the bytes, or why they will never come. Raises TransientError: the update is taken again."""
        size = file.reference.file_size
        if size is not None and size > self._max_bytes:
            return f"larger than {self._max_bytes} bytes"
        try:
            return await self._client.download(file.reference.file_id, max_bytes=self._max_bytes)
        except TransientError as error:
            if error.retry_after_s is not None or not self._give_up(file.reference.file_id):
                raise
            reason = str(error)
        except PermanentError as error:
            reason = str(error)
        logger.warning("connector.file_missing", connector=self._connector, reason=reason)
        return reason

    def _give_up(self, file_id: str) -> bool:
        """Count a failed try; True if it was the last: one file must not hold up the bot for ever."""
        if len(self._tries) >= MAX_FILES_REMEMBERED:
            self._tries.clear()
        self._tries[file_id] += 1
        return self._tries[file_id] >= MAX_FILE_TRIES
