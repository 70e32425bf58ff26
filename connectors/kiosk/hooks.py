"""What a kiosk calls: one form, a heartbeat, the number of a form it delivered later. The batch is in `batch.py`."""

from dataclasses import asdict
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appeals.envelope import ContactPoint, ContactPointKind
from appeals.errors import DecodeError
from config.channel_settings import KioskSettings
from config.section import KIB
from connectors.base import ConnectorPorts
from connectors.in_hand import InHand
from connectors.kiosk.gate import KioskGate
from connectors.kiosk.health import KioskHealthBook, parse_report
from connectors.kiosk.multipart import JSON, RawForm
from connectors.kiosk.receiver import FormReceiver, Held, Refused, taken_answer
from connectors.problem import PROBLEM_MEDIA_TYPE

MAX_SMALL_BODY_BYTES = 16 * KIB


class ReceiptRequest(BaseModel):
    """Asks for the number of a form that got a reference alone, because the kiosk had no network."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    reference: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")  # the form's id
    kiosk_id: str = Field(default="", pattern=r"^[a-z0-9-]{0,63}$")  # where it was filled in; empty: at the one asking


class KioskHooks:
    """Handlers of signed requests."""

    def __init__(
        self,
        settings: KioskSettings,
        ports: ConnectorPorts,
        *,
        gate: KioskGate,
        receiver: FormReceiver,
        book: KioskHealthBook,
        in_hand: InHand,
    ) -> None:
        self._max_body_bytes = settings.max_body_bytes
        self._ports = ports
        self._gate = gate
        self._receiver = receiver
        self._book = book
        self._in_hand = in_hand

    async def form(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /hooks/kiosk/{kiosk_id}`: 200 with the number, 202 quarantined, 422 with faults."""
        kiosk, body, _ = await self._gate.admit(request, max_bytes=self._max_body_bytes)
        raw = RawForm(body=body, content_type=request.headers.get("Content-Type", JSON))
        async with self._in_hand.hold():  # not while it is read: a slow sender must not hold up `stop`
            taken = await self._receiver.take(kiosk, raw, in_batch=False)
        if isinstance(taken, Refused):
            return _refusal(taken)
        if isinstance(taken, Held):
            return web.json_response({"quarantined": str(taken.entry_id)}, status=HTTPStatus.ACCEPTED)
        return web.json_response(taken_answer(taken))

    async def health(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /hooks/kiosk/{kiosk_id}/health`: keeps what the kiosk says of itself."""
        kiosk, body, signed = await self._gate.admit(request, max_bytes=MAX_SMALL_BODY_BYTES)
        report = parse_report(body)
        now = self._ports.now()
        await self._book.note_report(kiosk, report, key_id=signed.key_id, skew_s=signed.skew_s, now=now)
        return web.json_response({"now": now.isoformat(), "skew_s": round(signed.skew_s, 1)})

    async def receipt(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /hooks/kiosk/{kiosk_id}/receipt`: number and state by reference, while the appeal is open.

        The sender of a form is the form itself, so nobody learns of another form by it. 404: not delivered yet, or
        closed, or no such reference.
        """
        kiosk, body, _ = await self._gate.admit(request, max_bytes=MAX_SMALL_BODY_BYTES)
        try:
            wanted = ReceiptRequest.model_validate_json(body)
        except ValidationError as error:
            raise DecodeError("the body is no request for a receipt", data=body) from error
        origin = f"{wanted.kiosk_id or kiosk.id}/{wanted.reference}"
        found = await self._ports.desk.open_appeals(ContactPoint(kind=ContactPointKind.KIOSK, value=origin))
        if not found:
            raise web.HTTPNotFound(reason="Unknown reference")
        (status, *_) = found
        return web.json_response({"number": status.number, "state": status.state.value})


def _refusal(refused: Refused) -> web.Response:
    """Return a problem (RFC 9457) with the member `errors`: field, code, message in the citizen's language."""
    members = {
        "type": "about:blank",
        "title": "The form has faults",
        "status": HTTPStatus.UNPROCESSABLE_ENTITY.value,
        "errors": [asdict(error) for error in refused.errors],
    }
    return web.json_response(members, status=HTTPStatus.UNPROCESSABLE_ENTITY, content_type=PROBLEM_MEDIA_TYPE)
