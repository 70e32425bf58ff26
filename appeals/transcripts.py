"""Keeps transcripts: what text recognition found after registration, and what agents typed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update

from appeals import tables
from appeals.appeal import UNTAGGED, Appeal, AppealState
from appeals.appeal_changes import AppealChanges, check_holder
from appeals.envelope import AppealEnvelope
from appeals.errors import NotFoundError, PermanentError
from appeals.notify import Changes, Notifier, appeal_changed
from appeals.registration_group import first_words
from appeals.registry import Registry, Transaction
from appeals.rows import to_transcript
from appeals.transcript import DONE, NEEDED, TRANSCRIPTION, Transcript, TranscriptSource, TranscriptState

SUBJECT = "subject"  # the form field in which somebody named the matter


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingTranscript:
    """A message that text recognition should look at."""

    transcript: Transcript
    envelope: AppealEnvelope


class Transcripts:
    """Every method commits before it returns, and may raise TransientError."""

    def __init__(self, registry: Registry, *, notifier: Notifier) -> None:
        self._registry = registry
        self._notifier = notifier

    async def pending(self, *, limit: int) -> list[UUID]:
        """Return envelope ids that recognition has not looked at, oldest first: the sweeper queues them again."""
        column = tables.transcripts.c
        query = select(column.envelope_id).where(column.state == TranscriptState.PENDING.value)
        async with self._registry.database.read() as connection:
            return list((await connection.execute(query.order_by(column.changed_at).limit(limit))).scalars())

    async def open(self, ids: Sequence[UUID]) -> list[PendingTranscript]:
        """Return those of the envelopes `ids` that recognition has not looked at."""
        column = tables.transcripts.c
        query = (
            select(tables.transcripts, tables.envelopes.c.document)
            .join(tables.envelopes, tables.envelopes.c.id == column.envelope_id)
            .where(column.envelope_id.in_(ids), column.state == TranscriptState.PENDING.value)
        )
        async with self._registry.database.read() as connection:
            rows = (await connection.execute(query.order_by(column.changed_at))).all()
        return [
            PendingTranscript(transcript=to_transcript(row), envelope=AppealEnvelope.model_validate_json(row.document))
            for row in rows
        ]

    async def of_appeal(self, appeal_id: UUID) -> list[Transcript]:
        """Return the appeal's transcripts."""
        query = select(tables.transcripts).where(tables.transcripts.c.appeal_id == appeal_id)
        async with self._registry.database.read() as connection:
            return [to_transcript(row) for row in await connection.execute(query)]

    async def recognised(
        self, envelope_id: UUID, *, text: str, confidence: float | None, accepted: bool, detail: str = ""
    ) -> None:
        """Keep what recognition found; not `accepted`: an agent has to type it in, `text` is their draft.

        Idempotent: a transcript that is no longer pending stays as it is.
        """
        changes = Changes()
        async with self._registry.transaction() as transaction:
            known = await _find(transaction, envelope_id)
            if known is None or known.state is not TranscriptState.PENDING:
                return
            state = TranscriptState.DONE if accepted else TranscriptState.NEEDED
            values = {"state": state.value, "source": TranscriptSource.OCR.value, "text": text}
            values |= {"detail": detail}
            await _write(transaction, envelope_id, {**values, "confidence": confidence})
            appeals = AppealChanges(transaction)
            appeal = await appeals.lock_one(known.appeal_id)
            data = {"envelope_id": str(envelope_id), "confidence": confidence, "accepted": accepted, "detail": detail}
            appeal = appeals.change(
                appeal.id,
                "envelope.recognised",
                actor="recognition",
                data=data,
                values=await _values(transaction, appeal, envelope_id, text=text if accepted else ""),
            )
            await appeals.write()
            _tell(changes, appeal)
        await self._notifier.notify(changes)

    async def typed(
        self, appeal_id: UUID, *, envelope_id: UUID, agent_id: str, version: int, text: str, pass_on: bool
    ) -> Appeal:
        """Keep what the agent who holds the appeal read in the pictures.

        `pass_on`: the appeal is tagged anew by these words and goes to whom they belong, its age kept. Raises
        NotHolderError, StaleVersionError, NotFoundError, PermanentError for a message without pictures.
        """
        changes = Changes()
        async with self._registry.transaction() as transaction:
            appeals = AppealChanges(transaction)
            appeal = await appeals.lock_one(appeal_id, version=version)
            check_holder(appeal, agent_id)
            known = await _find(transaction, envelope_id)
            if known is None or known.appeal_id != appeal_id:
                raise NotFoundError(f"appeal {appeal.number} has no message {envelope_id} to transcribe")
            if not text.strip():
                raise PermanentError("a transcript without words")
            values = {"state": TranscriptState.DONE.value, "source": TranscriptSource.AGENT.value, "text": text}
            await _write(transaction, envelope_id, {**values, "agent_id": agent_id})
            changed = await _values(transaction, appeal, envelope_id, text=text)
            if pass_on and appeal.state is AppealState.ASSIGNED:
                changed |= UNTAGGED
            appeal = appeals.change(
                appeal_id,
                "envelope.transcribed",
                actor=f"agent:{agent_id}",
                data={"envelope_id": str(envelope_id), "pass_on": pass_on},
                values=changed,
            )
            await appeals.write()
            _tell(changes, appeal)
            changes.agent_messages.append((agent_id, appeal_changed(appeal)))
        await self._notifier.notify(changes)
        return appeal


async def _find(transaction: Transaction, envelope_id: UUID) -> Transcript | None:
    query = select(tables.transcripts).where(tables.transcripts.c.envelope_id == envelope_id).with_for_update()
    row = (await transaction.connection.execute(query)).first()
    return None if row is None else to_transcript(row)


async def _write(transaction: Transaction, envelope_id: UUID, values: dict[str, Any]) -> None:
    statement = update(tables.transcripts).where(tables.transcripts.c.envelope_id == envelope_id)
    await transaction.connection.execute(statement.values(**values, changed_at=transaction.now))


async def _values(transaction: Transaction, appeal: Appeal, envelope_id: UUID, *, text: str) -> dict[str, Any]:
    """Return what the transcript changes on the appeal: what rules ask, and a subject by which lists tell it."""
    column = tables.transcripts.c
    query = select(func.count()).where(column.appeal_id == appeal.id, column.state == TranscriptState.NEEDED.value)
    needed = (await transaction.connection.execute(query)).scalar_one()
    values: dict[str, Any] = {"attributes": {**appeal.attributes, TRANSCRIPTION: NEEDED if needed else DONE}}
    if text.strip() and await _named_by_us(transaction, appeal, envelope_id):
        values["subject"] = first_words(text)
    return values


async def _named_by_us(transaction: Transaction, appeal: Appeal, envelope_id: UUID) -> bool:
    """Tell whether the appeal began with this message, and nobody gave it a subject ("Fax, 2 pages" is ours)."""
    column = tables.envelopes.c
    query = select(column.id, column.document).where(column.appeal_id == appeal.id).order_by(column.received_at)
    row = (await transaction.connection.execute(query.limit(1))).one()
    return bool(row.id == envelope_id) and SUBJECT not in AppealEnvelope.model_validate_json(row.document).fields


def _tell(changes: Changes, appeal: Appeal) -> None:
    if appeal.state is AppealState.REGISTERED:
        changes.classify.append(appeal.id)
    changes.note(appeal)
