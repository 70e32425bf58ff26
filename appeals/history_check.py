"""Checks the history: every chain, every anchor, every appeal's version (P9)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appeals import tables
from appeals.event_chain import GENESIS_HASH, event_hash

PAGE = 5_000  # rows


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryReport:
    """What was checked, and what does not fit. No faults: nothing was changed, removed or put in between."""

    chains: int
    events: int
    faults: tuple[str, ...]


async def check_history(connection: AsyncConnection) -> HistoryReport:
    """Read every event once. Memory is bounded by the number of chains and anchors, time by the number of events."""
    faults: list[str] = []
    events = 0
    anchors: list[tuple[UUID, int, str]] = []
    chains = (await connection.execute(select(tables.chains).order_by(tables.chains.c.opened_at))).all()
    for chain in chains:
        seq, head = -1, GENESIS_HASH
        async for row in _rows(connection, chain.id):
            events += 1
            seq += 1
            if row["seq"] != seq or row["previous_hash"] != head or row["hash"] != event_hash(row):
                faults.append(f"chain {chain.id}: event {row['seq']} ({row['kind']}) does not fit the one before it")
                seq = row["seq"]
            head = row["hash"]
            if row["kind"] == "chain.opened":
                anchors += [(UUID(key), value[0], value[1]) for key, value in row["data"]["anchors"].items()]
        if (seq, head) != (chain.seq, chain.head):
            faults.append(f"chain {chain.id}: ends at event {seq}, its head was recorded at event {chain.seq}")
    known = {chain.id for chain in chains}
    for chain_id, anchored_seq, anchored_hash in anchors:
        query = select(tables.events.c.hash).where(
            tables.events.c.chain == chain_id, tables.events.c.seq == anchored_seq
        )
        if chain_id not in known or (await connection.execute(query)).scalar() != anchored_hash:
            faults.append(
                f"chain {chain_id}: event {anchored_seq}, which another chain vouches for, is gone or changed"
            )
    faults += await _check_versions(connection)
    return HistoryReport(chains=len(chains), events=events, faults=tuple(faults))


async def _rows(connection: AsyncConnection, chain: UUID) -> AsyncIterator[dict[str, Any]]:
    events = tables.events
    after = -1
    while True:
        query = select(events).where(events.c.chain == chain, events.c.seq > after).order_by(events.c.seq).limit(PAGE)
        page = (await connection.execute(query)).mappings().all()
        for row in page:
            yield dict(row)
        if len(page) < PAGE:
            return
        after = page[-1]["seq"]


async def _check_versions(connection: AsyncConnection) -> list[str]:
    """Every change of an appeal made one version and at least one event of that version."""
    events, appeals = tables.events, tables.appeals
    newest = (
        select(
            events.c.appeal_id,
            func.max(events.c.appeal_version).label("version"),
            func.count(events.c.appeal_version.distinct()).label("versions"),
        )
        .where(events.c.appeal_version.is_not(None))
        .group_by(events.c.appeal_id)
        .subquery()
    )
    query = (
        select(appeals.c.number, appeals.c.version, newest.c.version.label("told"), newest.c.versions)
        .outerjoin(newest, newest.c.appeal_id == appeals.c.id)
        .where(
            (newest.c.version.is_(None))
            | (newest.c.version != appeals.c.version)
            | (newest.c.versions != appeals.c.version)
        )
    )
    faults = [
        f"appeal {row.number}: is at version {row.version}, its events tell of {row.told}"
        for row in await connection.execute(query)
    ]
    orphans = (
        select(newest.c.appeal_id).outerjoin(appeals, appeals.c.id == newest.c.appeal_id).where(appeals.c.id.is_(None))
    )
    return faults + [
        f"appeal with id {row.appeal_id} is gone; its events are there" for row in await connection.execute(orphans)
    ]
