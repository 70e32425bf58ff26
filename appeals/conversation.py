"""What readers of the registry get beside the bare appeal."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from appeals.appeal import Appeal, AppealState
from appeals.citizen import Citizen
from appeals.envelope import AppealEnvelope, Channel
from appeals.event_chain import StoredEvent
from appeals.reply import Reply
from appeals.transcript import Transcript


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """An appeal with all that was said and done, oldest first."""

    appeal: Appeal
    citizen: Citizen | None
    envelopes: tuple[AppealEnvelope, ...]
    replies: tuple[Reply, ...]
    events: tuple[StoredEvent, ...]
    transcripts: tuple[Transcript, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AppealText:
    """An appeal with the words to classify it by."""

    appeal_id: UUID
    version: int
    state: AppealState
    text: str  # subject, clean text, transcript, a line break between them
    chosen_topic: str | None = None  # what the citizen named, unchecked


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredDecision:
    """The router's record of one decision, as it was committed."""

    id: UUID
    at: datetime
    rule_set: str | None
    record: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantineEntry:
    """Something that could not be processed; its bytes are the blob `sha256` (P4)."""

    id: UUID
    at: datetime
    connector: str
    channel: Channel
    stage: str
    reason: str
    context: Mapping[str, str]
    sha256: str
    state: str  # held, retried, dropped
    times: int  # how often the same bytes came
    note: str

    @classmethod
    def of(cls, row: Row[Any]) -> "QuarantineEntry":
        """Make an entry of a row of `quarantine`."""
        return cls(
            id=row.id,
            at=row.at,
            connector=row.connector,
            channel=Channel(row.channel),
            stage=row.stage,
            reason=row.reason,
            context=row.context,
            sha256=row.sha256,
            state=row.state,
            times=row.times,
            note=row.note,
        )
