"""Fetching messages whose hook call never reached us.

Twilio calls a hook once, or for 15 seconds if told to, and then never again; but it keeps the message. So after an
outage of ours, of the network or of the registry, the missed ones are asked for. Idempotent: a message that came by
its hook has the same id (P2). A provider that posts until it is answered keeps none and is asked in vain.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime

from appeals.errors import DecodeError
from connectors.base import Cursors
from connectors.catch_up import CURSOR, OVERLAP, KeptIds, catch_up_regularly
from connectors.sms.provider import SmsProvider


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
        self._kept = KeptIds()

    def remember(self, sid: str) -> None:
        """Note that a message is kept."""
        self._kept.remember(sid)

    async def run(self, stopping: asyncio.Event) -> None:
        """Catch up, now and then again, until `stopping`."""
        await catch_up_regularly(self.catch_up, stopping, connector=self._connector)

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
