"""The view models of the REST API and the websocket: what the outside sees of the registry's records."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from appeals.agent import AgentStatus, Role
from appeals.appeal import AppealState
from appeals.envelope import AppealEnvelope, Channel, ContactPoint, UtcDatetime
from appeals.reply import DeliveryState, ReplyKind
from appeals.transcript import TranscriptSource, TranscriptState

NO_NUL = r"^[^\x00]*$"  # PostgreSQL keeps no NUL in a text
MAX_PASSWORD_CHARS = 1024  # a longer one only costs us hashing time

Language = Literal["ru", "en"]


class View(BaseModel):
    """Base of all views: frozen, and nothing in it that the schema does not tell."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LocalizedText(View):
    """A text for people, in the languages of the console."""

    ru: str
    en: str


class Problem(View):
    """An error as RFC 9457 has it (`application/problem+json`), with a stable `code` and words for people."""

    type: str = "about:blank"
    title: str  # the HTTP status in words
    status: int
    code: str  # stable, for programs: not_found, invalid_request, …
    detail: str = ""
    message: LocalizedText  # for people
    incident: str | None = None  # names the log line of an unexpected error


# ---- who is logged in


class AgentView(View):
    """An agent as the console shows them."""

    id: str  # the log-in name
    name: str
    role: Role
    capacity_units: int
    skills: dict[str, int]
    languages: tuple[str, ...]
    channels: tuple[Channel, ...]
    status: AgentStatus
    status_since: UtcDatetime | None


class OfficeView(View):
    """Who we are."""

    name: str
    language: Language
    timezone: str  # IANA


class SessionView(View):
    """The session of the one who is logged in."""

    agent: AgentView
    office: OfficeView
    expires_at: UtcDatetime
    max_upload_bytes: int


class LogInRequest(View):
    """Body of `POST /api/v1/session`."""

    agent_id: str = Field(min_length=1, max_length=128, pattern=NO_NUL)
    password: str = Field(min_length=1, max_length=MAX_PASSWORD_CHARS)


# ---- appeals


class AppealSummary(View):
    """One appeal as a line of a list. Times are UTC; commands name its `version` (compare-and-set)."""

    id: UUID
    number: str  # for people: 482-719-3561
    version: int
    state: AppealState
    channel: Channel
    subject: str  # the citizen's words: data, never markup
    language: str  # BCP 47, "und" until known
    region: str
    topic: str | None
    topic_confidence: float | None
    priority: int  # 0..100
    queue: str | None
    agent_id: str | None
    received_at: UtcDatetime
    registered_at: UtcDatetime
    waiting_since: UtcDatetime
    changed_at: UtcDatetime
    deadline_at: UtcDatetime
    answered_at: UtcDatetime | None
    closed_at: UtcDatetime | None
    undelivered: bool  # the newest answer did not reach the citizen
    transcription_needed: bool  # a message came as pictures that nobody has read for sure


class AppealPage(View):
    """One page of appeals, newest first. `next_before`: pass it as `before` for the next page; null at the end."""

    appeals: tuple[AppealSummary, ...]
    next_before: str | None


class CitizenView(View):
    """The citizen of an appeal."""

    id: UUID
    name: str
    contact_points: tuple[ContactPoint, ...]


class ReplyAttachmentView(View):
    """A file that goes out with a reply."""

    name: str
    media_type: str
    sha256: str
    size_bytes: int


class ReplyView(View):
    """One outbound message and how far it has got."""

    id: UUID
    kind: ReplyKind
    agent_id: str | None  # null: written by the daemon
    channel: Channel
    recipient: ContactPoint
    subject: str
    text: str
    language: str
    attachments: tuple[ReplyAttachmentView, ...]
    state: DeliveryState
    attempts: int
    next_attempt_at: UtcDatetime | None  # null: no more attempts
    error: str
    created_at: UtcDatetime
    sent_at: UtcDatetime | None


class EventView(View):
    """One entry of the appeal's history."""

    sequence: int  # orders the events of one appeal
    at: UtcDatetime
    kind: str
    actor: str | None  # an agent's id, or the part of the daemon
    details: dict[str, Any]


