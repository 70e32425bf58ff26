"""What connectors hand to the intake, and what they get back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from appeals.envelope import Channel

Contents = Mapping[str, bytes]  # SHA-256 in hex -> the bytes: the raw message and its attachments


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """What the intake answers once the commit is on disk."""

    appeal_id: UUID
    number: str
    secret_code: str  # with the number it opens the citizen's page; shown to the citizen, never logged
    envelope_id: UUID
    duplicate: bool  # the message was registered before: nothing new was written (P2)
    joined: bool  # it joined an open appeal instead of opening a new one


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantineItem:
    """Why some bytes could not be processed, and what is needed to try again."""

    connector: str
    channel: Channel
    stage: str  # receive, decode, register, classify, route, deliver
    reason: str  # for the operator: what is wrong, in words
    context: Mapping[str, str] = field(default_factory=dict)  # what else a retry needs: SMTP envelope, HTTP headers
