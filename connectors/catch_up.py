"""Catching up with a gateway: what it took for us while our hook could not be called is asked for afterwards."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from appeals.errors import OknoError

logger = structlog.get_logger(__name__)

CURSOR = "caught_up_to"
INTERVAL_S = 300.0
OVERLAP = timedelta(hours=1)  # the gateway's clock and the order of its lists are not ours
MAX_REMEMBERED = 10_000  # messages known to be kept; the others are registered again, which changes nothing


class KeptIds:
    """The newest ids of messages that are kept already."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._ids

    def remember(self, message_id: str) -> None:
        """Note that a message is kept."""
        self._ids[message_id] = None
        while len(self._ids) > MAX_REMEMBERED:
            self._ids.popitem(last=False)


async def catch_up_regularly(
    catch_up: Callable[[], Awaitable[object]], stopping: asyncio.Event, *, connector: str
) -> None:
    """Call `catch_up` now and every INTERVAL_S until `stopping`; a failure is logged and made up for the next time."""
    while not stopping.is_set():
        try:
            await catch_up()
        except OknoError as error:
            logger.warning("connector.catch_up_failed", connector=connector, reason=str(error))
        except Exception:  # a bug of ours; the hooks go on
            logger.exception("connector.catch_up_failed", connector=connector)
        try:
            async with asyncio.timeout(INTERVAL_S):
                await stopping.wait()
        except TimeoutError:
            continue