class TranscriptView(View):
    """The words of a message that came as pictures."""

    envelope_id: UUID
    state: TranscriptState
    source: TranscriptSource
    text: str  # while `needed`: a draft by text recognition, may be empty
    confidence: float | None  # 0..1, of text recognition
    detail: str  # why an agent is needed
    agent_id: str | None  # who typed it
    changed_at: UtcDatetime


class AnswerTargetView(View):
    """To whom an answer would go, and how."""

    channel: Channel
    recipient: ContactPoint


class PagesView(View):
    """How many pages an attachment has."""

    pages: int


class EstimateRequest(View):
    """Body of `POST /api/v1/appeals/{number}/estimate`."""

    text: Annotated[str, Field(max_length=50_000, pattern=NO_NUL)]


class EstimateView(View):
    """What sending a text would take."""

    parts: int
    encoding: str
    units: int
    units_per_part: int
    price: str | None  # decimal, of all parts; null: not known
    currency: str
    costly: tuple[str, ...]  # the letters that force the dearer encoding


class AppealDetail(View):
    """The appeal with its whole conversation, each part oldest first."""

    appeal: AppealSummary
    citizen: CitizenView | None
    envelopes: tuple[AppealEnvelope, ...]
    transcripts: tuple[TranscriptView, ...]  # of those messages that came as pictures
    replies: tuple[ReplyView, ...]
    events: tuple[EventView, ...]
    answer_to: AnswerTargetView | None  # null: nobody left an address


class DecisionView(View):
    """One routing decision as it was recorded: the answer to "why me?". `record` is the router's own form."""

    at: UtcDatetime
    rule_set: str | None
    record: dict[str, Any]


class DecisionList(View):
    """All routing decisions about an appeal, oldest first."""

    decisions: tuple[DecisionView, ...]


class UploadView(View):
    """A file uploaded for a reply: name its `id` in `reply.attachments`."""

    id: UUID
    name: str
    media_type: str  # detected from the content
    size_bytes: int
    expires_at: UtcDatetime  # unused until then, it is dropped


# ---- offers


class OfferView(View):
    """An offer that waits for the agent's word until `due_at`."""

    offer_id: UUID
    appeal_id: UUID
    number: str
    subject: str
    channel: Channel
    topic: str | None
    queue: str | None
    priority: int
    language: str
    waiting_since: UtcDatetime
    deadline_at: UtcDatetime
    due_at: UtcDatetime
    step: int


class Snapshot(View):
    """The agent's whole desk. It holds everything up to `tail_id`, perhaps more: what comes after is idempotent."""

    agent: AgentView
    offers: tuple[OfferView, ...]
    appeals: tuple[AppealSummary, ...]  # held by the agent: state assigned
    tail_id: str


# ---- the citizen's page


class CitizenStatusRequest(View):
    """Body of `POST /api/v1/citizen/status`."""

    number: Annotated[str, Field(min_length=1, max_length=64)]  # separators are ignored
    code: Annotated[str, Field(min_length=1, max_length=64)]  # came with the acknowledgement


CitizenStage = Literal["registered", "in_progress", "answered", "closed"]


class CitizenStep(View):
    """One stage of the appeal's way. `at` null: not reached yet."""

    stage: CitizenStage
    at: UtcDatetime | None


class CitizenFile(View):
    """A file of an answer: `POST /api/v1/citizen/files/{sha256}` gives its bytes."""

    sha256: str
    name: str
    size_bytes: int


class CitizenAnswer(View):
    """What we wrote to the citizen."""

    at: UtcDatetime
    text: str
    files: tuple[CitizenFile, ...]
    state: DeliveryState


class CitizenStatusView(View):
    """Where an appeal is, like a parcel."""

    number: str
    stage: CitizenStage
    steps: tuple[CitizenStep, ...]  # all four, in order
    channel: Channel
    subject: str
    received_at: UtcDatetime
    deadline_at: UtcDatetime
    answers: tuple[CitizenAnswer, ...]  # oldest first
    reply_token: str  # signed: a message that carries it joins this appeal
    office: OfficeView
