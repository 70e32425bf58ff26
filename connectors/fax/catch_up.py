"""Faxes whose calls never reached us: asked for at the gateway after an outage.

A gateway that calls a hook a few times and then never again still has the fax, while the citizen's machine has printed
that it was delivered. Idempotent: a fax that came by its hook has the same id (P2).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial

import structlog

from connectors.base import Cursors
from connectors.catch_up import CURSOR, OVERLAP, KeptIds, catch_up_regularly
from connectors.fax.gateway import FaxGateway, PagesAwaitedError, ReceivedFax
from connectors.fax.reception import GatewayBody

logger = structlog.get_logger(__name__)

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
        self._kept = KeptIds()

    def remember(self, fax_id: str) -> None:
        """Note that a fax is kept."""
        self._kept.remember(fax_id)

    async def run(self, stopping: asyncio.Event) -> None:
        """Catch up with every gateway, now and then again, until `stopping`."""
        async with asyncio.TaskGroup() as group:
            for gateway in self._gateways:
                work = partial(self.catch_up, gateway)
                group.create_task(catch_up_regularly(work, stopping, connector=self._connector))

    async def catch_up(self, gateway: FaxGateway) -> int:
        """Hand on what was missed; return how many. The very first time there is nothing to miss.

        Raises TransientError or PermanentError if the gateway or the registry cannot be asked: the cursor stays, and
        the next time covers the same ground.
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
                except PagesAwaitedError as error:  # noted: its receiver asks again by itself
                    logger.warning("connector.fax_unfetched", connector=self._connector, reason=str(error))
                    continue
                self.remember(event.fax_id)
                missed += 1
        await self._cursors.put(self._connector, name, begun_at.isoformat())
        if missed:
            logger.info("connector.caught_up", connector=self._connector, gateway=gateway.name, faxes=missed)
        return missed
