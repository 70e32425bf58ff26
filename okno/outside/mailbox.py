"""What a stand-in took from us, and waiting for it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Message = TypeVar("Message")


class Mailbox(Generic[Message]):
    """Messages in the order they came; readers may wait for some."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._arrived = asyncio.Event()

    @property
    def messages(self) -> Sequence[Message]:
        """All messages so far, oldest first."""
        return tuple(self._messages)

    def put(self, message: Message) -> None:
        """Add a message and wake those who wait."""
        self._messages.append(message)
        self._arrived.set()
        self._arrived = asyncio.Event()

    async def wait_for(
        self, wanted: Callable[[Message], bool] = lambda _: True, *, count: int = 1, timeout_s: float = 30.0
    ) -> list[Message]:
        """Return the first `count` messages that `wanted` takes, once they are there. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                found = [message for message in self._messages if wanted(message)][:count]
                if len(found) >= count:
                    return found
                await self._arrived.wait()
