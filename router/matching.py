"""Finds an agent for an appeal and an appeal for an agent, and makes the offer."""

from typing import Any

from uuid_utils.compat import uuid5

from router.decision import Decision, HoldAppeal, MakeOffer, NotifySupervisor
from router.pool import AgentSlot, AppealSlot, Entry, Lane, Pool, Seat, first_for
from router.record import RECORDED, agent_choice, appeal_choice, offer_record
from router.rules import Step
from router.state import OFFER_DUE, STEP_DUE, RouterState


def file_appeal(state: RouterState, slot: AppealSlot, decisions: list[Decision]) -> None:
    """Put a waiting appeal into the lanes of all steps it has come to, and offer it if anyone is free."""
    slot.phase = "waiting"
    slot.weight = state.rules.weight(slot.view.appeal.channel)
    slot.key_us = score_key(state, slot)
    slot.step = -1
    slot.open_to_refusers = False
    advance_steps(state, slot, decisions)


def score_key(state: RouterState, slot: AppealSlot) -> int:
    """Return what orders waiting appeals, lowest first: score(now) is (now - key) / point, whatever `now` is."""
    return slot.since_us - slot.priority * state.rules.priority_point_us


def advance_steps(state: RouterState, slot: AppealSlot, decisions: list[Decision]) -> None:
    """Widen the circle by every step whose time has come; nearer circles are asked first."""
    rule = slot.rule
    if rule is None:
        return
    waited_us = state.now_us - slot.since_us
    while slot.step + 1 < len(rule.steps) and rule.steps[slot.step + 1].starts_us <= waited_us:
        slot.step += 1
        _enter_step(state, slot, rule.steps[slot.step], decisions)
    if not _match(state, slot, decisions):
        reopen_to_refusers(state, slot, decisions)
    if slot.phase != "waiting":
        return
    if slot.step + 1 < len(rule.steps):
        due_us = slot.since_us + rule.steps[slot.step + 1].starts_us
        state.set_timer(due_us, STEP_DUE, slot.view.appeal.id, mark=slot.stamp)
    else:
        _note_if_hopeless(slot, decisions)


def reopen_to_refusers(state: RouterState, slot: AppealSlot, decisions: list[Decision]) -> None:
    """Ask those again who refused the appeal, once nobody else is at work in any circle it will ever have."""
    if not slot.refused or slot.rule is None or slot.phase != "waiting":
        return
    left = slot.step + 1 == len(slot.rule.steps) and not any(_others_left(lane, slot) for lane in slot.lanes)
    if left and not slot.open_to_refusers:
        slot.open_to_refusers = True
        _match(state, slot, decisions)
    if slot.open_to_refusers and not left:
        state.let_go_of(slot)  # nobody keeps room for what they are not asked for
    slot.open_to_refusers = left


def feed_agent(state: RouterState, agent: AgentSlot, decisions: list[Decision]) -> None:
    """Offer a free agent the best waiting appeals until they are full. Costs their pools' lanes, not the waiting."""
    while agent.block is None and agent.spare > 0:
        spare = agent.spare
        heads = [heap[0] for weight, heaps in agent.heaps.items() if weight <= spare for heap in heaps if heap]
        if not heads:
            return
        best = min(heads)[3]
        if agent.agent.id in best.refused:
            heads = _heads_not_refused(agent)
            if not heads:
                return
            best = min(heads)[3]
        if keeps_room(state, agent, best):
            return
        waiting = sum([seat.pool.waiting for seat in agent.seats if seat.pool.weight <= spare])
        choice = appeal_choice(state, _named(heads, agent), agent, waiting=waiting)
        pool = next(lane.pool for lane in best.lanes if agent.agent.id in lane.pool.seats)
        _offer(state, best, pool, agent=agent, choice=choice, decisions=decisions)


def keeps_room(state: RouterState, agent: AgentSlot, slot: AppealSlot) -> bool:
    """Tell whether the agent takes nothing as light as `slot`, because a heavier appeal is before it in the queue.

    Otherwise every unit that gets free would go to a light appeal, and heavy ones would starve (P8). A light one may
    overtake by at most one priority point.
    """
    spare = agent.spare
    if spare >= state.heaviest:
        return False
    capacity = agent.agent.capacity_units
    before_us = slot.key_us - state.rules.priority_point_us
    for weight, heaps in agent.heaps.items():
        if not spare < weight <= capacity:
            continue
        for heap in heaps:
            if not heap or heap[0][0] >= before_us:
                continue
            first = first_for(agent.agent.id, heap) if heap[0][3].refused else heap[0]
            if first is not None and first[0] < before_us:
                state.held_back.setdefault(first[1], {})[agent.agent.id] = agent
                return True
    return False


def feed_held_back(state: RouterState, decisions: list[Decision]) -> None:
    """Feed those who kept room for a heavier appeal that no longer waits."""
    while state.let_go:
        let_go, state.let_go = state.let_go, {}
        for agent_id in sorted(let_go):
            feed_agent(state, let_go[agent_id], decisions)


