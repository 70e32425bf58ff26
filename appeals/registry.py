"""The registry: the one truth about appeals. Reads give records; writes go through `transaction()`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Row, Select, Table, bindparam, func, or_, select, true
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from appeals import tables
from appeals.agent import Agent
from appeals.appeal import CHOSEN_TOPIC, Appeal, AppealState
from appeals.blobs import BlobStore
from appeals.conversation import AppealText, Conversation, QuarantineEntry, StoredDecision
from appeals.database import Database
from appeals.envelope import AppealEnvelope, Channel
from appeals.errors import NotFoundError
from appeals.event_chain import Event, EventChain
from appeals.history_check import HistoryReport, check_history
from appeals.migrations.runner import migrate, missing_migrations
from appeals.numbering import normalise_number
from appeals.offer import Offer, OfferState
from appeals.routing import RoutingSnapshot, RoutingView
from appeals.routing_views import ROUTED_STATES, RoutedVersion, read_routed_versions, read_routing_views
from appeals.rows import to_agent, to_appeal, to_citizen, to_event, to_offer, to_reply, to_transcript

ID_PAGE = 500  # ids in one IN list


@dataclass(kw_only=True, slots=True)
class Transaction:
    """A write transaction. Events noted in it are chained and written just before the commit."""

    connection: AsyncConnection
    now: datetime
    events: list[Event]


class Registry:
    """Appeals, citizens, agents, offers, replies, events and blobs, in SQLite or PostgreSQL.

    All methods may raise TransientError when the database is out of reach.
    """

    def __init__(self, url: URL, *, blobs: BlobStore, now: Callable[[], datetime] | None = None) -> None:
        self.database = Database(url)
        self.blobs = blobs
        self.now = now or (lambda: datetime.now(UTC))
        self._chain = EventChain()
        self._write_lock = asyncio.Lock()

    # ---- life
    async def migrate(self) -> None:
        """Bring the tables to this version's form; nothing to do is fine. Safe for several processes at once."""
        await migrate(self.database)

    async def missing_migrations(self) -> list[str]:
        """Return the ids of migrations that have not been run."""
        return await missing_migrations(self.database)

    async def ping(self) -> None:
        """Raise TransientError unless the database answers."""
        async with self.database.read() as connection:
            await connection.execute(select(1))

    async def close(self) -> None:
        """Let go of all connections."""
        await self.database.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a write transaction: one at a time a process; durable when the block has ended, else nothing is kept."""
        async with self._write_lock:
            position = None
            try:
                async with self.database.write() as connection:
                    transaction = Transaction(connection=connection, now=self.now(), events=[])
                    yield transaction
                    if transaction.events:
                        position = await self._chain.append(connection, transaction.events, at=transaction.now)
            except BaseException:
                self._chain.lost_track()
                raise
            if position is not None:
                self._chain.moved_to(position)

    # ---- appeals
    async def appeal(self, appeal_id: UUID) -> Appeal:
        """Return one appeal. Raises NotFoundError."""
        found = await self.appeals_by_id([appeal_id])
        if not found:
            raise NotFoundError(f"no appeal with id {appeal_id}")
        return found[0]

    async def appeal_by_number(self, number: str) -> Appeal:
        """Return the appeal with that number, however it is written. Raises NotFoundError."""
        normalised = normalise_number(number)
        if normalised is None:
            raise NotFoundError(f"{number!r} is no appeal number: ten digits, the last one a check digit")
        rows = await self._all(select(tables.appeals).where(tables.appeals.c.number == normalised))
        if not rows:
            raise NotFoundError(f"no appeal {normalised}")
        return to_appeal(rows[0])

    async def appeals_by_id(self, ids: Sequence[UUID]) -> list[Appeal]:
        """Return those that exist, in no particular order."""
        rows = [row for page in _pages(ids) for row in await self._all(_appeals_in(page))]
        return [to_appeal(row) for row in rows]

    async def list_appeals(
        self,
        *,
        states: Iterable[AppealState] = (),
        agent_id: str | None = None,
        queue: str | None = None,
        channel: Channel | None = None,
        text: str | None = None,
        limit: int = 50,
        before: datetime | None = None,
    ) -> list[Appeal]:
        """Return appeals, newest first. `text`: part of number or subject; `before`: registered earlier than that."""
        column = tables.appeals.c
        conditions: list[ColumnElement[bool]] = [true()]
        if states_ := [state.value for state in states]:
            conditions.append(column.state.in_(states_))
        if agent_id is not None:
            conditions.append(column.agent_id == agent_id)
        if queue is not None:
            conditions.append(column.queue == queue)
        if channel is not None:
            conditions.append(column.channel == channel.value)
        if text:
            conditions.append(
                or_(column.number.contains(text, autoescape=True), column.subject.icontains(text, autoescape=True))
            )
        if before is not None:
            conditions.append(column.registered_at < before)
        query = select(tables.appeals).where(*conditions).order_by(column.registered_at.desc(), column.id.desc())
        return [to_appeal(row) for row in await self._all(query.limit(limit))]

    async def iterate_appeals(self, *, states: Iterable[AppealState] = (), page: int = 500) -> AsyncIterator[Appeal]:
        """Yield all appeals, newest first, reading a page at a time."""
        column = tables.appeals.c
        base = select(tables.appeals).order_by(column.id.desc()).limit(page)
        if states_ := [state.value for state in states]:
            base = base.where(column.state.in_(states_))
        query = base
        while rows := await self._all(query):
            for row in rows:
                yield to_appeal(row)
            query = base.where(column.id < rows[-1].id)

    async def count_by_state(self) -> dict[AppealState, int]:
        """Count appeals by state, all states named."""
        query = select(tables.appeals.c.state, func.count().label("n")).group_by(tables.appeals.c.state)
        counted = {AppealState(row.state): row.n for row in await self._all(query)}
        return {state: counted.get(state, 0) for state in AppealState}

    async def stale_appeals(
        self, state: AppealState, *, before: datetime, limit: int, after: UUID | None = None
    ) -> list[UUID]:
        """Return ids of appeals that entered `state` before that time, in the order they were opened.

        `after`: only those opened after that one, so that a reader gets round a long backlog page by page.
        """
        column = tables.appeals.c
        query = select(column.id).where(column.state == state.value, column.changed_at < before)
        if state is AppealState.REGISTERED:  # those whose words are still in pictures wait for recognition
            query = query.where(~_is_unread(column.id))
        if after is not None:
            query = query.where(column.id > after)
        return [row.id for row in await self._all(query.order_by(column.id).limit(limit))]

    async def conversation(self, appeal_id: UUID) -> Conversation:
        """Return the appeal with all that was said and done, oldest first. Raises NotFoundError."""
        appeal = await self.appeal(appeal_id)
        async with self.database.read() as connection:
            envelopes = (await connection.execute(_of(tables.envelopes, appeal_id, "received_at"))).all()
            replies = (await connection.execute(_of(tables.replies, appeal_id, "created_at"))).all()
            transcripts = (await connection.execute(_of(tables.transcripts, appeal_id, "changed_at"))).all()
            events = (await connection.execute(_of(tables.events, appeal_id, "at"))).all()
            citizen = None
            if appeal.citizen_id is not None:
                query = select(tables.citizens).where(tables.citizens.c.id == appeal.citizen_id)
                citizen = to_citizen((await connection.execute(query)).one())
        return Conversation(
            appeal=appeal,
            citizen=citizen,
            envelopes=tuple(AppealEnvelope.model_validate_json(row.document) for row in envelopes),
            replies=tuple(to_reply(row) for row in replies),
            events=tuple(to_event(row) for row in events),
            transcripts=tuple(to_transcript(row) for row in transcripts),
        )

    async def texts(self, appeal_ids: Sequence[UUID]) -> list[AppealText]:
        """Return each appeal with words to classify it by: subject, clean text, transcript of its first message."""
        texts: dict[UUID, AppealText] = {}
        for page in _pages(appeal_ids):
            async with self.database.read_briefly() as connection:
                for row in await connection.execute(_TEXTS, {"ids": page}):
                    if row.id not in texts:
                        texts[row.id] = _appeal_text(row)
        return list(texts.values())

    # ---- agents, offers, routing
    async def agents(self) -> list[Agent]:
        """Return all agents, inactive ones too, by id."""
        return [to_agent(row) for row in await self._all(select(tables.agents).order_by(tables.agents.c.id))]

    async def agent(self, agent_id: str) -> Agent:
        """Return one agent. Raises NotFoundError."""
        rows = await self._all(select(tables.agents).where(tables.agents.c.id == agent_id))
        if not rows:
            raise NotFoundError(f"no agent {agent_id!r}")
        return to_agent(rows[0])

    async def password_hash(self, agent_id: str) -> str | None:
        """Return the agent's password hash; None if there is no such active agent or no password is set."""
        column = tables.agents.c
        rows = await self._all(select(column.password_hash).where(column.id == agent_id, column.active))
        return rows[0].password_hash if rows else None

    async def offer(self, offer_id: UUID) -> Offer:
        """Return one offer. Raises NotFoundError."""
        rows = await self._all(select(tables.offers).where(tables.offers.c.id == offer_id))
        if not rows:
            raise NotFoundError(f"no offer {offer_id}")
        return to_offer(rows[0])

    async def pending_offers(self, agent_id: str) -> list[Offer]:
        """Return what is offered to the agent now, oldest first."""
        column = tables.offers.c
        query = select(tables.offers).where(column.agent_id == agent_id, column.state == OfferState.PENDING.value)
        return [to_offer(row) for row in await self._all(query.order_by(column.created_at))]

    async def routing_snapshot(self) -> RoutingSnapshot:
        """Return all that a new leader needs (P3)."""
        query = select(tables.appeals.c.id).where(tables.appeals.c.state.in_([state.value for state in ROUTED_STATES]))
        ids = [row.id for row in await self._all(query)]
        return RoutingSnapshot(views=tuple(await self.routing_views(ids)), agents=tuple(await self.agents()))

    async def routing_views(self, appeal_ids: Sequence[UUID]) -> list[RoutingView]:
        """Return those that are waiting, offered or assigned, with what routing needs; the rest are left out."""
        views: list[RoutingView] = []
        for page in _pages(appeal_ids):
            async with self.database.read_briefly() as connection:
                views += await read_routing_views(connection, page)
        return views

    async def routed_versions(
        self, state: AppealState, *, after: RoutedVersion | None, limit: int
    ) -> list[RoutedVersion]:
        """Return a page of the appeals in `state`, oldest in it first, from behind `after`."""
        async with self.database.read() as connection:
            return await read_routed_versions(connection, state, after=after, limit=limit)

    async def decisions(self, appeal_id: UUID) -> list[StoredDecision]:
        """Return the router's records on one appeal, oldest first (P5)."""
        rows = await self._all(_of(tables.decisions, appeal_id, "at"))
        return [StoredDecision(id=row.id, at=row.at, rule_set=row.rule_set, record=row.record) for row in rows]

    async def rule_set_text(self, rule_hash: str) -> str | None:
        """Return the text of a rule set that was in force once, None if it never was here."""
        column = tables.rule_sets.c
        rows = await self._all(select(column.text).where(column.hash == rule_hash))
        return str(rows[0].text) if rows else None

    async def fence(self, name: str) -> int:
        """Return the newest fencing token known for `name`, 0 if none."""
        rows = await self._all(select(tables.fences.c.token).where(tables.fences.c.name == name))
        return rows[0].token if rows else 0

    # ---- blobs, quarantine, cursors, history
    async def read_blob(self, sha256: str) -> bytes:
        """Return the bytes with that hash. Raises NotFoundError."""
        rows = await self._all(select(tables.blobs.c.content).where(tables.blobs.c.sha256 == sha256))
        if not rows:
            raise NotFoundError(f"no blob {sha256}")
        content: bytes | None = rows[0].content
        return await self.blobs.get(sha256) if content is None else content

    async def quarantined(self, state: str = "held", *, limit: int = 100) -> list[QuarantineEntry]:
        """Return entries in that state, newest first."""
        column = tables.quarantine.c
        query = select(tables.quarantine).where(column.state == state).order_by(column.at.desc()).limit(limit)
        return [QuarantineEntry.of(row) for row in await self._all(query)]

    async def count_quarantined(self) -> int:
        """Count the entries that wait for a person."""
        query = select(func.count().label("n")).where(tables.quarantine.c.state == "held")
        return int((await self._all(query))[0].n)

    async def quarantine_entry(self, entry_id: UUID) -> QuarantineEntry:
        """Return one entry. Raises NotFoundError."""
        rows = await self._all(select(tables.quarantine).where(tables.quarantine.c.id == entry_id))
        if not rows:
            raise NotFoundError(f"no quarantine entry {entry_id}")
        return QuarantineEntry.of(rows[0])

    async def cursor(self, connector: str, name: str) -> str | None:
        """Return a connector's durable position, or None."""
        column = tables.cursors.c
        rows = await self._all(select(column.value).where(column.connector == connector, column.name == name))
        return rows[0].value if rows else None

    async def check_history(self) -> HistoryReport:
        """Walk all event chains (P9); may take minutes on a large registry."""
        async with self.database.read() as connection:
            return await check_history(connection)

    async def _all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        async with self.database.read() as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
            return rows


