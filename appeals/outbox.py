"""The outbox: replies that wait to be sent, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, exists, select, update

from appeals import tables
from appeals.appeal import Appeal
from appeals.errors import NotFoundError
from appeals.event_chain import Event
from appeals.notify import Changes, Notifier, appeal_changed
from appeals.registry import Registry, Transaction
from appeals.reply import UNSENT_STATES, DeliveryState, Reply
from appeals.rows import to_reply
from appeals.undelivered import bring_back, forget_undelivered

SENDING_TIMEOUT = timedelta(minutes=10)  # a worker that took a reply for so long is dead: another one may send it
_RANK = {
    DeliveryState.QUEUED: 0,
    DeliveryState.SENDING: 1,
    DeliveryState.SENT: 2,
    DeliveryState.FAILED: 3,
    DeliveryState.DELIVERED: 4,
    DeliveryState.READ: 5,
}
"""Reports come late, twice and out of order: only a higher one is news. What was delivered did not fail."""

_UNSENT = [state.value for state in UNSENT_STATES]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryOutcome:
    """What one attempt came to."""

    reply: Reply  # as `begin` gave it
    state: DeliveryState  # SENT or DELIVERED; QUEUED: again at `next_attempt_at`; FAILED: given up
    external_id: str | None = None
    error: str = ""
    next_attempt_at: datetime | None = None


class Outbox:
    """Hands out replies to send, one worker each, and keeps what the channels say of them."""

    def __init__(self, registry: Registry, *, notifier: Notifier) -> None:
        self._registry = registry
        self._notifier = notifier

    async def due(self, *, limit: int) -> list[UUID]:
        """Return ids of replies whose time has come, those of dead workers included: the sweeper queues them again."""
        column = tables.replies.c
        query = select(column.id).where(
            column.state.in_(_UNSENT), column.next_attempt_at <= self._registry.now(), ~_waits_for_another()
        )
        async with self._registry.database.read() as connection:
            return list((await connection.execute(query.order_by(column.next_attempt_at).limit(limit))).scalars())

    async def begin(self, ids: Sequence[UUID]) -> list[Reply]:
        """Take those that are due: nobody else gets them before SENDING_TIMEOUT. Others are left out.

        A reply waits for the ones before it to the same address about the same appeal, so that they arrive in order.
        """
        column = tables.replies.c
        async with self._registry.transaction() as transaction:
            query = select(tables.replies).where(
                column.id.in_(ids),
                column.state.in_(_UNSENT),
                column.next_attempt_at <= transaction.now,
                ~_waits_for_another(),
            )
            rows = (await transaction.connection.execute(query.with_for_update(skip_locked=True))).all()
            if rows:
                statement = update(tables.replies).where(column.id.in_([row.id for row in rows]))
                await transaction.connection.execute(
                    statement.values(
                        state=DeliveryState.SENDING.value,
                        attempts=column.attempts + 1,
                        next_attempt_at=transaction.now + SENDING_TIMEOUT,
                    )
                )
        return [to_reply(row) for row in rows]

    async def settle(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        """Write what attempts came to. A report that overtook the outcome keeps its say."""
        if not outcomes:
            return
        async with self._registry.transaction() as transaction:
            await transaction.connection.execute(_SETTLE, [_outcome_row(item, transaction) for item in outcomes])
            for item in outcomes:
                transaction.events.append(_event(item.reply, item.state, detail=item.error))
            lost = [item.reply for item in outcomes if item.state is DeliveryState.FAILED]
            brought_back = await bring_back(transaction, lost)
        await self._tell([item.reply for item in outcomes], brought_back)

    async def report(self, connector: str, *, external_id: str, state: DeliveryState, detail: str = "") -> bool:
        """Note what a channel says of a reply it took; see `connectors.base.DeliveryReports`."""
        column = tables.replies.c
        async with self._registry.transaction() as transaction:
            named = column.external_id == external_id
            if (reply_id := _reply_id(external_id)) is not None:  # a bounce may come before `settle` has written its id
                named |= (column.id == reply_id) & (column.message_id == external_id)
            query = select(tables.replies).where(column.connector == connector, named)
            row = (await transaction.connection.execute(query.with_for_update())).first()
            if row is None:
                return False
            reply = to_reply(row)
            is_word_on_the_way = state is reply.state is DeliveryState.SENT and detail not in ("", reply.error)
            if _RANK[state] <= _RANK[reply.state] and not is_word_on_the_way:
                return True
            error = detail if state in (DeliveryState.SENT, DeliveryState.FAILED) else ""
            values = {"state": state.value, "error": error, "external_id": reply.external_id or external_id}
            await transaction.connection.execute(update(tables.replies).where(column.id == reply.id).values(values))
            transaction.events.append(_event(reply, state, detail=detail))
            brought_back = await bring_back(transaction, [reply] if state is DeliveryState.FAILED else [])
        await self._tell([reply], brought_back)
        return True

    async def give_up(self, reply_id: str, *, reason: str) -> None:
        """Mark a reply as failed that no worker could handle, so that its agent sees it. An unknown id is ignored."""
        try:
            key = UUID(reply_id)
        except ValueError:
            return
        column = tables.replies.c
        async with self._registry.transaction() as transaction:
            query = select(tables.replies).where(column.id == key, column.state.in_(_UNSENT))
            row = (await transaction.connection.execute(query)).first()
            if row is None:
                return
            values = {"state": DeliveryState.FAILED.value, "error": reason}
            await transaction.connection.execute(update(tables.replies).where(column.id == key).values(values))
            reply = to_reply(row)
            transaction.events.append(_event(reply, DeliveryState.FAILED, detail=reason))
            brought_back = await bring_back(transaction, [reply])
        await self._tell([reply], brought_back)

    async def retry(self, reply_id: UUID) -> None:
        """Send a failed reply again from the start. Raises NotFoundError unless it has failed."""
        column = tables.replies.c
        async with self._registry.transaction() as transaction:
            statement = update(tables.replies).where(column.id == reply_id, column.state == DeliveryState.FAILED.value)
            values = {"state": DeliveryState.QUEUED.value, "attempts": 0, "next_attempt_at": transaction.now}
            if (await transaction.connection.execute(statement.values(values))).rowcount != 1:
                raise NotFoundError(f"no failed reply {reply_id}")
            await forget_undelivered(transaction, reply_id)
        await self._notifier.notify(Changes(deliver=[reply_id]))

    async def _tell(self, replies: Sequence[Reply], brought_back: Sequence[Appeal]) -> None:
        """Let the agents' consoles know how far their answers have got, and the router what is back."""
        answered = {reply.appeal_id: reply.agent_id for reply in replies if reply.agent_id is not None}
        appeals = {appeal.id: appeal for appeal in await self._registry.appeals_by_id(list(answered))}
        messages = [
            (agent_id, appeal_changed(appeals[appeal_id]))
            for appeal_id, agent_id in answered.items()
            if agent_id is not None and appeal_id in appeals
        ]
        changes = Changes(route_appeals=[appeal.id for appeal in brought_back], agent_messages=list(messages))
        if changes:
            await self._notifier.notify(changes)


