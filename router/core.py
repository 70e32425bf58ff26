"""The pure core: `handle(state, event, now)` returns decisions. Same state, events and seed: same decisions, anywhere.

Cost of an event: O(pools of the agents it touches × log of their size); never waiting × agents.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from appeals.agent import AgentStatus
from appeals.envelope import Channel
from appeals.offer import OfferState
from appeals.routing import RoutingView
from router import event as events
from router.decision import Decision, LapseOffer, PlaceAppeal, SetStatus
from router.matching import advance_steps, feed_agent, feed_held_back, file_appeal, reopen_to_refusers, score_key
from router.policy import instant_us
from router.pool import AgentSlot, AppealSlot
from router.record import lapse_record, placement_record
from router.state import AGENT_READY, GRACE_OVER, OFFER_DUE, STEP_DUE, RouterState, Timer

TIMED_OUT = "timed_out"


def handle(state: RouterState, event: events.Event, now_us: int) -> list[Decision]:
    """Take in one event at `now_us` (microseconds since 1970 UTC; earlier than the last one counts as the last one).

    All decisions about one appeal carry the version the registry has of it; what one or several calls decide on it
    before the next `ChangeCommitted` is one change to commit.
    """
    state.now_us = max(state.now_us, now_us)
    decisions: list[Decision] = []
    _HANDLERS[type(event)](state, event, decisions)
    feed_held_back(state, decisions)
    state.settle()
    return decisions


def _appeal_waiting(state: RouterState, event: events.AppealWaiting, decisions: list[Decision]) -> None:
    slot, freed = _take_in(state, event.view)
    _place_and_file(state, slot, decisions)
    _feed(state, freed, decisions)


def _appeal_held(state: RouterState, event: events.AppealHeld, decisions: list[Decision]) -> None:
    slot, freed = _take_in(state, event.view)
    _hold(state, slot, event.view)
    _feed(state, freed, decisions)


def _offer_accepted(state: RouterState, event: events.OfferAccepted, decisions: list[Decision]) -> None:
    known = state.appeals.get(event.view.appeal.id)
    if known is not None and known.phase == "offered" and known.holder is not None:
        holder = known.holder
        if holder.agent.id == event.view.appeal.agent_id:  # as expected: nothing changes hands
            known.phase, known.view, known.version = "assigned", event.view, event.view.appeal.version
            known.offer_id = None
            known.stamp += 1
            if _forgive(state, holder):
                feed_agent(state, holder, decisions)
            return
    slot, freed = _take_in(state, event.view)
    _hold(state, slot, event.view)
    if slot.holder is not None:
        _forgive(state, slot.holder)
        feed_agent(state, slot.holder, decisions)
    _feed(state, freed, decisions)


def _offer_declined(state: RouterState, event: events.OfferDeclined, decisions: list[Decision]) -> None:
    slot, freed = _take_in(state, event.view)
    slot.refused.add(event.agent_id)
    agent = state.agents.get(event.agent_id)
    if agent is not None:
        agent.misses = 0  # they are there
        _delay(state, agent, state.policy.decline_delay_us, cause="declined")
    _place_and_file(state, slot, decisions)
    _feed(state, freed, decisions)


def _appeal_gone(state: RouterState, event: events.AppealGone, decisions: list[Decision]) -> None:
    slot = state.appeals.pop(event.appeal_id, None)
    if slot is None:
        return
    was_assigned = slot.phase == "assigned"
    state.unfile(slot)
    holder = state.free(slot)
    slot.phase = "gone"
    if holder is None:
        return
    if was_assigned:
        holder.idle_us = state.now_us
        _delay(state, holder, state.policy.wrap_up_us, cause="wrap_up")
    else:
        state.refresh(holder)
    feed_agent(state, holder, decisions)


def _agent_changed(state: RouterState, event: events.AgentChanged, decisions: list[Decision]) -> None:
    known = state.agents.get(event.agent.id)
    if known is not None and known.agent == event.agent:
        return
    was_free = known is not None and known.agent.status is AgentStatus.AVAILABLE
    slot = state.seat_agent(event.agent)
    if known is None:
        _adopt(state, slot)
    if slot.lost_us is not None and not slot.connected and event.agent.status is not AgentStatus.OFFLINE:
        _start_grace(state, slot)  # they say they are there: wait for their connection once more
    if event.agent.status is AgentStatus.AVAILABLE and not was_free:
        since = event.agent.status_since
        slot.idle_us = instant_us(since) if since is not None and known is None else state.now_us
        slot.misses = 0
    state.refresh(slot)
    _rescind_if_away(state, slot, decisions)
    _shift_changed(state, slot, decisions)
    feed_agent(state, slot, decisions)


def _agent_connected(state: RouterState, event: events.AgentConnected, decisions: list[Decision]) -> None:
    slot = state.agents.get(event.agent_id)
    if slot is None or slot.connected:
        return
    slot.connected = True
    if slot.lost_us is not None:
        slot.lost_us = None
        _delay(state, slot, state.policy.disconnect_delay_us, cause="reconnected")
    state.refresh(slot)
    _shift_changed(state, slot, decisions)
    feed_agent(state, slot, decisions)


def _agent_disconnected(state: RouterState, event: events.AgentDisconnected, decisions: list[Decision]) -> None:
    slot = state.agents.get(event.agent_id)
    if slot is None or (not slot.connected and slot.lost_us is not None):
        return
    slot.connected = False
    _start_grace(state, slot)
    state.refresh(slot)
    _shift_changed(state, slot, decisions)


def _rules_changed(state: RouterState, event: events.RulesChanged, decisions: list[Decision]) -> None:
    """Put another rule set in force. Waiting appeals keep rule and age; scale and weights are the new ones at once."""
    old, state.rules = state.rules, event.rules
    state.remember(event.rules)
    same_scale = old.priority_point_us == event.rules.priority_point_us
    if same_scale and all(old.weight(channel) == event.rules.weight(channel) for channel in Channel):
        return
    waiting = [slot for slot in state.appeals.values() if slot.phase == "waiting"]
    for slot in waiting:
        state.unfile(slot)
    for slot in sorted(waiting, key=lambda slot: (score_key(state, slot), slot.order)):
        _place_and_file(state, slot, decisions)


def _change_committed(state: RouterState, event: events.ChangeCommitted, decisions: list[Decision]) -> None:
    del decisions
    slot = state.appeals.get(event.appeal_id)
    if slot is not None:
        slot.version = max(slot.version, event.version)


def _time_advanced(state: RouterState, event: events.TimeAdvanced, decisions: list[Decision]) -> None:
    del event
    while (timer := state.next_due()) is not None:
        if timer.kind == OFFER_DUE:
            _offer_due(state, timer, decisions)
        elif timer.kind == STEP_DUE:
            slot = state.appeals.get(timer.key)
            if slot is not None and slot.phase == "waiting" and slot.stamp == timer.mark:
                advance_steps(state, slot, decisions)
        elif timer.kind == AGENT_READY:
            agent = state.agents.get(timer.key)
            if agent is not None and agent.ready_us == timer.mark:
                state.refresh(agent)
                feed_agent(state, agent, decisions)
        else:
            _grace_over(state, timer, decisions)


def _offer_due(state: RouterState, timer: Timer, decisions: list[Decision]) -> None:
    slot = state.appeals.get(timer.key)
    if slot is None or slot.phase != "offered" or slot.stamp != timer.mark or slot.holder is None:
        return
    agent = slot.holder
    slot.refused.add(agent.agent.id)
    agent.misses += 1
    _delay(state, agent, state.policy.timeout_delay_us, cause=TIMED_OUT)
    _lapse(state, slot, decisions, ended=OfferState.TIMED_OUT, reason="not answered in time")
    if agent.misses >= state.policy.misses_to_away and agent.agent.status is AgentStatus.AVAILABLE:
        reason = f"missed {agent.misses} offers in a row"
        _set_status(state, agent, AgentStatus.AWAY, reason=reason, decisions=decisions)
    file_appeal(state, slot, decisions)


def _grace_over(state: RouterState, timer: Timer, decisions: list[Decision]) -> None:
    slot = state.agents.get(timer.key)
    if slot is None or slot.connected or slot.lost_us != timer.mark:
        return
    if slot.agent.status is not AgentStatus.OFFLINE:
        _set_status(state, slot, AgentStatus.OFFLINE, reason="connection lost", decisions=decisions)


def _start_grace(state: RouterState, slot: AgentSlot) -> None:
    slot.lost_us = state.now_us
    due_us = state.now_us + state.policy.disconnect_grace_us
    state.set_timer(due_us, GRACE_OVER, slot.agent.id, mark=state.now_us)


def _set_status(
    state: RouterState, slot: AgentSlot, status: AgentStatus, *, reason: str, decisions: list[Decision]
) -> None:
    slot.agent = replace(slot.agent, status=status)
    state.refresh(slot)
    decisions.append(SetStatus(agent_id=slot.agent.id, status=status, reason=reason))
    _rescind_if_away(state, slot, decisions)
    _shift_changed(state, slot, decisions)


def _rescind_if_away(state: RouterState, agent: AgentSlot, decisions: list[Decision]) -> None:
    """Take back what is only offered from an agent who is not there; what they have accepted stays theirs."""
    status = agent.agent.status
    if agent.agent.active and status not in {AgentStatus.AWAY, AgentStatus.OFFLINE}:
        return
    for slot in [slot for slot in agent.held.values() if slot.phase == "offered"]:
        _lapse(state, slot, decisions, ended=OfferState.RESCINDED, reason=f"agent is {status.value}")
        file_appeal(state, slot, decisions)


def _lapse(state: RouterState, slot: AppealSlot, decisions: list[Decision], *, ended: OfferState, reason: str) -> None:
    agent, offer_id = slot.holder, slot.offer_id
    if agent is None or offer_id is None:
        return
    decisions.append(
        LapseOffer(
            appeal_id=slot.view.appeal.id,
            version=slot.version,
            offer_id=offer_id,
            agent_id=agent.agent.id,
            state=OfferState.TIMED_OUT if ended is OfferState.TIMED_OUT else OfferState.RESCINDED,
            reason=reason,
            record=lapse_record(state, slot, agent_id=agent.agent.id, ended=ended, reason=reason),
        )
    )
    state.free(slot)
    state.refresh(agent)


def _take_in(state: RouterState, view: RoutingView) -> tuple[AppealSlot, AgentSlot | None]:
    """Make memory say what the view says, but for who holds it; returns the slot and whoever held it until now."""
    slot = state.appeals.get(view.appeal.id)
    since_us = instant_us(view.appeal.waiting_since)
    if slot is None:
        slot = state.appeals[view.appeal.id] = AppealSlot(view, since_us=since_us)
        return slot, None
    state.unfile(slot)
    freed = state.free(slot)
    if slot.rule is not None and (slot.rule.queue != view.appeal.queue or slot.view.appeal.topic != view.appeal.topic):
        slot.rule = slot.rules = None  # put elsewhere by others, or our placing was not committed
    slot.view, slot.version, slot.since_us = view, view.appeal.version, since_us
    slot.refused = set(view.refused_by)
    if freed is not None:
        state.refresh(freed)
    return slot, freed


def _hold(state: RouterState, slot: AppealSlot, view: RoutingView) -> None:
    slot.weight = state.rules.weight(view.appeal.channel)
    offer = view.pending_offer
    agent_id = offer.agent_id if offer is not None else view.appeal.agent_id
    agent = state.agents.get(agent_id or "")
    if agent is None:
        slot.phase = "offered" if offer is not None else "assigned"
        return
    state.hold(slot, agent, phase="offered" if offer is not None else "assigned")
    if offer is not None:
        slot.offer_id, slot.due_us = offer.id, instant_us(offer.due_at)
        slot.step = offer.step
        _find_rule(state, slot)
        state.set_timer(slot.due_us, OFFER_DUE, view.appeal.id, mark=slot.stamp)
    state.refresh(agent)


def _adopt(state: RouterState, agent: AgentSlot) -> None:
    """Give an agent who was not known what the registry said they hold."""
    for slot in state.appeals.values():
        if slot.phase in {"offered", "assigned"} and slot.holder is None:
            offer = slot.view.pending_offer
            if agent.agent.id == (offer.agent_id if offer is not None else slot.view.appeal.agent_id):
                _hold(state, slot, slot.view)


def _place_and_file(state: RouterState, slot: AppealSlot, decisions: list[Decision]) -> None:
    _find_rule(state, slot)
    if slot.rule is None:
        trace = state.rules.place(slot.view, state.clock)
        slot.rule, slot.rules, slot.priority = trace.rule, state.rules, trace.placement.priority
        decisions.append(
            PlaceAppeal(
                appeal_id=slot.view.appeal.id,
                version=slot.version,
                placement=trace.placement,
                record=placement_record(state, slot, trace, rules=state.rules),
            )
        )
    language = slot.view.appeal.language.split("-")[0].lower()
    slot.language = language if language not in {"", "und"} else None
    file_appeal(state, slot, decisions)


def _find_rule(state: RouterState, slot: AppealSlot) -> None:
    """Find again the rule of an appeal that was placed before, by the rule set it entered with."""
    appeal = slot.view.appeal
    if slot.rule is not None or appeal.queue is None or appeal.rule_set is None:
        return
    rules = state.rule_sets.get(appeal.rule_set)
    if rules is not None:
        slot.rule, slot.rules, slot.priority = rules.rule_for(slot.view, state.clock), rules, appeal.priority


def _delay(state: RouterState, agent: AgentSlot, delay_us: int, *, cause: str) -> None:
    until_us = state.now_us + delay_us
    if delay_us > 0 and until_us > agent.ready_us:
        agent.ready_us = until_us
        state.set_timer(until_us, AGENT_READY, agent.agent.id, mark=until_us)
    agent.delay_cause = cause
    state.refresh(agent)


def _forgive(state: RouterState, agent: AgentSlot) -> bool:
    """End the row of misses, and the delay of an offer that was taken just when it timed out; True if one ended."""
    agent.misses = 0
    if agent.delay_cause == TIMED_OUT and agent.ready_us > state.now_us:
        agent.ready_us = state.now_us
        agent.delay_cause = ""
        state.refresh(agent)
        return True
    return False


def _shift_changed(state: RouterState, agent: AgentSlot, decisions: list[Decision]) -> None:
    """Look again at the refused appeals of the agent's pools: perhaps nobody else is left, or somebody is again."""
    for seat in list(agent.seats):
        for slot in list(seat.pool.refused.values()):
            reopen_to_refusers(state, slot, decisions)


def _feed(state: RouterState, freed: AgentSlot | None, decisions: list[Decision]) -> None:
    if freed is not None:
        feed_agent(state, freed, decisions)


_HANDLERS: dict[type[Any], Callable[[RouterState, Any, list[Decision]], None]] = {
    events.AppealWaiting: _appeal_waiting,
    events.AppealHeld: _appeal_held,
    events.AppealGone: _appeal_gone,
    events.OfferAccepted: _offer_accepted,
    events.OfferDeclined: _offer_declined,
    events.AgentChanged: _agent_changed,
    events.AgentConnected: _agent_connected,
    events.AgentDisconnected: _agent_disconnected,
    events.RulesChanged: _rules_changed,
    events.ChangeCommitted: _change_committed,
    events.TimeAdvanced: _time_advanced,
}
