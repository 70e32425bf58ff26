"""The kiosk connector: signed forms in, one or a thousand at a time; answers kept for pick-up or posted."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

import structlog
from aiohttp import web

from appeals.envelope import Channel
from appeals.errors import PermanentError, TransientError
from appeals.registration import Registration
from config.channel_settings import KioskSettings
from config.kiosk_forms import load_kiosk_forms
from connectors.base import Connector, ConnectorHealth, ConnectorPorts, HealthState, OutboundMessage, Receipt
from connectors.in_hand import InHand
from connectors.kiosk.answers import AnswerPoster
from connectors.kiosk.batch import BatchReceiver
from connectors.kiosk.devices import CONNECTOR, KioskDevices
from connectors.kiosk.gate import KioskGate
from connectors.kiosk.health import KioskHealthBook, KioskView, summarise
from connectors.kiosk.hooks import KioskHooks
from connectors.kiosk.multipart import JSON, RawForm
from connectors.kiosk.page_routes import KioskPage
from connectors.kiosk.receiver import FormReceiver
from connectors.kiosk.submission import submission_json_schema
from connectors.problem import answering_problems

FLEET_INTERVAL_S = 30.0  # how old `health()` may be

logger = structlog.get_logger(__name__)


class KioskConnector(Connector):
    """Speaks to kiosks. Each has an id and keys of its own and can be revoked alone, without a restart."""

    channel = Channel.KIOSK

    def __init__(self, settings: KioskSettings, ports: ConnectorPorts) -> None:
        """Raise ConfigurationError for two kiosks of one id, a secret that is none, or faults in the form file."""
        self.name = CONNECTOR
        self._settings = settings
        self._ports = ports
        self._devices = KioskDevices(settings, ports.cursors, signing_key=ports.signing_key)
        forms = load_kiosk_forms(settings.forms)
        self._book = KioskHealthBook(ports.cursors, silent_after=timedelta(seconds=settings.silent_after_s))
        self._in_hand = InHand()
        self._receiver = FormReceiver(settings, ports, forms)
        self._answers = AnswerPoster(settings.answer_url, self._devices)
        gate = KioskGate(self._devices, self._book, ports)
        self._batch = BatchReceiver(settings, gate, self._receiver, self._in_hand)
        self._hooks = KioskHooks(
            settings, ports, gate=gate, receiver=self._receiver, book=self._book, in_hand=self._in_hand
        )
        self._page = KioskPage(settings, ports, forms=forms, devices=self._devices)
        self._state = HealthState.STARTING

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the hooks, the schema of what they take, and the kiosk page."""
        hook = "/hooks/kiosk/{kiosk_id}"
        return (
            web.post(hook, answering_problems(self._hooks.form)),
            web.post(f"{hook}/batch", answering_problems(self._batch.handle)),
            web.post(f"{hook}/health", answering_problems(self._hooks.health)),
            web.post(f"{hook}/receipt", answering_problems(self._hooks.receipt)),
            web.get("/hooks/kiosk/submission.schema.json", self._show_schema),
            *(self._page.routes() if self._settings.page else ()),
        )

    async def start(self) -> None:
        """Begin to take forms in."""
        await self.open()
        self._state = HealthState.UP

    async def open(self) -> None:
        """Open the HTTP client that posts answers."""
        self._answers.open()

    async def work(self) -> None:
        """Look after the kiosks: who is silent, whose clock is wrong."""
        while True:
            try:
                await self.fleet()
            except TransientError as error:
                logger.warning("connector.kiosk_fleet_unknown", error=str(error))
            await asyncio.sleep(FLEET_INTERVAL_S)

    async def stop(self) -> None:
        """Refuse new forms with 503 and finish what is in hand. Idempotent."""
        self._state = HealthState.STOPPED
        await self._in_hand.finish()
        await self._answers.close()

    async def fleet(self) -> tuple[KioskView, ...]:
        """Return every kiosk as it is now, those of the settings first. Raises TransientError."""
        now = self._ports.now()
        return await self._book.view(await self._devices.all(now=now), now=now)

    def health(self) -> ConnectorHealth:
        """Report now: kiosks as they were at the last look, at most FLEET_INTERVAL_S ago."""
        fleet = self._book.fleet
        detail, troubled = summarise(fleet)
        if not fleet:
            detail = f"{len(self._settings.devices)} kiosks in the settings"
        if self._answers.trouble:
            detail, troubled = f"{detail}; {self._answers.trouble}", True
        degraded = self._state is HealthState.UP and troubled
        page = (f"{self._ports.public_url}/kiosk/",) if self._settings.page else ()
        return ConnectorHealth(
            state=HealthState.DEGRADED if degraded else self._state,
            detail=detail,
            addresses=(f"{self._ports.public_url}/hooks/kiosk/{{kiosk_id}}", *page),
            last_message_at=self._receiver.last_message_at,
        )

    async def retry(self, content: bytes, context: Mapping[str, str]) -> Registration:
        """Take a quarantined form in again; one whose id was used before gets an id of its own.

        The kiosk may be revoked since: it was not when it signed. Raises DecodeError or PermanentError.
        """
        kiosk_id = context.get("kiosk_id", "")
        kiosk = await self._devices.find(kiosk_id, now=self._ports.now())
        if kiosk is None:
            raise PermanentError(f"there is no kiosk {kiosk_id!r}: `okno kiosk add {kiosk_id}`, then retry")
        return await self._receiver.retry(kiosk, RawForm(body=content, content_type=context.get("content_type", JSON)))

    async def send(self, message: OutboundMessage) -> Receipt:
        """Post the answer, signed by the kiosk's keys, to `answer_url`; without one it is kept for pick-up."""
        async with self._in_hand.hold():
            return await self._answers.post(message, now=self._ports.now())

    async def _show_schema(self, _request: web.Request) -> web.Response:
        return web.json_response(submission_json_schema(), content_type="application/schema+json")
