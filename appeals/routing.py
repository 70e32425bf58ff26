"""What the router reads from the registry, and what it asks the registry to commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from appeals.agent import Agent, AgentStatus
from appeals.appeal import Appeal
from appeals.offer import Offer, OfferState

DecisionRecord = Mapping[str, Any]
"""JSON: inputs, candidates, exclusions, scores, tie-breaks, rule-set hash (P5). Its form is router/decision.py's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingView:
    """One appeal with all that routing it needs to know."""

    appeal: Appeal
    pending_offer: Offer | None
    refused_by: frozenset[str]  # agents who declined it, or let an offer of it time out
    last_agent: str | None  # who answered this citizen last
    segments: frozenset[str]  # of the citizen, e.g. medical
    has_attachments: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingSnapshot:
    """Everything a new leader needs: its memory is rebuilt from this alone (P3)."""

    views: tuple[RoutingView, ...]  # every appeal that is waiting, offered or assigned
    agents: tuple[Agent, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Into which queue an appeal was put, and by which rule."""

    queue: str
    rule: str
    priority: int
    rule_set: str  # hash


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferDraft:
    """An offer to make."""

    id: UUID
    agent_id: str
    step: int
    due_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferLapse:
    """A pending offer to end without the agent's word: timed out or rescinded."""

    offer_id: UUID
    state: OfferState  # TIMED_OUT or RESCINDED
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingChange:
    """All that one decision changes on one appeal: a single compare-and-set on `version`, all of it or nothing."""

    appeal_id: UUID
    version: int  # the appeal's version the decision was made on
    lapse: OfferLapse | None = None  # offered -> waiting
    placement: Placement | None = None
    offer: OfferDraft | None = None  # waiting -> offered
    record: DecisionRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusChange:
    """An agent's status set by the router: away after missed offers, offline after a lost connection."""

    agent_id: str
    status: AgentStatus
    reason: str
