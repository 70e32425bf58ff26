"""Measures the real core under mixed events: arrivals, accepted, declined and missed offers, finished appeals."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from appeals.agent import Agent, AgentStatus
from appeals.appeal import Appeal, AppealState
from appeals.envelope import Channel
from appeals.routing import RoutingView
from router.conditions import OfficeClock
from router.core import handle
from router.decision import Decision, LapseOffer, MakeOffer, PlaceAppeal
from router.event import (
    AgentChanged,
    AgentConnected,
    AppealGone,
    AppealWaiting,
    ChangeCommitted,
    Event,
    OfferAccepted,
    OfferDeclined,
    TimeAdvanced,
)
from router.policy import RouterPolicy, instant_us
from router.rules import RuleSet, parse_rules
from router.state import RouterState, settle_memory

START = datetime(2026, 1, 15, 6, 0, tzinfo=UTC)
EVENT_GAP_US = 1_000  # between two events of the simulated day: 1,000 events a second
DECLINED = 0.04  # share of the offers
MISSED = 0.01
MEASURED = 20_000  # decisions at each load
_CHANNELS = (Channel.EMAIL, Channel.EMAIL, Channel.KIOSK, Channel.TELEGRAM, Channel.SMS, Channel.FAX)


def run_route_benchmark(
    *, agents: int = 1_000, skills: int = 50, waiting: int = 10_000, measured: int = MEASURED, seed: int = 1
) -> dict[str, float]:
    """Return how fast the core decides with `waiting` appeals, and how that changes from 1,000 to 100,000 waiting.

    A decision is a placement, an offer or a lapse, each with its record. `decisions_per_s` counts the time within the
    core on one core of the processor; `flatness` is the rate at 100 × 1,000 waiting over the rate at 1,000.
    """
    small, large = max(waiting // 10, 1), waiting * 10
    rates = {
        load: _run_day(agents=agents, skills=skills, waiting=load, measured=measured, seed=seed)
        for load in (small, waiting, large)
    }
    return {
        "decisions_per_s": round(rates[waiting].rate, 1),
        "flatness": round(rates[large].rate / rates[small].rate, 3),
        "events_per_s": round(rates[waiting].events / rates[waiting].spent_s, 1),
        "slowest_ms": round(rates[waiting].slowest_s * 1000, 3),
        f"decisions_per_s_at_{small}": round(rates[small].rate, 1),
        f"decisions_per_s_at_{large}": round(rates[large].rate, 1),
        "agents": agents,
        "skills": skills,
        "waiting": waiting,
    }


@dataclass(kw_only=True)
class Day:
    """A simulated day: the core, and what the office outside it does."""

    state: RouterState
    chance: random.Random
    skills: int
    now_us: int
    arrived: int = 0
    decisions: int = 0
    events: int = 0
    spent_s: float = 0.0
    slowest_s: float = 0.0
    offers: list[MakeOffer] = field(default_factory=list)
    assigned: list[tuple[UUID, str]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return decisions per second of time within the core."""
        return self.decisions / self.spent_s

    def tell(self, event: Event) -> Sequence[Decision]:
        """Hand one event to the core, on the clock; commit what it decided."""
        self.now_us += EVENT_GAP_US
        started = time.thread_time()
        decisions = handle(self.state, event, self.now_us)
        spent = time.thread_time() - started
        self.spent_s += spent
        self.slowest_s = max(self.slowest_s, spent)
        self.events += 1
        for decision in decisions:
            if isinstance(decision, PlaceAppeal | MakeOffer | LapseOffer):
                self.decisions += 1
                handle(self.state, ChangeCommitted(appeal_id=decision.appeal_id, version=decision.version + 1), 0)
            if isinstance(decision, MakeOffer):
                self.offers.append(decision)
        return decisions

    def arrive(self, *, earlier: timedelta = timedelta(0)) -> None:
        """Let a citizen write."""
        self.arrived += 1
        self.tell(AppealWaiting(view=self._new_view(START + timedelta(microseconds=self.arrived) - earlier)))

    def answer_offer(self) -> None:
        """Let an agent accept, decline or miss an offer."""
        offer = self.offers.pop(self.chance.randrange(len(self.offers)))
        slot = self.state.appeals[offer.appeal_id]
        luck = self.chance.random()
        if slot.offer_id != offer.offer_id or luck < MISSED:
            return
        if luck < MISSED + DECLINED:
            refused = frozenset({*slot.view.refused_by, offer.agent_id})
            self.tell(OfferDeclined(view=self._view_of(offer, AppealState.WAITING, refused), agent_id=offer.agent_id))
            return
        self.tell(OfferAccepted(view=self._view_of(offer, AppealState.ASSIGNED, slot.view.refused_by)))
        self.assigned.append((offer.appeal_id, offer.agent_id))

    def finish(self) -> None:
        """Let an agent answer an appeal, which frees capacity."""
        appeal_id, _ = self.assigned.pop(self.chance.randrange(len(self.assigned)))
        self.tell(AppealGone(appeal_id=appeal_id))

    def reset_counts(self) -> None:
        """Begin to measure."""
        self.decisions = self.events = 0
        self.spent_s = self.slowest_s = 0.0

    def _new_view(self, at: datetime) -> RoutingView:
        skill = self.chance.randrange(self.skills)
        appeal = replace(
            _TEMPLATE,
            id=UUID(int=self.arrived),
            number=f"{self.arrived:010d}",
            channel=self.chance.choice(_CHANNELS),
            topic=f"area{skill:02d}.topic",
            language=self.chance.choice(("ru", "ru", "ru", "en")),
            priority=self.chance.randrange(100),
            received_at=at,
            waiting_since=at,
        )
        return replace(_VIEW, appeal=appeal)

    def _view_of(self, offer: MakeOffer, state: AppealState, refused: frozenset[str]) -> RoutingView:
        slot = self.state.appeals[offer.appeal_id]
        appeal = replace(
            slot.view.appeal,
            version=slot.version + 1,
            state=state,
            agent_id=offer.agent_id,
            queue=slot.rule.queue if slot.rule is not None else None,
            rule_set=self.state.rules.hash,
        )
        return replace(slot.view, appeal=appeal, refused_by=refused)


