"""Calls of Telnyx Programmable Fax (API v2) to our hook.

Source: https://developers.telnyx.com/docs/programmable-fax/receiving-webhooks and the API reference's call-backs.
A call is a POST of JSON, {"data": {"event_type", "id", "occurred_at", "payload": {…}}, "meta": {…}}. Calls come in any
order, more than once, and are repeated until we answer 2xx.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from appeals.errors import DecodeError, PermanentError
from appeals.reply import DeliveryState
from connectors.fax.gateway import FaxOutcome, GatewayCall, IgnoredCall, ReceivedFax
from connectors.fax.telnyx_failures import explain_failure
from connectors.media import clean_text

RECEIVED = "fax.received"
FAILED = "fax.failed"
ON_ITS_WAY_IN = frozenset({"fax.receiving.started", "fax.media.processing.started"})
OUTGOING_STATES = {
    "fax.queued": (DeliveryState.SENT, "the gateway has queued it"),
    "fax.media.processed": (DeliveryState.SENT, "the gateway has converted the pages"),
    "fax.sending.started": (DeliveryState.SENT, "the number is being called"),
    "fax.delivered": (DeliveryState.DELIVERED, ""),
}
STATE_PREFIX = "okno:"  # of client_state, before the reply's id


class TelnyxFax(BaseModel):
    """The payload, as far as we use it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    fax_id: str = Field(min_length=1, max_length=200)
    direction: Literal["inbound", "outbound"] | None = None
    from_: str = Field(default="", alias="from")
    to: str = ""
    page_count: int | None = None
    media_url: str = ""
    partial_content: bool = False  # the call broke off: some pages are missing
    failure_reason: str = ""
    client_state: str = ""
    connection_id: str = ""


class TelnyxEvent(BaseModel):
    """One event."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_type: str = Field(min_length=1)
    occurred_at: AwareDatetime | None = None
    payload: dict[str, Any]


def parse_event(body: bytes) -> GatewayCall:
    """Read one call; see `FaxGateway.parse` for what it raises."""
    event, payload = _read(body)
    try:
        fax = TelnyxFax.model_validate({name: value for name, value in payload.items() if value is not None})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5])
        raise PermanentError(f"event {event.event_type[:40]!r} with a payload that is no fax: {faults}") from error
    if event.event_type == RECEIVED:
        return _received(fax, event)
    if event.event_type == FAILED and fax.direction == "inbound":
        return _received(fax, event, failure=explain_failure(fax.failure_reason))
    if event.event_type == FAILED:
        return _outcome(fax, DeliveryState.FAILED, explain_failure(fax.failure_reason))
    if event.event_type in OUTGOING_STATES:
        return _outcome(fax, *OUTGOING_STATES[event.event_type])
    if event.event_type in ON_ITS_WAY_IN:
        return IgnoredCall(reason=event.event_type)
    raise PermanentError(f"unknown event {clean_text(event.event_type)[:40]!r}")


def as_received_event(listed: Mapping[str, Any]) -> bytes:
    """Return a fax of the API's list as the call that tells of it."""
    payload = {name: listed.get(name) for name in ("direction", "from", "to", "media_url", "connection_id")}
    payload |= {"fax_id": listed.get("id"), "page_count": listed.get("page_count")}
    data = {"event_type": RECEIVED, "occurred_at": listed.get("updated_at"), "record_type": "event"}
    return json.dumps({"data": {**data, "payload": payload}, "meta": {"from": "list"}}).encode()


def make_client_state(label: str) -> str:
    """Return a reply's id as the API wants its `client_state`: Base64."""
    return base64.b64encode(f"{STATE_PREFIX}{label}".encode()).decode("ascii")


def is_ours(client_state: str) -> bool:
    """Tell whether a `client_state` is one that we made."""
    try:
        return base64.b64decode(client_state, validate=True).startswith(STATE_PREFIX.encode())
    except (binascii.Error, ValueError):
        return False


def _read(body: bytes) -> tuple[TelnyxEvent, dict[str, Any]]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DecodeError("broken JSON", data=body) from error
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("event_type"), str):
        raise DecodeError("JSON without an event", data=body)
    try:
        event = TelnyxEvent.model_validate(data)
    except ValidationError as error:
        raise PermanentError("an event without a payload") from error
    return event, event.payload


def _received(fax: TelnyxFax, event: TelnyxEvent, *, failure: str = "") -> ReceivedFax:
    if fax.partial_content and not failure:
        failure = "the call broke off"
    fields = {"gateway_pages": fax.page_count, "connection": fax.connection_id}
    return ReceivedFax(
        fax_id=clean_text(fax.fax_id),
        sender_number=clean_text(fax.from_),
        our_number=clean_text(fax.to),
        received_at=event.occurred_at,
        document=None,
        declared_media_type="application/pdf",
        media_url=fax.media_url,
        failure=failure,
        fields={name: clean_text(str(value)) for name, value in fields.items() if value},
    )


def _outcome(fax: TelnyxFax, state: DeliveryState, detail: str) -> FaxOutcome:
    pages = f"{fax.page_count} pages" if state is DeliveryState.DELIVERED and fax.page_count else ""
    return FaxOutcome(
        fax_id=clean_text(fax.fax_id), state=state, detail=detail or pages, ours=is_ours(fax.client_state)
    )
