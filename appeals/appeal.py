"""The appeal: a registered case, and the one table of its legal transitions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from appeals.envelope import Channel
from appeals.errors import IllegalTransitionError


class AppealState(StrEnum):
    """Where an appeal stands. An appeal is in one state at a time (P7)."""

    REGISTERED = "registered"  # committed; no topic yet, or to be tagged anew
    WAITING = "waiting"  # has a topic; waits for an agent
    OFFERED = "offered"  # reserved for one agent, who has not answered yet
    ASSIGNED = "assigned"  # an agent holds it
    ANSWERED = "answered"  # an agent has answered; takes no capacity until the citizen writes again
    CLOSED = "closed"


TRANSITIONS: dict[AppealState, frozenset[AppealState]] = {
    AppealState.REGISTERED: frozenset({AppealState.WAITING, AppealState.CLOSED}),
    AppealState.WAITING: frozenset(
        {AppealState.REGISTERED, AppealState.OFFERED, AppealState.ASSIGNED, AppealState.CLOSED}
    ),
    AppealState.OFFERED: frozenset({AppealState.ASSIGNED, AppealState.WAITING, AppealState.CLOSED}),
    AppealState.ASSIGNED: frozenset(
        {AppealState.REGISTERED, AppealState.ANSWERED, AppealState.WAITING, AppealState.CLOSED}
    ),
    AppealState.ANSWERED: frozenset({AppealState.ASSIGNED, AppealState.WAITING, AppealState.CLOSED}),
    AppealState.CLOSED: frozenset({AppealState.WAITING}),
}

CHOSEN_TOPIC = "topic"  # the form field, and so the attribute, by which a citizen names a topic themselves

UNTAGGED: Mapping[str, Any] = {
    "state": AppealState.REGISTERED,
    "agent_id": None,
    "topic": None,
    "topic_confidence": None,
    "queue": None,
    "rule_set": None,
}
"""The values of an appeal that is to be tagged and placed anew; its age stays (P8)."""

OPEN_STATES = frozenset(AppealState) - {AppealState.CLOSED}


def check_transition(old: AppealState, new: AppealState) -> None:
    """Raise IllegalTransitionError unless the table has `old` → `new`."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransitionError(f"an appeal cannot go from {old.value} to {new.value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Appeal:
    """One citizen's case as the registry holds it at `version`. All times are aware UTC."""

    id: UUID
    number: str  # for people: ten digits, the last one a check digit
    version: int  # compare-and-set: grows by one with every change
    state: AppealState
    citizen_id: UUID | None
    channel: Channel  # the channel of the newest envelope: answers go there
    connector: str
    subject: str
    language: str  # BCP 47 of the citizen's words; "und" until known
    region: str
    topic: str | None  # a code of the taxonomy, None until classified
    topic_confidence: float | None  # calibrated, 0..1
    priority: int  # 0..100, from classifier and rule
    queue: str | None
    agent_id: str | None  # whom it is offered or assigned to, or who answered it last
    rule_set: str | None  # hash of the rule set it entered the queue with
    received_at: datetime  # when the citizen's first message came in
    registered_at: datetime
    waiting_since: datetime  # the age that orders the queue; survives decline, transfer, crash (P8)
    changed_at: datetime  # when the state was entered
    deadline_at: datetime  # by law
    answered_at: datetime | None
    closed_at: datetime | None
    attributes: dict[str, Any] = field(default_factory=dict)  # form fields, hints and routing extras