def _waits_for_another() -> ColumnElement[bool]:
    """Whether an older reply about the same appeal to the same address by the same connector is not sent yet."""
    older = tables.replies.alias("older")
    mine = tables.replies.c
    return exists().where(
        older.c.appeal_id == mine.appeal_id,
        older.c.connector == mine.connector,
        older.c.recipient == mine.recipient,
        older.c.state.in_(_UNSENT),
        older.c.id < mine.id,  # version 7: by time
    )


def _reply_id(external_id: str) -> UUID | None:
    """Return the reply that an id of ours names; None if it is another's."""
    try:
        return UUID(hex=external_id.partition("@")[0])
    except ValueError:
        return None


_SETTLE = (
    update(tables.replies)
    .where(tables.replies.c.id == bindparam("reply_id"), tables.replies.c.state == DeliveryState.SENDING.value)
    .values(
        state=bindparam("new_state"),
        external_id=bindparam("new_external_id"),
        error=bindparam("new_error"),
        next_attempt_at=bindparam("new_next_attempt_at"),
        sent_at=bindparam("new_sent_at"),
    )
)


def _outcome_row(outcome: DeliveryOutcome, transaction: Transaction) -> dict[str, Any]:
    sent = outcome.state in (DeliveryState.SENT, DeliveryState.DELIVERED)
    return {
        "reply_id": outcome.reply.id,
        "new_state": outcome.state.value,
        "new_external_id": outcome.external_id,
        "new_error": outcome.error,
        "new_next_attempt_at": outcome.next_attempt_at or transaction.now,
        "new_sent_at": transaction.now if sent else None,
    }


def _event(reply: Reply, state: DeliveryState, *, detail: str) -> Event:
    data = {"reply_id": str(reply.id), "kind": reply.kind.value, "detail": detail}
    return Event(
        kind=f"reply.{state.value}", actor=f"connector:{reply.connector}", appeal_id=reply.appeal_id, data=data
    )
