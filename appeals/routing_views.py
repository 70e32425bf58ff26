"""Reads what routing needs to know of appeals, in as few statements as can be: the hot path of the router's leader."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, and_, bindparam, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appeals import tables
from appeals.appeal import Appeal, AppealState
from appeals.offer import Offer, OfferState
from appeals.routing import RoutingView
from appeals.rows import to_appeal, to_offer

ROUTED_STATES = (AppealState.WAITING, AppealState.OFFERED, AppealState.ASSIGNED)
REFUSALS = (OfferState.DECLINED, OfferState.TIMED_OUT)
FIRST_VERSION_AFTER_OFFER = 3  # of a waiting appeal: registered is 1, an offer one more, its end another


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutedVersion:
    """At which version an appeal is that wants routing, and since when it has been in its state."""

    id: UUID
    version: int
    changed_at: datetime


def _view_query() -> Select[tuple[object, ...]]:
    """Build the statement once: what stands in it costs more to put together than to run."""
    appeals, citizens, envelopes = tables.appeals, tables.citizens, tables.envelopes
    earlier = tables.appeals.alias("earlier")
    last_agent = (
        select(earlier.c.agent_id)
        .where(
            earlier.c.citizen_id == appeals.c.citizen_id,
            earlier.c.answered_at.is_not(None),
            earlier.c.agent_id.is_not(None),
        )
        .order_by(earlier.c.answered_at.desc(), earlier.c.id.desc())
        .limit(1)
        .correlate(appeals)
        .scalar_subquery()
    )
    attached = exists().where(envelopes.c.appeal_id == appeals.c.id, envelopes.c.has_attachments).correlate(appeals)
    return (
        select(
            appeals,
            citizens.c.segments.label("citizen_segments"),
            last_agent.label("last_agent"),
            attached.label("with_attachments"),
        )
        .select_from(appeals.outerjoin(citizens, citizens.c.id == appeals.c.citizen_id))
        .where(
            appeals.c.id.in_(bindparam("ids", expanding=True)),
            appeals.c.state.in_([state.value for state in ROUTED_STATES]),
        )
        .order_by(appeals.c.waiting_since)
    )


_VIEWS = _view_query()
_OFFERS = select(tables.offers).where(
    tables.offers.c.appeal_id.in_(bindparam("ids", expanding=True)),
    tables.offers.c.state.in_([OfferState.PENDING.value, *(state.value for state in REFUSALS)]),
)


async def read_routing_views(connection: AsyncConnection, ids: Sequence[UUID]) -> list[RoutingView]:
    """Return those of `ids` that are waiting, offered or assigned, with what routing needs, oldest first."""
    rows = (await connection.execute(_VIEWS, {"ids": list(ids)})).all()
    appeals = [to_appeal(row) for row in rows]
    pending, refused = await _offers_by_appeal(connection, [item.id for item in appeals if _may_have_offers(item)])
    return [
        RoutingView(
            appeal=appeal,
            pending_offer=pending.get(appeal.id),
            refused_by=frozenset(refused.get(appeal.id, ())) | frozenset(appeal.attributes.get("released_by", ())),
            last_agent=row.last_agent,
            segments=frozenset(row.citizen_segments or ()),
            has_attachments=bool(row.with_attachments),
        )
        for appeal, row in zip(appeals, rows, strict=True)
    ]


async def read_routed_versions(
    connection: AsyncConnection, state: AppealState, *, after: RoutedVersion | None, limit: int
) -> list[RoutedVersion]:
    """Return a page of the appeals in `state`, oldest in it first, from behind `after`."""
    column = tables.appeals.c
    query = select(column.id, column.version, column.changed_at).where(column.state == state.value)
    if after is not None:
        later = column.changed_at > after.changed_at
        query = query.where(or_(later, and_(column.changed_at == after.changed_at, column.id > after.id)))
        query = query.where(column.changed_at >= after.changed_at)  # said once more for the index
    rows = await connection.execute(query.order_by(column.changed_at, column.id).limit(limit))
    return [RoutedVersion(id=row.id, version=row.version, changed_at=row.changed_at) for row in rows]


def _may_have_offers(appeal: Appeal) -> bool:
    return appeal.state is not AppealState.WAITING or appeal.version >= FIRST_VERSION_AFTER_OFFER


async def _offers_by_appeal(
    connection: AsyncConnection, ids: Sequence[UUID]
) -> tuple[dict[UUID, Offer], dict[UUID, set[str]]]:
    """Return the pending offer of each appeal, and the agents who refused it."""
    pending: dict[UUID, Offer] = {}
    refused: dict[UUID, set[str]] = defaultdict(set)
    if not ids:
        return pending, refused
    for row in await connection.execute(_OFFERS, {"ids": list(ids)}):
        if row.state == OfferState.PENDING.value:
            pending[row.appeal_id] = to_offer(row)
        else:
            refused[row.appeal_id].add(row.agent_id)
    return pending, refused
