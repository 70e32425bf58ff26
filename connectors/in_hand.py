"""What a connector has in hand: work that `stop()` must let finish."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from appeals.errors import TransientError


class InHand:
    """Count of messages being taken in or sent; closes for new ones and waits for the rest."""

    def __init__(self) -> None:
        self._count = 0
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold one message while the block runs. Raises TransientError once `finish` was called."""
        if self._closed:
            raise TransientError("the connector is stopping")
        self._count += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._empty.set()

    async def finish(self) -> None:
        """Take nothing more and return when nothing is held. Idempotent."""
        self._closed = True
        await self._empty.wait()
