"""The websocket protocol of `/ws/agent`: JSON text messages, one discriminated union each way, by `type`."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints

from agent_console.views import (
    NO_NUL,
    AgentView,
    AppealDetail,
    AppealSummary,
    LocalizedText,
    OfferView,
    ReplyView,
    Snapshot,
)
from appeals.agent import AgentStatus
from appeals.appeal import AppealState

PROTOCOL_VERSION: Literal[1] = 1
MAX_MESSAGE_BYTES = 256 * 1024  # a reply's text in UTF-8 with room to spare; files go over POST /uploads
MAX_REPLY_CHARS = 50_000
MAX_REPLY_ATTACHMENTS = 20
MAX_NOTE_CHARS = 2_000

QueueId = Annotated[str, Field(min_length=1, max_length=64)]
RequestId = Annotated[str, Field(min_length=1, max_length=64)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_NOTE_CHARS, pattern=NO_NUL)]
ReplyText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REPLY_CHARS, pattern=NO_NUL)
]
SettableStatus = Literal["available", "away", "busy", "offline"]

ErrorCode = Literal[
    "invalid_message",  # not JSON, unknown type, wrong field
    "hello_first",  # a command before `hello`
    "not_found",
    "forbidden",  # not this agent's appeal
    "gone",  # the offer is no longer there: another tab was faster, it timed out or was taken back
    "stale",  # somebody changed the appeal first: read it again
    "illegal",  # the appeal's state does not allow it
    "upload_unknown",  # expired, used or never seen: attach the file again
    "too_many_requests",
    "unavailable",  # a store is down: try again
    "rejected",  # will never succeed as it is
    "internal",
]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- client -> server


class _Command(_Message):
    request_id: RequestId  # chosen by the client; comes back in the ack or the error


class Hello(_Command):
    """First message of a connection. `after_id`: the last queue id this console has seen, null on a fresh page."""

    type: Literal["hello"]
    after_id: QueueId | None = None


class SetStatus(_Command):
    """Say whether the agent takes offers. Answered by `ack` with `agent`."""

    type: Literal["set_status"]
    status: SettableStatus
    reason: Note = ""


class Accept(_Command):
    """Take an offer. Answered by `ack` with `appeal`, or error `gone`."""

    type: Literal["accept"]
    offer_id: UUID


class Decline(_Command):
    """Refuse an offer. Answered by `ack` with `appeal`, or error `gone`."""

    type: Literal["decline"]
    offer_id: UUID
    reason: Note = ""


class Open(_Command):
    """Ask for an appeal with its whole conversation. Answered by `opened`."""

    type: Literal["open"]
    appeal_id: UUID


class SendReply(_Command):
    """Write to the citizen on their channel; `close` also closes the appeal. Answered by `ack`: `reply`, `appeal`."""

    type: Literal["reply"]
    appeal_id: UUID
    version: int = Field(ge=0)
    text: ReplyText
    close: bool = False
    attachments: tuple[UUID, ...] = Field(default=(), max_length=MAX_REPLY_ATTACHMENTS)  # ids of uploads


class Close(_Command):
    """Close an appeal without writing. Answered by `ack` with `appeal`."""

    type: Literal["close"]
    appeal_id: UUID
    version: int = Field(ge=0)
    reason: Note = ""


class Release(_Command):
    """Give an appeal back to the queue, its age kept; the agent is not asked again. Answered by `ack`: `appeal`."""

    type: Literal["release"]
    appeal_id: UUID
    version: int = Field(ge=0)
    note: Note = ""


class Transcribe(_Command):
    """Write down the words of a message that came as pictures. Answered by `ack` with `appeal`.

    `pass_on`: tag the appeal anew by these words, its age kept; it goes to whom it belongs.
    """

    type: Literal["transcribe"]
    appeal_id: UUID
    version: int = Field(ge=0)
    envelope_id: UUID
    text: ReplyText
    pass_on: bool = True


class Split(_Command):
    """Make an appeal of a message that joined wrongly. Answered by `ack`: `appeal`, `other` (the new one)."""

    type: Literal["split"]
    appeal_id: UUID
    version: int = Field(ge=0)
    envelope_id: UUID


class MoveMessage(_Command):
    """Put a message onto another appeal of the same citizen. Answered by `ack`: `appeal`, `other` (the one joined)."""

    type: Literal["move_message"]
    appeal_id: UUID
    version: int = Field(ge=0)
    envelope_id: UUID
    to_number: Annotated[str, Field(min_length=1, max_length=64)]


class SendAgain(_Command):
    """Send a failed reply again from the start. Answered by `ack` with `appeal`."""

    type: Literal["send_again"]
    appeal_id: UUID
    reply_id: UUID


class Ping(_Command):
    """Answered by `pong`: for clients that cannot see websocket control frames (browsers)."""

    type: Literal["ping"]


AnyCommand = Annotated[
    Hello
    | SetStatus
    | Accept
    | Decline
    | Open
    | SendReply
    | Close
    | Release
    | Transcribe
    | Split
    | MoveMessage
    | SendAgain
    | Ping,
    Field(discriminator="type"),
]


class ClientMessage(RootModel[AnyCommand]):
    """Any message from a console."""


# ---- server -> client: answers


class Welcome(_Message):
    """Answer to `hello`.

    `resume_gap` true: messages since `after_id` are lost; forget what was built from them and take the snapshot.
    Queue messages follow: after `after_id` if it was given and there is no gap, else after `snapshot.tail_id`.
    """

    type: Literal["welcome"] = "welcome"
    request_id: RequestId
    protocol: Literal[1] = PROTOCOL_VERSION
    resume_gap: bool
    snapshot: Snapshot


class SnapshotMessage(_Message):
    """A fresh picture, sent unasked when the queue lost messages under a live connection: replace everything by it."""

    type: Literal["snapshot"] = "snapshot"
    snapshot: Snapshot


class Opened(_Message):
    """Answer to `open`."""

    type: Literal["opened"] = "opened"
    request_id: RequestId
    detail: AppealDetail


class Ack(_Message):
    """The command is committed. What it changed is in the fields that are not null."""

    type: Literal["ack"] = "ack"
    request_id: RequestId
    agent: AgentView | None = None
    appeal: AppealSummary | None = None
    other: AppealSummary | None = None  # the second appeal that the command changed
    reply: ReplyView | None = None


class ErrorMessage(_Message):
    """The command was refused and changed nothing; the connection goes on. `request_id` null: it had none to read."""

    type: Literal["error"] = "error"
    request_id: str | None
    code: ErrorCode
    message: LocalizedText  # for people
    detail: str = ""  # for developers
    incident: str | None = None  # names the log line of an internal error


class Pong(_Message):
    """Answer to `ping`."""

    type: Literal["pong"] = "pong"
    request_id: RequestId


# ---- server -> client: forwarded from the agent queue, each with its queue id


class OfferMessage(OfferView):
    """A new offer: show it with its time-out."""

    type: Literal["offer"] = "offer"
    id: QueueId


class OfferGone(_Message):
    """An offer ended: accepted, declined, timed out or taken back. Unknown offers are ignored."""

    type: Literal["offer_gone"] = "offer_gone"
    id: QueueId
    offer_id: UUID
    appeal_id: UUID
    reason: str


class AppealChanged(_Message):
    """An appeal of this agent's is now at `version`: read it again if what is shown is older."""

    type: Literal["appeal_changed"] = "appeal_changed"
    id: QueueId
    appeal_id: UUID
    version: int
    state: AppealState


class StatusMessage(_Message):
    """The agent's status changed: in another tab, or by the router (away after missed offers)."""

    type: Literal["status"] = "status"
    id: QueueId
    status: AgentStatus
    reason: str = ""


QueueMessage = Annotated[OfferMessage | OfferGone | AppealChanged | StatusMessage, Field(discriminator="type")]

AnyServerMessage = Annotated[
    Welcome
    | SnapshotMessage
    | Opened
    | Ack
    | ErrorMessage
    | Pong
    | OfferMessage
    | OfferGone
    | AppealChanged
    | StatusMessage,
    Field(discriminator="type"),
]


class ServerMessage(RootModel[AnyServerMessage]):
    """Any message to a console."""
