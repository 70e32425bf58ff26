"""The way of a fax into the registry: its pages are had and read, or it is registered without them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from appeals.envelope import AuthenticityResult, Channel
from appeals.errors import DecodeError, PermanentError, TransientError
from appeals.registration import QuarantineItem, Registration
from config.channel_settings import FaxSettings
from connectors.base import ConnectorPorts
from connectors.fax.envelope import DecodedFax, FaxOrigin, build_envelope, build_notice, normalise_number
from connectors.fax.gateway import FaxGateway, PagesAwaitedError, PagesGoneError, ReceivedFax
from connectors.fax.unfetched import UnfetchedFax, UnfetchedFaxes
from connectors.pages.records import PagedDocument
from connectors.pages.renderer import PageRenderer
from connectors.problem import register_or_quarantine

logger = structlog.get_logger(__name__)

UNREADABLE_TRIES = 3  # a document just stored may not be whole yet


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayBody:
    """What a gateway's call held, as it came."""

    gateway: str
    content_type: str
    content: bytes


class FaxReceiver:
    """Registers faxes, whichever way they come."""

    def __init__(
        self,
        settings: FaxSettings,
        ports: ConnectorPorts,
        *,
        connector: str,
        gateways: Mapping[str, FaxGateway],
        pages: PageRenderer,
        unfetched: UnfetchedFaxes,
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._connector = connector
        self._gateways = gateways
        self._pages = pages
        self._unfetched = unfetched
        self.last_message_at: datetime | None = None
        self.trouble = ""  # for health: faxes whose pages cannot be had

    async def receive(self, fax: ReceivedFax, call: GatewayBody) -> Registration:
        """Register a fax that a gateway told of.

        Raises TransientError if its pages cannot be had yet: then it is remembered, and tried again by
        `fetch_again`. Raises DecodeError or PermanentError if the call is no good.
        """
        if fax.document is not None:
            origin = self._origin(fax, call, external_id=fax.fax_id)
            return await self._register_document(fax.document, origin, call)
        if fax.failure and not fax.media_url:
            raise DecodeError(f"a broken-off call without a page: {fax.failure}", data=call.content)
        return await self._receive_by_download(fax, call)

    async def fetch_again(self, is_stopping: Callable[[], bool], *, at_once: bool = False) -> float | None:
        """Try those whose time has come; returns in how many seconds the next one is due, None if none waits.

        `at_once`: try all, as after a restart. Returns early once `is_stopping`: each takes as long as its download.
        """
        now = self._ports.now()
        for waiting in await self._unfetched.waiting():
            if (at_once or waiting.next_try_at <= now) and not is_stopping():
                await self._try_again(waiting)
        left = await self._unfetched.waiting()
        self.trouble = f"{len(left)} faxes wait for their pages: {left[0].reason}" if left else ""
        return max(0.0, (left[0].next_try_at - self._ports.now()).total_seconds()) if left else None

    async def read(self, content: bytes) -> PagedDocument:
        """Check a document's pages. Raises DecodeError, TransientError."""
        return await self._pages.read_document(content, max_pages=self._settings.max_pages)

    async def register(
        self, document: PagedDocument, content: bytes, origin: FaxOrigin, *, raw: bytes, raw_media_type: str
    ) -> Registration:
        """Register a document that was read. Raises TransientError, PermanentError."""
        decoded = build_envelope(
            document, content, origin=origin, raw=raw, raw_media_type=raw_media_type, connector=self._connector
        )
        return await self._commit(decoded, pages=document.pages)

    async def _commit(self, decoded: DecodedFax, *, pages: int) -> Registration:
        registration = await self._ports.intake.register(decoded.envelope, decoded.contents)
        self.last_message_at = self._ports.now()
        logger.info(
            "connector.message_registered",
            connector=self._connector,
            appeal_id=str(registration.appeal_id),
            pages=pages,
            duplicate=registration.duplicate,
        )
        return registration

    # ---- pages that are somewhere else
    async def _receive_by_download(self, fax: ReceivedFax, call: GatewayBody) -> Registration:
        key = f"{call.gateway}/{fax.fax_id}"
        try:
            content = await self._gateways[call.gateway].download(fax)
        except PagesGoneError as error:
            return await self._register_notice(fax, call, str(error), None)
        except TransientError as error:
            waiting = await self._note_failure(fax, call, str(error))
            if not self._hopeless(waiting):
                raise PagesAwaitedError(str(error), retry_after_s=error.retry_after_s) from error
            return await self._register_notice(fax, call, str(error), None)
        try:
            document = await self.read(content)
        except DecodeError as error:
            waiting = await self._note_failure(fax, call, str(error))
            if waiting.tries < UNREADABLE_TRIES:
                raise PagesAwaitedError(f"the pages that were fetched cannot be read: {error}") from error
            return await self._register_notice(fax, call, str(error), content)
        late = await self._unfetched.was_given_up(key)
        origin = self._origin(
            fax,
            call,
            external_id=f"{fax.fax_id}/pages" if late else fax.fax_id,
            revises=fax.fax_id if late else None,  # joins the appeal that says the pages are missing
        )
        registration = await self.register(
            document, content, origin, raw=call.content, raw_media_type=call.content_type
        )
        await self._unfetched.settle(key)
        return registration

    async def _register_notice(
        self, fax: ReceivedFax, call: GatewayBody, reason: str, content: bytes | None
    ) -> Registration:
        decoded = build_notice(
            reason,
            content,
            origin=self._origin(fax, call, external_id=fax.fax_id),
            raw=call.content,
            raw_media_type=call.content_type,
            connector=self._connector,
        )
        registration = await self._commit(decoded, pages=0)
        if not registration.duplicate:  # else its pages were registered before, and are only asked for once more
            logger.warning("connector.fax_without_pages", connector=self._connector, reason=reason)
            await self._unfetched.settle(f"{call.gateway}/{fax.fax_id}", given_up_at=self._ports.now())
        else:
            await self._unfetched.settle(f"{call.gateway}/{fax.fax_id}")
        return registration

    async def _note_failure(self, fax: ReceivedFax, call: GatewayBody, reason: str) -> UnfetchedFax:
        now = self._ports.now()
        waiting = UnfetchedFax(
            gateway=call.gateway,
            fax_id=fax.fax_id,
            content_type=call.content_type,
            body=call.content,
            since=now,
            next_try_at=now,
            tries=1,
            reason=reason,
        )
        waiting = await self._unfetched.note_failure(waiting, now=now)
        self.trouble = f"a fax waits for its pages: {reason}"
        logger.warning("connector.fax_unfetched", connector=self._connector, tries=waiting.tries, reason=reason)
        return waiting

    def _hopeless(self, waiting: UnfetchedFax) -> bool:
        return self._ports.now() - waiting.since >= timedelta(hours=self._settings.fetch_for_hours)

    async def receive_call(self, call: GatewayBody) -> Registration | UUID:
        """Register or quarantine a call that nobody waits for. Raises TransientError as `receive` does."""
        return await register_or_quarantine(
            self._ports.intake, lambda: self._receive_again(call), item=self.item(call), content=call.content
        )

    async def _try_again(self, waiting: UnfetchedFax) -> None:
        call = GatewayBody(gateway=waiting.gateway, content_type=waiting.content_type, content=waiting.body)
        try:
            kept = await self.receive_call(call)
        except TransientError as error:
            logger.info("connector.fax_still_unfetched", connector=self._connector, reason=str(error))
            return
        if isinstance(kept, UUID):
            await self._unfetched.settle(waiting.key)

    async def _receive_again(self, call: GatewayBody) -> Registration:
        event = await self._gateways[call.gateway].parse(call.content_type, call.content)
        if not isinstance(event, ReceivedFax):
            raise PermanentError("a remembered call that is no received fax")
        return await self.receive(event, call)

    # ---- shared
    async def _register_document(self, content: bytes, origin: FaxOrigin, call: GatewayBody) -> Registration:
        document = await self.read(content)
        return await self.register(document, content, origin, raw=call.content, raw_media_type=call.content_type)

    def _origin(
        self, fax: ReceivedFax, call: GatewayBody, *, external_id: str, revises: str | None = None
    ) -> FaxOrigin:
        method = "secret_token" if call.gateway == "sinch" else "webhook_signature"
        return FaxOrigin(
            external_id=external_id,
            number=normalise_number(fax.sender_number),
            our_number=normalise_number(fax.our_number) or self._settings.number,
            name=f"fax-{fax.fax_id}",
            declared_media_type=fax.declared_media_type,
            received_at=self._ports.now(),
            sent_at=fax.received_at,
            failure=fax.failure,
            fields=fax.fields,
            authenticity=(AuthenticityResult(method=method, result="pass", detail=call.gateway),),
            revises=revises,
        )

    def item(self, call: GatewayBody) -> QuarantineItem:
        """Return what quarantine is told of a call, so that `retry` can read it again."""
        return QuarantineItem(
            connector=self._connector,
            channel=Channel.FAX,
            stage="receive",
            reason="",
            context={"source": "gateway", "gateway": call.gateway, "content_type": call.content_type},
        )
