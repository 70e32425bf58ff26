"""What the core decides, and the record that lets anyone explain a decision and compute it again (P5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from appeals.agent import AgentStatus
from appeals.offer import OfferState
from appeals.routing import Placement

RECORD_SCHEMA = "okno.decision/1"

Record = Mapping[str, Any]
"""JSON. Key `kind` is place, offer or lapse; times are microseconds since 1970 UTC. Builders: `record.py`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceAppeal:
    """Put an appeal into a queue."""

    appeal_id: UUID
    version: int
    placement: Placement
    record: Record


@dataclass(frozen=True, kw_only=True, slots=True)
class MakeOffer:
    """Reserve an appeal for an agent and ask them."""

    appeal_id: UUID
    version: int
    offer_id: UUID  # follows from appeal, version, agent and time: the same input makes the same offer on any host
    agent_id: str
    step: int
    due_us: int
    record: Record


@dataclass(frozen=True, kw_only=True, slots=True)
class LapseOffer:
    """End a pending offer without the agent's word."""

    appeal_id: UUID
    version: int
    offer_id: UUID
    agent_id: str
    state: Literal[OfferState.TIMED_OUT, OfferState.RESCINDED]
    reason: str
    record: Record


@dataclass(frozen=True, kw_only=True, slots=True)
class SetStatus:
    """Set an agent away (missed offers) or offline (connection lost)."""

    agent_id: str
    status: AgentStatus
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldAppeal:
    """No agent, busy or not, could ever take the appeal: it is kept waiting, and people must be told."""

    appeal_id: UUID
    queue: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NotifySupervisor:
    """An appeal has come to a step at which the rule wants a supervisor to know."""

    appeal_id: UUID
    queue: str
    rule: str
    step: int


Decision = PlaceAppeal | MakeOffer | LapseOffer | SetStatus | HoldAppeal | NotifySupervisor