_TEXTS = (
    select(
        tables.appeals.c.id,
        tables.appeals.c.version,
        tables.appeals.c.state,
        tables.appeals.c.attributes,
        tables.envelopes.c.document,
        tables.transcripts.c.text.label("transcript"),
    )
    .join(tables.envelopes, tables.envelopes.c.appeal_id == tables.appeals.c.id)
    .outerjoin(tables.transcripts, tables.transcripts.c.envelope_id == tables.envelopes.c.id)
    .where(tables.appeals.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(tables.envelopes.c.received_at)
)


def _appeal_text(row: Any) -> AppealText:
    envelope = orjson.loads(row.document)  # three fields of many: no need to make the whole record
    words = (envelope["subject"], envelope["clean_text"] or envelope["text"], row.transcript)
    return AppealText(
        appeal_id=row.id,
        version=row.version,
        state=AppealState(row.state),
        text="\n".join(item for item in words if item).strip(),
        chosen_topic=row.attributes.get(CHOSEN_TOPIC),
    )


def _is_unread(appeal_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    column = tables.transcripts.c
    unread = select(column.envelope_id).where(column.appeal_id == appeal_id, column.state == "pending")
    return unread.correlate(tables.appeals).exists()


def _pages(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), ID_PAGE):
        yield ids[start : start + ID_PAGE]


def _appeals_in(ids: Sequence[UUID]) -> Select[Any]:
    return select(tables.appeals).where(tables.appeals.c.id.in_(ids))


def _of(table: Table, appeal_id: UUID, order: str) -> Select[Any]:
    return select(table).where(table.c.appeal_id == appeal_id).order_by(table.c[order], *table.primary_key)