def mixed_day(*, agents: int, skills: int, waiting: int, seed: int) -> Day:
    """Return a day whose agents are all busy and where `waiting` appeals wait."""
    chance = random.Random(seed)  # noqa: S311  a simulation, not a secret
    policy = RouterPolicy(wrap_up_us=0)
    state = RouterState(
        bench_rules(skills), policy=policy, clock=OfficeClock(timezone=ZoneInfo("Europe/Moscow")), seed=seed
    )
    day = Day(state=state, chance=chance, skills=skills, now_us=instant_us(START))
    for number in range(agents):
        agent = _new_agent(number, chance, skills)
        day.tell(AgentChanged(agent=agent))
        day.tell(AgentConnected(agent_id=agent.id))
    while _waiting(state) < waiting:
        for _ in range(max(waiting - _waiting(state), 1)):
            day.arrive(earlier=timedelta(minutes=chance.randrange(60)))
        while day.offers:
            day.answer_offer()
    return day


def bench_rules(skills: int) -> RuleSet:
    """Return rules for `skills` areas, each with a circle of experts and a wider one."""
    queues = "\n".join(f"  area{number:02d}: {{skills: {{area{number:02d}: 1}}}}" for number in range(skills))
    rules = "\n".join(
        f'  - name: area{number:02d}\n    when: topic.startsWith("area{number:02d}.")\n    queue: area{number:02d}\n'
        f"    steps:\n      - {{for: 5m, skills: {{area{number:02d}: 3, language: appeal}}}}\n"
        f"      - {{skills: {{area{number:02d}: 1}}}}"
        for number in range(skills)
    )
    return parse_rules(f"version: 1\nqueues:\n{queues}\nweights: {{telegram: 2, sms: 2}}\nrules:\n{rules}\n")


def _run_day(*, agents: int, skills: int, waiting: int, measured: int, seed: int) -> Day:
    day = mixed_day(agents=agents, skills=skills, waiting=waiting, seed=seed)
    settle_memory()  # as the leader does
    day.reset_counts()
    while day.decisions < measured:
        day.arrive()
        if day.assigned:
            day.finish()
        while day.offers:
            day.answer_offer()
        day.tell(TimeAdvanced())
    return day


def _waiting(state: RouterState) -> int:
    return sum(1 for slot in state.appeals.values() if slot.phase == "waiting")


def _new_agent(number: int, chance: random.Random, skills: int) -> Agent:
    held = chance.sample(range(skills), k=min(3, skills))
    return Agent(
        id=f"agent{number:05d}",
        name="",
        capacity_units=chance.choice((4, 6, 8)),
        skills={f"area{skill:02d}": chance.randint(1, 5) for skill in held},
        languages=frozenset({"ru", "en"} if chance.random() < 1 / 3 else {"ru"}),
        status=AgentStatus.AVAILABLE,
        status_since=START,
    )


_TEMPLATE = Appeal(
    id=UUID(int=0),
    number="",
    version=2,
    state=AppealState.WAITING,
    citizen_id=None,
    channel=Channel.EMAIL,
    connector="bench",
    subject="",
    language="ru",
    region="RU-MOW",
    topic=None,
    topic_confidence=0.9,
    priority=50,
    queue=None,
    agent_id=None,
    rule_set=None,
    received_at=START,
    registered_at=START,
    waiting_since=START,
    changed_at=START,
    deadline_at=START + timedelta(days=30),
    answered_at=None,
    closed_at=None,
)
_VIEW = RoutingView(
    appeal=_TEMPLATE,
    pending_offer=None,
    refused_by=frozenset(),
    last_agent=None,
    segments=frozenset(),
    has_attachments=False,
)
