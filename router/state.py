"""The router's memory: agents, appeals, pools and timers. It is rebuilt from the registry at any time (P3)."""

import gc
import hashlib
import heapq
from typing import Any, NamedTuple
from uuid import UUID

from appeals.agent import Agent, AgentStatus
from router.conditions import OfficeClock
from router.policy import RouterPolicy
from router.pool import DELAY, DISCONNECTED, AgentSlot, AppealSlot, Pool, Requirement
from router.rules import RuleSet, Step

OFFER_DUE = "offer"
STEP_DUE = "step"
AGENT_READY = "ready"
GRACE_OVER = "grace"


GC_THRESHOLDS = (2_000, 10, 25)  # objects made before the young are scanned; how many such scans before older ones


class Timer(NamedTuple):
    """Something to look at when its time comes; what has happened since then decides whether it still matters."""

    due_us: int
    kind: str
    key: Any  # the appeal's UUID or the agent's id
    mark: int  # what the timer was set for: another value by now makes it void


def settle_memory() -> None:
    """Tell the garbage collector that what is in memory now stays: scanning 100,000 appeals over and over is slow.

    To be called when a memory has been built anew; what a dropped one left behind is collected first. What comes after
    is scanned as a whole ten times less often than Python would: appeals that go leave no cycles behind, and a scan
    of those that came stops everything for 30 ms.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class RouterState:
    """All that the core knows. Changed by `core.handle` alone; holds no clock, no I/O, no randomness but `seed`."""

    def __init__(self, rules: RuleSet, *, policy: RouterPolicy, clock: OfficeClock, seed: int = 0) -> None:
        self.rules = rules
        self.rule_sets: dict[str, RuleSet] = {rules.hash: rules}
        self.policy = policy
        self.clock = clock
        self.seed = seed
        self.now_us = 0
        self.agents: dict[str, AgentSlot] = {}
        self.appeals: dict[UUID, AppealSlot] = {}
        self.pools: dict[Requirement, Pool] = {}
        self.timers: list[Timer] = []
        self.heaviest = 0  # units of the heaviest appeal there has been
        self._pools_by_skill: dict[str, list[Pool]] = {}
        self.held_back: dict[int, dict[str, AgentSlot]] = {}  # who keeps room for which heavy appeal, by its order
        self.let_go: dict[str, AgentSlot] = {}  # kept room for one that no longer waits: look again what they can take
        self._touched: dict[str, AgentSlot] = {}  # changed since their pools were brought up to date

    # ---- agents

    def seat_agent(self, agent: Agent) -> AgentSlot:
        """Take in an agent, or what changed about one: pools, languages, capacity."""
        slot = self.agents.get(agent.id)
        if slot is None:
            slot = AgentSlot(agent, tie_hash=self._tie_hash(agent.id), now_us=self.now_us)
            self.agents[agent.id] = slot
        self._unseat(slot)
        slot.agent = agent
        slot.languages = frozenset(language.split("-")[0].lower() for language in agent.languages)
        slot.block, slot.settled = self.block_of(slot), None
        if agent.active:
            for pool in self._pools_of(agent):
                pool.seat(slot)
        return slot

    def refresh(self, slot: AgentSlot) -> None:
        """Note that load, idle time or availability of an agent changed. Their pools follow when next looked at."""
        slot.block = self.block_of(slot)
        self._touched[slot.agent.id] = slot

    def settle(self) -> None:
        """Bring the pools of all agents that changed up to date, once however often they changed."""
        while self._touched:
            _, slot = self._touched.popitem()
            told, slot.settled = slot.settled, (slot.block, slot.load)
            if told == slot.settled and (slot.block is not None or slot.load >= slot.agent.capacity_units):
                continue  # could not be asked before and cannot now, for the same reason
            slot.stamp += 1
            for seat in slot.seats:
                seat.pool.refresh(seat)

    def block_of(self, slot: AgentSlot) -> str | None:
        """Return why an agent can be asked nothing now: absence first, for it decides who is at work."""
        status = slot.agent.status
        if not slot.agent.active:
            return "inactive"
        if status is AgentStatus.OFFLINE:
            return status.value
        if not slot.connected:
            return DISCONNECTED
        if status is not AgentStatus.AVAILABLE:
            return status.value
        return DELAY if slot.ready_us > self.now_us else None

    # ---- pools

    def pool(self, requirement: Requirement) -> Pool:
        """Return the pool of a requirement; the first appeal that has it costs one look at every agent."""
        pool = self.pools.get(requirement)
        if pool is None:
            pool = self.pools[requirement] = Pool(requirement)
            self.heaviest = max(self.heaviest, requirement.weight)
            skill = requirement.skills[0][0] if requirement.skills else ""
            self._pools_by_skill.setdefault(skill, []).append(pool)
            for slot in self.agents.values():
                if slot.agent.active:
                    pool.seat(slot)
        return pool

    def requirement(self, slot: AppealSlot, step: Step) -> Requirement:
        """Return what the appeal demands of agents at a step. An unknown language demands nothing."""
        language = slot.language if step.same_language else None
        return Requirement(step.skills, language, slot.weight, step.order)

    # ---- appeals

    def unfile(self, slot: AppealSlot) -> None:
        """Take an appeal out of all lanes."""
        slot.stamp += 1
        self.let_go_of(slot)
        for lane in slot.lanes:
            lane.drop()
            lane.pool.refused.pop(slot.view.appeal.id, None)
        slot.lanes = []

    def let_go_of(self, slot: AppealSlot) -> None:
        """Nobody needs to keep room for the appeal any more."""
        if self.held_back:
            self.let_go.update(self.held_back.pop(slot.order, {}))

    def free(self, slot: AppealSlot) -> AgentSlot | None:
        """Take an appeal off its holder, whose capacity it used; returns them."""
        holder, slot.holder, slot.offer_id = slot.holder, None, None
        if holder is not None and holder.held.pop(slot.order, None) is not None:
            holder.load -= slot.weight
        return holder

    def hold(self, slot: AppealSlot, agent: AgentSlot, *, phase: str) -> None:
        """Give an appeal to an agent, as an offer or an assignment."""
        slot.phase = phase
        slot.holder = agent
        agent.held[slot.order] = slot
        agent.load += slot.weight

    def remember(self, rules: RuleSet) -> None:
        """Know a rule set by which appeals were placed before."""
        self.rule_sets[rules.hash] = rules

    # ---- timers

    def set_timer(self, due_us: int, kind: str, key: UUID | str, *, mark: int) -> None:
        """Look at `key` again at `due_us`."""
        heapq.heappush(self.timers, Timer(due_us, kind, key, mark))

    def next_due(self) -> Timer | None:
        """Take the earliest timer whose time has come."""
        if self.timers and self.timers[0].due_us <= self.now_us:
            return heapq.heappop(self.timers)
        return None

    def _pools_of(self, agent: Agent) -> list[Pool]:
        found = list(self._pools_by_skill.get("", ()))
        for skill in sorted(agent.skills):
            found.extend(self._pools_by_skill.get(skill, ()))
        return found

    def _unseat(self, slot: AgentSlot) -> None:
        slot.stamp += 1
        for seat in slot.seats:
            seat.pool.unseat(seat)
        for pool in slot.near:
            pool.lack_language -= 1
        slot.seats, slot.heaps, slot.near = [], {}, []

    def _tie_hash(self, agent_id: str) -> str:
        return hashlib.blake2b(f"{self.seed}/{agent_id}".encode(), digest_size=8).hexdigest()
