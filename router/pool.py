"""The indices: pools of agents who meet a requirement, lanes of appeals that have it.

A pool is made for each requirement that appeals really have (skills with levels, language, weight, order of
preference), so an event costs what the few pools of one agent cost, never waiting × agents.
"""

import heapq
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from appeals.agent import Agent, AgentStatus
from appeals.envelope import Channel
from appeals.routing import RoutingView
from router.rules import Rule, RuleSet

_PPM = 1_000_000
_SLACK = 64  # stale entries a heap may hold beyond four times its members before it is swept

FULL = "full"
DELAY = "delay"
DISCONNECTED = "disconnected"


class Requirement(NamedTuple):
    """What an agent must bring to be offered an appeal. Hashable: equal requirements share a pool."""

    skills: tuple[tuple[str, int], ...]
    language: str | None
    weight: int
    order: tuple[str, ...]


class AgentSlot:
    """An agent as the core sees them: their record, what they hold, and whether they can be asked now."""

    __slots__ = (
        "agent", "block", "connected", "delay_cause", "hash", "heaps", "held", "idle_us", "languages",
        "load", "lost_us", "misses", "near", "ready_us", "seats", "settled", "stamp",
    )  # fmt: skip

    def __init__(self, agent: Agent, *, tie_hash: str, now_us: int) -> None:
        self.agent = agent
        self.languages = frozenset(language.split("-")[0].lower() for language in agent.languages)
        self.hash = tie_hash
        self.held: dict[int, AppealSlot] = {}  # by the appeal's `order`, which hashes ten times faster than a UUID
        self.load = 0  # units
        self.idle_us = now_us  # when work was last given or done
        self.ready_us = 0  # no offers before
        self.delay_cause = ""
        self.misses = 0
        self.connected = False
        self.lost_us: int | None = None  # since when the connection is lost
        self.block: str | None = None  # why they cannot be asked at all now
        self.seats: list[Seat] = []
        self.heaps: dict[int, list[Heap]] = {}  # of all lanes they may be offered from, by units
        self.near: list[Pool] = []  # pools they would be in but for the language
        self.stamp = 0
        self.settled: tuple[str | None, int] | None = None  # block and load that their seats were last told

    @property
    def spare(self) -> int:
        """Return how many units of capacity are free."""
        return self.agent.capacity_units - self.load

    @property
    def on_shift(self) -> bool:
        """Tell whether they are at work, if perhaps not free."""
        return self.connected and self.agent.active and self.agent.status is not AgentStatus.OFFLINE


class AppealSlot:
    """An appeal as the core sees it."""

    __slots__ = (
        "asked_supervisor", "due_us", "holder", "key_us", "lanes", "language", "name", "noted", "offer_id",
        "open_to_refusers", "order", "phase", "priority", "refused", "rule", "rules", "since_us",
        "stamp", "step", "version", "view", "weight",
    )  # fmt: skip

    def __init__(self, view: RoutingView, *, since_us: int) -> None:
        self.view = view
        self.order = view.appeal.id.int
        self.name = str(view.appeal.id)
        self.version = view.appeal.version
        self.since_us = since_us
        self.phase = "new"  # then waiting, offered, assigned
        self.rule: Rule | None = None
        self.rules: RuleSet | None = None
        self.priority = view.appeal.priority
        self.key_us = 0  # lower goes first; see score
        self.weight = 1
        self.language: str | None = None
        self.step = 0
        self.holder: AgentSlot | None = None
        self.offer_id: UUID | None = None
        self.due_us = 0
        self.refused: set[str] = set(view.refused_by)
        self.open_to_refusers = False
        self.lanes: list[Lane] = []
        self.noted = False  # that nobody can take it
        self.asked_supervisor = -1
        self.stamp = 0


class Seat:
    """One agent's place in one pool. `reason`: why they cannot be asked for it now, None if they can."""

    __slots__ = ("agent", "pool", "proficiency", "reason")

    def __init__(self, agent: AgentSlot, pool: "Pool", *, proficiency: int) -> None:
        self.agent = agent
        self.pool = pool
        self.proficiency = proficiency
        self.reason: str | None = "new"

    def rank(self) -> tuple[Any, ...]:
        """Return what decides between eligible agents, lowest first; the hash and the name make it total."""
        agent = self.agent
        values = {
            "load": agent.load * _PPM // max(agent.agent.capacity_units, 1),
            "idle": agent.idle_us,
            "proficiency": -self.proficiency,
        }
        first, second, third = self.pool.requirement.order
        return values[first], values[second], values[third], agent.hash, agent.agent.id


Entry = tuple[int, int, int, AppealSlot]  # key, registration order, stamp: sorts as the appeals are to be served
Heap = list[Entry]


