"""Putting a message where it belongs: what the threading policy decided, an agent can reverse."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update

from appeals import tables
from appeals.appeal import Appeal, AppealState
from appeals.appeal_changes import AppealChanges
from appeals.envelope import AppealEnvelope
from appeals.errors import NotFoundError, PermanentError
from appeals.intake_policy import IntakePolicy
from appeals.lifecycle import rescind_offers
from appeals.notify import Changes, Notifier
from appeals.registration_group import RegistrationGroup
from appeals.registry import Registry, Transaction
from appeals.threading import inbound_key


class Rethreading:
    """Moves one message of an appeal. Every method commits before it returns, and may raise TransientError."""

    def __init__(self, registry: Registry, *, notifier: Notifier, policy: IntakePolicy) -> None:
        self._registry = registry
        self._notifier = notifier
        self._policy = policy

    async def split(self, appeal_id: UUID, *, envelope_id: UUID, version: int, actor: str) -> tuple[Appeal, Appeal]:
        """Make an appeal of its own of a message that joined wrongly; returns (the appeal left, the new one).

        The new appeal's age and deadline run from the message's own receipt. Later messages that answer it find the
        new appeal. Raises StaleVersionError, NotFoundError, PermanentError for an appeal's only message.
        """
        async with self._registry.transaction() as transaction:
            appeals = AppealChanges(transaction)
            left = await appeals.lock_one(appeal_id, version=version)
            envelope = await _message(transaction, appeal_id, envelope_id)
            if await _count(transaction, appeal_id) == 1:
                raise PermanentError(f"it is the only message of appeal {left.number}")
            # Of a running talk the appeal there was stays the one that later messages join.
            apart = _apart(envelope)
            group = RegistrationGroup(transaction, self._policy)
            opened = await group.open_for(apart)
            await _rehang(transaction, envelope, opened.id)
            data = {"envelope_id": str(envelope_id), "to": opened.number}
            left = appeals.change(appeal_id, "envelope.split_off", actor=actor, data=data)
            await appeals.write()
        changes = group.changes
        changes.note(left)
        await self._notifier.notify(changes)
        return left, opened

    async def move(
        self, appeal_id: UUID, *, envelope_id: UUID, version: int, to_number: str, actor: str
    ) -> tuple[Appeal, Appeal]:
        """Put a message onto another appeal of the same citizen; returns (the appeal left, the one joined).

        An appeal left without messages is closed. Raises StaleVersionError, NotFoundError, PermanentError if the
        other appeal is another citizen's, or closed.
        """
        target = await self._registry.appeal_by_number(to_number)
        changes = Changes()
        async with self._registry.transaction() as transaction:
            appeals = AppealChanges(transaction)
            known = await appeals.lock([appeal_id, target.id])
            left = await appeals.lock_one(appeal_id, version=version)
            _check_target(left, target := known[target.id])
            envelope = await _message(transaction, appeal_id, envelope_id)
            await _rehang(transaction, envelope, target.id)
            data = {"envelope_id": str(envelope_id), "from": left.number, "to": target.number}
            values: dict[str, Any] = {}
            if not await _count(transaction, appeal_id):
                await rescind_offers(transaction, appeal_id, reason="closed")
                values = {"state": AppealState.CLOSED, "closed_at": transaction.now}
            left = appeals.change(appeal_id, "envelope.moved_away", actor=actor, data=data, values=values)
            target = appeals.change(target.id, "envelope.moved_here", actor=actor, data=data)
            await appeals.write()
        for appeal in (left, target):
            changes.note(appeal)
        await self._notifier.notify(changes)
        return left, target


def _apart(envelope: AppealEnvelope) -> AppealEnvelope:
    """Return the envelope as one that belongs to no running talk."""
    threading = envelope.threading.model_copy(update={"conversation": None})
    return envelope.model_copy(update={"threading": threading})


def _check_target(left: Appeal, target: Appeal) -> None:
    if target.id == left.id:
        raise PermanentError(f"the message is in appeal {left.number} already")
    if target.citizen_id is None or target.citizen_id != left.citizen_id:
        raise PermanentError(f"appeal {target.number} is another citizen's")
    if target.state is AppealState.CLOSED:
        raise PermanentError(f"appeal {target.number} is closed")


async def _message(transaction: Transaction, appeal_id: UUID, envelope_id: UUID) -> AppealEnvelope:
    column = tables.envelopes.c
    query = select(column.document).where(column.id == envelope_id, column.appeal_id == appeal_id)
    document = (await transaction.connection.execute(query)).scalar()
    if document is None:
        raise NotFoundError(f"the appeal has no message {envelope_id}")
    return AppealEnvelope.model_validate_json(document)


async def _count(transaction: Transaction, appeal_id: UUID) -> int:
    query = select(func.count()).where(tables.envelopes.c.appeal_id == appeal_id)
    return int((await transaction.connection.execute(query)).scalar_one())


async def _rehang(transaction: Transaction, envelope: AppealEnvelope, appeal_id: UUID) -> None:
    """Let the message, its transcript and the key by which answers find it belong to another appeal."""
    for table in (tables.envelopes, tables.transcripts):
        key = table.c.id if table is tables.envelopes else table.c.envelope_id
        await transaction.connection.execute(update(table).where(key == envelope.id).values(appeal_id=appeal_id))
    if envelope.threading.message_id:
        keys = tables.thread_keys
        statement = update(keys).where(keys.c.key == inbound_key(envelope.threading.message_id)[:1024])
        await transaction.connection.execute(statement.values(appeal_id=appeal_id))
