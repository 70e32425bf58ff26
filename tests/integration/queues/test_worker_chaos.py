"""Workers that die at random, on queues that die at random: every item is handled at least once."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from appeals.errors import TransientError
from queues.memory import MemoryQueues
from queues.port import Queues, WorkItem
from queues.redis import RedisQueues
from queues.worker import WorkerLoop
from tests.servers import RedisServer

STREAM = "classify"
ITEMS = 400
WORKERS = 4
DEADLINE_S = 60.0  # takes about 3 s


class Registry:
    """The truth: what there is to do, what is done; as Okno's registry, the queues hold only ids of it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.open = {str(number) for number in range(ITEMS)}
        self.handled: Counter[str] = Counter()
        self.poison: list[WorkItem] = []
        self.all_done = asyncio.Event()

    async def handle(self, items: list[WorkItem]) -> None:
        """Take a moment, fail now and then as a whole, else do all."""
        await asyncio.sleep(self.rng.uniform(0, 0.01))
        if self.rng.random() < 0.1:
            raise TransientError("the registry is out of reach")
        names = {item.fields["appeal_id"] for item in items}
        self.handled.update(names)
        self.open -= names
        if not self.open:
            self.all_done.set()

    async def quarantine(self, item: WorkItem, _error: Exception) -> None:
        self.poison.append(item)


async def add(queues: Queues, names: list[str]) -> None:
    """Add names in batches, each again until it is taken."""
    for start in range(0, len(names), 50):
        while True:
            try:
                await queues.add(STREAM, [{"appeal_id": name} for name in names[start : start + 50]])
            except TransientError:
                await asyncio.sleep(0.01)
            else:
                break


@contextlib.asynccontextmanager
async def mortal_workers(queues: Queues, registry: Registry) -> AsyncIterator[Callable[[], None]]:
    """Run workers; what is yielded kills a random one (cancels it wherever it is) and puts another in its place."""
    born = 0
    tasks: list[asyncio.Task[None]] = []

    def bear() -> asyncio.Task[None]:
        nonlocal born
        born += 1
        worker = WorkerLoop(
            queues,
            STREAM,
            consumer=f"worker-{born}",
            handle=registry.handle,
            on_poison=registry.quarantine,
            max_tries=50,  # many die here, none of an item's fault
            claim_idle_s=0.1,
            batch=20,
            block_s=0.05,
            max_back_off_s=0.05,
        )
        return asyncio.create_task(worker.run())

    def kill_one() -> None:
        victim = registry.rng.randrange(WORKERS)
        dying.append(tasks[victim])
        tasks[victim].cancel()
        tasks[victim] = bear()

    dying: list[asyncio.Task[None]] = []
    tasks.extend(bear() for _ in range(WORKERS))
    try:
        yield kill_one
    finally:
        dying.extend(tasks)
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(DEADLINE_S):  # a library that swallows cancellations would hang us here
            outcomes = await asyncio.gather(*dying, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}, "a worker ended by itself"


@pytest.fixture(params=["memory", "redis"])
async def queues(request: pytest.FixtureRequest) -> AsyncIterator[Queues]:
    backend: Queues = MemoryQueues() if request.param == "memory" else RedisQueues(request.getfixturevalue("redis_url"))
    await backend.start()
    yield backend
    await backend.stop()


@pytest.mark.parametrize("seed", [1, 2])
async def test_dying_workers_lose_nothing(queues: Queues, seed: int) -> None:
    """The queues live on: claims alone bring back all that dead workers held; each item is added only once."""
    registry = Registry(random.Random(seed))  # noqa: S311 - repeatable
    await add(queues, sorted(registry.open))
    async with mortal_workers(queues, registry) as kill_one, asyncio.timeout(DEADLINE_S):
        while not registry.all_done.is_set():
            kill_one()
            await asyncio.sleep(registry.rng.uniform(0, 0.03))
    assert len(registry.handled) == ITEMS
    assert registry.poison == []


async def test_dying_workers_and_a_dying_redis_lose_nothing(own_redis_server: RedisServer) -> None:
    """Redis is flushed and killed under load again and again: the sweep of the registry refills it, all is handled."""
    registry = Registry(random.Random(3))  # noqa: S311 - repeatable
    queues = RedisQueues(own_redis_server.url)
    await queues.start()

    async def sweep() -> None:
        while True:
            await add(queues, sorted(registry.open))
            await asyncio.sleep(0.3)

    blows = 0
    async with mortal_workers(queues, registry) as kill_one, asyncio.timeout(DEADLINE_S):
        sweeper = asyncio.create_task(sweep())
        while not registry.all_done.is_set() or blows < 6:
            if blows < 6:
                registry.open |= {str(ITEMS + blows)}  # something to lose at each blow
                registry.all_done.clear()
            await asyncio.sleep(registry.rng.uniform(0, 0.1))
            kill_one()
            if blows % 2:
                await asyncio.to_thread(own_redis_server.restart)
            else:
                own_redis_server.flushall()
            blows += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await registry.all_done.wait()
        sweeper.cancel()
        await asyncio.wait({sweeper})
    await queues.stop()
    assert set(registry.handled) == {str(number) for number in range(ITEMS + 6)}
    assert registry.poison == []
