"""The appeal envelope: one inbound message, normalised and immutable. Published as `okno.envelope/1`."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from uuid_utils.compat import uuid7

MAX_SUBJECT_CHARS = 998  # RFC 5322 §2.1.1: the longest line a header may have


def _to_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Channel(StrEnum):
    """The way a message came in, and the way its answer goes out."""

    EMAIL = "email"
    SMS = "sms"
    TELEGRAM = "telegram"
    KIOSK = "kiosk"
    FAX = "fax"
    WEB = "web"
    PAPER = "paper"  # a letter, registered by an agent
    IN_PERSON = "in_person"  # a visit, registered by an agent


class ContactPointKind(StrEnum):
    """What sort of address a contact point is."""

    EMAIL = "email"  # value: the address, domain in lower case
    PHONE = "phone"  # value: E.164
    FAX = "fax"  # value: E.164
    TELEGRAM = "telegram"  # value: the chat id, decimal
    KIOSK = "kiosk"  # value: "<kiosk id>/<session or form id>"
    WEB = "web"  # value: the session id of the citizen's page
    POST = "post"  # value: a postal address in one line


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ContactPoint(_Record):
    """An address at which a citizen, or one of our offices, can be reached."""

    kind: ContactPointKind
    value: str = Field(min_length=1, max_length=512)  # normalised, see ContactPointKind
    name: str = ""  # the display name it came with


class BlobRef(_Record):
    """Bytes kept in the blob store, found by their hash."""

    sha256: Sha256
    size_bytes: int = Field(ge=0)
    media_type: str = "application/octet-stream"

    @classmethod
    def of(cls, content: bytes, media_type: str = "application/octet-stream") -> "BlobRef":
        """Return the reference under which `content` is kept."""
        return cls(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), media_type=media_type)


class Attachment(_Record):
    """A file that came with the message. The detected media type comes from the content, never from the name."""

    name: str = Field(max_length=255)  # a base name: no folders, no control characters
    declared_media_type: str
    detected_media_type: str
    sha256: Sha256
    size_bytes: int = Field(ge=0)
    inline: bool = False  # shown within the text (Content-Disposition: inline, a kiosk photo), not beside it
    content_id: str | None = Field(default=None, max_length=998)  # RFC 2392, without angle brackets: `cid:` in the HTML
    findings: tuple[str, ...] = ()  # codes of what screening found; empty: nothing to warn of


class ThreadReferences(_Record):
    """What the message says about the conversation it belongs to, in the order the threading policy trusts it."""

    reply_token: str | None = None  # signed: from a plus-address or a Reply-To of ours
    message_id: str | None = None  # the message's own id, without angle brackets
    in_reply_to: tuple[str, ...] = ()  # ids of messages it answers, nearest first, without angle brackets
    appeal_number: str | None = (
        None  # a well-formed number found in subject or text; trusted from a contact point of that appeal only
    )
    conversation: str | None = None  # channels without message ids (sms, telegram): one running talk per contact point


class AuthenticityResult(_Record):
    """One check of where the message is from."""

    method: str  # spf, dkim, dmarc, webhook_signature, secret_token, network
    result: Literal["pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"]  # RFC 8601 §2.7
    detail: str = ""


class Location(_Record):
    """Where the message was sent from or is about. WGS 84 degrees."""

    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)
    region: str | None = None  # a code of the region's calendar, e.g. RU-SPE
    address: str | None = None


class AppealEnvelope(_Record):
    """One inbound message, normalised.

    Unique by (connector, external_id): a redelivery carries the same pair. Bytes are not in it: `raw` and the
    attachments name blobs by SHA-256, which are handed to the intake beside it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["okno.envelope/1"] = Field(default="okno.envelope/1", alias="schema")
    id: UUID = Field(default_factory=uuid7)
    channel: Channel
    connector: str = Field(min_length=1, max_length=64)
    external_id: str = Field(min_length=1, max_length=512)
    received_at: UtcDatetime
    sent_at: UtcDatetime | None = None  # by the sender's clock; may be wrong
    sender: ContactPoint | None = None
    recipients: tuple[ContactPoint, ...] = ()
    reply_to: ContactPoint | None = None  # where answers go, if not to the sender
    subject: str = Field(default="", max_length=MAX_SUBJECT_CHARS)
    text: str = ""  # the full text as sent
    clean_text: str = ""  # a view: without quoted answers and signatures
    language: str | None = None  # BCP 47, where the channel or the text tells
    attachments: tuple[Attachment, ...] = ()
    threading: ThreadReferences = ThreadReferences()
    authenticity: tuple[AuthenticityResult, ...] = ()
    html: BlobRef | None = None  # a view: the message's HTML, cleaned; images by `cid:` only
    automatic: bool = False  # sent by a machine (RFC 3834, bounces, newsletters): never answered by a machine
    marks: tuple[str, ...] = ()  # what people and rules should know of it: auto_reply, pgp_signed, edited, truncated, …
    revises: str | None = Field(default=None, max_length=512)  # external id of the same connector's message it edits
    withdrawn: bool = False  # the sender deleted the message that `revises` names
    recognise: bool = False  # its words are in pictures: text recognition makes a transcript of it
    location: Location | None = None
    fields: Mapping[str, str] = Field(default_factory=dict)  # what a form asked for, by field name
    raw: BlobRef


def envelope_json_schema() -> dict[str, Any]:
    """Return the published JSON Schema (draft 2020-12) of `okno.envelope/1`."""
    schema = AppealEnvelope.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:okno:envelope:1", **schema}
