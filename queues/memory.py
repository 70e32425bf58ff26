"""The queues in this process's memory: for one process. The same semantics as Redis; a restart is a FLUSHALL."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from appeals.errors import TransientError
from queues.agent_queue_id import (
    AGENT_QUEUE_KEEPS,
    FROM_NOW,
    FROM_OLDEST,
    START,
    AgentQueueId,
    has_gap,
    new_epoch,
)
from queues.port import READ_BATCH, AgentQueueEntry, LeaseGrant, Queues, StreamDepth, WorkItem


@dataclass(slots=True)
class _Pending:
    """An item that was handed out."""

    fields: Mapping[str, str]
    tries: int
    handed_out_at: float


@dataclass(slots=True)
class _WorkStream:
    waiting: deque[tuple[int, Mapping[str, str]]] = field(default_factory=deque)
    pending: dict[int, _Pending] = field(default_factory=dict)  # by number, oldest first
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))


@dataclass(slots=True)
class _AgentQueue:
    entries: deque[tuple[int, Mapping[str, object]]] = field(default_factory=lambda: deque(maxlen=AGENT_QUEUE_KEEPS))
    added: int = 0  # also the newest entry's number


class _Bell:
    """Wakes everybody who waits for something new under a key."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    def ring(self, key: str) -> None:
        for waiter in self._waiters.pop(key, ()):
            if not waiter.done():
                waiter.set_result(None)

    def ring_all(self) -> None:
        for key in tuple(self._waiters):
            self.ring(key)

    async def wait(self, key: str, *, until: float) -> bool:
        """Wait for the bell until the loop's time `until`; False if it did not ring."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, set()).add(waiter)
        try:
            async with asyncio.timeout_at(until):
                await waiter
        except TimeoutError:
            return False
        finally:
            waiters = self._waiters.get(key)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiters[key]
        return True


class MemoryQueues(Queues):
    """The port in memory. Everything happens on one event loop, so each method is one step but where it waits."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, never backwards; for presence, leases and idle times."""
        self._clock = clock
        self._streams: dict[str, _WorkStream] = {}
        self._agent_queues: dict[str, _AgentQueue] = {}
        self._epoch = new_epoch()
        self._presence: dict[tuple[str, str], float] = {}
        self._leases: dict[str, tuple[LeaseGrant, float]] = {}
        self._tokens: dict[str, int] = {}
        self._bell = _Bell()
        self._stopped = False

    # ---- life

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Wake blocked readers, which return nothing."""
        self._stopped = True
        self._bell.ring_all()

    async def ping(self) -> None:
        """Return at once: there is nothing to be out of reach."""

    # ---- work streams

    def _stream(self, stream: str) -> _WorkStream:
        return self._streams.setdefault(stream, _WorkStream())

    async def add(self, stream: str, items: Sequence[Mapping[str, str]]) -> None:
        """Append `items` in order."""
        held = self._stream(stream)
        held.waiting.extend((next(held.numbers), dict(item)) for item in items)
        if items:
            self._bell.ring(f"stream:{stream}")

    async def read(
        self, stream: str, *, consumer: str, count: int = READ_BATCH, block_s: float = 1.0
    ) -> list[WorkItem]:
        """Hand out new items; which consumer holds one does not matter here."""
        del consumer
        self._check_running()
        held = self._stream(stream)
        until = asyncio.get_running_loop().time() + block_s
        while not held.waiting and not self._stopped:
            if block_s <= 0 or not await self._bell.wait(f"stream:{stream}", until=until):
                return []
        items: list[WorkItem] = []
        while held.waiting and len(items) < count and not self._stopped:
            number, fields = held.waiting.popleft()
            held.pending[number] = _Pending(fields=fields, tries=1, handed_out_at=self._clock())
            items.append(WorkItem(id=_item_id(number), fields=fields, tries=1))
        return items

    async def ack(self, stream: str, ids: Sequence[str]) -> None:
        """Drop items that were handed out."""
        pending = self._stream(stream).pending
        for item_id in ids:
            pending.pop(int(item_id), None)

    async def claim(self, stream: str, *, consumer: str, idle_s: float, count: int = READ_BATCH) -> list[WorkItem]:
        """Hand out again what was handed out more than `idle_s` ago."""
        del consumer
        now = self._clock()
        overdue = (
            (number, item)
            for number, item in self._stream(stream).pending.items()
            if now - item.handed_out_at >= idle_s
        )
        items = []
        for number, item in itertools.islice(overdue, count):
            item.tries += 1
            item.handed_out_at = now
            items.append(WorkItem(id=_item_id(number), fields=item.fields, tries=item.tries))
        return items

    async def touch(self, stream: str, ids: Sequence[str], *, consumer: str) -> None:
        """Renew the age of items in hand."""
        del consumer
        pending = self._stream(stream).pending
        for item_id in ids:
            item = pending.get(int(item_id))
            if item is not None:
                item.handed_out_at = self._clock()

    async def depth(self, stream: str) -> StreamDepth:
        """Count what the stream holds."""
        held = self._stream(stream)
        return StreamDepth(waiting=len(held.waiting), pending=len(held.pending))

    # ---- agent queues

    def _agent_queue(self, agent_id: str) -> _AgentQueue:
        return self._agent_queues.setdefault(agent_id, _AgentQueue())

    async def push(self, messages: Sequence[tuple[str, Mapping[str, object]]]) -> list[str]:
        """Append to agents' queues."""
        ids = []
        for agent_id, message in messages:
            queue = self._agent_queue(agent_id)
            queue.added += 1
            queue.entries.append((queue.added, dict(message)))
            ids.append(self._entry_id(queue.added))
            self._bell.ring(f"agent:{agent_id}")
        return ids

    async def read_agent_queue(
        self, agent_id: str, *, after_id: str, count: int = READ_BATCH, block_s: float = 1.0
    ) -> list[AgentQueueEntry]:
        """Return entries after `after_id`; from the oldest kept if that id is of another epoch or none at all."""
        self._check_running()
        queue = self._agent_queue(agent_id)
        after = self._number(after_id, newest=queue.added)
        until = asyncio.get_running_loop().time() + block_s
        while queue.added <= after and not self._stopped:
            if block_s <= 0 or not await self._bell.wait(f"agent:{agent_id}", until=until):
                return []
        if self._stopped:
            return []
        later = ((number, message) for number, message in queue.entries if number > after)
        return [
            AgentQueueEntry(id=self._entry_id(number), message=message)
            for number, message in itertools.islice(later, count)
        ]

    async def agent_queue_tail(self, agent_id: str) -> str:
        """Return the newest entry's id; of an empty queue the id before its first."""
        return self._entry_id(self._agent_queue(agent_id).added)

    async def agent_queue_has_gap(self, agent_id: str, after_id: str) -> bool:
        """Tell whether entries after `after_id` may be gone."""
        queue = self._agent_queue(agent_id)
        oldest = (0, queue.entries[0][0]) if queue.entries else None
        return has_gap(after_id, epoch=self._epoch, oldest=oldest, trimmed=queue.added > len(queue.entries))

    def _entry_id(self, number: int) -> str:
        return str(AgentQueueId(epoch=self._epoch, place=(0, number)))

    def _number(self, after_id: str, *, newest: int) -> int:
        """Return the number after which to read."""
        if after_id == FROM_NOW:
            return newest
        seen = None if after_id == FROM_OLDEST else AgentQueueId.parse(after_id)
        if seen is None or seen.epoch != self._epoch:
            return START[1]
        return seen.place[1]

    # ---- presence

    async def beat(self, agent_id: str, connection_id: str, *, ttl_s: float) -> None:
        """Note a living connection."""
        self._presence[agent_id, connection_id] = self._clock() + ttl_s

    async def leave(self, agent_id: str, connection_id: str) -> None:
        """Forget a connection."""
        self._presence.pop((agent_id, connection_id), None)

    async def present(self) -> frozenset[str]:
        """Return agents with a living connection."""
        now = self._clock()
        self._presence = {member: expires for member, expires in self._presence.items() if expires > now}
        return frozenset(agent_id for agent_id, _ in self._presence)

    # ---- lease

    async def acquire_lease(self, name: str, holder: str, *, ttl_s: float, at_least: int) -> LeaseGrant | None:
        """Win a free lease with a token above `at_least` and all granted before, else None."""
        if self._held_lease(name) is not None:
            return None
        token = max(self._tokens.get(name, 0), at_least) + 1
        self._tokens[name] = token
        grant = LeaseGrant(name=name, holder=holder, token=token)
        self._leases[name] = (grant, self._clock() + ttl_s)
        return grant

    async def renew_lease(self, grant: LeaseGrant, *, ttl_s: float) -> bool:
        """Prolong the lease if it is still ours."""
        if self._held_lease(grant.name) != grant:
            return False
        self._leases[grant.name] = (grant, self._clock() + ttl_s)
        return True

    async def release_lease(self, grant: LeaseGrant) -> None:
        """Give the lease back if it is still ours."""
        if self._held_lease(grant.name) == grant:
            del self._leases[grant.name]

    def _held_lease(self, name: str) -> LeaseGrant | None:
        grant, expires = self._leases.get(name, (None, 0.0))
        return grant if expires > self._clock() else None

    def _check_running(self) -> None:
        if self._stopped:
            raise TransientError("the queues are stopped")


def _item_id(number: int) -> str:
    return f"{number:016d}"  # ordered as text, too
