"""One term of leadership: memory, and the way from what changed to what is committed and told."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import structlog

from appeals.agent import Agent
from appeals.errors import ConfigurationError, NotFoundError, TransientError
from appeals.lifecycle import Lifecycle
from appeals.registry import Registry
from appeals.routing import RoutingChange, RoutingView
from queues.port import Queues, WorkItem
from router.changes import PendingChanges
from router.core import handle
from router.decision import HoldAppeal
from router.event import (
    AgentChanged,
    AgentConnected,
    AgentDisconnected,
    ChangeCommitted,
    Event,
    RulesChanged,
    TimeAdvanced,
)
from router.messages import Message, offer_gone_message, offer_message, status_message
from router.observation import DOUBTED, appeal_events, snapshot_events
from router.policy import instant_us
from router.resync import Resync
from router.rules import RuleSet, parse_rules
from router.state import RouterState

logger = structlog.get_logger(__name__)

PRESENCE_INTERVAL_S = 1.0
RESYNC_INTERVAL_S = 30.0  # if the settings say nothing else
MANY_AGENTS = 8  # from so many on, reading all agents is cheaper than one by one
MAX_UNSENT = 20_000  # messages kept while the agent queues are out of reach; consoles reload when they come back
MAX_ROUNDS = 20  # of re-reading what lost its compare-and-set, before the whole memory is built anew


class LeaderSession:
    """What the leader does while its fencing token is the newest."""

    def __init__(
        self,
        registry: Registry,
        lifecycle: Lifecycle,
        queues: Queues,
        *,
        state: RouterState,
        fence: int,
        now: Callable[[], datetime],
        poisoned: dict[UUID, int] | None = None,
        resync_interval_s: float = RESYNC_INTERVAL_S,
    ) -> None:
        """`poisoned`: appeals that broke the core, by version; they are left out until they change."""
        self.state = state
        self._poisoned = poisoned if poisoned is not None else {}
        self.decided = 0
        self.hopeless: set[UUID] = set()  # waiting appeals that no agent could ever take
        self._registry = registry
        self._lifecycle = lifecycle
        self._queues = queues
        self._fence = fence
        self._now = now
        self._pending = PendingChanges()
        self._unsent: list[Message] = []
        self._presence_due = 0.0
        self._resync_interval_s = resync_interval_s
        self._resync: Resync | None = None
        self._resync_due = time.monotonic() + resync_interval_s

    async def rebuild(self) -> None:
        """Fill an empty memory from the registry, then decide what is due. Offers that stand are told once more."""
        snapshot = await self._registry.routing_snapshot()
        views = self._sound(snapshot.views)
        await self._recall_rules(views)
        present = await self._queues.present()
        point_us = self.state.rules.priority_point_us
        for event in snapshot_events(snapshot.agents, views, present=present, point_us=point_us):
            self._handle(event)
        self._unsent.extend(self._standing_offers(views))
        await self._commit()

    async def step(self, items: Sequence[WorkItem]) -> None:
        """Read again what the items name, decide, commit, tell. Raises StaleLeaderError, TransientError."""
        appeal_ids, agent_ids = _ids(items)
        await self._read_agents(agent_ids)
        await self._read_appeals(appeal_ids)
        await self._resync_on()
        if time.monotonic() >= self._presence_due:
            await self._check_presence()
        self._handle(TimeAdvanced())
        await self._commit()

    async def change_rules(self, rules: RuleSet) -> None:
        """Put another rule set in force."""
        self._handle(RulesChanged(rules=rules))
        await self._commit()

    # ---- reading

    async def _read_appeals(self, ids: Sequence[UUID]) -> int:
        """Take in what the registry says of appeals; returns for how many it was news."""
        if not ids:
            return 0
        views = self._sound(await self._registry.routing_views(ids))
        await self._recall_rules(views)
        news = appeal_events(self.state, ids, views)
        for event in news:
            self._pending.forget(_appeal_id(event))
            self._handle(event)
        return len(news)

    async def _read_agents(self, ids: Sequence[str]) -> None:
        if len(ids) >= MANY_AGENTS:
            wanted = set(ids)
            found = [agent for agent in await self._registry.agents() if agent.id in wanted]
        else:
            found = [agent for agent_id in ids if (agent := await self._agent(agent_id)) is not None]
        for agent in found:
            self._handle(AgentChanged(agent=agent))
            if not self.state.agents[agent.id].connected:
                self._presence_due = 0.0  # they have just logged in, perhaps

    async def _agent(self, agent_id: str) -> Agent | None:
        try:
            return await self._registry.agent(agent_id)
        except NotFoundError:
            logger.warning("router.unknown_agent", agent_id=agent_id)
            return None

    async def _check_presence(self) -> None:
        """Compare live connections with memory. With the queues out of reach nobody is taken for gone."""
        try:
            present = await self._queues.present()
        except TransientError as error:
            logger.warning("router.presence_unknown", reason=str(error))
            return
        self._presence_due = time.monotonic() + PRESENCE_INTERVAL_S
        for agent_id, slot in list(self.state.agents.items()):
            if agent_id in present and not slot.connected:
                self._handle(AgentConnected(agent_id=agent_id))
            elif agent_id not in present and (slot.connected or slot.lost_us is None):
                self._handle(AgentDisconnected(agent_id=agent_id))

    async def _resync_on(self) -> None:
        """Go a page on in looking for what no item told; begin anew, with the agents, when the time has come."""
        if self._resync is None:
            if time.monotonic() < self._resync_due:
                return
            self._resync = Resync(self._registry, self.state)
            for agent in await self._registry.agents():
                self._handle(AgentChanged(agent=agent))
        if news := await self._read_appeals(await self._resync.next_page()):
            logger.info("router.resynced", appeals=news)
        if self._resync.finished:
            self._resync = None
            self._resync_due = time.monotonic() + self._resync_interval_s

    async def _recall_rules(self, views: Sequence[RoutingView]) -> None:
        """Get the rule sets back under which appeals entered their queues before this leader's time."""
        hashes = {view.appeal.rule_set for view in views} - self.state.rule_sets.keys()
        for rule_hash in sorted(rule_hash for rule_hash in hashes if rule_hash is not None):
            text = await self._registry.rule_set_text(rule_hash)
            try:
                rules = parse_rules(text, source=f"rule set {rule_hash[:12]}") if text is not None else None
            except ConfigurationError:
                rules = None
            if rules is None:
                logger.warning("router.rule_set_unknown", rule_set=rule_hash)  # its appeals are placed anew
            elif rules.hash == rule_hash:
                self.state.remember(rules)

    # ---- deciding

    def _handle(self, event: Event) -> None:
        try:
            self._pending.add(handle(self.state, event, instant_us(self._now())))
        except Exception as error:
            view: RoutingView | None = getattr(event, "view", None)
            if view is None:
                raise
            # One appeal must not stop the others (P4): it is left out, and memory, half changed now, is built anew.
            self._poisoned[view.appeal.id] = view.appeal.version
            logger.exception("router.appeal_left_out", appeal_id=str(view.appeal.id))
            raise TransientError("an appeal broke the router and is left out") from error

    def _sound(self, views: Sequence[RoutingView]) -> list[RoutingView]:
        return [view for view in views if self._poisoned.get(view.appeal.id) != view.appeal.version]

    # ---- committing and telling

    async def _commit(self) -> None:
        """Commit what is pending; what lost its compare-and-set is read again and decided again."""
        for _ in range(MAX_ROUNDS):
            if not self._pending:
                break
            lost = await self._commit_once()
            if not lost:
                break
            logger.info("router.decisions_overtaken", appeals=len(lost))
            await self._read_appeals(sorted(lost))
        else:
            raise TransientError("the registry keeps changing under the router's decisions")
        await self._send()

    async def _commit_once(self) -> frozenset[UUID]:
        pending, self._pending = self._pending, PendingChanges()
        changes = pending.routing_changes()
        lost: frozenset[UUID] = frozenset()
        if changes or pending.statuses:
            lost = await self._lifecycle.commit_routing(changes, pending.statuses, fence=self._fence)
        for change in changes:
            if change.appeal_id not in lost:
                self._committed(change, pending)
        self._unsent.extend(status_message(change) for change in pending.statuses)
        self._note(pending)
        for appeal_id in lost:
            self._void(appeal_id)
        return lost

    def _committed(self, change: RoutingChange, pending: PendingChanges) -> None:
        appeal_id = change.appeal_id
        handle(self.state, ChangeCommitted(appeal_id=appeal_id, version=change.version + 1), 0)
        self.decided += 1
        lapse, slot = pending.lapse(appeal_id), self.state.appeals.get(appeal_id)
        if lapse is not None:
            reason = lapse.state.value
            self._unsent.append(
                offer_gone_message(lapse.agent_id, offer_id=lapse.offer_id, appeal_id=appeal_id, reason=reason)
            )
        if change.offer is not None and slot is not None:
            offer = change.offer
            self._unsent.append(
                offer_message(slot, agent_id=offer.agent_id, offer_id=offer.id, due_at=offer.due_at, step=offer.step)
            )

    def _void(self, appeal_id: UUID) -> None:
        """Make memory doubt an appeal, so that whatever is read of it next counts as news."""
        slot = self.state.appeals.get(appeal_id)
        if slot is not None:
            slot.version = DOUBTED

    def _note(self, pending: PendingChanges) -> None:
        for note in pending.notes:
            if isinstance(note, HoldAppeal):
                self.hopeless.add(note.appeal_id)
                logger.error(
                    "router.nobody_can_take", appeal_id=str(note.appeal_id), queue=note.queue, reason=note.reason
                )
            else:
                logger.warning(
                    "router.supervisor_notified",
                    appeal_id=str(note.appeal_id),
                    queue=note.queue,
                    rule=note.rule,
                    step=note.step,
                )
        self.hopeless &= self.state.appeals.keys()

    def _standing_offers(self, views: Sequence[RoutingView]) -> list[Message]:
        """Tell offers again whose telling the leader before may not have lived to do."""
        return [
            offer_message(slot, agent_id=offer.agent_id, offer_id=offer.id, due_at=offer.due_at, step=offer.step)
            for view in views
            if (offer := view.pending_offer) is not None
            and (slot := self.state.appeals.get(view.appeal.id)) is not None
            and slot.offer_id == offer.id
        ]

    async def _send(self) -> None:
        """Push to the agents' queues. What they cannot take now is kept and sent with the next batch."""
        if not self._unsent:
            return
        try:
            await self._queues.push(self._unsent)
        except TransientError as error:
            logger.warning("router.push_failed", reason=str(error), messages=len(self._unsent))
            del self._unsent[:-MAX_UNSENT]
            return
        self._unsent = []


def _ids(items: Sequence[WorkItem]) -> tuple[list[UUID], list[str]]:
    """Return what items name, each once. An item that names nothing is logged and dropped: it can carry no fact."""
    appeal_ids: dict[UUID, None] = {}
    agent_ids: dict[str, None] = {}
    for item in items:
        try:
            if "appeal_id" in item.fields:
                appeal_ids[UUID(item.fields["appeal_id"])] = None
            else:
                agent_ids[item.fields["agent_id"]] = None
        except (KeyError, ValueError):
            logger.error("router.malformed_item", item_id=item.id)  # noqa: TRY400  the trace says nothing more
    return list(appeal_ids), list(agent_ids)


def _appeal_id(event: Event) -> UUID:
    view: RoutingView | None = getattr(event, "view", None)
    if view is not None:
        return view.appeal.id
    found: UUID = event.appeal_id  # type: ignore[union-attr]  # appeal_events gives views and AppealGone only
    return found
