"""The loop of every consumer of a work stream: read, handle, acknowledge; retry, isolate, give up, stop in order.

What happens to an item whose handling fails:

| the handler raises | then |
|---|---|
| TransientError for whatever is tried | the items go back to the stream's end, tries forgotten; the loop backs off |
| TransientError for some, while others pass | those wait until they count as left behind, tries forgotten at last |
| PermanentError for the item alone | `on_poison` at once |
| anything else for the item alone | tried again when it counts as left behind; `on_poison` after `max_tries` |
| nothing, as the process dies | another worker claims it, alone; `on_poison` when that happened `max_tries` times |
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import structlog

from appeals.errors import PermanentError, StaleLeaderError, TransientError
from queues.port import READ_BATCH, Queues, WorkItem

Handler = Callable[[list[WorkItem]], Awaitable[None]]
PoisonHandler = Callable[[WorkItem, Exception], Awaitable[None]]

FIRST_BACK_OFF_S: Final = 0.1
GATHERING_PER_ITEM_S: Final = 0.0015
MAX_GATHERING_S: Final = 0.15
MAX_YIELD_S: Final = 5.0
YIELD_POLL_S: Final = 0.05
OUTAGE_AFTER: Final = 3  # items in a row that fail transiently, none having passed: it is not the items' fault

logger = structlog.get_logger(__name__)


def gathering_pause_s(items: int) -> float:
    """Return how long to let the next items gather after a batch of `items`, in seconds.

    A batch has a fixed cost, most of it transactions, and shares its process with the intake, which must not wait. So
    the busier a stage is, the larger its batches become, within what an agent does not notice; alone, it never pauses.
    """
    return min(MAX_GATHERING_S, (items - 1) * GATHERING_PER_ITEM_S)


async def let_go_first(is_pressed: Callable[[], bool]) -> None:
    """Wait while `is_pressed`, at most MAX_YIELD_S: what is registered can wait, what is not may be lost."""
    loop = asyncio.get_running_loop()
    until = loop.time() + MAX_YIELD_S
    while is_pressed() and loop.time() < until:  # noqa: ASYNC110 - asked seldom; an event would cost each message
        await asyncio.sleep(YIELD_POLL_S)


class WorkerLoop:
    """One consumer of one work stream. `run` never ends by an error of an item or of the backend.

    `handle` gets up to `batch` items and must be idempotent: an item may come again at any time. It raises
    TransientError when what it leans on is out of reach, PermanentError when an item can never succeed.
    `on_poison` keeps a hopeless item where people see it (quarantine); only when it returns is the item acknowledged.
    A StaleLeaderError of `handle` ends `run` with that error: the items belong to the next leader.
    """

    def __init__(
        self,
        queues: Queues,
        stream: str,
        *,
        consumer: str,
        handle: Handler,
        on_poison: PoisonHandler,
        max_tries: int = 5,
        claim_idle_s: float = 30.0,
        batch: int = READ_BATCH,
        block_s: float = 1.0,
        gather: bool = False,
        yield_to: Callable[[], bool] = lambda: False,
        max_back_off_s: float = 2.0,
    ) -> None:
        """`consumer`: unique among all processes. `block_s`: the longest a stop waits while nothing is in hand.

        `gather`: in busy times, let items gather before the next read (`gathering_pause_s`). `yield_to`: while it is
        true, a batch is put off, at most MAX_YIELD_S.
        """
        self._queues = queues
        self._stream = stream
        self._consumer = consumer
        self._handle = handle
        self._on_poison = on_poison
        self._max_tries = max_tries
        self._claim_idle_s = claim_idle_s
        self._batch = batch
        self._block_s = block_s
        self._gather = gather
        self._yield_to = yield_to
        self._max_back_off_s = max_back_off_s
        self._stopping = asyncio.Event()
        self._failures = 0  # turns in a row that ended in a back-off
        self._next_claim_at = 0.0  # event loop's time
        self._log = logger.bind(stream=stream, consumer=consumer)

    def stop(self) -> None:
        """Let `run` finish the batch in hand and return. May be called more than once, before `run` too."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop`. Cancellation leaves what is in hand to be claimed by another worker."""
        self._log.info("worker.started")
        cancelled = _cancellation_check()
        while not self._stopping.is_set() and not cancelled():
            try:
                await self._turn()
            except StaleLeaderError:
                self._log.warning("worker.leadership_lost")
                raise
            except TransientError as error:
                await self._back_off(error)
            except Exception as error:  # noqa: BLE001 - a worker that dies of a bug stops a whole stage
                self._log.error("worker.turn_failed", exc_info=error)
                await self._back_off(error)
        if cancelled():
            raise asyncio.CancelledError
        self._log.info("worker.stopped")

    async def _turn(self) -> None:
        if asyncio.get_running_loop().time() >= self._next_claim_at:
            await self._take_over()
        items = await self._queues.read(self._stream, consumer=self._consumer, count=self._batch, block_s=self._block_s)
        if items:
            await self._work_through(items)
        self._failures = 0
        if self._gather and 1 < len(items) < self._batch:
            await asyncio.sleep(gathering_pause_s(len(items)))
        if len(items) > 1:
            await let_go_first(self._yield_to)

    async def _back_off(self, error: Exception) -> None:
        """Wait, longer each time, with jitter so that workers do not come back all at once; `stop` ends it."""
        ceiling = min(self._max_back_off_s, FIRST_BACK_OFF_S * 2 ** min(self._failures, 16))
        delay_s = random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter, not a secret
        if isinstance(error, TransientError) and error.retry_after_s is not None:
            delay_s = max(delay_s, min(error.retry_after_s, self._claim_idle_s))
        self._failures += 1
        self._log.warning("worker.backing_off", delay_s=round(delay_s, 3), failures=self._failures, error=str(error))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()

    # ---- items of dead workers

    async def _take_over(self) -> None:
        """Work on what was left behind, one by one: a claim counts a try, and only an item that kills may lose one."""
        while not self._stopping.is_set():
            items = await self._queues.claim(self._stream, consumer=self._consumer, idle_s=self._claim_idle_s, count=1)
            if not items:
                break
            self._log.info("worker.item_claimed", item_id=items[0].id, tries=items[0].tries)
            await self._work_through(items)
        pause_s = self._claim_idle_s * random.uniform(0.25, 0.5)  # noqa: S311 - jitter, not a secret
        self._next_claim_at = asyncio.get_running_loop().time() + pause_s

    # ---- one batch

    async def _work_through(self, items: list[WorkItem]) -> None:
        """Handle `items` together; if that fails, one by one. Raises TransientError when it is not the items' fault."""
        async with self._held(items):
            if len(items) == 1 or not await self._passes_together(items):
                await self._isolate(items)

    async def _passes_together(self, items: list[WorkItem]) -> bool:
        try:
            await self._handle(items)
        except StaleLeaderError:
            raise
        except Exception as error:  # noqa: BLE001 - told apart item by item
            self._log.warning("worker.batch_failed", items=len(items), error_type=type(error).__name__)
            return False
        await self._ack(items)
        return True

    async def _isolate(self, items: Sequence[WorkItem]) -> None:
        """Handle items one by one, so that a bad one harms no other."""
        put_off: list[WorkItem] = []
        for position, item in enumerate(items):
            try:
                await self._handle_alone(item)
            except TransientError:
                put_off.append(item)
                none_passed = len(put_off) == position + 1
                if none_passed and (len(put_off) == OUTAGE_AFTER or len(put_off) == len(items)):
                    await self._requeue([*items[position + 1 :], *put_off])  # the untried ones get their turn first
                    raise
        await self._requeue([item for item in put_off if item.tries >= self._max_tries])

    async def _handle_alone(self, item: WorkItem) -> None:
        """Handle one item and settle it. Raises TransientError if it is to be tried again at no cost."""
        if item.tries > self._max_tries:
            await self._give_up(item, PermanentError(f"its worker died or failed {self._max_tries} times"))
            return
        try:
            await self._handle([item])
        except (TransientError, StaleLeaderError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this item's
            if isinstance(error, PermanentError) or item.tries >= self._max_tries:
                await self._give_up(item, error)
            else:
                self._log.warning("worker.item_failed", item_id=item.id, tries=item.tries, exc_info=error)
        else:
            await self._ack([item])

    async def _give_up(self, item: WorkItem, error: Exception) -> None:
        """Hand a hopeless item to quarantine; unless that succeeds it stays pending and is given up again later."""
        try:
            await self._on_poison(item, error)
        except (TransientError, StaleLeaderError):
            raise
        except Exception as failure:  # noqa: BLE001 - the item must not be lost, nor the loop stopped
            self._log.error("worker.quarantine_failed", item_id=item.id, exc_info=failure)
            return
        self._log.error("worker.item_quarantined", item_id=item.id, tries=item.tries, exc_info=error)
        await self._ack([item])

    async def _requeue(self, items: Sequence[WorkItem]) -> None:
        """Put items back at the stream's end as new ones; added first, so that a crash doubles and never loses them."""
        await self._queues.add(self._stream, [item.fields for item in items])
        await self._ack(items)

    async def _ack(self, items: Sequence[WorkItem]) -> None:
        await self._queues.ack(self._stream, [item.id for item in items])

    @contextlib.asynccontextmanager
    async def _held(self, items: Sequence[WorkItem]) -> AsyncIterator[None]:
        """Keep showing that the items are worked on, so that slow is not taken for dead."""
        keeper = asyncio.create_task(self._keep_touching([item.id for item in items]))
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait({keeper})

    async def _keep_touching(self, ids: Sequence[str]) -> None:
        while True:
            await asyncio.sleep(self._claim_idle_s / 3)
            try:
                await self._queues.touch(self._stream, ids, consumer=self._consumer)
            except TransientError as error:
                self._log.warning("worker.touch_failed", error=str(error))


def _cancellation_check() -> Callable[[], bool]:
    """Return a function that tells whether this task was cancelled since.

    Some library under a handler may swallow it: asyncio.wait_for does on Python 3.11 (python/cpython#86296).
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    return lambda: task is not None and task.cancelling() > before
