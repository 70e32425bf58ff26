"""The offer: a reservation of one appeal for one agent, and its one table of transitions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from appeals.errors import IllegalTransitionError


class OfferState(StrEnum):
    """Where an offer stands. Every state but `pending` is final."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    TIMED_OUT = "timed_out"
    RESCINDED = "rescinded"  # taken back: the appeal was closed, re-routed or the agent left


OFFER_TRANSITIONS: dict[OfferState, frozenset[OfferState]] = {
    OfferState.PENDING: frozenset(OfferState) - {OfferState.PENDING},
    OfferState.ACCEPTED: frozenset(),
    OfferState.DECLINED: frozenset(),
    OfferState.TIMED_OUT: frozenset(),
    OfferState.RESCINDED: frozenset(),
}


def check_offer_transition(old: OfferState, new: OfferState) -> None:
    """Raise IllegalTransitionError unless the table has `old` → `new`."""
    if new not in OFFER_TRANSITIONS[old]:
        raise IllegalTransitionError(f"an offer cannot go from {old.value} to {new.value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A reservation of one appeal for one agent. Times are aware UTC."""

    id: UUID
    appeal_id: UUID
    agent_id: str
    state: OfferState
    step: int  # index of the rule's step at which it was made
    created_at: datetime
    due_at: datetime  # when it times out
    resolved_at: datetime | None = None
    reason: str = ""  # why it was declined or rescinded
