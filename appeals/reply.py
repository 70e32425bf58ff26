"""The reply: what goes out to the citizen, and how far it has got."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from appeals.envelope import Attachment, Channel, ContactPoint


class ReplyKind(StrEnum):
    """Why we write to the citizen."""

    ACKNOWLEDGEMENT = "acknowledgement"  # the number and the secret code, once per appeal
    ANSWER = "answer"  # by an agent
    NOTICE = "notice"  # by the daemon: an extension, a forwarding, a closing


class DeliveryState(StrEnum):
    """How far a reply has got on its channel. `queued` and `sending` are ours, the others what the channel said."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"  # the channel's first hop took it
    DELIVERED = "delivered"  # the channel confirmed it
    READ = "read"  # the citizen's side says it was opened
    FAILED = "failed"  # given up; the reason is in `error`


UNSENT_STATES = frozenset({DeliveryState.QUEUED, DeliveryState.SENDING})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One outbound message of an appeal. Times are aware UTC."""

    id: UUID
    appeal_id: UUID
    kind: ReplyKind
    agent_id: str | None  # None: written by the daemon
    channel: Channel
    connector: str
    recipient: ContactPoint
    subject: str
    text: str
    language: str
    attachments: tuple[Attachment, ...] = ()
    in_reply_to: tuple[str, ...] = ()  # message ids of the conversation, oldest first, for threading headers
    message_id: str  # ours, without angle brackets; fixed before the first attempt, so retries can be recognised
    state: DeliveryState = DeliveryState.QUEUED
    attempts: int = 0
    next_attempt_at: datetime
    external_id: str | None = None  # what the channel calls it
    error: str = ""
    created_at: datetime
    sent_at: datetime | None = None
    details: dict[str, str] = field(default_factory=dict)
