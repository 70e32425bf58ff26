"""Files that agents uploaded for a reply: kept in a folder until the reply takes them or a day has passed."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import puremagic
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from uuid_utils.compat import uuid7

from agent_console.problems import ProblemError
from appeals.envelope import UtcDatetime
from appeals.errors import TransientError

logger = structlog.get_logger(__name__)

KEEP = timedelta(days=1)
MAX_WAITING_PER_AGENT = 50  # files; an agent's forgotten uploads must not fill the disk
Result = TypeVar("Result")

TEXT = "text/plain"
OCTET_STREAM = "application/octet-stream"
SURE_CONFIDENCE = 0.4  # puremagic: four bytes matched; below it a text that begins with "BM" would be a bitmap


class UploadRecord(BaseModel):
    """What is known of one uploaded file; kept beside its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: UUID
    agent_id: str
    name: str
    media_type: str
    size_bytes: int
    expires_at: UtcDatetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredUpload:
    """An upload with its bytes."""

    record: UploadRecord
    content: bytes


class UploadShelf:
    """The folder of waiting uploads. Several console processes may share it; the record is written last.

    Methods raise TransientError when the folder cannot be used (disk full), ProblemError for what a client did.
    """

    def __init__(self, folder: Path, *, now: Callable[[], datetime]) -> None:
        self._folder = folder
        self._now = now

    async def put(self, content: bytes, *, agent_id: str, name: str) -> UploadRecord:
        """Keep a file for the agent."""
        record = UploadRecord(
            id=uuid7(),
            agent_id=agent_id,
            name=name,
            media_type=detect_media_type(content),
            size_bytes=len(content),
            expires_at=self._now() + KEEP,
        )
        await self._in_thread(self._put, record, content)
        return record

    async def find(self, ids: Sequence[UUID], *, agent_id: str) -> list[StoredUpload]:
        """Return the agent's uploads in the order asked for; raises ProblemError `upload_unknown`."""
        return await self._in_thread(self._find, tuple(ids), agent_id)

    async def discard(self, ids: Sequence[UUID]) -> None:
        """Drop uploads that a reply has taken. Unknown ids are ignored."""
        await self._in_thread(self._discard, tuple(ids))

    async def _in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        try:
            return await asyncio.to_thread(work, *arguments)
        except OSError as error:
            logger.warning("console.uploads_unavailable", error=type(error).__name__, errno=error.errno)
            raise TransientError("the folder of uploads cannot be used") from error

    def _put(self, record: UploadRecord, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        records = list(self._sweep())
        if sum(other.agent_id == record.agent_id for other in records) >= MAX_WAITING_PER_AGENT:
            raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail="too many unused uploads")
        try:
            self._content_path(record.id).write_bytes(content)
            draft = self._record_path(record.id).with_suffix(".draft")
            draft.write_text(record.model_dump_json(), encoding="utf-8")
            draft.replace(self._record_path(record.id))
        except OSError:
            self._discard((record.id,))
            raise

    def _find(self, ids: tuple[UUID, ...], agent_id: str) -> list[StoredUpload]:
        found = []
        for upload_id in ids:
            try:
                record = UploadRecord.model_validate_json(self._record_path(upload_id).read_bytes())
                content = self._content_path(upload_id).read_bytes()
            except (FileNotFoundError, ValidationError) as error:
                raise _unknown(upload_id) from error
            if record.agent_id != agent_id or record.expires_at <= self._now():
                raise _unknown(upload_id)
            found.append(StoredUpload(record=record, content=content))
        return found

    def _discard(self, ids: tuple[UUID, ...]) -> None:
        for upload_id in ids:
            for path in (self._record_path(upload_id), self._content_path(upload_id)):
                path.unlink(missing_ok=True)

    def _sweep(self) -> Iterator[UploadRecord]:
        """Drop what has expired or was left half written long ago; yield the records that stay."""
        oldest = (self._now() - KEEP).timestamp()
        for path in self._folder.iterdir():
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink(missing_ok=True)
                elif path.suffix == ".json":
                    yield UploadRecord.model_validate_json(path.read_bytes())
            except (FileNotFoundError, ValidationError):  # taken meanwhile, or nothing of ours
                continue

    def _record_path(self, upload_id: UUID) -> Path:
        return self._folder / f"{upload_id}.json"

    def _content_path(self, upload_id: UUID) -> Path:
        return self._folder / f"{upload_id}.bin"


def _unknown(upload_id: UUID) -> ProblemError:
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "upload_unknown", detail=f"no upload {upload_id}")


def detect_media_type(content: bytes) -> str:
    """Return the media type that the bytes show; text/plain for UTF-8, else application/octet-stream."""
    try:
        best = puremagic.magic_string(content)[0]
    except (puremagic.PureError, ValueError):  # ValueError: no bytes at all
        return TEXT if _is_text(content) else OCTET_STREAM
    if best.confidence < SURE_CONFIDENCE and _is_text(content):
        return TEXT
    return str(best.mime_type) or OCTET_STREAM


def _is_text(content: bytes) -> bool:
    try:
        return "\x00" not in content.decode("utf-8")
    except UnicodeDecodeError:
        return False


def clean_name(name: str) -> str:
    """Return a base name without folders and control characters, at most 200 bytes of UTF-8 with its extension kept."""
    base = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    printable = "".join(letter for letter in base if letter.isprintable() and letter not in '<>:"|?*').strip(" .")
    stem, suffix = os.path.splitext(printable)  # noqa: PTH122 - a name, not a path
    room = 200 - len(suffix.encode("utf-8", "replace"))
    return stem.encode("utf-8", "replace")[: max(room, 0)].decode("utf-8", "ignore") + suffix[:64] or "attachment"