def _named(heads: list[Entry], agent: AgentSlot) -> list[AppealSlot]:
    """Return the best few of the lanes' heads, each appeal once, best first: those that a record names."""
    heads.sort()
    named = list(dict.fromkeys([head[3] for head in heads[: 2 * RECORDED]]))[:RECORDED]
    for slot in named:
        if agent.agent.id in slot.refused:
            heads = sorted(_heads_not_refused(agent))
            return list(dict.fromkeys([head[3] for head in heads[: 2 * RECORDED]]))[:RECORDED]
    return named


def _heads_not_refused(agent: AgentSlot) -> list[Entry]:
    """Return the best appeal of each lane that the agent has not refused."""
    spare, name = agent.spare, agent.agent.id
    heaps = [heap for weight, heaps in agent.heaps.items() if weight <= spare for heap in heaps if heap]
    heads = [first_for(name, heap) if heap[0][3].refused else heap[0] for heap in heaps]
    return [head for head in heads if head is not None]


def _enter_step(state: RouterState, slot: AppealSlot, step: Step, decisions: list[Decision]) -> None:
    pool = state.pool(state.requirement(slot, step))
    lane = pool.lane(slot.view.appeal.channel)
    if lane not in slot.lanes:
        lane.add(slot)
        if slot.refused:
            pool.refused[slot.view.appeal.id] = slot
    if step.notify_supervisor and slot.asked_supervisor < step.index and slot.rule is not None:
        slot.asked_supervisor = step.index
        decisions.append(
            NotifySupervisor(appeal_id=slot.view.appeal.id, queue=slot.rule.queue, rule=slot.rule.name, step=step.index)
        )


def _match(state: RouterState, slot: AppealSlot, decisions: list[Decision]) -> bool:
    if not slot.lanes:
        return False
    state.settle()
    channel = slot.view.appeal.channel
    refused = frozenset() if slot.open_to_refusers else slot.refused

    def accepts(agent: AgentSlot) -> bool:
        if agent.agent.id in refused or channel not in agent.agent.channels:
            return False
        return not keeps_room(state, agent, slot)

    for lane in slot.lanes:
        pool = lane.pool
        if not pool.counts.get(None):
            continue
        preferred = _last_agent(slot, pool)
        if preferred is not None and accepts(preferred.agent):
            choice = agent_choice(pool, [preferred], refused=slot.refused, preferred=True)
            _offer(state, slot, pool, agent=preferred.agent, choice=choice, decisions=decisions)
            return True
        found = pool.best(accepts, RECORDED)
        if found:
            choice = agent_choice(pool, found, refused=slot.refused, preferred=False)
            _offer(state, slot, pool, agent=found[0].agent, choice=choice, decisions=decisions)
            return True
    return False


def _last_agent(slot: AppealSlot, pool: Pool) -> Seat | None:
    last = slot.view.last_agent
    if last is None or slot.rule is None or not slot.rule.steps[slot.step].last_agent:
        return None
    seat = pool.seats.get(last)
    return seat if seat is not None and seat.reason is None else None


def _offer(
    state: RouterState,
    slot: AppealSlot,
    pool: Pool,
    *,
    agent: AgentSlot,
    choice: dict[str, Any],
    decisions: list[Decision],
) -> None:
    appeal_id = slot.view.appeal.id
    record = offer_record(state, slot, pool, agent_id=agent.agent.id, step=slot.step, choice=choice)
    state.unfile(slot)
    state.hold(slot, agent, phase="offered")
    slot.offer_id = uuid5(appeal_id, f"{slot.version}/{len(slot.refused)}/{agent.agent.id}/{state.now_us}")
    slot.due_us = state.now_us + state.policy.offer_timeout_us
    agent.idle_us = state.now_us
    state.refresh(agent)
    state.set_timer(slot.due_us, OFFER_DUE, appeal_id, mark=slot.stamp)
    decisions.append(
        MakeOffer(
            appeal_id=appeal_id,
            version=slot.version,
            offer_id=slot.offer_id,
            agent_id=agent.agent.id,
            step=slot.step,
            due_us=slot.due_us,
            record=record,
        )
    )


def _others_left(lane: Lane, slot: AppealSlot) -> bool:
    return any(
        seat.agent.on_shift and seat.agent.agent.id not in slot.refused and _ever(seat, slot)
        for seat in lane.pool.seats.values()
    )


def _note_if_hopeless(slot: AppealSlot, decisions: list[Decision]) -> None:
    """Tell once that no agent, busy or not, has what the appeal needs at its last step."""
    if slot.noted or any(_ever(seat, slot) for lane in slot.lanes for seat in lane.pool.seats.values()):
        return
    slot.noted = True
    queue = slot.rule.queue if slot.rule is not None else ""
    reason = "no agent has the skills, the languages, the channel and the capacity it needs"
    decisions.append(HoldAppeal(appeal_id=slot.view.appeal.id, queue=queue, reason=reason))


def _ever(seat: Seat, slot: AppealSlot) -> bool:
    agent = seat.agent.agent
    return slot.view.appeal.channel in agent.channels and agent.capacity_units >= slot.weight
