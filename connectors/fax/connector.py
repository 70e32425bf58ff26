"""The fax connector: faxes in by a gateway's hook and a spool folder, answers out as PDF through the gateway."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import structlog
from aiohttp import web

from appeals.envelope import AuthenticityResult, Channel
from appeals.errors import ConfigurationError, DecodeError, PermanentError, TransientError
from appeals.registration import QuarantineItem, Registration
from config.settings import FaxSettings
from connectors.base import Connector, ConnectorHealth, ConnectorPorts, HealthState, OutboundMessage, Receipt
from connectors.fax.envelope import FaxOrigin, build_envelope, normalise_number, number_in_name
from connectors.fax.gateway import FaxGateway, FaxOutcome, FaxPart, OutgoingFax, ReceivedFax
from connectors.fax.letter import render_letter
from connectors.fax.spool import SETTLE_S, UNREADABLE_AFTER_S, Spool, SpooledFile, SpoolVerdict
from connectors.in_hand import InHand
from connectors.media import clean_text, detect_media_type
from connectors.pages.records import PDF
from connectors.pages.renderer import PageRenderer
from connectors.problem import answering_problems, problem, read_body, register_or_quarantine, unavailable

logger = structlog.get_logger(__name__)

GATEWAY = "gateway"
SPOOL = "spool"


class StillGrowingError(TransientError):
    """A spooled file cannot be read, but is so young that somebody may still be writing it."""


class FaxConnector(Connector):
    """Speaks to one fax gateway and watches one folder; either may be left out."""

    channel = Channel.FAX

    def __init__(
        self,
        settings: FaxSettings,
        ports: ConnectorPorts,
        *,
        gateway: FaxGateway,
        settle_s: float = SETTLE_S,
        unreadable_after_s: float = UNREADABLE_AFTER_S,
    ) -> None:
        self.name = "fax"
        self._settings = settings
        self._ports = ports
        self._gateway = gateway
        self._hooked = bool(settings.webhook_username and settings.webhook_password.get_secret_value())
        self._in_hand = InHand()
        self._pages = PageRenderer()
        self._spool: Spool | None = None
        if settings.spool_dir is not None:
            self._spool = Spool(
                settings.spool_dir,
                take=self._take_spooled,
                refuse=self._refuse_spooled,
                max_bytes=settings.max_body_bytes,
                settle_s=settle_s,
                unreadable_after_s=unreadable_after_s,
            )
        self._state = HealthState.STARTING
        self._trouble = ""
        self._last_message_at: datetime | None = None

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the hook; without credentials for it there is none."""
        return (web.post("/hooks/fax/{gateway}", answering_problems(self._receive)),) if self._hooked else ()

    async def start(self) -> None:
        """Begin to take faxes in. Raises ConfigurationError."""
        if not self._hooked and self._spool is None:
            raise ConfigurationError("fax: set webhook_username and webhook_password, or spool_dir, or both")
        if self._spool is not None:
            try:
                await asyncio.to_thread(self._spool.prepare)
            except OSError as error:
                folder = self._settings.spool_dir
                raise ConfigurationError(f"fax.spool_dir: {folder} cannot be used: {error.strerror}") from error
        self._state = HealthState.UP

    async def work(self) -> None:
        """Watch the spool until `stop`."""
        if self._spool is not None:
            await self._spool.run()

    async def stop(self) -> None:
        """Refuse new faxes with 503, leave files where they are, finish what is in hand. Idempotent."""
        self._state = HealthState.STOPPED
        if self._spool is not None:
            self._spool.stop()
        await self._in_hand.finish()
        await self._pages.close()
        await self._gateway.close()

    def health(self) -> ConnectorHealth:
        """Report now."""
        spool_trouble = f"spool: {self._spool.trouble}" if self._spool is not None and self._spool.trouble else ""
        trouble = "; ".join(filter(None, (self._trouble, spool_trouble)))
        hook = f"{self._ports.public_url}/hooks/fax/{self._gateway.name}" if self._hooked else ""
        spool = self._settings.spool_dir.absolute().as_uri() if self._settings.spool_dir is not None else ""
        return ConnectorHealth(
            state=HealthState.DEGRADED if trouble and self._state is HealthState.UP else self._state,
            detail=trouble,
            addresses=tuple(filter(None, (hook, spool))),
            last_message_at=self._last_message_at,
        )

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["gateway"] != self._gateway.name:
            return problem(HTTPStatus.NOT_FOUND, "Unknown gateway")
        if not self._gateway.authenticated(request.headers):
            logger.warning("connector.hook_unauthenticated", connector=self.name)
            refusal = problem(HTTPStatus.UNAUTHORIZED)
            refusal.headers["WWW-Authenticate"] = 'Basic realm="fax", charset="UTF-8"'  # RFC 7617 §2
            return refusal
        body = await read_body(request, max_bytes=self._settings.max_body_bytes)
        async with self._in_hand.hold():  # not while it is read: a slow sender must not hold up `stop`
            return await self._handle_call(clean_text(request.headers.get("Content-Type", "")), body)

    async def _handle_call(self, content_type: str, body: bytes) -> web.Response:
        try:
            event = await self._gateway.parse(content_type, body)
        except DecodeError:
            raise  # not the gateway's protocol: 400
        except PermanentError as error:
            return _kept(await self._quarantine_call(content_type, body, reason=str(error)))
        if isinstance(event, FaxOutcome):
            return await self._report(event)
        item = self._item(source=GATEWAY, content_type=content_type)
        return _kept(
            await register_or_quarantine(
                self._ports.intake, lambda: self._register_received(event, content_type, body), item=item, content=body
            )
        )

    async def _quarantine_call(self, content_type: str, body: bytes, *, reason: str) -> UUID:
        item = replace(self._item(source=GATEWAY, content_type=content_type), stage="decode", reason=reason)
        logger.warning("connector.message_quarantined", connector=self.name, stage="decode", reason=reason)
        return await self._ports.intake.quarantine(item, body)

    async def _report(self, outcome: FaxOutcome) -> web.Response:
        known = await self._ports.reports.report(
            self.name, external_id=outcome.fax_id, state=outcome.state, detail=outcome.detail
        )
        if not known and outcome.ours:
            # The fax went faster than the commit of our own `send`: have the gateway tell us again.
            return unavailable()
        return web.json_response({"known": known})

    async def _register_received(self, fax: ReceivedFax, content_type: str, body: bytes) -> Registration:
        content = fax.document
        if content is None:
            if fax.failure:
                raise DecodeError(f"a broken-off call without a page: {fax.failure}", data=body)
            content = await self._gateway.download(fax.fax_id)
        origin = FaxOrigin(
            external_id=fax.fax_id,
            number=normalise_number(fax.sender_number),
            our_number=normalise_number(fax.our_number) or self._settings.number,
            name=f"fax-{fax.fax_id}",
            declared_media_type=fax.declared_media_type,
            received_at=self._ports.now(),
            sent_at=fax.received_at,
            failure=fax.failure,
            fields=fax.fields,
            authenticity=(AuthenticityResult(method="secret_token", result="pass", detail=self._gateway.name),),
        )
        return await self._register(content, origin, raw=body, raw_media_type=content_type)

    async def _register(self, content: bytes, origin: FaxOrigin, *, raw: bytes, raw_media_type: str) -> Registration:
        document = await self._pages.read_document(content, max_pages=self._settings.max_pages)
        decoded = await asyncio.to_thread(
            build_envelope,
            document,
            content,
            origin=origin,
            raw=raw,
            raw_media_type=raw_media_type,
            connector=self.name,
        )
        registration = await self._ports.intake.register(decoded.envelope, decoded.contents)
        self._last_message_at = self._ports.now()
        logger.info(
            "connector.message_registered",
            connector=self.name,
            appeal_id=str(registration.appeal_id),
            pages=document.pages,
            duplicate=registration.duplicate,
        )
        return registration

    async def _take_spooled(self, file: SpooledFile) -> SpoolVerdict:
        async with self._in_hand.hold():
            item = self._item(source=SPOOL, name=clean_text(file.path.name), external_id=file.external_id)
            try:
                kept = await register_or_quarantine(
                    self._ports.intake, lambda: self._register_grown(file), item=item, content=file.content
                )
            except StillGrowingError:
                return SpoolVerdict.LATER
            return SpoolVerdict.REGISTERED if isinstance(kept, Registration) else SpoolVerdict.QUARANTINED

    async def _register_grown(self, file: SpooledFile) -> Registration:
        try:
            return await self._register_spooled(file.content, file.path.name, file.external_id)
        except DecodeError as error:
            if file.aged:
                raise
            raise StillGrowingError("a young file that cannot be read yet") from error

    async def _refuse_spooled(self, path: Path, size_bytes: int) -> SpoolVerdict:
        """Leave a trace of a file too large to take: it lies in failed/, the quarantine says so."""
        reason = f"{size_bytes} bytes are more than fax.max_body_bytes: the file lies in the spool's failed folder"
        item = replace(self._item(source=SPOOL, name=clean_text(path.name)), reason=reason)
        async with self._in_hand.hold():
            await self._ports.intake.quarantine(item, path.name.encode("utf-8", "replace"))
        return SpoolVerdict.QUARANTINED

    async def _register_spooled(self, content: bytes, name: str, external_id: str) -> Registration:
        media_type = detect_media_type(content)
        origin = FaxOrigin(
            external_id=external_id,
            number=number_in_name(name),
            our_number=self._settings.number,
            name=name,
            declared_media_type=media_type,
            received_at=self._ports.now(),
        )
        return await self._register(content, origin, raw=content, raw_media_type=media_type)

    def _item(self, **context: str) -> QuarantineItem:
        return QuarantineItem(connector=self.name, channel=self.channel, stage="receive", reason="", context=context)

    async def retry(self, content: bytes, context: Mapping[str, str]) -> Registration:
        """Take quarantined bytes in again: a gateway's call or a spooled file, as `context` says."""
        if context.get("source") == SPOOL:
            return await self._register_spooled(content, context["name"], context.get("external_id", ""))
        event = await self._gateway.parse(context.get("content_type", ""), content)
        if not isinstance(event, ReceivedFax):
            raise PermanentError("not a received fax but a report on a sent one")
        return await self._register_received(event, context.get("content_type", ""), content)

    async def send(self, message: OutboundMessage) -> Receipt:
        """Set the answer as a PDF letter and hand it to the gateway; files of the answer follow it.

        The outcome comes by the hook. At least once: a crash between the gateway's answer and our commit sends twice.
        """
        number = normalise_number(message.recipient.value)
        if not number:
            raise PermanentError("the recipient is not an international fax number")
        async with self._in_hand.hold():
            letter = await asyncio.to_thread(
                render_letter,
                message.text,
                subject=message.subject,
                number=message.appeal_number,
                language=message.language,
                written_at=self._ports.now(),
            )
            parts = [FaxPart(content=letter, media_type=PDF), *await _attached_parts(message)]
            fax = OutgoingFax(to=number, parts=parts, label=str(message.reply_id), header=message.appeal_number)
            try:
                fax_id = await self._gateway.send(fax)
            except TransientError as error:
                self._trouble = str(error)
                raise
            self._trouble = ""
        return Receipt(external_id=fax_id)


async def _attached_parts(message: OutboundMessage) -> list[FaxPart]:
    return [
        FaxPart(content=await message.read_blob(attachment.sha256), media_type=attachment.detected_media_type)
        for attachment in message.attachments
    ]


def _kept(kept: Registration | UUID) -> web.Response:
    """Answer 200 either way: the gateway has nothing left to do."""
    if isinstance(kept, Registration):
        return web.json_response({"number": kept.number, "duplicate": kept.duplicate})
    return web.json_response({"quarantined": str(kept)})
