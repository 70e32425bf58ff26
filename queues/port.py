"""The port of the queues: work streams, agent queues, presence and the lease. Queues hold no truth (P3)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RECOGNISE = "recognise"  # {"envelope_id"}: messages whose words are in pictures
CLASSIFY = "classify"  # {"appeal_id"}: registered appeals that need a topic
ROUTE = "route"  # {"appeal_id"} or {"agent_id"}: something about it changed, read it again
DELIVER = "deliver"  # {"reply_id"}: replies to send
STREAMS = (RECOGNISE, CLASSIFY, ROUTE, DELIVER)

READ_BATCH = 50  # items a call: 18,000 a second through Redis; one by one 2,000


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkItem:
    """One entry of a work stream as a consumer holds it."""

    id: str  # opaque, ordered within the stream
    fields: Mapping[str, str]
    tries: int  # how often it has been handed out, this time included; 1 is the first


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamDepth:
    """How much a work stream holds."""

    waiting: int  # added, not yet handed out
    pending: int  # handed out, not yet acknowledged


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentQueueEntry:
    """One message of an agent queue. `id` orders it: a console that comes back names the last id it saw."""

    id: str
    message: Mapping[str, object]  # JSON object


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseGrant:
    """A lease that was won. `token` is greater than every token granted for that name before, and than `at_least`."""

    name: str
    holder: str
    token: int


class Queues(ABC):
    """One backend of the queues. All methods may raise TransientError when the backend is out of reach.

    Delivery is at least once everywhere: consumers are idempotent. A backend that lost all it held (FLUSHALL,
    restart) behaves like an empty one: streams, groups and keys are made anew by the call that needs them, and the
    sweeper refills them from the registry.
    """

    # ---- life
    @abstractmethod
    async def start(self) -> None:
        """Connect and check the server's version. Raises ConfigurationError with what to do."""

    @abstractmethod
    async def stop(self) -> None:
        """Let go of all connections. Blocked readers return empty-handed."""

    @abstractmethod
    async def ping(self) -> None:
        """Raise TransientError unless the backend answers now."""

    # ---- work streams: one consumer group a stream, named like the stream
    @abstractmethod
    async def add(self, stream: str, items: Sequence[Mapping[str, str]]) -> None:
        """Append `items` in order, in one round trip."""

    @abstractmethod
    async def read(
        self, stream: str, *, consumer: str, count: int = READ_BATCH, block_s: float = 1.0
    ) -> list[WorkItem]:
        """Hand out up to `count` new items to `consumer`; wait up to `block_s` seconds for the first."""

    @abstractmethod
    async def ack(self, stream: str, ids: Sequence[str]) -> None:
        """Mark items as done and drop them from the stream. Unknown ids are ignored."""

    @abstractmethod
    async def claim(self, stream: str, *, consumer: str, idle_s: float, count: int = READ_BATCH) -> list[WorkItem]:
        """Take over items handed out more than `idle_s` seconds ago and never acknowledged: their worker is dead."""

    @abstractmethod
    async def touch(self, stream: str, ids: Sequence[str], *, consumer: str) -> None:
        """Show that `consumer` still works on items it holds: `claim` sees them as handed out now, no try is counted.

        Ids that are not pending are ignored.
        """

    @abstractmethod
    async def depth(self, stream: str) -> StreamDepth:
        """Count what the stream holds."""

    # ---- agent queues
    @abstractmethod
    async def push(self, messages: Sequence[tuple[str, Mapping[str, object]]]) -> list[str]:
        """Append (agent id, message) pairs to the agents' queues in one round trip; return the entries' ids.

        A queue keeps its newest 1,000 entries; a console that asks for an older id gets `resume_gap` true.
        """

    @abstractmethod
    async def read_agent_queue(
        self, agent_id: str, *, after_id: str, count: int = READ_BATCH, block_s: float = 1.0
    ) -> list[AgentQueueEntry]:
        """Return entries after `after_id` ("0": from the oldest kept; "$": only what comes from now on)."""

    @abstractmethod
    async def agent_queue_tail(self, agent_id: str) -> str:
        """Return the id of the newest entry: take it before a snapshot, read after it.

        Of an empty queue: an id that stands before its first entry and, unlike "0", notices a loss of the queue.
        """

    @abstractmethod
    async def agent_queue_has_gap(self, agent_id: str, after_id: str) -> bool:
        """Tell whether entries after `after_id` may be gone (trimmed, flushed, restarted): the console then reloads."""

    # ---- presence
    @abstractmethod
    async def beat(self, agent_id: str, connection_id: str, *, ttl_s: float) -> None:
        """Note that a connection of the agent lives; forgotten after `ttl_s` without another beat."""

    @abstractmethod
    async def leave(self, agent_id: str, connection_id: str) -> None:
        """Forget a connection that closed in order."""

    @abstractmethod
    async def present(self) -> frozenset[str]:
        """Return the ids of agents with at least one live connection."""

    # ---- lease
    @abstractmethod
    async def acquire_lease(self, name: str, holder: str, *, ttl_s: float, at_least: int) -> LeaseGrant | None:
        """Win the lease if nobody holds it, else None.

        The granted token is greater than `at_least`, which is the fence that the registry knows.
        """

    @abstractmethod
    async def renew_lease(self, grant: LeaseGrant, *, ttl_s: float) -> bool:
        """Prolong the lease; False if it is no longer ours."""

    @abstractmethod
    async def release_lease(self, grant: LeaseGrant) -> None:
        """Give the lease back if it is still ours."""
