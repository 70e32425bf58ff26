"""The SMS connector: Twilio's hooks in, Twilio's Messages API out."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from http import HTTPStatus
from uuid import UUID

import aiohttp
import structlog
from aiohttp import web
from multidict import MultiDict
from twilio.twiml.messaging_response import MessagingResponse  # type: ignore[import-untyped]

from appeals.envelope import BlobRef, Channel
from appeals.errors import ConfigurationError, PermanentError, TransientError
from appeals.registration import QuarantineItem, Registration
from appeals.reply import DeliveryState
from config.settings import SmsSettings
from connectors.base import Connector, ConnectorHealth, ConnectorPorts, HealthState, OutboundMessage, Receipt
from connectors.http_outcome import basic_authorization
from connectors.in_hand import InHand
from connectors.loopback import is_loopback_http
from connectors.parts import SentParts, split_text
from connectors.problem import answering_problems, problem, read_body, register_or_quarantine
from connectors.sms.catch_up import CatchUp
from connectors.sms.form import (
    FORM_MEDIA_TYPE,
    Signature,
    build_envelope,
    parse_form,
    read_message,
    to_e164,
)
from connectors.sms.media import MediaFetcher, MessageFiles
from connectors.sms.messages_api import MAX_BODY_UNITS, STATES, CallBack, MessagesApi, explain

logger = structlog.get_logger(__name__)

INCOMING_PATH = "/hooks/twilio/sms"
STATUS_PATH = "/hooks/twilio/status"
MAX_BODY_BYTES = 256 * 1024  # a form of ours holds 1,600 characters and at most ten URLs
REPORT_RETRY_DELAYS_S = (0.1, 0.4, 1.5, 3.0)  # a call-back may overtake the commit of its receipt


class SmsConnector(Connector):
    """Receives at /hooks/twilio/sms, hears of deliveries at /hooks/twilio/status, sends through the Messages API.

    Twilio tries a hook that answers 503 again only if it is told to: configure the number's URL with the fragment
    `#rc=5&rp=all` (connection overrides; not part of what is signed) and the same URL as the fallback. What it gave
    up on is fetched by `work()`.
    """

    name = "sms"
    channel = Channel.SMS

    def __init__(self, settings: SmsSettings, ports: ConnectorPorts) -> None:
        _check(settings)
        self._settings = settings
        self._ports = ports
        self._number = to_e164(settings.number, default_region=settings.default_region) or settings.number
        self._signature = Signature(settings.auth_token.get_secret_value())
        self._in_hand = InHand()
        self._sent_parts = SentParts()
        self._resources = AsyncExitStack()
        self._files: MessageFiles | None = None
        self._api: MessagesApi | None = None
        self._catch_up: CatchUp | None = None
        self._stopping = asyncio.Event()
        self._state = HealthState.STARTING
        self._trouble = ""  # the last send's, until one succeeds
        self._last_message_at: datetime | None = None

    # ---- life
    def routes(self) -> Sequence[web.RouteDef]:
        """Return the two hooks."""
        return (
            web.post(INCOMING_PATH, answering_problems(self._receive)),
            web.post(STATUS_PATH, answering_problems(self._receive_status)),
        )

    async def start(self) -> None:
        """Begin to take hooks; nothing is asked of Twilio until there is something to send."""
        await self.open()
        self._state = HealthState.UP

    async def open(self) -> None:
        """Open the HTTP client."""
        if self._api is not None:
            return
        api_url = self._settings.api_url
        session = await self._resources.enter_async_context(
            aiohttp.ClientSession(trust_env=not is_loopback_http(api_url))  # offices often reach the world by a proxy
        )
        token = self._settings.auth_token.get_secret_value()
        authorization = basic_authorization(self._settings.account_sid, token)
        fetcher = MediaFetcher(session, hosts=self._settings.media_hosts, api_url=api_url, authorization=authorization)
        self._files = MessageFiles(fetcher, connector=self.name)
        self._api = MessagesApi(session, account_sid=self._settings.account_sid, auth_token=token, api_url=api_url)
        self._catch_up = CatchUp(
            self._api,
            self._ports.cursors,
            connector=self.name,
            number=self._number,
            now=self._ports.now,
            receive=self._take_in,
        )

    async def work(self) -> None:
        """Ask Twilio for messages that were missed, now and every few minutes."""
        if self._catch_up is not None:
            await self._catch_up.run(self._stopping)

    async def stop(self) -> None:
        """Refuse new hooks with 503, wait for those in hand, close the client."""
        self._stopping.set()
        await self._in_hand.finish()
        await self._resources.aclose()
        self._state = HealthState.STOPPED

    def health(self) -> ConnectorHealth:
        """Report now: degraded while Twilio refuses what we send."""
        degraded = self._state is HealthState.UP and self._trouble
        return ConnectorHealth(
            state=HealthState.DEGRADED if degraded else self._state,
            detail=self._trouble,
            addresses=(f"{self._ports.public_url}{INCOMING_PATH}",),
            last_message_at=self._last_message_at,
        )

    # ---- in
    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(request, max_bytes=MAX_BODY_BYTES)
        if self._authentic_form(request, body) is None:
            return problem(HTTPStatus.FORBIDDEN, detail="The signature is missing or wrong.")
        await self._take_in(body)
        return web.Response(text=str(MessagingResponse()), content_type="text/xml")

    async def _take_in(self, body: bytes) -> None:
        """Register the message of a form whose origin is known, or quarantine it."""
        async with self._in_hand.hold():
            await register_or_quarantine(
                self._ports.intake,
                partial(self._register, body),
                item=QuarantineItem(connector=self.name, channel=self.channel, stage="decode", reason=""),
                content=body,
            )

    def _authentic_form(self, request: web.Request, body: bytes) -> MultiDict[str] | None:
        """Return the form if Twilio signed it. Raises DecodeError if it is none."""
        if request.content_type != FORM_MEDIA_TYPE:
            raise web.HTTPUnsupportedMediaType
        form = parse_form(body)
        # Behind proxies only the public URL is what Twilio signed; `raw_path` has the query as it came.
        url = f"{self._ports.public_url}{request.raw_path}"
        signature = request.headers.get("X-Twilio-Signature", "")
        return form if self._signature.matches(url, form, signature=signature) else None

    async def _register(self, body: bytes) -> Registration:
        message = read_message(parse_form(body), default_region=self._settings.default_region, body=body)
        if self._files is None:
            raise TransientError("the connector is not running")
        files = await self._files.fetch(message.media)
        raw = BlobRef.of(body, FORM_MEDIA_TYPE)
        envelope = build_envelope(
            message, files.attachments, connector=self.name, notes=files.notes, raw=raw, received_at=self._ports.now()
        )
        registration = await self._ports.intake.register(envelope, {**files.contents, raw.sha256: body})
        self._last_message_at = envelope.received_at
        if self._catch_up is not None:
            self._catch_up.remember(message.sid)
        logger.info(
            "connector.message_registered",
            connector=self.name,
            appeal_id=str(registration.appeal_id),
            duplicate=registration.duplicate,
        )
        return registration

    async def retry(self, content: bytes, context: Mapping[str, str]) -> Registration:  # noqa: ARG002
        """Process a quarantined post again: its signature was checked when it came in."""
        async with self._in_hand.hold():
            return await self._register(content)

    # ---- call-backs
    async def _receive_status(self, request: web.Request) -> web.StreamResponse:
        async with self._in_hand.hold():
            form = self._authentic_form(request, await read_body(request, max_bytes=MAX_BODY_BYTES))
            if form is None:
                return problem(HTTPStatus.FORBIDDEN, detail="The signature is missing or wrong.")
            state = STATES.get(form.get("MessageStatus") or form.get("SmsStatus") or "")
            external_id = request.query.get("whole") or form.get("MessageSid") or form.get("SmsSid") or ""
            # Of several parts the last one's delivery stands for the whole; any part's failure does.
            decides = state is DeliveryState.FAILED or request.query.get("last", "1") == "1"
            if state and external_id and decides:
                known = await self._report(external_id, state, detail=explain(form.get("ErrorCode")))
                logger.info("connector.delivery_reported", connector=self.name, state=state, known=known)
            return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _report(self, external_id: str, state: DeliveryState, *, detail: str) -> bool:
        report = partial(self._ports.reports.report, self.name, external_id=external_id, state=state, detail=detail)
        for delay_s in REPORT_RETRY_DELAYS_S:
            if await report():
                return True
            await asyncio.sleep(delay_s)
        return await report()

    # ---- out
    async def send(self, message: OutboundMessage) -> Receipt:
        """Send the text in as many messages as it takes; the first one's SID names the whole."""
        if message.attachments:
            raise PermanentError("SMS carries no files: answer without attachments or by another channel")
        recipient = to_e164(message.recipient.value, default_region=self._settings.default_region)
        if recipient is None:
            raise PermanentError("the recipient is not a telephone number: a short code or a name cannot be answered")
        parts = split_text(message.text, limit=MAX_BODY_UNITS)
        if not parts:
            raise PermanentError("the text is empty")
        async with self._in_hand.hold():
            sids = await self._send_parts(parts, recipient, message_id=message.message_id, reply_id=message.reply_id)
        return Receipt(external_id=sids[0], detail=", ".join(sids))

    async def _send_parts(
        self, parts: Sequence[str], recipient: str, *, message_id: str, reply_id: UUID
    ) -> tuple[str, ...]:
        if self._api is None:
            raise TransientError("the connector is not running")
        taken = self._sent_parts.of(message_id)
        try:
            for at in range(len(taken), len(parts)):
                whole = self._sent_parts.of(message_id)[0] if at else None
                call_back = CallBack(
                    url=f"{self._ports.public_url}{STATUS_PATH}", whole=whole, last=at == len(parts) - 1
                )
                sid = await self._api.send(
                    parts[at], sender=self._number, recipient=recipient, call_back=call_back, reply_id=reply_id
                )
                self._sent_parts.add(message_id, sid)
        except TransientError as error:
            self._trouble = str(error)
            raise
        except PermanentError:
            self._sent_parts.finish(message_id)
            raise
        self._trouble = ""
        taken = self._sent_parts.of(message_id)
        self._sent_parts.finish(message_id)
        return taken


def _check(settings: SmsSettings) -> None:
    faults = tuple(
        f"sms.{key}: must be set"
        for key, value in (
            ("account_sid", settings.account_sid),
            ("auth_token", settings.auth_token.get_secret_value()),
            ("number", settings.number),
        )
        if not value
    )
    if faults:
        raise ConfigurationError("the SMS connector cannot work with these settings", faults=faults)
