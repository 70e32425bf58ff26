"""The fax connector: faxes in by gateways' hooks and a spool folder, answers out as PDF through a gateway."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from uuid import UUID

import structlog
from aiohttp import web

from appeals.envelope import Channel
from appeals.errors import ConfigurationError, DecodeError, PermanentError, TransientError
from appeals.registration import Registration
from config.channel_settings import FaxSettings
from connectors.base import Connector, ConnectorHealth, ConnectorPorts, HealthState, OutboundMessage, Receipt
from connectors.fax.catch_up import FaxCatchUp
from connectors.fax.gateway import FaxGateway, FaxOutcome, IgnoredCall, ReceivedFax
from connectors.fax.outgoing import make_fax
from connectors.fax.reception import FaxReceiver, GatewayBody
from connectors.fax.spool import UNREADABLE_AFTER_S, Spool
from connectors.fax.spool_reception import SPOOL, SpoolReceiver
from connectors.fax.unfetched import FIRST_RETRY_S, UnfetchedFaxes
from connectors.in_hand import InHand
from connectors.media import clean_text
from connectors.pages.renderer import PageRenderer
from connectors.problem import answering_problems, problem, read_body, register_or_quarantine, unavailable

logger = structlog.get_logger(__name__)

NAME = "fax"
LOOK_INTERVAL_S = 30.0  # another process may have remembered a fax
DEFAULT_GATEWAY = "sinch"  # of calls that were quarantined before there were two


class FaxConnector(Connector):
    """Speaks to fax gateways and watches one folder; either may be left out."""

    channel = Channel.FAX

    def __init__(
        self,
        settings: FaxSettings,
        ports: ConnectorPorts,
        *,
        gateways: Sequence[FaxGateway],
        settle_s: float | None = None,
        unreadable_after_s: float = UNREADABLE_AFTER_S,
        fetch_retry_s: float = FIRST_RETRY_S,
    ) -> None:
        """`gateways`: all there are, set up or not; `settings.gateway` names the one that sends."""
        self.name = NAME
        self._settings = settings
        self._ports = ports
        self._gateways = {gateway.name: gateway for gateway in gateways}
        self._sender = self._gateways[settings.gateway]
        self._hooked = tuple(gateway.name for gateway in gateways if gateway.receives)
        self._in_hand = InHand()
        self._pages = PageRenderer()
        self._unfetched = UnfetchedFaxes(ports.cursors, connector=self.name, first_retry_s=fetch_retry_s)
        self._receiver = FaxReceiver(
            settings,
            ports,
            connector=self.name,
            gateways=self._gateways,
            pages=self._pages,
            unfetched=self._unfetched,
        )
        self._catch_up = FaxCatchUp(
            [gateway for gateway in gateways if gateway.receives],
            ports.cursors,
            connector=self.name,
            now=ports.now,
            receive=self._receive_missed,
        )
        self._spooled = SpoolReceiver(
            settings, ports, connector=self.name, receiver=self._receiver, in_hand=self._in_hand
        )
        self._spool = self._make_spool(settle_s, unreadable_after_s)
        self._stopping = asyncio.Event()
        self._state = HealthState.STARTING
        self._trouble = ""

    def _make_spool(self, settle_s: float | None, unreadable_after_s: float) -> Spool | None:
        if self._settings.spool_dir is None:
            return None
        return Spool(
            self._settings.spool_dir,
            take=self._spooled.take,
            refuse=self._spooled.refuse,
            max_bytes=self._settings.max_body_bytes,
            layout=self._spooled.layout,
            settle_s=settle_s,
            unreadable_after_s=unreadable_after_s,
        )

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the hook; without a gateway that is set up there is none."""
        return (web.post("/hooks/fax/{gateway}", answering_problems(self._receive)),) if self._hooked else ()

    async def start(self) -> None:
        """Begin to take faxes in. Raises ConfigurationError."""
        if not self._hooked and self._spool is None:
            raise ConfigurationError(
                "fax: set webhook_username and webhook_password (Sinch), telnyx.public_key, or spool_dir"
            )
        if self._spool is not None:
            try:
                await asyncio.to_thread(self._spool.prepare)
            except OSError as error:
                folder = self._settings.spool_dir
                raise ConfigurationError(f"fax.spool_dir: {folder} cannot be used: {error.strerror}") from error
        self._state = HealthState.UP

    async def work(self) -> None:
        """Watch the spool and fetch pages that could not be had, until `stop`."""
        async with asyncio.TaskGroup() as group:
            if self._spool is not None:
                group.create_task(self._spool.run())
            if self._hooked:
                group.create_task(self._keep_fetching())
                group.create_task(self._catch_up.run(self._stopping))

    async def stop(self) -> None:
        """Refuse new faxes with 503, leave files where they are, finish what is in hand. Idempotent."""
        self._state = HealthState.STOPPED
        self._stopping.set()
        self._unfetched.changed.set()
        if self._spool is not None:
            self._spool.stop()
        await self._in_hand.finish()
        await self._pages.close()
        await asyncio.gather(*(gateway.close() for gateway in self._gateways.values()))

    def health(self) -> ConnectorHealth:
        """Report now."""
        spool_trouble = f"spool: {self._spool.trouble}" if self._spool is not None and self._spool.trouble else ""
        trouble = "; ".join(filter(None, (self._trouble, self._receiver.trouble, spool_trouble)))
        hooks = [f"{self._ports.public_url}/hooks/fax/{name}" for name in self._hooked]
        spool = self._settings.spool_dir.absolute().as_uri() if self._settings.spool_dir is not None else ""
        return ConnectorHealth(
            state=HealthState.DEGRADED if trouble and self._state is HealthState.UP else self._state,
            detail=trouble,
            addresses=tuple(filter(None, (*hooks, spool))),
            last_message_at=self._receiver.last_message_at,
        )

    # ---- calls of the gateways
    async def _receive(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["gateway"]
        if name not in self._hooked:
            return problem(HTTPStatus.NOT_FOUND, "Unknown gateway")
        gateway = self._gateways[name]
        if not gateway.may_call(request.headers):
            return self._unauthorized(gateway)
        body = await read_body(request, max_bytes=self._settings.max_body_bytes)
        if not gateway.authenticated(request.headers, body):
            return self._unauthorized(gateway)
        content_type = clean_text(request.headers.get("Content-Type", ""))
        async with self._in_hand.hold():  # not while it is read: a slow sender must not hold up `stop`
            return await self._handle_call(gateway, GatewayBody(gateway=name, content_type=content_type, content=body))

    def _unauthorized(self, gateway: FaxGateway) -> web.Response:
        logger.warning("connector.hook_unauthenticated", connector=self.name, gateway=gateway.name)
        refusal = problem(HTTPStatus.UNAUTHORIZED)
        refusal.headers["WWW-Authenticate"] = gateway.challenge
        return refusal

    async def _handle_call(self, gateway: FaxGateway, call: GatewayBody) -> web.Response:
        item = self._receiver.item(call)
        try:
            event = await gateway.parse(call.content_type, call.content)
        except DecodeError:
            raise  # not the gateway's protocol: 400
        except PermanentError as error:
            item = replace(item, stage="decode", reason=str(error))
            logger.warning("connector.message_quarantined", connector=self.name, stage="decode", reason=str(error))
            return _kept(await self._ports.intake.quarantine(item, call.content))
        if isinstance(event, IgnoredCall):
            return web.json_response({"ignored": event.reason})
        if isinstance(event, FaxOutcome):
            return await self._report(event)
        kept = await register_or_quarantine(
            self._ports.intake, lambda: self._receiver.receive(event, call), item=item, content=call.content
        )
        self._catch_up.remember(event.fax_id)
        return _kept(kept)

    async def _report(self, outcome: FaxOutcome) -> web.Response:
        known = await self._ports.reports.report(
            self.name, external_id=outcome.fax_id, state=outcome.state, detail=outcome.detail
        )
        if not known and outcome.ours:
            # The fax went faster than the commit of our own `send`: have the gateway tell us again.
            return unavailable()
        return web.json_response({"known": known})

    async def _receive_missed(self, call: GatewayBody) -> None:
        async with self._in_hand.hold():
            await self._receiver.receive_call(call)

    async def _keep_fetching(self) -> None:
        """Try faxes without pages again. A registry that is down is waited for."""
        first = True
        while not self._stopping.is_set():
            wait_s: float | None = None
            self._unfetched.changed.clear()
            try:
                async with self._in_hand.hold():
                    wait_s = await self._receiver.fetch_again(self._stopping.is_set, at_once=first)
                    first = False
            except TransientError as error:
                logger.warning("connector.fax_fetching_waits", connector=self.name, reason=str(error))
            except Exception:  # a bug that one fax brought out must not end the connector (P4)
                logger.exception("connector.fax_fetching_failed", connector=self.name)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s if wait_s is not None else LOOK_INTERVAL_S, LOOK_INTERVAL_S)):
                    await self._unfetched.changed.wait()

    async def retry(self, content: bytes, context: Mapping[str, str]) -> Registration:
        """Take quarantined bytes in again: a gateway's call or a spooled file, as `context` says."""
        if context.get("source") == SPOOL:
            return await self._spooled.register(content, context)
        name = context.get("gateway", DEFAULT_GATEWAY)
        call = GatewayBody(gateway=name, content_type=context.get("content_type", ""), content=content)
        event = await self._gateways[name].parse(call.content_type, content)
        if not isinstance(event, ReceivedFax):
            raise PermanentError("not a received fax but a report on a sent one")
        return await self._receiver.receive(event, call)

    async def send(self, message: OutboundMessage) -> Receipt:
        """Set the answer as a PDF letter, its files behind it, and hand it to the gateway.

        The outcome comes by the hook. At least once: a crash between the gateway's answer and our commit sends twice.
        """
        async with self._in_hand.hold():
            fax = await make_fax(message, pages=self._pages, sender=self._settings.number, now=self._ports.now())
            try:
                fax_id = await self._sender.send(fax)
            except TransientError as error:
                self._trouble = str(error)
                raise
            self._trouble = ""
        return Receipt(external_id=fax_id)


def _kept(kept: Registration | UUID) -> web.Response:
    """Answer 200 either way: the gateway has nothing left to do."""
    if isinstance(kept, Registration):
        return web.json_response({"number": kept.number, "duplicate": kept.duplicate})
    return web.json_response({"quarantined": str(kept)})
