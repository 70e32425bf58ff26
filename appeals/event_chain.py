"""The hash chain of events: history cannot be rewritten unseen (P9).

Every process that writes has a chain of its own, so writers never wait for each other's commits. Each event carries
the hash of the one before it in its chain. A new chain begins with an event that holds the heads of the chains before
it, so the end of an old chain cannot be cut off unseen either; and every appeal's version counts its events.
"""

import hashlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from appeals import tables
from appeals.bulk_rows import insert_rows

GENESIS_HASH = "0" * 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened, before it is chained. `actor`: "agent:ivanova", "citizen", "router", "okno"."""

    kind: str  # noun.verb_past, e.g. appeal.registered
    actor: str
    appeal_id: UUID | None = None
    appeal_version: int | None = None  # the version this event made; None for events that change no appeal
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvent(Event):
    """An event with its place in a chain."""

    id: UUID
    chain: UUID
    seq: int
    at: datetime
    previous_hash: str
    hash: str


def event_hash(row: Mapping[str, Any]) -> str:
    """Return SHA-256 over everything the row says, the hash of the event before it included."""
    content = orjson.dumps(
        [
            str(row["id"]),
            str(row["chain"]),
            row["seq"],
            row["at"].isoformat(timespec="microseconds"),
            None if row["appeal_id"] is None else str(row["appeal_id"]),
            row["appeal_version"],
            row["kind"],
            row["actor"],
            row["data"],
            row["previous_hash"],
        ],
        option=orjson.OPT_SORT_KEYS,
    )
    return hashlib.sha256(content).hexdigest()


class EventChain:
    """This process's chain. Used inside the registry's write lock: one transaction at a time."""

    def __init__(self) -> None:
        self.id = uuid7()
        self._seq: int | None = None  # None: not opened yet, or unknown after a failed commit
        self._head = GENESIS_HASH

    async def append(self, connection: AsyncConnection, events: Sequence[Event], *, at: datetime) -> "ChainPosition":
        """Write `events` behind the head; the position is taken over by `moved_to` once the commit has succeeded."""
        position = await self._position(connection, at=at)
        rows = [position.chain_up(event, at=at) for event in events]
        await insert_rows(connection, tables.events, rows)
        await connection.execute(
            update(tables.chains)
            .where(tables.chains.c.id == bindparam("chain_id"))
            .values(seq=bindparam("new_seq"), head=bindparam("new_head")),
            {"chain_id": self.id, "new_seq": position.seq, "new_head": position.head},
        )
        return position

    def moved_to(self, position: "ChainPosition") -> None:
        """Take over the position: the transaction that wrote up to it is committed."""
        self._seq, self._head = position.seq, position.head

    def lost_track(self) -> None:
        """Read the head again next time: the commit failed, perhaps after it took effect."""
        self._seq = None

    async def _position(self, connection: AsyncConnection, *, at: datetime) -> "ChainPosition":
        if self._seq is not None:
            return ChainPosition(chain=self.id, seq=self._seq, head=self._head)
        query = select(tables.chains.c.seq, tables.chains.c.head).where(tables.chains.c.id == self.id)
        known = (await connection.execute(query)).first()
        if known:
            return ChainPosition(chain=self.id, seq=known.seq, head=known.head)
        return await self._open(connection, at=at)

    async def _open(self, connection: AsyncConnection, *, at: datetime) -> "ChainPosition":
        """Write the first event: the heads of all chains that have grown since somebody last wrote theirs down."""
        chains = tables.chains
        query = select(chains.c.id, chains.c.seq, chains.c.head).where(chains.c.seq > chains.c.anchored_seq)
        heads = (await connection.execute(query)).all()
        position = ChainPosition(chain=self.id, seq=-1, head=GENESIS_HASH)
        anchors = {str(row.id): [row.seq, row.head] for row in heads}
        row = position.chain_up(Event(kind="chain.opened", actor="okno", data={"anchors": anchors}), at=at)
        await connection.execute(insert(tables.events), [row])
        await connection.execute(
            insert(chains),
            {
                "id": self.id,
                "opened_at": at,
                "writer": f"{socket.gethostname()}/{os.getpid()}",
                "seq": position.seq,
                "head": position.head,
                "anchored_seq": -1,
            },
        )
        for head in heads:
            await connection.execute(update(chains).where(chains.c.id == head.id).values(anchored_seq=head.seq))
        return position


class ChainPosition:
    """A place in a chain that moves as events are put behind it."""

    def __init__(self, *, chain: UUID, seq: int, head: str) -> None:
        self.chain, self.seq, self.head = chain, seq, head

    def chain_up(self, event: Event, *, at: datetime) -> dict[str, Any]:
        """Return the event's row, and move on."""
        row: dict[str, Any] = {
            "id": uuid7(),
            "chain": self.chain,
            "seq": self.seq + 1,
            "at": at,
            "appeal_id": event.appeal_id,
            "appeal_version": event.appeal_version,
            "kind": event.kind,
            "actor": event.actor,
            "data": dict(event.data),
            "previous_hash": self.head,
        }
        row["hash"] = event_hash(row)
        self.seq, self.head = row["seq"], row["hash"]
        return row
