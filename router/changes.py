"""Gathers decisions until they are committed: at most one change an appeal, whatever happened in between."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from appeals.offer import OfferState
from appeals.routing import OfferDraft, OfferLapse, Placement, RoutingChange, StatusChange
from router.decision import (
    RECORD_SCHEMA,
    Decision,
    HoldAppeal,
    LapseOffer,
    MakeOffer,
    NotifySupervisor,
    PlaceAppeal,
    Record,
    SetStatus,
)
from router.policy import moment_of


@dataclass(kw_only=True, slots=True)
class _Change:
    version: int
    lapse: LapseOffer | None = None
    place: PlaceAppeal | None = None
    offer: MakeOffer | None = None
    records: list[Record] = field(default_factory=list)


class PendingChanges:
    """Decisions that the registry does not have yet."""

    def __init__(self) -> None:
        self._changes: dict[UUID, _Change] = {}
        self.statuses: list[StatusChange] = []
        self.notes: list[HoldAppeal | NotifySupervisor] = []

    def __bool__(self) -> bool:
        return bool(self._changes or self.statuses or self.notes)

    def add(self, decisions: Iterable[Decision]) -> None:
        """Take in what one call of the core decided, in its order."""
        for decision in decisions:
            match decision:
                case SetStatus():
                    self.statuses.append(
                        StatusChange(agent_id=decision.agent_id, status=decision.status, reason=decision.reason)
                    )
                case HoldAppeal() | NotifySupervisor():
                    self.notes.append(decision)
                case _:
                    self._add_change(decision)

    def forget(self, appeal_id: UUID) -> None:
        """Drop what was decided on an appeal: the registry turned out to be further."""
        self._changes.pop(appeal_id, None)

    def offer(self, appeal_id: UUID) -> MakeOffer | None:
        """Return the offer that is to be made of an appeal."""
        change = self._changes.get(appeal_id)
        return change.offer if change is not None else None

    def lapse(self, appeal_id: UUID) -> LapseOffer | None:
        """Return the lapse that is to be noted on an appeal."""
        change = self._changes.get(appeal_id)
        return change.lapse if change is not None else None

    def routing_changes(self) -> list[RoutingChange]:
        """Return what to commit."""
        return [
            _routing_change(appeal_id, change)
            for appeal_id, change in self._changes.items()
            if change.lapse is not None or change.place is not None or change.offer is not None
        ]

    def _add_change(self, decision: PlaceAppeal | MakeOffer | LapseOffer) -> None:
        change = self._changes.setdefault(decision.appeal_id, _Change(version=decision.version))
        change.records.append(decision.record)
        if isinstance(decision, PlaceAppeal):
            change.place = decision
        elif isinstance(decision, MakeOffer):
            change.offer = decision
        elif change.offer is not None and change.offer.offer_id == decision.offer_id:
            change.offer = None  # it was never made: nobody saw it
        else:
            change.lapse = decision


def merged_record(rule_set: str, records: Iterable[Record]) -> dict[str, Any]:
    """Return the one record under which all decisions of one change are kept."""
    return {"schema": RECORD_SCHEMA, "rule_set": rule_set, "decisions": [dict(record) for record in records]}


def _routing_change(appeal_id: UUID, change: _Change) -> RoutingChange:
    placement: Placement | None = change.place.placement if change.place is not None else None
    rule_sets: list[Mapping[str, Any]] = [record for record in change.records if record.get("rule_set")]
    return RoutingChange(
        appeal_id=appeal_id,
        version=change.version,
        lapse=_lapse(change.lapse),
        placement=placement,
        offer=_draft(change.offer),
        record=merged_record(rule_sets[-1]["rule_set"] if rule_sets else "", change.records),
    )


def _lapse(lapse: LapseOffer | None) -> OfferLapse | None:
    if lapse is None:
        return None
    return OfferLapse(offer_id=lapse.offer_id, state=OfferState(lapse.state), reason=lapse.reason)


def _draft(offer: MakeOffer | None) -> OfferDraft | None:
    if offer is None:
        return None
    return OfferDraft(id=offer.offer_id, agent_id=offer.agent_id, step=offer.step, due_at=moment_of(offer.due_us))
