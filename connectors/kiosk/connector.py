"""The kiosk connector: signed forms in, answers kept for pick-up or posted, signed, to the kiosks' operator."""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar

import aiohttp
import structlog
from aiohttp import web

from appeals.envelope import Channel, ContactPointKind
from appeals.errors import ConfigurationError, PermanentError, TransientError
from appeals.registration import QuarantineItem, Registration
from config.settings import KioskDevice, KioskSettings
from connectors.base import Connector, ConnectorHealth, ConnectorPorts, HealthState, OutboundMessage, Receipt
from connectors.http_outcome import check_outcome
from connectors.in_hand import InHand
from connectors.kiosk.envelope import DecodedSubmission, build_envelope, is_same_form
from connectors.kiosk.signature import KioskKeys, SignatureRefusedError
from connectors.kiosk.submission import parse_submission, submission_json_schema
from connectors.problem import answering_problems, problem, read_body, register_or_quarantine

logger = structlog.get_logger(__name__)

POST_TIMEOUT_S = 30.0
THREAD_THRESHOLD_BYTES = 256 * 1024  # larger bodies are checked and decoded in a thread: they would stop the loop

_Result = TypeVar("_Result")


class FormIdUsedError(PermanentError):
    """The kiosk sent another form under this form's id before. Whose answers would be shown to whom needs a person."""


