"""Stateful properties of the core: whatever happens in whatever order, these hold after every event."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from appeals.agent import Agent, AgentStatus
from appeals.appeal import Appeal, AppealState, check_transition
from appeals.envelope import Channel
from appeals.offer import Offer, OfferState
from appeals.routing import RoutingView
from router.changes import PendingChanges
from router.conditions import OfficeClock
from router.core import handle
from router.decision import Decision, LapseOffer, MakeOffer, PlaceAppeal, SetStatus
from router.event import (
    AgentChanged,
    AgentConnected,
    AgentDisconnected,
    ChangeCommitted,
    Event,
    RulesChanged,
    TimeAdvanced,
)
from router.explain import agrees
from router.observation import DOUBTED, appeal_events, snapshot_events
from router.policy import RouterPolicy, instant_us, moment_of
from router.pool import AgentSlot, AppealSlot
from router.rules import parse_rules
from router.state import RouterState
from tests.unit.router.conftest import RULES, START, make_agent, make_view

SETS = [
    parse_rules(RULES),
    parse_rules(RULES.replace("housing: 2}}", "housing: 3}}")),
    parse_rules(RULES.replace("priority_point: 10m", "priority_point: 1h").replace("telegram: 2", "telegram: 1")),
]
NAMES = ["anna", "boris", "clara", "dmitri"]


@dataclass
class Registry:
    """The truth: what a registry would hold, compare-and-set included."""

    appeals: dict[UUID, RoutingView] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)

    def routed(self) -> list[RoutingView]:
        states = {AppealState.WAITING, AppealState.OFFERED, AppealState.ASSIGNED}
        return [view for view in self.appeals.values() if view.appeal.state in states]

    def change(
        self, appeal_id: UUID, *, offer: Offer | None, refused: frozenset[str] | None = None, **fields: Any
    ) -> None:
        view = self.appeals[appeal_id]
        if fields.get("state", view.appeal.state) is not view.appeal.state:
            check_transition(view.appeal.state, fields["state"])
        appeal: Appeal = replace(view.appeal, version=view.appeal.version + 1, **fields)
        self.appeals[appeal_id] = replace(
            view, appeal=appeal, pending_offer=offer, refused_by=view.refused_by if refused is None else refused
        )


class Office(RuleBasedStateMachine):
    """Two cores, told the same; a registry that commits, or overtakes them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.registry = Registry()
        self.present: set[str] = set()
        self.numbers = 0
        self.cores = [self._new_core(), self._new_core()]

    def _new_core(self) -> RouterState:
        policy = RouterPolicy(misses_to_away=2)
        return RouterState(SETS[0], policy=policy, clock=OfficeClock(timezone=ZoneInfo("Europe/Moscow")), seed=3)

    @property
    def state(self) -> RouterState:
        return self.cores[0]

    def tell(self, *events: Event, lose: bool = False) -> None:
        pending = PendingChanges()
        for event in events:
            first, second = (handle(core, event, instant_us(self.now)) for core in self.cores)
            assert first == second  # the same state, event and seed: the same decisions
            self._check_offers(first)
            pending.add(first)
        self._commit(pending, lose=lose)

    def _commit(self, pending: PendingChanges, *, lose: bool) -> None:
        for status in pending.statuses:
            agent = self.registry.agents[status.agent_id]
            self.registry.agents[status.agent_id] = replace(agent, status=status.status, status_since=self.now)
        lost = []
        for change in pending.routing_changes():
            view = self.registry.appeals[change.appeal_id]
            if lose or view.appeal.version != change.version:
                lost.append(change.appeal_id)
                for core in self.cores:
                    core.appeals[change.appeal_id].version = DOUBTED
                continue
            self._write(change)
            for core in self.cores:
                handle(core, ChangeCommitted(appeal_id=change.appeal_id, version=change.version + 1), 0)
        if lost:
            self.read(*lost)

    def _write(self, change: Any) -> None:
        view = self.registry.appeals[change.appeal_id]
        fields: dict[str, Any] = {}
        refused, offer = view.refused_by, view.pending_offer
        if change.lapse is not None:
            assert offer is not None
            assert offer.id == change.lapse.offer_id
            if change.lapse.state is OfferState.TIMED_OUT:
                refused |= {offer.agent_id}
            offer, fields["state"], fields["agent_id"] = None, AppealState.WAITING, None
        if change.placement is not None:
            fields |= {
                "queue": change.placement.queue,
                "priority": change.placement.priority,
                "rule_set": change.placement.rule_set,
            }
        if change.offer is not None:
            assert offer is None  # no appeal is promised to two
            offer = Offer(
                id=change.offer.id,
                appeal_id=change.appeal_id,
                agent_id=change.offer.agent_id,
                state=OfferState.PENDING,
                step=change.offer.step,
                created_at=self.now,
                due_at=change.offer.due_at,
            )
            fields |= {"state": AppealState.OFFERED, "agent_id": offer.agent_id}
        self.registry.change(change.appeal_id, offer=offer, refused=refused, **fields)

    def read(self, *ids: UUID) -> None:
        views = [view for view in self.registry.routed() if view.appeal.id in ids]
        first = appeal_events(self.cores[0], ids, views)
        assert first == appeal_events(self.cores[1], ids, views)
        self.tell(*first)

    # ---- what happens

    @initialize()
    def open(self) -> None:
        for name in NAMES[:2]:
            self.agent_changes(name, 4, 0, "ru", status=AgentStatus.AVAILABLE, capacity_units=2)
            self.connects(name)

    @rule(
        name=st.sampled_from(NAMES),
        status=st.sampled_from(
            [AgentStatus.AVAILABLE, AgentStatus.AVAILABLE, AgentStatus.AWAY, AgentStatus.OFFLINE, AgentStatus.BUSY]
        ),
        capacity_units=st.integers(1, 3),
        housing=st.integers(0, 5),
        triage=st.integers(0, 1),
        language=st.sampled_from(["ru", "en"]),
    )
    def agent_changes(self, name: str, housing: int, triage: int, language: str, **fields: Any) -> None:
        skills = {skill: level for skill, level in (("housing", housing), ("triage", triage)) if level}
        agent = make_agent(name, skills=skills, languages=frozenset({language}), status_since=self.now, **fields)
        self.registry.agents[name] = agent
        self.tell(AgentChanged(agent=agent))

    @rule(name=st.sampled_from(NAMES))
    def connects(self, name: str) -> None:
        self.present.add(name)
        self.tell(AgentConnected(agent_id=name))

    @rule(name=st.sampled_from(NAMES))
    def disconnects(self, name: str) -> None:
        self.present.discard(name)
        self.tell(AgentDisconnected(agent_id=name))

    @rule(
        topic=st.sampled_from(["housing.gas", "roads"]),
        channel=st.sampled_from([Channel.EMAIL, Channel.TELEGRAM]),
        language=st.sampled_from(["ru", "en", "und"]),
        priority=st.integers(0, 100),
        lose=st.booleans(),
        count=st.integers(1, 4),
    )
    def citizens_write(self, count: int, lose: bool, **fields: Any) -> None:  # noqa: FBT001
        for _ in range(count):
            self.numbers += 1
            view = make_view(self.numbers, at=self.now, **fields)
            self.registry.appeals[view.appeal.id] = view
            if not lose:  # else the item is lost, found later by the sweeper
                self.read(view.appeal.id)

    @rule()
    def sweeper_finds_all(self) -> None:
        self.read(*self.registry.appeals)

    def _pick(self, data: st.DataObject, state: AppealState) -> RoutingView | None:
        found = [view for view in self.registry.appeals.values() if view.appeal.state is state]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data(), tell=st.booleans())
    def accepts(self, data: st.DataObject, tell: bool) -> None:  # noqa: FBT001
        view = self._pick(data, AppealState.OFFERED)
        if view is not None:
            self.registry.change(view.appeal.id, offer=None, state=AppealState.ASSIGNED)
            if tell:
                self.read(view.appeal.id)

    @rule(data=st.data(), tell=st.booleans())
    def declines(self, data: st.DataObject, tell: bool) -> None:  # noqa: FBT001
        view = self._pick(data, AppealState.OFFERED)
        if view is not None:
            refused = view.refused_by | {view.appeal.agent_id or ""}
            self.registry.change(view.appeal.id, offer=None, refused=refused, state=AppealState.WAITING, agent_id=None)
            if tell:
                self.read(view.appeal.id)

    @rule(data=st.data(), tell=st.booleans())
    def answers(self, data: st.DataObject, tell: bool) -> None:  # noqa: FBT001
        view = self._pick(data, AppealState.ASSIGNED)
        if view is not None:
            self.registry.change(view.appeal.id, offer=None, state=AppealState.ANSWERED)
            if tell:
                self.read(view.appeal.id)

    @rule(data=st.data())
    def releases(self, data: st.DataObject) -> None:
        view = self._pick(data, AppealState.ASSIGNED)
        if view is not None:
            self.registry.change(
                view.appeal.id,
                offer=None,
                refused=view.refused_by | {view.appeal.agent_id or ""},
                state=AppealState.WAITING,
                agent_id=None,
            )
            self.read(view.appeal.id)

    @rule(seconds=st.sampled_from([1, 11, 31, 61, 130, 700, 7200]), lose=st.booleans())
    def time_passes(self, seconds: int, lose: bool) -> None:  # noqa: FBT001
        self.now += timedelta(seconds=seconds)
        self.tell(TimeAdvanced(), lose=lose)

    @rule(rules=st.sampled_from(SETS))
    def rules_change(self, rules: Any) -> None:
        self.tell(RulesChanged(rules=rules))

    @precondition(lambda self: self.registry.appeals)
    @rule()
    def leader_dies(self) -> None:
        """Another leader builds its memory from the registry alone."""
        rules, known = self.state.rules, self.state.rule_sets
        self.cores = [self._new_core(), self._new_core()]
        for core in self.cores:
            core.rules = rules
            core.rule_sets = dict(known)
        views = self.registry.routed()
        self.tell(
            *snapshot_events(
                self.registry.agents.values(), views, present=self.present, point_us=rules.priority_point_us
            )
        )
        self.agrees_with_the_registry()

    # ---- what always holds

    def _check_offers(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, MakeOffer):
                agent = self.state.agents[decision.agent_id].agent
                wanted = decision.record["requires"]
                assert all(agent.skills.get(skill, 0) >= level for skill, level in wanted["skills"].items())
                assert wanted["language"] is None or wanted["language"] in agent.languages
                assert decision.agent_id in self.present
                load = (
                    decision.record["agent_load"]
                    if "agent_load" in decision.record
                    else decision.record["candidates"][0]["load"]
                )
                assert load + wanted["units"] <= agent.capacity_units
            if isinstance(decision, MakeOffer | LapseOffer | PlaceAppeal):
                assert agrees(decision.record) in {True, None}
            if isinstance(decision, SetStatus):
                assert decision.status in {AgentStatus.AWAY, AgentStatus.OFFLINE}

    @invariant()
    def loads_are_what_is_held(self) -> None:
        for slot in self.state.agents.values():
            assert slot.load == sum(appeal.weight for appeal in slot.held.values())

    @invariant()
    def no_appeal_has_two_holders(self) -> None:
        held = [appeal_id for slot in self.state.agents.values() for appeal_id in slot.held]
        assert len(held) == len(set(held))
        for slot in self.state.agents.values():
            assert all(
                appeal.holder is slot and appeal.phase in {"offered", "assigned"} for appeal in slot.held.values()
            )

    @invariant()
    def nothing_waits_for_a_free_agent(self) -> None:
        for appeal in self.state.appeals.values():
            if appeal.phase == "waiting":
                assert appeal.lanes
                assert not [slot.agent.id for slot in self.state.agents.values() if self._could(slot, appeal)]

    def _could(self, slot: AgentSlot, appeal: AppealSlot) -> bool:
        if slot.block is not None or slot.spare < appeal.weight:
            return False
        if slot.agent.id in appeal.refused and self._others_left(appeal):
            return False
        return self._fits(slot, appeal) and not self._keeps_room(slot, appeal)

    def _keeps_room(self, slot: AgentSlot, appeal: AppealSlot) -> bool:
        point_us = self.state.rules.priority_point_us
        return any(
            slot.spare < other.weight <= slot.agent.capacity_units
            and other.phase == "waiting"
            and other.key_us < appeal.key_us - point_us
            and (slot.agent.id not in other.refused or other.open_to_refusers)
            and self._fits(slot, other)
            for other in self.state.appeals.values()
        )

    def _others_left(self, appeal: AppealSlot) -> bool:
        if appeal.rule is None or appeal.step + 1 < len(appeal.rule.steps):
            return True
        return any(
            slot.agent.id not in appeal.refused
            and slot.on_shift
            and slot.agent.capacity_units >= appeal.weight
            and self._fits(slot, appeal)
            for slot in self.state.agents.values()
        )

    def _fits(self, slot: AgentSlot, appeal: AppealSlot) -> bool:
        if appeal.rule is None:
            return False
        return any(
            all(slot.agent.skills.get(skill, 0) >= level for skill, level in step.skills)
            and (not step.same_language or appeal.language is None or appeal.language in slot.languages)
            for step in appeal.rule.steps[: appeal.step + 1]
        )

    @invariant()
    def steps_follow_the_clock(self) -> None:
        for appeal in self.state.appeals.values():
            if appeal.phase == "waiting" and appeal.rule is not None and self.state.now_us == instant_us(self.now):
                due = [
                    step.index
                    for step in appeal.rule.steps
                    if moment_of(appeal.since_us + step.starts_us) <= moment_of(self.state.now_us)
                ]
                assert appeal.step == due[-1] or any(timer.due_us <= self.state.now_us for timer in self.state.timers)

    def agrees_with_the_registry(self) -> None:
        for view in self.registry.routed():
            slot = self.state.appeals[view.appeal.id]
            assert slot.phase == view.appeal.state.value
            assert (slot.holder.agent.id if slot.holder else None) == view.appeal.agent_id
            if slot.phase == "waiting":
                assert slot.rule is not None
                assert slot.rule.queue == view.appeal.queue  # placed, and committed
            assert slot.since_us == instant_us(view.appeal.waiting_since)

    @rule()
    def memory_agrees_after_reading_all(self) -> None:
        """Nothing is lost, whatever items were: once all is read, memory and registry say the same."""
        self.read(*self.registry.appeals, *self.state.appeals)
        self.agrees_with_the_registry()


Office.TestCase.settings = settings(
    max_examples=80, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestOffice = Office.TestCase


def test_keys_are_exact_to_the_microsecond():
    """Times become integers without loss."""
    moment = datetime(2026, 1, 15, 9, 0, 0, 123456, tzinfo=START.tzinfo)
    assert moment_of(instant_us(moment)) == moment
