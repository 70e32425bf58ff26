"""Builders of what the router reads, for its tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from appeals.agent import Agent, AgentStatus
from appeals.appeal import Appeal, AppealState
from appeals.envelope import Channel
from appeals.routing import RoutingView
from router.conditions import OfficeClock
from router.core import handle
from router.decision import Decision
from router.event import AgentChanged, AgentConnected, AppealWaiting, ChangeCommitted, Event, TimeAdvanced
from router.policy import RouterPolicy, instant_us
from router.rules import RuleSet, parse_rules
from router.state import RouterState

START = datetime(2026, 1, 15, 9, 0, tzinfo=UTC)

RULES = """
version: 1
queues:
  housing: {skills: {housing: 2}}
  triage: {skills: {triage: 1}}
weights: {email: 1, telegram: 2}
ageing: {priority_point: 10m}
rules:
  - name: housing
    when: topic.startsWith("housing.")
    queue: housing
    steps:
      - {for: 2m, skills: {housing: 4, language: appeal}, prefer: [last_agent]}
      - {for: 10m, skills: {housing: 2}}
      - {skills: {triage: 1}, supervisor: notify}
  - name: everything else
    when: "true"
    queue: triage
"""


def make_view(number: int, **fields: Any) -> RoutingView:
    """Build a waiting appeal; fields of the view or of the appeal may be given."""
    own = {
        name: fields.pop(name)
        for name in ("pending_offer", "refused_by", "last_agent", "segments", "has_attachments")
        if name in fields
    }
    at = fields.pop("at", START)
    appeal = Appeal(
        **{
            "id": UUID(int=number),
            "number": f"{number:010d}",
            "version": 2,
            "state": AppealState.WAITING,
            "citizen_id": None,
            "channel": Channel.EMAIL,
            "connector": "email",
            "subject": "",
            "language": "ru",
            "region": "RU-MOW",
            "topic": "housing.heating",
            "topic_confidence": 0.9,
            "priority": 50,
            "queue": None,
            "agent_id": None,
            "rule_set": None,
            "received_at": at,
            "registered_at": at,
            "waiting_since": at,
            "changed_at": at,
            "deadline_at": at + timedelta(days=30),
            "answered_at": None,
            "closed_at": None,
            **fields,
        }
    )
    return RoutingView(
        **{
            "appeal": appeal,
            "pending_offer": None,
            "refused_by": frozenset(),
            "last_agent": None,
            "segments": frozenset(),
            "has_attachments": False,
            **own,
        }
    )


def make_agent(name: str, **fields: Any) -> Agent:
    """Build an available agent of capacity 3 who can do housing at level 4 in Russian."""
    return Agent(
        **{
            "id": name,
            "name": name,
            "capacity_units": 3,
            "skills": {"housing": 4},
            "status": AgentStatus.AVAILABLE,
            "status_since": START,
            **fields,
        }
    )


class Office:
    """A core with a clock that tests move, and a registry that always agrees."""

    def __init__(self, rules: RuleSet, **policy: Any) -> None:
        self.now = START
        self.state = RouterState(
            rules, policy=RouterPolicy(**policy), clock=OfficeClock(timezone=ZoneInfo("Europe/Moscow")), seed=7
        )
        self.versions: dict[UUID, int] = {}

    def tell(self, event: Event) -> list[Decision]:
        decisions = handle(self.state, event, instant_us(self.now))
        for appeal_id in {decision.appeal_id for decision in decisions if hasattr(decision, "version")}:
            version = self.state.appeals[appeal_id].version + 1
            handle(self.state, ChangeCommitted(appeal_id=appeal_id, version=version), instant_us(self.now))
        return decisions

    def join(self, agent: Agent) -> list[Decision]:
        return self.tell(AgentChanged(agent=agent)) + self.tell(AgentConnected(agent_id=agent.id))

    def write(self, number: int, **fields: Any) -> list[Decision]:
        return self.tell(AppealWaiting(view=make_view(number, **{"at": self.now, **fields})))

    def later(self, **delta: float) -> list[Decision]:
        self.now += timedelta(**delta)
        return self.tell(TimeAdvanced())

    def view(self, number: int, **fields: Any) -> RoutingView:
        """Return what the registry would say of the appeal now."""
        slot = self.state.appeals[UUID(int=number)]
        own = {name: fields.pop(name) for name in ("pending_offer", "refused_by") if name in fields}
        rule = slot.rule
        changes = {
            "version": slot.version + 1,
            "queue": rule.queue if rule else None,
            "rule_set": self.state.rules.hash,
            **fields,
        }
        return replace(slot.view, appeal=replace(slot.view.appeal, **changes), **own)


@pytest.fixture
def rules() -> RuleSet:
    return parse_rules(RULES)


@pytest.fixture
def office(rules: RuleSet) -> Office:
    return Office(rules)
