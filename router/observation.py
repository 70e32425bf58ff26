"""From what the registry says now to events: compares what was read with what the core remembers. Pure."""

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from appeals.agent import Agent
from appeals.appeal import AppealState
from appeals.routing import RoutingView
from router.event import (
    AgentChanged,
    AgentConnected,
    AgentDisconnected,
    AppealGone,
    AppealHeld,
    AppealWaiting,
    Event,
    OfferAccepted,
    OfferDeclined,
    TimeAdvanced,
)
from router.policy import instant_us
from router.pool import AppealSlot
from router.state import RouterState

DOUBTED = -1  # the version of an appeal about which memory ran ahead of the registry: whatever is read next is news


def appeal_events(state: RouterState, asked: Iterable[UUID], views: Sequence[RoutingView]) -> list[Event]:
    """Return the events that bring memory up to `views`, which hold what the registry has of the appeals `asked` for.

    What is asked for and not among the views needs no routing (any more). Reading the same again gives no event.
    """
    found: list[Event] = []
    for view in views:
        event = _appeal_event(state.appeals.get(view.appeal.id), view)
        if event is not None:
            found.append(event)
    seen = {view.appeal.id for view in views}
    gone = [appeal_id for appeal_id in dict.fromkeys(asked) if appeal_id not in seen and appeal_id in state.appeals]
    return [AppealGone(appeal_id=appeal_id) for appeal_id in gone] + found  # freed hands first


def snapshot_events(
    agents: Iterable[Agent], views: Sequence[RoutingView], *, present: Collection[str], point_us: int
) -> list[Event]:
    """Return the events that fill an empty memory so that the best appeals are matched first.

    Agents and what they hold come first, so capacity is known; connections before the waiting, so that the waiting
    spread over all free agents instead of filling up the first.
    """

    def key(view: RoutingView) -> tuple[int, int]:
        return instant_us(view.appeal.waiting_since) - view.appeal.priority * point_us, view.appeal.id.int

    agents = list(agents)
    held = [view for view in views if view.appeal.state is not AppealState.WAITING]
    waiting = sorted((view for view in views if view.appeal.state is AppealState.WAITING), key=key)
    return [
        *(AgentChanged(agent=agent) for agent in agents),
        *(AppealHeld(view=view) for view in held),
        *(
            AgentConnected(agent_id=agent.id) if agent.id in present else AgentDisconnected(agent_id=agent.id)
            for agent in agents
        ),
        *(AppealWaiting(view=view) for view in waiting),
        TimeAdvanced(),
    ]


def _appeal_event(slot: AppealSlot | None, view: RoutingView) -> Event | None:
    waits = view.appeal.state is AppealState.WAITING
    if slot is None:
        return AppealWaiting(view=view) if waits else AppealHeld(view=view)
    if view.appeal.version < slot.version or _is_known(slot, view):
        return None
    if waits:
        holder = slot.holder.agent.id if slot.holder is not None else None
        declined = slot.phase == "offered" and slot.version != DOUBTED
        if declined and holder is not None and holder in view.refused_by:
            return OfferDeclined(view=view, agent_id=holder)
        return AppealWaiting(view=view)
    if view.appeal.state is AppealState.ASSIGNED and slot.phase != "assigned":
        return OfferAccepted(view=view)
    return AppealHeld(view=view)


def _is_known(slot: AppealSlot, view: RoutingView) -> bool:
    """Tell whether memory says the same: version, state, and who holds it by which offer."""
    appeal = view.appeal
    if appeal.version != slot.version or slot.phase != appeal.state.value:
        return False
    if appeal.state is AppealState.OFFERED:
        return view.pending_offer is not None and view.pending_offer.id == slot.offer_id
    return appeal.state is AppealState.WAITING or (slot.holder is not None and slot.holder.agent.id == appeal.agent_id)
