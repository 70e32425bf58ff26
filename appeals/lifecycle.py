"""What happens to a registered appeal: every change is one transaction with its events, then the queues are told."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from appeals import tables
from appeals.agent import Agent, AgentStatus
from appeals.answer import UploadedFile, compose_answer, keep_answer
from appeals.answer_route import AnswerRoutes
from appeals.appeal import OPEN_STATES, Appeal, AppealState
from appeals.appeal_changes import AppealChanges, check_holder
from appeals.blob_rows import store_large_blobs
from appeals.bulk_rows import insert_new
from appeals.errors import NotFoundError, StaleVersionError
from appeals.event_chain import Event
from appeals.notify import Changes, Notifier, appeal_changed
from appeals.offer import Offer, OfferState, check_offer_transition
from appeals.registry import Registry, Transaction
from appeals.reply import Reply
from appeals.routing import RoutingChange, StatusChange
from appeals.routing_commit import advance_fence, check_fence, write_routing, write_statuses
from appeals.rows import agent_row, to_agent, to_offer
from appeals.undelivered import UNDELIVERED, without_mark


@dataclass(frozen=True, kw_only=True, slots=True)
class Classification:
    """What the classifier found out about a registered appeal at `version`."""

    appeal_id: UUID
    version: int
    topic: str  # a code of the taxonomy; "unknown" below the threshold
    confidence: float  # calibrated, 0..1
    language: str  # BCP 47
    priority: int  # 0..100
    alternatives: tuple[tuple[str, float], ...] = ()  # (topic, confidence), best first


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleSet:
    """A routing file as it went live."""

    hash: str
    text: str
    author: str
    source: str  # the file's path


class Lifecycle:
    """Changes registered appeals, and agents. Every method commits before it returns and may raise TransientError."""

    def __init__(
        self,
        registry: Registry,
        *,
        notifier: Notifier,
        mail_domain: str,
        inline_blob_max_bytes: int,
        routes: AnswerRoutes | None = None,
    ) -> None:
        self._registry = registry
        self._notifier = notifier
        self._mail_domain = mail_domain
        self._routes = routes or AnswerRoutes()
        self._inline_blob_max_bytes = inline_blob_max_bytes

    # ---- classifier
    async def classify(self, found: Sequence[Classification]) -> frozenset[UUID]:
        """Move registered appeals to waiting; returns ids of those that were no longer registered at that version."""
        lost: set[UUID] = set()
        changes = Changes()
        async with self._registry.transaction() as transaction:
            appeals = AppealChanges(transaction)
            known = await appeals.lock([item.appeal_id for item in found])
            for item in found:
                appeal = known.get(item.appeal_id)
                if appeal is None or appeal.state is not AppealState.REGISTERED or appeal.version != item.version:
                    lost.add(item.appeal_id)
                    continue
                appeals.change(item.appeal_id, "appeal.classified", actor="classifier", **_classified(item, appeal))
                changes.route_appeals.append(item.appeal_id)
            await appeals.write()
        await self._notifier.notify(changes)
        return frozenset(lost)

    # ---- router
    async def commit_routing(
        self, changes: Sequence[RoutingChange], statuses: Sequence[StatusChange] = (), *, fence: int
    ) -> frozenset[UUID]:
        """Commit what the leader decided; returns appeal ids whose compare-and-set lost (nothing done for them).

        Raises StaleLeaderError if `fence` is not the newest token: nothing at all was done.
        """
        async with self._registry.transaction() as transaction:
            await check_fence(transaction, "router", token=fence)
            lost = await write_routing(transaction, changes)
            await write_statuses(transaction, statuses, actor="router")
        return lost

    async def take_fence(self, name: str, token: int) -> bool:
        """Make `token` the newest one known for `name`; False if a newer or equal one is known."""
        async with self._registry.transaction() as transaction:
            return await advance_fence(transaction, name, token=token)

    async def put_rule_set(self, rule_set: RuleSet) -> None:
        """Record a routing file that went live; the same content again is no news."""
        async with self._registry.transaction() as transaction:
            statement = insert_new(tables.rule_sets, transaction.connection.dialect)
            row = {
                "hash": rule_set.hash,
                "text": rule_set.text,
                "author": rule_set.author,
                "source": rule_set.source,
                "created_at": transaction.now,
            }
            written = await transaction.connection.execute(statement.values(row).returning(tables.rule_sets.c.hash))
            if written.first() is not None:
                data = {"hash": rule_set.hash, "source": rule_set.source}
                transaction.events.append(Event(kind="rules.went_live", actor=rule_set.author, data=data))

    # ---- agents
    async def accept_offer(self, offer_id: UUID, agent_id: str) -> Appeal:
        """Offered → assigned. Raises StaleVersionError if the offer is no longer pending, NotFoundError."""
        return await self._resolve_offer(offer_id, agent_id, OfferState.ACCEPTED, reason="")

    async def decline_offer(self, offer_id: UUID, agent_id: str, reason: str) -> Appeal:
        """Offered → waiting, its age kept. Raises StaleVersionError if the offer is not pending, NotFoundError."""
        return await self._resolve_offer(offer_id, agent_id, OfferState.DECLINED, reason=reason)

    async def _resolve_offer(self, offer_id: UUID, agent_id: str, state: OfferState, *, reason: str) -> Appeal:
        async with self._registry.transaction() as transaction:
            offer = await _pending_offer(transaction, offer_id, agent_id=agent_id)
            check_offer_transition(offer.state, state)
            await resolve_offers(transaction, [offer_id], state=state, reason=reason)
            appeals = AppealChanges(transaction)
            await appeals.lock_one(offer.appeal_id)
            accepted = state is OfferState.ACCEPTED
            values: dict[str, Any] = {"state": AppealState.ASSIGNED if accepted else AppealState.WAITING}
            if not accepted:
                values["agent_id"] = None
            data = {"offer_id": str(offer_id), "agent_id": agent_id, "reason": reason}
            appeal = appeals.change(
                offer.appeal_id, f"offer.{state.value}", actor=f"agent:{agent_id}", data=data, values=values
            )
            await appeals.write()
        gone: dict[str, object] = {
            "type": "offer_gone",
            "offer_id": str(offer_id),
            "appeal_id": str(appeal.id),
            "reason": state.value,
        }
        await self._tell(appeal, agent_id=agent_id, more=[(agent_id, gone)])
        return appeal

    async def answer(
        self,
        appeal_id: UUID,
        *,
        agent_id: str,
        version: int,
        text: str,
        attachments: Sequence[UploadedFile] = (),
        close: bool = False,
    ) -> Reply:
        """Queue an answer to the citizen and mark the appeal answered, or closed.

        Raises NotHolderError unless the agent holds the appeal, StaleVersionError, NotFoundError, and PermanentError
        if the citizen left no contact point to answer to.
        """
        contents = {item.sha256: item.content for item in attachments}
        await store_large_blobs(self._registry.blobs, contents, inline_max_bytes=self._inline_blob_max_bytes)
        async with self._registry.transaction() as transaction:
            appeals = AppealChanges(transaction)
            appeal = await appeals.lock_one(appeal_id, version=version)
            check_holder(appeal, agent_id)
            reply = await compose_answer(
                transaction,
                appeal,
                agent_id=agent_id,
                text=text,
                attachments=attachments,
                domain=self._mail_domain,
                routes=self._routes,
            )
            await keep_answer(
                transaction,
                reply,
                contents,
                inline_max_bytes=self._inline_blob_max_bytes,
            )
            values: dict[str, Any] = {"state": AppealState.ANSWERED, "answered_at": transaction.now}
            if UNDELIVERED in appeal.attributes:
                values["attributes"] = without_mark(appeal)
            if close:
                values |= {"state": AppealState.CLOSED, "closed_at": transaction.now}
            data = {"reply_id": str(reply.id)}
            appeal = appeals.change(appeal_id, "appeal.answered", actor=f"agent:{agent_id}", data=data, values=values)
            await appeals.write()
        await self._tell(appeal, agent_id=agent_id, deliver=[reply.id])
        return reply

    async def close(self, appeal_id: UUID, *, agent_id: str, version: int, reason: str) -> Appeal:
        """Close an open appeal; a pending offer of it is rescinded. Raises as `answer` does."""
        async with self._registry.transaction() as transaction:
            appeals = AppealChanges(transaction)
            appeal = await appeals.lock_one(appeal_id, version=version)
            check_holder(appeal, agent_id, states=OPEN_STATES)
            await rescind_offers(transaction, appeal_id, reason="closed")
            appeal = appeals.change(
                appeal_id,
                "appeal.closed",
                actor=f"agent:{agent_id}",
                data={"reason": reason},
                values={"state": AppealState.CLOSED, "closed_at": transaction.now},
            )
            await appeals.write()
        await self._tell(appeal, agent_id=agent_id)
        return appeal

    async def release(self, appeal_id: UUID, *, agent_id: str, version: int, note: str) -> Appeal:
        """Give an assigned appeal back to waiting, its age kept; that agent is asked last."""
        async with self._registry.transaction() as transaction:
            appeals = AppealChanges(transaction)
            appeal = await appeals.lock_one(appeal_id, version=version)
            check_holder(appeal, agent_id)
            released_by = sorted({*appeal.attributes.get("released_by", ()), agent_id})
            appeal = appeals.change(
                appeal_id,
                "appeal.released",
                actor=f"agent:{agent_id}",
                data={"note": note},
                values={
                    "state": AppealState.WAITING,
                    "agent_id": None,
                    "attributes": {**appeal.attributes, "released_by": released_by},
                },
            )
            await appeals.write()
        await self._tell(appeal, agent_id=agent_id)
        return appeal

    async def set_status(self, agent_id: str, status: AgentStatus, reason: str = "") -> Agent:
        """Set what an agent says of themselves. Raises NotFoundError."""
        async with self._registry.transaction() as transaction:
            change = StatusChange(agent_id=agent_id, status=status, reason=reason)
            if not await write_statuses(transaction, [change], actor=f"agent:{agent_id}"):
                raise NotFoundError(f"no active agent {agent_id!r}")
        message = {"type": "status", "status": status.value, "reason": reason}
        await self._notifier.notify(Changes(route_agents=[agent_id], agent_messages=[(agent_id, message)]))
        return await self._registry.agent(agent_id)

    async def put_agent(self, agent: Agent, password_hash: str | None = None) -> Agent:
        """Create an agent or change one; the status of an existing one and, without a new one, the password stay."""
        async with self._registry.transaction() as transaction:
            table = tables.agents
            query = select(table).where(table.c.id == agent.id)
            known = (await transaction.connection.execute(query)).first()
            row = agent_row(
                replace(agent, status=to_agent(known).status, status_since=known.status_since) if known else agent
            )
            if password_hash is not None:
                row["password_hash"] = password_hash
            statement = update(table).where(table.c.id == agent.id).values(row) if known else table.insert().values(row)
            await transaction.connection.execute(statement)
            data = {"agent_id": agent.id, "skills": dict(agent.skills), "active": agent.active}
            transaction.events.append(
                Event(kind="agent.changed" if known else "agent.created", actor="okno", data=data)
            )
        await self._notifier.notify(Changes(route_agents=[agent.id]))
        return agent

    async def _tell(
        self,
        appeal: Appeal,
        *,
        agent_id: str,
        deliver: Sequence[UUID] = (),
        more: Sequence[tuple[str, dict[str, object]]] = (),
    ) -> None:
        messages: list[tuple[str, Mapping[str, object]]] = [*more, (agent_id, appeal_changed(appeal))]
        changes = Changes(route_appeals=[appeal.id], deliver=list(deliver), agent_messages=messages)
        await self._notifier.notify(changes)


def _classified(item: Classification, appeal: Appeal) -> dict[str, Any]:
    data = {
        "topic": item.topic,
        "confidence": item.confidence,
        "language": item.language,
        "priority": item.priority,
        "alternatives": [list(pair) for pair in item.alternatives],
    }
    values = {
        "state": AppealState.WAITING,
        "topic": item.topic,
        "topic_confidence": item.confidence,
        "language": item.language if appeal.language == "und" else appeal.language,
        "priority": item.priority,
    }
    return {"data": data, "values": values}


async def _pending_offer(transaction: Transaction, offer_id: UUID, *, agent_id: str) -> Offer:
    query = select(tables.offers).where(tables.offers.c.id == offer_id).with_for_update()
    row = (await transaction.connection.execute(query)).first()
    if row is None or row.agent_id != agent_id:
        raise NotFoundError(f"no offer {offer_id} for {agent_id}")
    offer = to_offer(row)
    if offer.state is not OfferState.PENDING:
        raise StaleVersionError(f"the offer is gone: {offer.state.value}")
    return offer


async def resolve_offers(transaction: Transaction, ids: Collection[UUID], *, state: OfferState, reason: str) -> None:
    """End pending offers. Raises StaleVersionError if one of them is no longer pending."""
    column = tables.offers.c
    statement = (
        update(tables.offers)
        .where(column.id.in_(ids), column.state == OfferState.PENDING.value)
        .values(state=state.value, reason=reason, resolved_at=transaction.now)
    )
    if (await transaction.connection.execute(statement)).rowcount != len(ids):
        raise StaleVersionError("the offer is gone")


async def rescind_offers(transaction: Transaction, appeal_id: UUID, *, reason: str) -> None:
    """Take back the pending offer of an appeal, if there is one."""
    column = tables.offers.c
    await transaction.connection.execute(
        update(tables.offers)
        .where(column.appeal_id == appeal_id, column.state == OfferState.PENDING.value)
        .values(state=OfferState.RESCINDED.value, reason=reason, resolved_at=transaction.now)
    )