class Lane:
    """The waiting appeals of one pool and channel, best score first.

    Ageing is linear, so the order of two appeals never changes while they wait: a heap by a fixed key is enough.
    Entries go stale by their stamp and are dropped when they come up: `heap[0]`, if any, always waits.
    """

    __slots__ = ("channel", "heap", "pool", "size")

    def __init__(self, pool: "Pool", channel: Channel) -> None:
        self.pool = pool
        self.channel = channel
        self.heap: Heap = []  # always this very list: the agents have it, too
        self.size = 0

    def add(self, slot: AppealSlot) -> None:
        """File an appeal."""
        heapq.heappush(self.heap, (slot.key_us, slot.order, slot.stamp, slot))
        slot.lanes.append(self)
        self.size += 1
        self.pool.waiting += 1

    def drop(self) -> None:
        """Count one appeal less, whose stamp has changed; its entry goes now or when it comes up."""
        self.size -= 1
        self.pool.waiting -= 1
        heap = self.heap
        while heap and heap[0][2] != heap[0][3].stamp:
            heapq.heappop(heap)
        if len(heap) > 4 * self.size + _SLACK:
            heap[:] = [entry for entry in heap if entry[2] == entry[3].stamp]
            heapq.heapify(heap)


def first_for(agent_id: str, heap: Heap) -> Entry | None:
    """Return the best appeal of a lane's heap that the agent has not refused."""
    found, aside = None, []
    while heap:
        entry = heap[0]
        slot = entry[3]
        if entry[2] != slot.stamp:
            heapq.heappop(heap)
        elif agent_id in slot.refused and not slot.open_to_refusers:
            aside.append(heapq.heappop(heap))
        else:
            found = entry
            break
    for entry in aside:
        heapq.heappush(heap, entry)
    return found


class Pool:
    """All agents who meet one requirement, free or not, with the free ones in order of preference."""

    __slots__ = (
        "counts",
        "heap",
        "lack_language",
        "lanes",
        "refused",
        "requirement",
        "seats",
        "waiting",
        "weight",
    )

    def __init__(self, requirement: Requirement) -> None:
        self.requirement = requirement
        self.weight = requirement.weight
        self.seats: dict[str, Seat] = {}
        self.counts: dict[str | None, int] = {}  # members by reason; None: can be asked now
        self.heap: list[tuple[tuple[Any, ...], int, Seat]] = []
        self.lanes: dict[Channel, Lane] = {}
        self.waiting = 0
        self.lack_language = 0
        self.refused: dict[UUID, AppealSlot] = {}  # waiting here, and refused by someone

    def seat(self, agent: AgentSlot) -> None:
        """Take the agent in if they have the skills and the language."""
        has = agent.agent.skills
        if any(has.get(skill, 0) < level for skill, level in self.requirement.skills):
            return
        if self.requirement.language is not None and self.requirement.language not in agent.languages:
            self.lack_language += 1
            agent.near.append(self)
            return
        seat = Seat(agent, self, proficiency=sum(has[skill] for skill, _ in self.requirement.skills))
        self.seats[agent.agent.id] = seat
        self.counts[seat.reason] = self.counts.get(seat.reason, 0) + 1
        agent.seats.append(seat)
        for lane in self.lanes.values():
            _open_lane(lane, agent)
        self.refresh(seat)

    def unseat(self, seat: Seat) -> None:
        """Let the agent go."""
        del self.seats[seat.agent.agent.id]
        self.counts[seat.reason] -= 1
        seat.reason = "gone"

    def refresh(self, seat: Seat) -> None:
        """Note that load, idle time or availability of the agent changed."""
        agent = seat.agent
        reason = agent.block
        if reason is None and agent.agent.capacity_units - agent.load < self.weight:
            reason = FULL
        if reason != seat.reason:
            self.counts[seat.reason] -= 1
            self.counts[reason] = self.counts.get(reason, 0) + 1
            seat.reason = reason
        if reason is None:
            if len(self.heap) > 4 * len(self.seats) + _SLACK:
                self._sweep()
            heapq.heappush(self.heap, (seat.rank(), agent.stamp, seat))

    def best(self, accepts: Callable[[AgentSlot], bool], count: int) -> list[Seat]:
        """Return up to `count` free agents that `accepts` says yes to, most preferred first."""
        if not self.counts.get(None):
            return []
        heap, aside = self.heap, []
        found: list[Seat] = []
        while heap and len(found) < count:
            entry = heapq.heappop(heap)
            seat = entry[2]
            if entry[1] != seat.agent.stamp or seat.reason is not None:
                continue
            aside.append(entry)
            if accepts(seat.agent):
                found.append(seat)
        for entry in aside:
            heapq.heappush(heap, entry)
        return found

    def lane(self, channel: Channel) -> Lane:
        """Return the lane of a channel."""
        lane = self.lanes.get(channel)
        if lane is None:
            lane = self.lanes[channel] = Lane(self, channel)
            for seat in self.seats.values():
                _open_lane(lane, seat.agent)
        return lane

    def _sweep(self) -> None:
        self.heap = [entry for entry in self.heap if entry[1] == entry[2].agent.stamp and entry[2].reason is None]
        heapq.heapify(self.heap)


def _open_lane(lane: Lane, agent: AgentSlot) -> None:
    if lane.channel in agent.agent.channels:
        agent.heaps.setdefault(lane.pool.weight, []).append(lane.heap)
