"""Builds the records of decisions: small enough for the hot path, complete enough to decide again from them."""

from typing import Any

from appeals.offer import OfferState
from appeals.routing import Placement
from router.decision import RECORD_SCHEMA
from router.pool import AgentSlot, AppealSlot, Pool, Seat
from router.rules import PlacementTrace, RuleSet
from router.state import RouterState

RECORDED = 4  # candidates named in a record; the others are counted


def placement_record(state: RouterState, slot: AppealSlot, trace: PlacementTrace, *, rules: RuleSet) -> dict[str, Any]:
    """Record why an appeal goes into a queue."""
    placement: Placement = trace.placement
    return {
        "schema": RECORD_SCHEMA,
        "kind": "place",
        "at_us": state.now_us,
        "rule_set": rules.hash,
        "priority_before": slot.view.appeal.priority,
        "facts": dict(trace.facts),
        "passed_over": list(trace.passed_over),
        "errors": dict(trace.errors),
        "queue": placement.queue,
        "rule": placement.rule,
        "priority": placement.priority,
    }


def agent_choice(pool: Pool, found: list[Seat], *, refused: set[str], preferred: bool) -> dict[str, Any]:
    """Record a choice among agents: the first of `found` was chosen."""
    return {
        "direction": "agent_for_appeal",
        "order": list(pool.requirement.order),
        "preferred_last_agent": preferred,
        "candidates": [_agent_candidate(seat) for seat in found],
        "free": pool.counts.get(None, 0),
        "excluded": _excluded(pool),
        "refused_by": sorted(refused),
        "decided_by": "last_agent" if preferred else _decided_by(pool, found),
    }


def appeal_choice(state: RouterState, heads: list[AppealSlot], agent: AgentSlot, *, waiting: int) -> dict[str, Any]:
    """Record a choice among appeals for one freed agent: the first of `heads` was chosen."""
    point_us = state.rules.priority_point_us
    return {
        "direction": "appeal_for_agent",
        "agent_load": agent.load,
        "agent_capacity": agent.agent.capacity_units,
        "candidates": [
            {
                "appeal": head.name,
                "priority": head.priority,
                "since_us": head.since_us,
                "score": score(head.key_us, state.now_us, point_us),
            }
            for head in heads
        ],
        "point_us": point_us,
        "waiting_here": waiting,
        "decided_by": _decided_between(heads),
    }


def offer_record(
    state: RouterState, slot: AppealSlot, pool: Pool, *, agent_id: str, step: int, choice: dict[str, Any]
) -> dict[str, Any]:
    """Record an offer: the appeal, what it demands, and how it was chosen."""
    wanted = pool.requirement
    return {
        "schema": RECORD_SCHEMA,
        "kind": "offer",
        "at_us": state.now_us,
        "seed": state.seed,
        "rule_set": slot.rules.hash if slot.rules is not None else "",
        "rule": slot.rule.name if slot.rule is not None else "",
        "appeal": slot.name,
        "version": slot.version,
        "step": step,
        "priority": slot.priority,
        "since_us": slot.since_us,
        "score": score(slot.key_us, state.now_us, state.rules.priority_point_us),
        "requires": {
            "skills": dict(wanted.skills),
            "language": wanted.language,
            "channel": slot.view.appeal.channel.value,
            "units": wanted.weight,
        },
        **choice,
        "chosen": agent_id,
    }


def lapse_record(
    state: RouterState, slot: AppealSlot, *, agent_id: str, ended: OfferState, reason: str
) -> dict[str, Any]:
    """Record why an offer ended."""
    return {
        "schema": RECORD_SCHEMA,
        "kind": "lapse",
        "at_us": state.now_us,
        "offer": str(slot.offer_id),
        "due_us": slot.due_us,
        "agent": agent_id,
        "state": ended.value,
        "reason": reason,
    }


def score(key_us: int, now_us: int, point_us: int) -> float:
    """Return priority + time waited in priority points: the one scale on which all waiting appeals are ordered."""
    return round((now_us - key_us) / point_us, 4)


def _agent_candidate(seat: Seat) -> dict[str, Any]:
    agent = seat.agent
    return {
        "agent": agent.agent.id,
        "load": agent.load,
        "capacity": agent.agent.capacity_units,
        "idle_us": agent.idle_us,
        "proficiency": seat.proficiency,
        "hash": agent.hash,
    }


def _excluded(pool: Pool) -> dict[str, int]:
    found = {reason: count for reason, count in pool.counts.items() if reason is not None and count}
    if pool.lack_language:
        found["language"] = pool.lack_language
    return found


def _decided_by(pool: Pool, found: list[Seat]) -> str:
    if len(found) == 1:
        return "only_candidate"
    pairs = zip((*pool.requirement.order, "hash", "name"), found[0].rank(), found[1].rank(), strict=True)
    return next((what for what, ours, theirs in pairs if ours != theirs), "name")


def _decided_between(heads: list[AppealSlot]) -> str:
    if len(heads) == 1:
        return "only_candidate"
    return "score" if heads[0].key_us != heads[1].key_us else "registered_first"
