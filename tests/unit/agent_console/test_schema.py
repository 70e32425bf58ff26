"""The published schema: what the code sends and takes is what the schema says."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from agent_console import protocol, views
from agent_console.commands import error_message
from agent_console.problems import MESSAGES
from agent_console.protocol import AnyCommand, AnyServerMessage, ClientMessage, ErrorCode, ServerMessage
from agent_console.schema import protocol_json_schema
from appeals.agent import AgentStatus, Role
from appeals.appeal import AppealState
from appeals.envelope import AppealEnvelope, BlobRef, Channel, ContactPoint, ContactPointKind
from appeals.reply import DeliveryState, ReplyKind
from appeals.transcript import TranscriptSource, TranscriptState

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ID = UUID("0197b1c2-0000-7000-8000-000000000000")
SCHEMA = protocol_json_schema()

AGENT = views.AgentView(
    id="ivanova",
    name="Анна Иванова",
    role=Role.AGENT,
    capacity_units=6,
    skills={"housing": 3},
    languages=("ru",),
    channels=(Channel.EMAIL,),
    status=AgentStatus.AVAILABLE,
    status_since=AT,
)
APPEAL = views.AppealSummary(
    id=ID,
    number="482-719-3561",
    version=3,
    state=AppealState.ASSIGNED,
    channel=Channel.EMAIL,
    subject="</script><script>alert(1)</script>",
    language="ru",
    region="RU-MOW",
    topic="housing.heating",
    topic_confidence=0.9,
    priority=50,
    queue="housing",
    agent_id="ivanova",
    received_at=AT,
    registered_at=AT,
    waiting_since=AT,
    changed_at=AT,
    deadline_at=AT,
    answered_at=None,
    closed_at=None,
    undelivered=False,
    transcription_needed=True,
)
REPLY = views.ReplyView(
    id=ID,
    kind=ReplyKind.ANSWER,
    agent_id="ivanova",
    channel=Channel.EMAIL,
    recipient=ContactPoint(kind=ContactPointKind.EMAIL, value="a@example.org"),
    subject="Re",
    text="Да",
    language="ru",
    attachments=(views.ReplyAttachmentView(name="a.pdf", media_type="application/pdf", sha256="0" * 64, size_bytes=1),),
    state=DeliveryState.QUEUED,
    attempts=0,
    next_attempt_at=AT,
    error="",
    created_at=AT,
    sent_at=None,
)
OFFER_FIELDS: dict[str, Any] = {
    "offer_id": ID,
    "appeal_id": ID,
    "number": "482-719-3561",
    "subject": "x",
    "channel": Channel.SMS,
    "topic": None,
    "queue": "housing",
    "priority": 50,
    "language": "ru",
    "waiting_since": AT,
    "deadline_at": AT,
    "due_at": AT,
    "step": 0,
}
SNAPSHOT = views.Snapshot(
    agent=AGENT, offers=(views.OfferView(**OFFER_FIELDS),), appeals=(APPEAL,), tail_id="0a1b2c3d.1-0"
)
DETAIL = views.AppealDetail(
    appeal=APPEAL,
    citizen=views.CitizenView(id=ID, name="Анна", contact_points=(REPLY.recipient,)),
    envelopes=(
        AppealEnvelope(channel=Channel.EMAIL, connector="email", external_id="1", received_at=AT, raw=BlobRef.of(b"x")),
    ),
    transcripts=(
        views.TranscriptView(
            envelope_id=ID,
            state=TranscriptState.NEEDED,
            source=TranscriptSource.OCR,
            text="чepнoвик",
            confidence=0.3,
            detail="low confidence",
            agent_id=None,
            changed_at=AT,
        ),
    ),
    answer_to=views.AnswerTargetView(channel=Channel.EMAIL, recipient=REPLY.recipient),
    replies=(REPLY,),
    events=(views.EventView(sequence=1, at=AT, kind="appeal.registered", actor="citizen", details={"a": 1}),),
)
QUEUE_ID = "0a1b2c3d.2-0"
SENT: tuple[BaseModel, ...] = (
    protocol.Welcome(request_id="1", resume_gap=False, snapshot=SNAPSHOT),
    protocol.SnapshotMessage(snapshot=SNAPSHOT),
    protocol.Opened(request_id="1", detail=DETAIL),
    protocol.Ack(request_id="1"),
    protocol.Ack(request_id="1", agent=AGENT, appeal=APPEAL, reply=REPLY, other=APPEAL),
    protocol.Pong(request_id="1"),
    error_message("gone", request_id=None),
    protocol.OfferMessage(id=QUEUE_ID, **OFFER_FIELDS),
    protocol.OfferGone(id=QUEUE_ID, offer_id=ID, appeal_id=ID, reason="accepted"),
    protocol.AppealChanged(id=QUEUE_ID, appeal_id=ID, version=4, state=AppealState.ANSWERED),
    protocol.StatusMessage(id=QUEUE_ID, status=AgentStatus.AWAY, reason="missed offers"),
)
TAKEN: tuple[dict[str, Any], ...] = (
    {"type": "hello", "request_id": "1"},
    {"type": "hello", "request_id": "1", "after_id": QUEUE_ID},
    {"type": "set_status", "request_id": "1", "status": "available"},
    {"type": "accept", "request_id": "1", "offer_id": str(ID)},
    {"type": "decline", "request_id": "1", "offer_id": str(ID), "reason": "не моё"},
    {"type": "open", "request_id": "1", "appeal_id": str(ID)},
    {"type": "transcribe", "request_id": "1", "appeal_id": str(ID), "version": 3, "envelope_id": str(ID), "text": "а"},
    {"type": "split", "request_id": "1", "appeal_id": str(ID), "version": 3, "envelope_id": str(ID)},
    {
        "type": "move_message",
        "request_id": "1",
        "appeal_id": str(ID),
        "version": 3,
        "envelope_id": str(ID),
        "to_number": "1234567897",
    },
    {"type": "send_again", "request_id": "1", "appeal_id": str(ID), "reply_id": str(ID)},
    {"type": "reply", "request_id": "1", "appeal_id": str(ID), "version": 3, "text": "Да"},
    {
        "type": "reply",
        "request_id": "1",
        "appeal_id": str(ID),
        "version": 3,
        "text": "Да",
        "close": True,
        "attachments": [str(ID)],
    },
    {"type": "close", "request_id": "1", "appeal_id": str(ID), "version": 3},
    {"type": "release", "request_id": "1", "appeal_id": str(ID), "version": 3, "note": "x"},
    {"type": "ping", "request_id": "1"},
)


def validator(name: str) -> Draft202012Validator:
    """Return a validator of one published definition."""
    return Draft202012Validator({"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{name}"})


def members(union: Any) -> set[type]:
    """Return the classes of an annotated union."""
    return set(get_args(get_args(union)[0]))


def test_the_schema_is_valid_itself() -> None:
    """Draft 2020-12, with every published root."""
    Draft202012Validator.check_schema(SCHEMA)
    assert {"ClientMessage", "ServerMessage", "Problem", "AppealDetail", "CitizenStatusView"} <= set(SCHEMA["required"])


@pytest.mark.parametrize("message", SENT, ids=lambda message: message.type)
def test_what_we_send_fits_the_schema_and_reads_back(message: BaseModel) -> None:
    """Each server message, as it goes over the wire, validates as ServerMessage and round-trips."""
    text = message.model_dump_json()
    validator("ServerMessage").validate(json.loads(text))
    assert ServerMessage.model_validate_json(text).root == message


@pytest.mark.parametrize("message", TAKEN, ids=lambda message: message["type"])
def test_what_the_schema_allows_is_taken(message: dict[str, Any]) -> None:
    """Each client message of the schema is one that the server reads."""
    validator("ClientMessage").validate(message)
    assert ClientMessage.model_validate_json(json.dumps(message)).root.type == message["type"]


def test_every_message_has_an_example() -> None:
    """The two lists above leave no message out."""
    assert {type(message) for message in SENT} == members(AnyServerMessage)
    taken = {type(ClientMessage.model_validate(message).root) for message in TAKEN}
    assert taken == members(AnyCommand)


@pytest.mark.parametrize("message", TAKEN, ids=lambda message: message["type"])
def test_schema_and_server_refuse_the_same_mistakes(message: dict[str, Any]) -> None:
    """An extra field, a missing request id and an empty one are refused by both."""
    wrong = (
        {**message, "extra": 1},
        {**message, "request_id": ""},
        {k: v for k, v in message.items() if k != "request_id"},
    )
    for mistake in wrong:
        assert not validator("ClientMessage").is_valid(mistake)
        with pytest.raises(ValidationError):
            ClientMessage.model_validate_json(json.dumps(mistake))


def test_messages_cannot_be_changed() -> None:
    """Messages are frozen records."""
    with pytest.raises(ValidationError):
        protocol.Pong(request_id="1").request_id = "2"


def test_every_error_code_has_words_for_people() -> None:
    """Russian and English for each code a console can get."""
    for code in get_args(ErrorCode):
        assert MESSAGES[code].ru
        assert MESSAGES[code].en


def test_the_command_prints_the_schema() -> None:
    """`python -m agent_console.schema` prints one JSON document: what the front end's types are made of."""
    done = subprocess.run([sys.executable, "-m", "agent_console.schema"], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == SCHEMA
