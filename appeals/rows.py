"""Rows of the tables to records of the domain, and back."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row

from appeals.agent import Agent, AgentStatus, Role
from appeals.appeal import Appeal, AppealState
from appeals.citizen import Citizen
from appeals.envelope import Attachment, Channel, ContactPoint
from appeals.event_chain import StoredEvent
from appeals.offer import Offer, OfferState
from appeals.reply import DeliveryState, Reply, ReplyKind
from appeals.transcript import Transcript, TranscriptSource, TranscriptState

AnyRow = Row[Any]


def contact_key(point: ContactPoint) -> str:
    """Return the key under which a contact point is kept."""
    return f"{point.kind.value}:{point.value}"


def dedup_key(connector: str, external_id: str) -> str:
    """Return the key by which a redelivery is recognised (P2)."""
    return f"{connector}:{external_id}"


def to_appeal(row: AnyRow) -> Appeal:
    """Make an Appeal of a row of `appeals`."""
    return Appeal(
        id=row.id,
        number=row.number,
        version=row.version,
        state=AppealState(row.state),
        citizen_id=row.citizen_id,
        channel=Channel(row.channel),
        connector=row.connector,
        subject=row.subject,
        language=row.language,
        region=row.region,
        topic=row.topic,
        topic_confidence=row.topic_confidence,
        priority=row.priority,
        queue=row.queue,
        agent_id=row.agent_id,
        rule_set=row.rule_set,
        received_at=row.received_at,
        registered_at=row.registered_at,
        waiting_since=row.waiting_since,
        changed_at=row.changed_at,
        deadline_at=row.deadline_at,
        answered_at=row.answered_at,
        closed_at=row.closed_at,
        attributes=row.attributes,
    )


def to_citizen(row: AnyRow) -> Citizen:
    """Make a Citizen of a row of `citizens`."""
    return Citizen(id=row.id, name=row.name, language=row.language, segments=frozenset(row.segments))


def to_agent(row: AnyRow) -> Agent:
    """Make an Agent of a row of `agents`; the password hash stays behind."""
    return Agent(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        capacity_units=row.capacity_units,
        skills=row.skills,
        languages=frozenset(row.languages),
        channels=frozenset(Channel(value) for value in row.channels),
        status=AgentStatus(row.status),
        status_since=row.status_since,
        active=row.active,
    )


def agent_row(agent: Agent) -> dict[str, Any]:
    """Make a row of `agents`, without the password hash."""
    return {
        "id": agent.id,
        "name": agent.name,
        "role": agent.role.value,
        "capacity_units": agent.capacity_units,
        "skills": dict(agent.skills),
        "languages": sorted(agent.languages),
        "channels": sorted(channel.value for channel in agent.channels),
        "status": agent.status.value,
        "status_since": agent.status_since,
        "active": agent.active,
    }


def to_offer(row: AnyRow) -> Offer:
    """Make an Offer of a row of `offers`."""
    return Offer(
        id=row.id,
        appeal_id=row.appeal_id,
        agent_id=row.agent_id,
        state=OfferState(row.state),
        step=row.step,
        created_at=row.created_at,
        due_at=row.due_at,
        resolved_at=row.resolved_at,
        reason=row.reason,
    )


def to_reply(row: AnyRow) -> Reply:
    """Make a Reply of a row of `replies`."""
    return Reply(
        id=row.id,
        appeal_id=row.appeal_id,
        kind=ReplyKind(row.kind),
        agent_id=row.agent_id,
        channel=Channel(row.channel),
        connector=row.connector,
        recipient=ContactPoint.model_validate(row.recipient),
        subject=row.subject,
        text=row.text,
        language=row.language,
        attachments=tuple(Attachment.model_validate(item) for item in row.attachments),
        in_reply_to=tuple(row.in_reply_to),
        message_id=row.message_id,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        external_id=row.external_id,
        error=row.error,
        created_at=row.created_at,
        sent_at=row.sent_at,
        details=row.details,
    )


def reply_row(reply: Reply) -> dict[str, Any]:
    """Make a row of `replies`."""
    return {
        "id": reply.id,
        "appeal_id": reply.appeal_id,
        "kind": reply.kind.value,
        "agent_id": reply.agent_id,
        "channel": reply.channel.value,
        "connector": reply.connector,
        "recipient": reply.recipient.model_dump(mode="json"),
        "subject": reply.subject,
        "text": reply.text,
        "language": reply.language,
        "attachments": [item.model_dump(mode="json") for item in reply.attachments],
        "in_reply_to": list(reply.in_reply_to),
        "message_id": reply.message_id,
        "state": reply.state.value,
        "attempts": reply.attempts,
        "next_attempt_at": reply.next_attempt_at,
        "external_id": reply.external_id,
        "error": reply.error,
        "created_at": reply.created_at,
        "sent_at": reply.sent_at,
        "details": reply.details,
    }


def to_transcript(row: AnyRow) -> Transcript:
    """Make a Transcript of a row of `transcripts`."""
    return Transcript(
        envelope_id=row.envelope_id,
        appeal_id=row.appeal_id,
        state=TranscriptState(row.state),
        source=TranscriptSource(row.source),
        text=row.text,
        confidence=row.confidence,
        detail=row.detail,
        agent_id=row.agent_id,
        changed_at=row.changed_at,
    )


def to_event(row: AnyRow) -> StoredEvent:
    """Make a StoredEvent of a row of `events`."""
    appeal_id: UUID | None = row.appeal_id
    return StoredEvent(
        id=row.id,
        chain=row.chain,
        seq=row.seq,
        at=row.at,
        appeal_id=appeal_id,
        appeal_version=row.appeal_version,
        kind=row.kind,
        actor=row.actor,
        data=row.data,
        previous_hash=row.previous_hash,
        hash=row.hash,
    )
