"""An answer that did not reach the citizen is none: its appeal comes back to whoever wrote it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select

from appeals import tables
from appeals.appeal import Appeal, AppealState
from appeals.appeal_changes import AppealChanges
from appeals.registry import Transaction
from appeals.reply import Reply, ReplyKind

UNDELIVERED = "undelivered"  # the attribute of an appeal whose newest answer failed


async def bring_back(transaction: Transaction, failed: Sequence[Reply]) -> list[Appeal]:
    """Bring the appeals of failed answers back to their agents, and closed ones into the queue; returns those moved.

    An appeal that somebody works on already is only marked. Its age stays (P8).
    """
    answers = [reply for reply in failed if reply.kind is ReplyKind.ANSWER]
    if not answers:
        return []
    appeals = AppealChanges(transaction)
    known = await appeals.lock({reply.appeal_id for reply in answers})
    moved = []
    for appeal_id, reply in {reply.appeal_id: reply for reply in answers}.items():
        appeal = known[appeal_id]
        values = _place(appeal)
        changed = appeals.change(
            appeal_id,
            "appeal.undelivered",
            actor=f"connector:{reply.connector}",
            data={"reply_id": str(reply.id)},
            values={**values, "attributes": {**appeal.attributes, UNDELIVERED: "true"}},
        )
        if values:
            moved.append(changed)
    await appeals.write()
    return moved


async def forget_undelivered(transaction: Transaction, reply_id: UUID) -> None:
    """Take the mark off: the answer is on its way again."""
    query = select(tables.replies.c.appeal_id).where(tables.replies.c.id == reply_id)
    appeal_id = (await transaction.connection.execute(query)).scalar_one()
    appeals = AppealChanges(transaction)
    appeal = await appeals.lock_one(appeal_id)
    if UNDELIVERED in appeal.attributes:
        data = {"reply_id": str(reply_id)}
        values = {"attributes": without_mark(appeal)}
        appeals.change(appeal_id, "reply.queued", actor="agent", data=data, values=values)
        await appeals.write()


def without_mark(appeal: Appeal) -> dict[str, Any]:
    """Return the appeal's attributes without the mark."""
    return {key: value for key, value in appeal.attributes.items() if key != UNDELIVERED}


def _place(appeal: Appeal) -> dict[str, Any]:
    """Return the values that put an appeal back where somebody sees it; nothing if it is there."""
    if appeal.state is AppealState.ANSWERED and appeal.agent_id is not None:
        return {"state": AppealState.ASSIGNED}
    if appeal.state in (AppealState.ANSWERED, AppealState.CLOSED):
        return {"state": AppealState.WAITING, "closed_at": None}
    return {}
