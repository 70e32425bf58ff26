"""What the router puts onto agents' queues. The forms are those of docs/architecture.md, "Agent queues"."""

from datetime import datetime
from uuid import UUID

from appeals.routing import StatusChange
from router.pool import AppealSlot

Message = tuple[str, dict[str, object]]  # (agent id, JSON object)


def offer_message(slot: AppealSlot, *, agent_id: str, offer_id: UUID, due_at: datetime, step: int) -> Message:
    """Tell an agent of an offer. Telling it again is harmless: the offer's id is the same."""
    appeal = slot.view.appeal
    return agent_id, {
        "type": "offer",
        "offer_id": str(offer_id),
        "appeal_id": str(appeal.id),
        "number": appeal.number,
        "subject": appeal.subject,
        "channel": appeal.channel.value,
        "topic": appeal.topic,
        "queue": slot.rule.queue if slot.rule is not None else appeal.queue,
        "priority": slot.priority,
        "language": appeal.language,
        "waiting_since": appeal.waiting_since.isoformat(),
        "deadline_at": appeal.deadline_at.isoformat(),
        "due_at": due_at.isoformat(),
        "step": step,
    }


def offer_gone_message(agent_id: str, *, offer_id: UUID, appeal_id: UUID, reason: str) -> Message:
    """Tell an agent that an offer ended without their word."""
    return agent_id, {
        "type": "offer_gone",
        "offer_id": str(offer_id),
        "appeal_id": str(appeal_id),
        "reason": reason,
    }


def status_message(change: StatusChange) -> Message:
    """Tell an agent that the router set their status, and why."""
    return change.agent_id, {"type": "status", "status": change.status.value, "reason": change.reason}
