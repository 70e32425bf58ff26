"""Writes what the router's leader decided: under its fence, compare-and-set on every appeal."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select, update
from uuid_utils.compat import uuid7

from appeals import tables
from appeals.appeal import Appeal, AppealState
from appeals.appeal_changes import AppealChanges
from appeals.bulk_rows import insert_rows
from appeals.errors import StaleLeaderError
from appeals.event_chain import Event
from appeals.offer import OfferState
from appeals.registry import Transaction
from appeals.routing import RoutingChange, StatusChange

_FENCE = select(tables.fences.c.token).where(tables.fences.c.name == bindparam("fence")).with_for_update(read=True)
_LAPSE = (
    update(tables.offers)
    .where(tables.offers.c.id == bindparam("offer_id"), tables.offers.c.state == OfferState.PENDING.value)
    .values(state=bindparam("new_state"), reason=bindparam("new_reason"), resolved_at=bindparam("new_resolved_at"))
)


async def check_fence(transaction: Transaction, name: str, *, token: int) -> None:
    """Raise StaleLeaderError unless `token` is the newest; nobody can advance it before this transaction ends."""
    newest = (await transaction.connection.execute(_FENCE, {"fence": name})).scalar()
    if newest != token:
        raise StaleLeaderError(f"fencing token {token} is stale, the newest is {newest}")


async def advance_fence(transaction: Transaction, name: str, *, token: int) -> bool:
    """Make `token` the newest; False if it is not greater than the one known."""
    table = tables.fences
    await insert_rows(transaction.connection, table, [{"name": name, "token": 0}], ignore_known=True)
    result = await transaction.connection.execute(
        update(table).where(table.c.name == name, table.c.token < token).values(token=token)
    )
    if result.rowcount != 1:
        return False
    transaction.events.append(Event(kind="leader.took_over", actor="router", data={"name": name, "token": token}))
    return True


async def write_routing(transaction: Transaction, changes: Sequence[RoutingChange]) -> frozenset[UUID]:
    """Write the changes whose appeal is still at their version; returns the ids of the others."""
    if not changes:
        return frozenset()
    appeals = AppealChanges(transaction)
    known = await appeals.lock([change.appeal_id for change in changes])
    won: list[RoutingChange] = []
    for change in changes:
        appeal = known.get(change.appeal_id)
        if appeal is not None and appeal.version == change.version and _is_legal(change, appeal):
            won.append(change)
            _apply(appeals, change)
    await _write_offers(transaction, won)
    await appeals.write()
    return frozenset(change.appeal_id for change in changes) - {change.appeal_id for change in won}


def _is_legal(change: RoutingChange, appeal: Appeal) -> bool:
    """Tell whether the change still fits the appeal's state; what does not fit is a lost race, not an error."""
    if change.lapse is not None:
        return appeal.state is AppealState.OFFERED
    return appeal.state is AppealState.WAITING


def _apply(appeals: AppealChanges, change: RoutingChange) -> None:
    if change.lapse is not None:
        appeals.change(
            change.appeal_id,
            f"offer.{change.lapse.state.value}",
            actor="router",
            data={"offer_id": str(change.lapse.offer_id), "reason": change.lapse.reason},
            values={"state": AppealState.WAITING, "agent_id": None},
        )
    if change.placement is not None:
        placement = change.placement
        appeals.change(
            change.appeal_id,
            "appeal.placed",
            actor="router",
            data={"queue": placement.queue, "rule": placement.rule, "rule_set": placement.rule_set},
            values={"queue": placement.queue, "priority": placement.priority, "rule_set": placement.rule_set},
        )
    if change.offer is not None:
        appeals.change(
            change.appeal_id,
            "offer.made",
            actor="router",
            data={"offer_id": str(change.offer.id), "agent_id": change.offer.agent_id, "step": change.offer.step},
            values={"state": AppealState.OFFERED, "agent_id": change.offer.agent_id},
        )


async def _write_offers(transaction: Transaction, won: Sequence[RoutingChange]) -> None:
    lapses: list[dict[str, Any]] = [
        {
            "offer_id": change.lapse.offer_id,
            "new_state": change.lapse.state.value,
            "new_reason": change.lapse.reason,
            "new_resolved_at": transaction.now,
        }
        for change in won
        if change.lapse is not None
    ]
    offers: list[dict[str, Any]] = [
        {
            "id": change.offer.id,
            "appeal_id": change.appeal_id,
            "agent_id": change.offer.agent_id,
            "state": OfferState.PENDING.value,
            "step": change.offer.step,
            "created_at": transaction.now,
            "due_at": change.offer.due_at,
            "resolved_at": None,
            "reason": "",
        }
        for change in won
        if change.offer is not None
    ]
    records: list[dict[str, Any]] = [
        {
            "id": uuid7(),
            "appeal_id": change.appeal_id,
            "at": transaction.now,
            "rule_set": change.placement.rule_set if change.placement else change.record.get("rule_set"),
            "record": dict(change.record),
        }
        for change in won
        if change.record is not None
    ]
    if lapses:  # first: the database allows one pending offer an appeal
        await transaction.connection.execute(_LAPSE, lapses)
    await insert_rows(transaction.connection, tables.offers, offers)
    await insert_rows(transaction.connection, tables.decisions, records)


async def write_statuses(transaction: Transaction, changes: Sequence[StatusChange], *, actor: str) -> int:
    """Set agents' statuses; returns how many agents there were to set."""
    table, written = tables.agents, 0
    for change in changes:
        statement = update(table).where(table.c.id == change.agent_id, table.c.active)
        result = await transaction.connection.execute(
            statement.values(status=change.status.value, status_since=transaction.now)
        )
        if result.rowcount:
            written += 1
            data = {"agent_id": change.agent_id, "status": change.status.value, "reason": change.reason}
            transaction.events.append(Event(kind="agent.status_set", actor=actor, data=data))
    return written
