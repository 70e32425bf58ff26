"""The transcript: the words of a message that came as pictures, by text recognition or by an agent."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

TRANSCRIPTION = "transcription"  # the attribute of an appeal that rules ask for: needed, done
NEEDED = "needed"
DONE = "done"


class TranscriptState(StrEnum):
    """How far the words are known."""

    PENDING = "pending"  # text recognition has not looked yet
    NEEDED = "needed"  # recognition is not sure enough, or not there: an agent types it in
    DONE = "done"


class TranscriptSource(StrEnum):
    """Who read the pictures last."""

    NOBODY = ""
    OCR = "ocr"
    AGENT = "agent"


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcript:
    """The words of one envelope. Times are aware UTC."""

    envelope_id: UUID
    appeal_id: UUID
    state: TranscriptState
    source: TranscriptSource = TranscriptSource.NOBODY
    text: str = ""  # while `needed`: a draft by recognition, may be empty
    confidence: float | None = None  # 0..1, of recognition
    detail: str = ""  # why an agent is needed, for people
    agent_id: str | None = None  # who typed it
    changed_at: datetime
