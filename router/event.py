"""What can happen to the router: the whole input of the core. Frozen, complete, told in the registry's own records.

Every event is level-triggered: it says what is so, not what changed. A doubled, late or repeated one does no harm.
"""

from dataclasses import dataclass
from uuid import UUID

from appeals.agent import Agent
from appeals.routing import RoutingView
from router.rules import RuleSet


@dataclass(frozen=True, kw_only=True, slots=True)
class AppealWaiting:
    """An appeal waits for an agent: it is new, was released, or something about it changed."""

    view: RoutingView


@dataclass(frozen=True, kw_only=True, slots=True)
class AppealHeld:
    """The registry says that an agent holds the appeal, as a pending offer or as an assignment."""

    view: RoutingView


@dataclass(frozen=True, kw_only=True, slots=True)
class AppealGone:
    """The appeal is answered or closed: it takes no capacity and needs no agent."""

    appeal_id: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferAccepted:
    """The agent took the appeal that was offered."""

    view: RoutingView


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferDeclined:
    """The agent would not take the appeal; it waits again, its age kept."""

    view: RoutingView
    agent_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentChanged:
    """An agent is new, or their status, skills, capacity or rights changed."""

    agent: Agent


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentConnected:
    """An agent has a live connection."""

    agent_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentDisconnected:
    """The last connection of an agent is gone."""

    agent_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RulesChanged:
    """Another rule set is in force. Appeals that wait keep the rule they entered with."""

    rules: RuleSet


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeCommitted:
    """The registry has committed what was decided on an appeal, which made it `version`."""

    appeal_id: UUID
    version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeAdvanced:
    """It is later now: offers, steps, delays and graces that are due are dealt with."""


Event = (
    AppealWaiting
    | AppealHeld
    | AppealGone
    | OfferAccepted
    | OfferDeclined
    | AgentChanged
    | AgentConnected
    | AgentDisconnected
    | RulesChanged
    | ChangeCommitted
    | TimeAdvanced
)
