"""The worker loop loses nothing, isolates the bad, survives its backend, and stops in order."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from appeals.errors import PermanentError, StaleLeaderError, TransientError
from queues.memory import MemoryQueues
from queues.port import WorkItem
from queues.worker import WorkerLoop

STREAM = "deliver"
LONG_S = 10.0


class Office:
    """Counts what its handler sees; `fault` decides what it raises for an item."""

    def __init__(self, fault: Callable[[str], Exception | None] = lambda _: None) -> None:
        self.seen: Counter[str] = Counter()
        self.batches: list[list[str]] = []
        self.done: set[str] = set()
        self.poison: dict[str, Exception] = {}
        self.fault = fault

    async def handle(self, items: list[WorkItem]) -> None:
        names = [item.fields["reply_id"] for item in items]
        self.batches.append(names)
        self.seen.update(names)
        for name in names:
            error = self.fault(name)
            if error is not None:
                raise error
        self.done.update(names)

    async def quarantine(self, item: WorkItem, error: Exception) -> None:
        self.poison[item.fields["reply_id"]] = error


def loop_of(office: Office, queues: MemoryQueues, **changes: Any) -> WorkerLoop:
    options: dict[str, Any] = {
        "consumer": "a",
        "handle": office.handle,
        "on_poison": office.quarantine,
        "max_tries": 3,
        "claim_idle_s": 0.02,
        "block_s": 0.02,
        "max_back_off_s": 0.02,
    }
    return WorkerLoop(queues, STREAM, **(options | changes))


@contextlib.asynccontextmanager
async def running(worker: WorkerLoop) -> AsyncIterator[None]:
    """Run the loop; at the end stop it and expect that it ends by itself."""
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        async with asyncio.timeout(LONG_S):
            await task


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(LONG_S):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.002)


def is_empty(queues: MemoryQueues) -> Callable[[], Awaitable[bool]]:
    async def empty() -> bool:
        depth = await queues.depth(STREAM)
        return depth.waiting == depth.pending == 0

    return empty


async def add(queues: MemoryQueues, *names: str) -> None:
    await queues.add(STREAM, [{"reply_id": name} for name in names])


async def test_a_batch_is_handled_once_and_acknowledged() -> None:
    """Good items are handled together, each once, and leave the stream."""
    queues, office = MemoryQueues(), Office()
    await add(queues, *"abcde")
    async with running(loop_of(office, queues)):
        await eventually(is_empty(queues))
    assert office.batches == [list("abcde")]


async def test_the_poison_item_is_isolated_and_its_neighbours_pass() -> None:
    """A PermanentError quarantines that item alone, at once, with its error; the others are handled."""
    error = PermanentError("no such address")
    queues, office = MemoryQueues(), Office(lambda name: error if name == "c" else None)
    await add(queues, *"abcde")
    async with running(loop_of(office, queues)):
        await eventually(is_empty(queues))
    assert office.done == set("abde")
    assert office.poison == {"c": error}


async def test_a_bug_is_tried_a_bounded_number_of_times() -> None:
    """An unexpected exception is tried `max_tries` times as left behind, then quarantined."""
    queues, office = MemoryQueues(), Office(lambda name: KeyError(name) if name == "b" else None)
    await add(queues, *"ab")
    async with running(loop_of(office, queues)):
        await eventually(is_empty(queues))
    assert office.batches == [["a", "b"], ["a"], ["b"], ["b"], ["b"]]  # together; apart; twice again as left behind
    assert isinstance(office.poison["b"], KeyError)


async def test_an_item_that_killed_its_workers_is_quarantined_unhandled() -> None:
    """After `max_tries` hand-outs that nobody acknowledged it is not handled again, and its neighbours are."""
    queues, office = MemoryQueues(), Office()
    await add(queues, "killer", "other")
    killer, _ = await queues.read(STREAM, consumer="dead", block_s=0)
    for _ in range(2):
        await queues.claim(STREAM, consumer="dead", idle_s=0, count=1)
    async with running(loop_of(office, queues, max_tries=3)):
        await eventually(is_empty(queues))
    assert killer.fields["reply_id"] == "killer"
    assert set(office.poison) == {"killer"}
    assert office.batches == [["other"]]


async def test_an_outage_costs_no_tries_and_ends_by_itself() -> None:
    """While everything fails transiently nothing is quarantined, however often; afterwards all is handled."""
    queues, office = MemoryQueues(), Office()
    fails = iter(range(12))
    office.fault = lambda _: TransientError("registry down") if next(fails, None) is not None else None
    await add(queues, *"abcdef")
    async with running(loop_of(office, queues, max_tries=1)):
        await eventually(is_empty(queues))
    assert office.done == set("abcdef")
    assert office.poison == {}


async def test_items_that_fail_transiently_hold_up_no_others() -> None:
    """Even several at the head of a batch: the others pass, and these are tried again and never quarantined."""
    stuck = set("abcd")
    queues, office = MemoryQueues(), Office(lambda name: TransientError("gateway") if name in stuck else None)
    await add(queues, *"abcdefgh")
    async with running(loop_of(office, queues, max_tries=2)):
        await eventually(lambda: office.done == set("efgh") and min(office.seen[name] for name in "abcd") > 4)
        stuck.clear()
        await eventually(is_empty(queues))
    assert office.done == set("abcdefgh")
    assert office.poison == {}


async def test_a_failed_quarantine_keeps_the_item() -> None:
    """If `on_poison` fails, by an outage or a bug, the item stays and is given up again later."""
    queues, office = MemoryQueues(), Office(lambda _: PermanentError("bad"))
    failures: list[Exception] = [TransientError("registry down"), RuntimeError("bug"), TransientError("registry down")]

    async def quarantine(item: WorkItem, error: Exception) -> None:
        if failures:
            raise failures.pop()
        await office.quarantine(item, error)

    await add(queues, "a")
    async with running(loop_of(office, queues, on_poison=quarantine)):
        await eventually(is_empty(queues))
    assert list(office.poison) == ["a"]


class FlakyQueues(MemoryQueues):
    """A backend that is out of reach for the first `outages` calls of each kind, once before and once after the deed."""

    def __init__(self, outages: int, error: Exception) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.outages = outages
        self.error = error

    def _fail(self, method: str) -> None:
        self.calls[method] += 1
        if self.calls[method] <= self.outages:
            raise self.error

    async def read(self, stream: str, **options: Any) -> list[WorkItem]:
        self._fail("read")
        items = await super().read(stream, **options)
        self._fail("read's reply")  # handed out, and the reply was lost
        return items

    async def claim(self, stream: str, **options: Any) -> list[WorkItem]:
        self._fail("claim")
        return await super().claim(stream, **options)

    async def ack(self, stream: str, ids: Sequence[str]) -> None:
        self._fail("ack")
        await super().ack(stream, ids)


@pytest.mark.parametrize("error", [TransientError("out of reach"), RuntimeError("a bug")])
async def test_the_loop_survives_its_backend(error: Exception) -> None:
    """Failing reads, claims and acknowledgements never end the loop nor lose an item."""
    queues, office = FlakyQueues(2, error), Office()
    await add(queues, *"abc")
    async with running(loop_of(office, queues, max_tries=50)):
        await eventually(is_empty(queues))
    assert office.done == set("abc")
    assert office.poison == {}


async def test_a_lost_leadership_ends_the_loop() -> None:
    """StaleLeaderError comes out of `run`; the items stay for the next leader."""
    queues, office = MemoryQueues(), Office(lambda _: StaleLeaderError("newer token"))
    await add(queues, "a", "b")
    with pytest.raises(StaleLeaderError):
        await loop_of(office, queues).run()
    assert (await queues.depth(STREAM)).pending == 2
    assert office.poison == {}


async def test_stop_finishes_the_batch_in_hand() -> None:
    """A stop while items are handled lets them be handled and acknowledged; no further batch is begun."""
    queues, started, go_on = MemoryQueues(), asyncio.Event(), asyncio.Event()
    handled = []

    async def slow(items: list[WorkItem]) -> None:
        started.set()
        await go_on.wait()
        handled.extend(item.fields["reply_id"] for item in items)

    worker = loop_of(Office(), queues, handle=slow, batch=2)
    await add(queues, *"abcd")
    task = asyncio.create_task(worker.run())
    await started.wait()
    worker.stop()
    worker.stop()
    go_on.set()
    async with asyncio.timeout(LONG_S):
        await task
    assert handled == ["a", "b"]
    depth = await queues.depth(STREAM)
    assert (depth.waiting, depth.pending) == (2, 0)


async def test_stop_ends_a_back_off() -> None:
    """Nobody waits for a long back-off at a stop, not even one that the other side asked for."""
    error = TransientError("gateway busy", retry_after_s=3600)
    queues, office = MemoryQueues(), Office(lambda _: error)
    await add(queues, "a")
    async with running(loop_of(office, queues, claim_idle_s=3600)):
        await eventually(lambda: office.seen["a"] == 1)
    assert office.seen["a"] == 1


async def test_a_stop_before_the_start_does_nothing() -> None:
    """A worker that was stopped before it ran handles nothing."""
    queues, office = MemoryQueues(), Office()
    await add(queues, "a")
    worker = loop_of(office, queues)
    worker.stop()
    await worker.run()
    assert office.batches == []


async def test_a_slow_worker_is_not_taken_for_dead() -> None:
    """While a batch takes many times the idle time, another worker does not get its items."""
    go_on, slow_office, quick_office = asyncio.Event(), Office(), Office()
    idle_checks = 0

    async def slow(items: list[WorkItem]) -> None:
        await go_on.wait()
        await slow_office.handle(items)

    class Watched(MemoryQueues):
        async def claim(self, stream: str, **options: Any) -> list[WorkItem]:
            nonlocal idle_checks
            idle_checks += 1
            return await super().claim(stream, **options)

    queues = Watched()
    await add(queues, "a")
    async with running(loop_of(slow_office, queues, handle=slow, claim_idle_s=0.3)):
        await eventually(lambda: bool(queues._streams[STREAM].pending))
        async with running(loop_of(quick_office, queues, consumer="b", claim_idle_s=0.3)):
            await eventually(lambda: idle_checks > 5)
        go_on.set()
        await eventually(is_empty(queues))
    assert quick_office.batches == []
    assert slow_office.batches == [["a"]]


async def test_a_cancelled_worker_leaves_its_items_to_another() -> None:
    """Cancellation in the middle of a batch loses nothing."""
    queues, office = MemoryQueues(), Office()
    started = asyncio.Event()

    async def hang(_items: list[WorkItem]) -> None:
        started.set()
        await asyncio.Event().wait()

    await add(queues, *"abc")
    task = asyncio.create_task(loop_of(office, queues, handle=hang).run())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with running(loop_of(office, queues, consumer="b")):
        await eventually(is_empty(queues))
    assert office.done == set("abc")


async def test_a_swallowed_cancellation_still_ends_the_worker() -> None:
    """A handler whose library swallows the cancellation does not make the worker immortal; its items are done."""
    queues, office, started = MemoryQueues(), Office(), asyncio.Event()

    async def swallow(items: list[WorkItem]) -> None:
        started.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await office.handle(items)

    await add(queues, "a")
    task = asyncio.create_task(loop_of(office, queues, handle=swallow).run())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(LONG_S):
            await task
    assert office.done == {"a"}
