"""Calls of Sinch Fax API v3 to our hook.

Source: https://developers.sinch.com/docs/fax/api-reference/fax/notifications (Fax API 3.0). A call is a POST, by
default multipart/form-data with the parts `event`, `eventTime`, `fax` (JSON) and `file` (PDF); or application/json with
the same members, `file` in Base64. It is repeated up to 16 times over three days until we answer 200.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from aiohttp import http_exceptions
from aiohttp.base_protocol import BaseProtocol
from multidict import CIMultiDict
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from appeals.errors import DecodeError, PermanentError
from appeals.reply import DeliveryState
from connectors.fax.gateway import FaxOutcome, ReceivedFax
from connectors.media import clean_text

INCOMING_FAX = "INCOMING_FAX"
FAX_COMPLETED = "FAX_COMPLETED"
LABEL = "okno_reply"
MAX_PARTS = 20  # a call has four
MAX_DETAIL_CHARS = 300

# aiohttp reports a broken form with whatever its reader stumbles on, assertions included.
_BROKEN_FORM = (
    ValueError,
    RuntimeError,
    LookupError,
    AssertionError,
    EOFError,
    aiohttp.ClientError,
    http_exceptions.HttpProcessingError,
)
_MEDIA_TYPES = {"PDF": "application/pdf", "TIF": "image/tiff", "TIFF": "image/tiff"}


class SinchFax(BaseModel):
    """The fax object, as far as we use it."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    id: str = Field(min_length=1, max_length=200)
    direction: Literal["INBOUND", "OUTBOUND"] | None = None
    from_: str = Field(default="", alias="from")
    to: str | list[str] = ""
    number_of_pages: int | None = None
    status: str = ""  # QUEUED, IN_PROGRESS, COMPLETED, FAILURE
    create_time: AwareDatetime | None = None
    completed_time: AwareDatetime | None = None
    error_type: str | None = None
    error_code: int | str | None = None
    error_message: str | None = None
    labels: dict[str, Any] = Field(default_factory=dict)
    service_id: str | None = None

    def failure(self) -> str:
        """Return what went wrong in words, or nothing."""
        if self.status != "FAILURE":
            return ""
        said = (self.error_type, str(self.error_code or ""), clean_text(self.error_message or ""))
        return (" ".join(filter(None, said)) or "FAILURE")[:MAX_DETAIL_CHARS]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    event: str
    fax: Any
    file: bytes | None
    media_type: str


async def parse_event(content_type: str, body: bytes) -> ReceivedFax | FaxOutcome:
    """Read one call; see `FaxGateway.parse` for what it raises."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        call = await _read_multipart(content_type, body)
    elif media_type == "application/json":
        call = await asyncio.to_thread(_read_json, body)  # up to 50 MB of Base64
    else:
        raise DecodeError("neither multipart/form-data nor application/json", data=body)
    try:
        fax = SinchFax.model_validate(_without_nulls(call.fax))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5])
        raise PermanentError(f"event {call.event[:40]!r} with a fax object that is none: {faults}") from error
    if call.event == INCOMING_FAX or (call.event == FAX_COMPLETED and fax.direction == "INBOUND"):
        return _received(fax, call)
    if call.event == FAX_COMPLETED:
        return _outcome(fax)
    raise PermanentError(f"unknown event {call.event[:40]!r}")


def _without_nulls(fax: Any) -> Any:
    return {name: value for name, value in fax.items() if value is not None} if isinstance(fax, dict) else fax


def _received(fax: SinchFax, call: _Call) -> ReceivedFax:
    fields = {"gateway_pages": fax.number_of_pages, "service": fax.service_id, "gateway_status": fax.status}
    return ReceivedFax(
        fax_id=clean_text(fax.id),
        sender_number=clean_text(fax.from_),
        our_number=clean_text(fax.to if isinstance(fax.to, str) else ",".join(fax.to)),
        received_at=fax.completed_time or fax.create_time,
        document=call.file or None,
        declared_media_type=call.media_type,
        failure=fax.failure(),
        fields={name: clean_text(str(value)) for name, value in fields.items() if value},
    )


def _outcome(fax: SinchFax) -> FaxOutcome:
    failure = fax.failure()
    pages = f"{fax.number_of_pages} pages" if fax.number_of_pages else ""
    delivered = DeliveryState.DELIVERED if fax.status == "COMPLETED" else DeliveryState.SENT
    return FaxOutcome(
        fax_id=clean_text(fax.id),
        state=DeliveryState.FAILED if failure else delivered,
        detail=failure or pages,
        ours=LABEL in fax.labels,
    )


def _read_json(body: bytes) -> _Call:
    document = _load_json(body, body)
    if not isinstance(document, dict) or not isinstance(document.get("event"), str):
        raise DecodeError("JSON without an event", data=body)
    file = document.get("file")
    try:
        content = base64.b64decode(file, validate=True) if isinstance(file, str) else None
    except (binascii.Error, ValueError) as error:
        raise PermanentError("the file is not Base64") from error
    declared = _MEDIA_TYPES.get(str(document.get("fileType", "PDF")).upper(), "application/octet-stream")
    return _Call(event=document["event"], fax=document.get("fax"), file=content, media_type=declared)


async def _read_multipart(content_type: str, body: bytes) -> _Call:
    parts = await _split_multipart(content_type, body)
    if "event" not in parts:
        raise DecodeError("a form without an event", data=body)
    event = parts["event"][1].decode("utf-8", "replace").strip()
    fax = _load_json(parts["fax"][1], body) if "fax" in parts else None
    media_type, file = parts.get("file", ("", None))
    return _Call(event=event, fax=fax, file=file, media_type=media_type or "application/octet-stream")


async def _split_multipart(content_type: str, body: bytes) -> Mapping[str, tuple[str, bytes]]:
    """Return media type and content of each part by its name (RFC 7578); the first of a name counts."""
    parts: dict[str, tuple[str, bytes]] = {}
    try:
        reader = aiohttp.MultipartReader(CIMultiDict({"Content-Type": content_type}), _stream_of(body))
        async for part in _parts_of(reader):
            content = bytes(await part.read(decode=True))
            parts.setdefault(part.name or "", (part.headers.get("Content-Type", ""), content))
    except _BROKEN_FORM as error:
        raise DecodeError("the form is broken", data=body) from error
    return parts


async def _parts_of(reader: aiohttp.MultipartReader) -> AsyncIterator[aiohttp.BodyPartReader]:
    for _ in range(MAX_PARTS):
        part = await reader.next()
        if part is None:
            return
        if not isinstance(part, aiohttp.BodyPartReader):
            raise ValueError("a form within a form")  # noqa: TRY004 - the form is wrong, not our call
        yield part
    raise ValueError("too many parts")


def _stream_of(body: bytes) -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    # The limit is the whole body's size: beyond it a stream asks its connection to pause, and this one has none.
    stream = aiohttp.StreamReader(BaseProtocol(loop), len(body) + 1, loop=loop)
    stream.feed_data(body)
    stream.feed_eof()
    return stream


def _load_json(text: bytes, body: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodeError("broken JSON", data=body) from error