class KioskConnector(Connector):
    """Speaks to kiosks. Each has an id and keys of its own and can be revoked alone."""

    channel = Channel.KIOSK

    def __init__(self, settings: KioskSettings, ports: ConnectorPorts) -> None:
        """Raise ConfigurationError for two kiosks of one id or a secret that is none."""
        self.name = "kiosk"
        self._settings = settings
        self._ports = ports
        self._devices = {device.id: device for device in settings.devices}
        if len(self._devices) < len(settings.devices):
            raise ConfigurationError("kiosk.devices: two kiosks have the same id")
        self._keys = {device.id: KioskKeys(device.id, device.secrets) for device in settings.devices}
        self._in_hand = InHand()
        self._session: aiohttp.ClientSession | None = None
        self._state = HealthState.STARTING
        self._trouble = ""
        self._last_message_at: datetime | None = None

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the hook and the schema of what it takes."""
        return (
            web.post("/hooks/kiosk/{kiosk_id}", answering_problems(self._receive)),
            web.get("/hooks/kiosk/submission.schema.json", self._show_schema),
        )

    async def start(self) -> None:
        """Begin to take forms in."""
        await self.open()
        self._state = HealthState.UP

    async def open(self) -> None:
        """Open the HTTP client that posts answers."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=POST_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())

    async def stop(self) -> None:
        """Refuse new forms with 503 and finish what is in hand. Idempotent."""
        self._state = HealthState.STOPPED
        await self._in_hand.finish()
        if self._session is not None:
            await self._session.close()

    def health(self) -> ConnectorHealth:
        """Report now."""
        active = [device for device in self._settings.devices if not device.revoked]
        detail = f"{len(active)} kiosks, {len(self._devices) - len(active)} revoked"
        degraded = self._state is HealthState.UP and self._trouble
        return ConnectorHealth(
            state=HealthState.DEGRADED if degraded else self._state,
            detail=f"{detail}; {self._trouble}" if degraded else detail,
            addresses=tuple(f"{self._ports.public_url}/hooks/kiosk/{device.id}" for device in active),
            last_message_at=self._last_message_at,
        )

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        device = self._devices.get(request.match_info["kiosk_id"])
        if device is None:
            return problem(HTTPStatus.NOT_FOUND, "Unknown kiosk")
        if device.revoked:
            logger.warning("connector.kiosk_revoked", kiosk=device.id)
            return problem(HTTPStatus.FORBIDDEN, "Revoked kiosk")
        body = await read_body(request, max_bytes=self._settings.max_body_bytes)
        try:
            await _run_sized(len(body), lambda: self._keys[device.id].verify(body, dict(request.headers)))
        except SignatureRefusedError as error:
            logger.warning("connector.signature_refused", kiosk=device.id, reason=str(error))
            return problem(HTTPStatus.UNAUTHORIZED, "Signature refused")
        async with self._in_hand.hold():  # not while it is read: a slow sender must not hold up `stop`
            return await self._keep(device, body)

    async def _keep(self, device: KioskDevice, body: bytes) -> web.Response:
        """Register the form or quarantine it: a known kiosk signed it, so it is kept whatever is in it."""
        item = QuarantineItem(
            connector=self.name, channel=self.channel, stage="receive", reason="", context={"kiosk_id": device.id}
        )
        kept = await register_or_quarantine(
            self._ports.intake, lambda: self._register(device, body), item=item, content=body
        )
        if isinstance(kept, Registration):
            return web.json_response(_answer(kept))
        return web.json_response({"quarantined": str(kept)}, status=HTTPStatus.ACCEPTED)

    async def _register(self, device: KioskDevice, body: bytes) -> Registration:
        decoded = await _run_sized(len(body), lambda: self._decode(device, body))
        registration = await self._ports.intake.register(decoded.envelope, decoded.contents)
        if registration.duplicate and not is_same_form(registration.envelope_id, decoded.envelope.id):
            raise FormIdUsedError("the kiosk gave this form's id to another form before: it must use every id once")
        self._last_message_at = self._ports.now()
        logger.info(
            "connector.message_registered",
            connector=self.name,
            kiosk=device.id,
            appeal_id=str(registration.appeal_id),
            duplicate=registration.duplicate,
        )
        return registration

    def _decode(self, device: KioskDevice, body: bytes, *, renamed: bool = False) -> DecodedSubmission:
        return build_envelope(
            parse_submission(body),
            body,
            device=device,
            connector=self.name,
            received_at=self._ports.now(),
            renamed=renamed,
        )

    async def retry(self, content: bytes, context: Mapping[str, str]) -> Registration:
        """Take a quarantined form in again; one whose id was used before gets an id of its own.

        The kiosk may be revoked since: it was not when it signed. Raises DecodeError or PermanentError.
        """
        kiosk_id = context.get("kiosk_id", "")
        device = self._devices.get(kiosk_id)
        if device is None:
            raise PermanentError(f"no kiosk {kiosk_id!r} in the settings: add it (revoked: true will do) and retry")
        try:
            return await self._register(device, content)
        except FormIdUsedError:
            decoded = await asyncio.to_thread(self._decode, device, content, renamed=True)
            return await self._ports.intake.register(decoded.envelope, decoded.contents)

    async def send(self, message: OutboundMessage) -> Receipt:
        """Post the answer, signed by the kiosk's keys, to `answer_url`; without one it is kept for pick-up.

        `webhook-id` is the reply's message id: a receiver recognises a second delivery by it.
        """
        if not self._settings.answer_url:
            return Receipt(external_id=str(message.reply_id), detail="kept for pick-up at the kiosk or the status page")
        kiosk_id, _, submission_id = _origin_of(message).partition("/")
        keys = self._keys.get(kiosk_id)
        if keys is None:
            raise PermanentError(f"no kiosk {kiosk_id!r} in the settings: the answer cannot be signed for it")
        async with self._in_hand.hold():
            payload = _payload(message, kiosk_id=kiosk_id, submission_id=submission_id)
            body = json.dumps(payload | {"attachments": await _attachments(message)}, ensure_ascii=False)
            headers = keys.sign(body, message_id=message.message_id, at=self._ports.now())
            await self._post(body, headers)
        return Receipt(external_id=str(message.reply_id), detail="posted to the kiosks' answer address")

    async def _post(self, body: str, headers: dict[str, str]) -> None:
        if self._session is None:
            raise TransientError("the kiosk connector has not been started")
        try:
            async with self._session.post(
                self._settings.answer_url,
                data=body.encode(),
                headers={**headers, "Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                check_outcome(response.status, response.headers, what="the kiosks' answer address")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._trouble = f"answers: {type(error).__name__}"
            raise TransientError(f"the kiosks' answer address: {type(error).__name__}") from error
        except TransientError as error:
            self._trouble = f"answers: {error}"
            raise
        self._trouble = ""

    async def _show_schema(self, _request: web.Request) -> web.Response:
        return web.json_response(submission_json_schema(), content_type="application/schema+json")


def _answer(registration: Registration) -> dict[str, object]:
    """Return what the kiosk shows or prints: with number and code the citizen can follow the appeal."""
    return {
        "number": registration.number,
        "code": registration.secret_code,
        "duplicate": registration.duplicate,
    }


async def _run_sized(size_bytes: int, work: Callable[[], _Result]) -> _Result:
    return work() if size_bytes < THREAD_THRESHOLD_BYTES else await asyncio.to_thread(work)


def _origin_of(message: OutboundMessage) -> str:
    """Return "<kiosk id>/<form id>": the recipient, or the form's own id if the answer is addressed to a contact."""
    if message.recipient.kind is ContactPointKind.KIOSK:
        return message.recipient.value
    return next((reference for reference in reversed(message.in_reply_to) if "/" in reference), "")


async def _attachments(message: OutboundMessage) -> list[dict[str, str]]:
    return [
        {
            "name": attachment.name,
            "media_type": attachment.detected_media_type,
            "content_base64": base64.b64encode(await message.read_blob(attachment.sha256)).decode("ascii"),
        }
        for attachment in message.attachments
    ]


def _payload(message: OutboundMessage, *, kiosk_id: str, submission_id: str) -> dict[str, object]:
    contact = message.recipient
    reachable = contact.kind is not ContactPointKind.KIOSK
    return {
        "schema": "okno.kiosk-answer/1",
        "reply_id": str(message.reply_id),
        "kind": message.kind.value,
        "number": message.appeal_number,
        "kiosk_id": kiosk_id,
        "submission_id": submission_id,
        "language": message.language,
        "subject": message.subject,
        "text": message.text,
        "contact": {"kind": contact.kind.value, "value": contact.value} if reachable else None,
    }
