"""Faxes whose calls never reached us: asked for at the gateway after an outage.

A gateway that calls a hook a few times and then never again still has the fax, while the citizen's machine has printed
that it was delivered. Idempotent: a fax that came by its hook has the same id (P2).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from appeals.errors import OknoError, TransientError
from connectors.base import Cursors
from connectors.fax.gateway import FaxGateway, ReceivedFax
from connectors.fax.reception import GatewayBody

logger = structlog.get_logger(__name__)

CURSOR = "caught_up_to"
INTERVAL_S = 300.0
OVERLAP = timedelta(hours=1)  # a long fax is listed by its beginning; the gateway's clock is not ours
MAX_REMEMBERED = 10_000  # faxes known to be kept; others are fetched and registered again, which changes nothing
CONTENT_TYPE = "application/json"


class FaxCatchUp:
    """Asks each gateway for the faxes since the last time, and hands on those that did not come by the hook."""

    def __init__(
        self,
        gateways: Sequence[FaxGateway],
        cursors: Cursors,
        *,
        connector: str,
        now: Callable[[], datetime],
        receive: Callable[[GatewayBody], Awaitable[object]],
    ) -> None:
        self._gateways = gateways
        self._cursors = cursors
        self._connector = connector
        self._now = now
        self._receive = receive
        self._kept: OrderedDict[str, None] = OrderedDict()

    def remember(self, fax_id: str) -> None:
        """Note that a fax is kept."""
        self._kept[fax_id] = None
        while len(self._kept) > MAX_REMEMBERED:
            self._kept.popitem(last=False)

    async def run(self, stopping: asyncio.Event) -> None:
        """Catch up now and every INTERVAL_S until `stopping`; a failure is logged and made up for the next time."""
        while not stopping.is_set():
            for gateway in self._gateways:
                try:
                    await self.catch_up(gateway)
                except OknoError as error:
                    logger.warning("connector.catch_up_failed", connector=self._connector, reason=str(error))
                except Exception:  # a bug of ours; the hooks go on
                    logger.exception("connector.catch_up_failed", connector=self._connector)
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await stopping.wait()
            except TimeoutError:
                continue

    async def catch_up(self, gateway: FaxGateway) -> int:
        """Hand on what was missed; return how many. The very first time there is nothing to miss.

        A fax whose pages cannot be had is remembered by its receiver, and no reason to ask again. Raises TransientError
        or PermanentError if the gateway or the registry cannot be asked: then the cursor stays.
        """
        begun_at = self._now()
        name = f"{CURSOR}/{gateway.name}"
        stored = await self._cursors.get(self._connector, name)
        missed = 0
        for body in await gateway.incoming_since(datetime.fromisoformat(stored) - OVERLAP) if stored else ():
            event = await gateway.parse(CONTENT_TYPE, body)
            if isinstance(event, ReceivedFax) and event.fax_id not in self._kept:
                try:
                    await self._receive(GatewayBody(gateway=gateway.name, content_type=CONTENT_TYPE, content=body))
                except TransientError as error:
                    logger.warning("connector.fax_unfetched", connector=self._connector, reason=str(error))
                    continue
                self.remember(event.fax_id)
                missed += 1
        await self._cursors.put(self._connector, name, begun_at.isoformat())
        if missed:
            logger.info("connector.caught_up", connector=self._connector, gateway=gateway.name, faxes=missed)
        return missed
