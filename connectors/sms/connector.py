"""The SMS connector: a provider's hooks in, its API out."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from decimal import Decimal
from functools import partial
from http import HTTPStatus
from uuid import UUID, uuid4

import aiohttp
import structlog
from aiohttp import web

from appeals.envelope import BlobRef, Channel
from appeals.errors import OknoError, PermanentError, TransientError
from appeals.registration import QuarantineItem, Registration
from appeals.reply import DeliveryState
from config.channel_settings import SmsSettings
from connectors.base import (
    Connector,
    ConnectorHealth,
    ConnectorPorts,
    DeliveryEstimate,
    HealthState,
    OutboundMessage,
    Receipt,
)
from connectors.in_hand import InHand
from connectors.loopback import is_loopback_http
from connectors.media import clean_text
from connectors.parts import SentParts, split_text
from connectors.problem import answering_problems, problem, register_or_quarantine, unavailable
from connectors.sms.catch_up import CatchUp
from connectors.sms.envelope import build_envelope
from connectors.sms.numbers import to_e164
from connectors.sms.opt_out import KEYWORDS, OptOuts, keyword_answer, keyword_of
from connectors.sms.part_states import PartStates
from connectors.sms.provider import CallBack, IncomingSms, OptedOutError, OptOut, SmsProvider, StatusReport
from connectors.sms.segments import measure, plainer

logger = structlog.get_logger(__name__)

REPORT_RETRY_DELAYS_S = (0.1, 0.4, 1.5, 3.0)  # a call-back may overtake the commit of its receipt
MAX_JUST_SENT = 1_000  # messages whose receipts may still be on their way to the registry


class SmsConnector(Connector):
    """Receives at the provider's incoming hook, hears of deliveries at its status hook, sends through its API."""

    name = "sms"
    channel = Channel.SMS

    def __init__(self, settings: SmsSettings, ports: ConnectorPorts, provider: SmsProvider) -> None:
        self._settings = settings
        self._ports = ports
        self._provider = provider
        self._number = to_e164(settings.number, default_region=settings.default_region) or settings.number
        self._part_states = PartStates(ports.cursors, connector=self.name)
        self._opt_outs = OptOuts(ports.cursors, connector=self.name)
        self._keywords = {**provider.extra_keywords(), **KEYWORDS}
        self._in_hand = InHand()
        self._sent_parts = SentParts()
        self._just_sent: OrderedDict[str, None] = OrderedDict()
        self._resources = AsyncExitStack()
        self._is_open = False
        self._catch_up = CatchUp(
            provider,
            ports.cursors,
            connector=self.name,
            number=self._number,
            now=ports.now,
            receive=self._take_in,
        )
        self._stopping = asyncio.Event()
        self._state = HealthState.STARTING
        self._trouble = ""  # the last send's, until one succeeds
        self._last_message_at: datetime | None = None

    # ---- life
    def routes(self) -> Sequence[web.RouteDef]:
        """Return the provider's two hooks."""
        hooks = ((self._provider.incoming_path, self._receive), (self._provider.status_path, self._receive_status))
        return tuple(
            web.route(method, path, answering_problems(handler))
            for path, handler in hooks
            for method in self._provider.methods
        )

    async def start(self) -> None:
        """Begin to take hooks; nothing is asked of the provider until there is something to send."""
        await self.open()
        self._state = HealthState.UP

    async def open(self) -> None:
        """Open the HTTP client."""
        if self._is_open:
            return
        trust_env = not is_loopback_http(self._settings.api_url)  # offices often reach the world by a proxy
        session = await self._resources.enter_async_context(aiohttp.ClientSession(trust_env=trust_env))
        self._provider.open(session)
        self._is_open = True

    async def work(self) -> None:
        """Ask the provider for messages that were missed, now and every few minutes."""
        await self._catch_up.run(self._stopping)

    async def stop(self) -> None:
        """Refuse new hooks with 503, wait for those in hand, close the client."""
        self._stopping.set()
        await self._in_hand.finish()
        await self._resources.aclose()
        self._state = HealthState.STOPPED

    def health(self) -> ConnectorHealth:
        """Report now: degraded while the provider refuses what we send."""
        degraded = self._state is HealthState.UP and self._trouble
        return ConnectorHealth(
            state=HealthState.DEGRADED if degraded else self._state,
            detail=self._trouble,
            addresses=(f"{self._ports.public_url}{self._provider.incoming_path}",),
            last_message_at=self._last_message_at,
        )

    # ---- in
    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await self._provider.take(request)
        if body is None:
            return problem(HTTPStatus.FORBIDDEN, detail="The signature is missing or wrong.")
        text = await self._take_in(body)
        if text and not self._provider.answers_in_hook:
            await self._say(self._provider.read(body).sender, text)
            text = ""
        return self._provider.answer(text)

    async def _take_in(self, body: bytes) -> str:
        """Register the message of a post whose origin is known, or quarantine it; return what to answer at once."""
        async with self._in_hand.hold():
            registration = await register_or_quarantine(
                self._ports.intake,
                partial(self._register, body),
                item=QuarantineItem(connector=self.name, channel=self.channel, stage="decode", reason=""),
                content=body,
            )
        if isinstance(registration, Registration) and not registration.duplicate:
            return self._keyword_answer(self._provider.read(body))
        return ""

    async def _register(self, body: bytes) -> Registration:
        message = self._provider.read(body)
        opt_out = self._meaning(message)
        if opt_out is not None:  # before the registration: its repetition after a crash would be a known message
            await self._opt_outs.apply(message.sender, opt_out, sid=message.sid, at=self._ports.now())
        files = await self._provider.fetch_files(message.media)
        raw = BlobRef.of(body, self._provider.media_type)
        envelope = build_envelope(
            message,
            files,
            connector=self.name,
            provider=self._provider.name,
            opt_out=opt_out,
            raw=raw,
            received_at=self._ports.now(),
        )
        registration = await self._ports.intake.register(envelope, {**files.contents, raw.sha256: body})
        self._last_message_at = envelope.received_at
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

    # ---- keywords
    def _meaning(self, message: IncomingSms) -> OptOut | None:
        if message.media or not message.sender_is_phone:
            return None
        return message.opt_out or self._keywords.get(keyword_of(message.text))

    def _keyword_answer(self, message: IncomingSms) -> str:
        """Return our answer to a keyword that the provider does not answer itself."""
        keyword = self._meaning(message)
        if keyword is None or message.opt_out or self._provider.answers_itself(keyword_of(message.text)):
            return ""
        return keyword_answer(keyword, message.text, office=self._ports.office.name)

    async def _say(self, recipient: str, text: str) -> None:
        """Answer a keyword by a message of its own; it is said once, what fails is logged."""
        call_back = CallBack(url=self._status_url)
        try:
            async with self._in_hand.hold():
                await self._provider.send(
                    text, sender=self._number, recipient=recipient, call_back=call_back, reply_id=uuid4()
                )
        except OknoError as error:
            logger.warning("connector.keyword_unanswered", connector=self.name, reason=str(error))

    # ---- call-backs
    @property
    def _status_url(self) -> str:
        return f"{self._ports.public_url}{self._provider.status_path}"

    async def _receive_status(self, request: web.Request) -> web.StreamResponse:
        """Note a delivery. An id that nobody knows is taken all the same: posting it again would not help."""
        async with self._in_hand.hold():
            body = await self._provider.take(request)
            if body is None:
                return problem(HTTPStatus.FORBIDDEN, detail="The signature is missing or wrong.")
            report = self._provider.read_status(body, request.query)
            if report is not None and not await self._note(report):
                return unavailable()
            return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _note(self, report: StatusReport) -> bool:
        """Report a delivery; False if its reply was sent just now and is not known yet: it must come again."""
        if report.state is None:
            return True
        whole = report.external_id
        state = await self._part_states.combine(whole, report.state, part=report.part, of=report.of)
        if state is None:
            return True
        detail = report.detail if state is DeliveryState.FAILED else ""
        call = partial(self._ports.reports.report, self.name, external_id=whole, state=state, detail=detail)
        known = await call()
        for delay_s in () if known else REPORT_RETRY_DELAYS_S:
            await asyncio.sleep(delay_s)
            if known := await call():
                break
        logger.info("connector.delivery_reported", connector=self.name, state=state, known=known)
        return known or whole not in self._just_sent

    # ---- out
    def estimate(self, text: str) -> DeliveryEstimate:
        """Tell what sending `text` takes, encoded as `send` would."""
        pieces = [measure(part) for part in self._parts(text)] or [measure("")]
        dearest = next((piece for piece in pieces if piece.encoding == "ucs2"), pieces[0])
        parts = sum(piece.parts for piece in pieces)
        price = None if self._settings.price_per_part is None else parts * Decimal(self._settings.price_per_part)
        return DeliveryEstimate(
            parts=parts,
            encoding=dearest.encoding,
            units=sum(piece.units for piece in pieces),
            units_per_part=dearest.units_per_part,
            price=price,
            currency="" if price is None else self._settings.currency,
            costly=dearest.costly,
        )

    async def send(self, message: OutboundMessage) -> Receipt:
        """Send the text in as few calls as it takes; the first one's id names the whole."""
        if message.attachments:
            raise PermanentError("SMS carries no files: answer without attachments or by another channel")
        recipient = to_e164(message.recipient.value, default_region=self._settings.default_region)
        if recipient is None:
            raise PermanentError("the recipient is not a telephone number: a short code or a name cannot be answered")
        parts = self._parts(message.text)
        if not parts:
            raise PermanentError("the text is empty")
        async with self._in_hand.hold():
            if (record := await self._opt_outs.of(recipient)).out:
                since = f" on {record.since:%Y-%m-%d}" if record.since else ""
                raise PermanentError(
                    f"the citizen has opted out of our messages (STOP{since}); only they can undo it, with START: "
                    "answer by another channel"
                )
            try:
                ids = await self._send_parts(parts, recipient, message_id=message.message_id, reply_id=message.reply_id)
            except OptedOutError:
                await self._opt_outs.note(recipient, at=self._ports.now())
                raise
        return Receipt(external_id=ids[0], detail=", ".join(ids))

    def _parts(self, text: str) -> list[str]:
        cleaned = clean_text(text)
        cleaned = plainer(cleaned) if self._settings.smart_encoding else cleaned
        return split_text(cleaned, limit=self._provider.max_body_units)

    async def _send_parts(
        self, parts: Sequence[str], recipient: str, *, message_id: str, reply_id: UUID
    ) -> tuple[str, ...]:
        taken = self._sent_parts.of(message_id)
        try:
            for at in range(len(taken), len(parts)):
                whole = self._sent_parts.of(message_id)[0] if at else ""
                call_back = CallBack(url=self._status_url, whole=whole, part=at + 1, of=len(parts))
                sid = await self._provider.send(
                    parts[at], sender=self._number, recipient=recipient, call_back=call_back, reply_id=reply_id
                )
                self._sent_parts.add(message_id, sid)
                self._remember_sent(sid)
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

    def _remember_sent(self, sid: str) -> None:
        self._just_sent[sid] = None
        while len(self._just_sent) > MAX_JUST_SENT:
            self._just_sent.popitem(last=False)
