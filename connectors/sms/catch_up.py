"""Fetching messages whose hook call never reached us.

Twilio calls a hook once, or for 15 seconds if told to, and then never again; but it keeps the message. So after an
outage of ours, of the network or of the registry, the missed ones are asked for. Idempotent: a message that came by
its hook has the same id (P2). A provider that posts until it is answered keeps none and is asked in vain.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from appeals.errors import DecodeError, OknoError
from connectors.base import Cursors
from connectors.sms.provider import SmsProvider

logger = structlog.get_logger(__name__)

CURSOR = "caught_up_to"
INTERVAL_S = 300.0
OVERLAP = timedelta(hours=1)  # the provider's clock and the order of its lists are not ours
MAX_REMEMBERED = 10_000  # messages known to be kept; the others are registered again, which changes nothing


class CatchUp:
    """Asks for the messages since the last time, and hands on those that did not come by their hook."""

    def __init__(
        self,
        provider: SmsProvider,
        cursors: Cursors,
        *,
        connector: str,
        number: str,
        now: Callable[[], datetime],
        receive: Callable[[bytes], Awaitable[object]],
    ) -> None:
        self._provider = provider
        self._cursors = cursors
        self._connector = connector
        self._number = number
        self._now = now
        self._receive = receive
        self._kept: OrderedDict[str, None] = OrderedDict()

    def remember(self, sid: str) -> None:
        """Note that a message is kept."""
        self._kept[sid] = None
        while len(self._kept) > MAX_REMEMBERED:
            self._kept.popitem(last=False)

    async def run(self, stopping: asyncio.Event) -> None:
        """Catch up now and every INTERVAL_S until `stopping`; a failure is logged and made up for the next time."""
        while not stopping.is_set():
            try:
                await self.catch_up()
            except OknoError as error:
                logger.warning("connector.catch_up_failed", connector=self._connector, reason=str(error))
            except Exception:  # a bug of ours; the hooks go on
                logger.exception("connector.catch_up_failed", connector=self._connector)
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await stopping.wait()
            except TimeoutError:
                continue

    async def catch_up(self) -> int:
        """Hand on what was missed; return how many. The very first time there is nothing to miss.

        Raises TransientError or PermanentError: the cursor stays, and the next time covers the same ground.
        """
        begun_at = self._now()
        stored = await self._cursors.get(self._connector, CURSOR)
        missed = 0
        if stored:
            since = datetime.fromisoformat(stored) - OVERLAP
            for body in await self._provider.incoming_since(since, number=self._number) or ():
                sid = self._sid_of(body)
                if sid not in self._kept:
                    await self._receive(body)
                    self.remember(sid)
                    missed += 1
        await self._cursors.put(self._connector, CURSOR, begun_at.isoformat())
        return missed

    def _sid_of(self, body: bytes) -> str:
        """Return the message's id; what cannot be read is known by its bytes, it goes to quarantine."""
        try:
            return self._provider.read(body).sid
        except DecodeError:
            return hashlib.sha256(body).hexdigest()
