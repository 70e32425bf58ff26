"""The queues in Redis or Valkey: for any number of processes on any number of hosts.

Work streams are Redis streams with one consumer group; an acknowledged entry is deleted, so a stream's length is what
is waiting and pending. Agent queues are streams that keep their newest entries. All keys begin with `okno:`.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import orjson
import redis.exceptions
import structlog
from redis.commands.core import AsyncScript

from appeals.errors import ConfigurationError, TransientError
from queues import redis_scripts as scripts
from queues.agent_queue_id import AGENT_QUEUE_KEEPS, FROM_NOW, FROM_OLDEST, AgentQueueId, has_gap, new_epoch
from queues.port import READ_BATCH, AgentQueueEntry, LeaseGrant, Queues, StreamDepth, WorkItem
from queues.redis_connection import check_server, connect

AGENT_QUEUE_TTL_S: Final = 7 * 24 * 3600  # a queue nobody wrote to for a week is forgotten
COMMAND_TIMEOUT_S: Final = 5.0
BLOCK_GRACE_S: Final = 5.0  # how much longer than asked a blocking read may take before the server counts as hung

logger = structlog.get_logger(__name__)


class RedisQueues(Queues):
    """The port over one Redis. Commands go through one pool of connections, reads that wait through another."""

    def __init__(self, url: str, *, prefix: str = "okno:") -> None:
        """Prepare the clients; `start` connects. Raises ConfigurationError for a URL that cannot be read."""
        self._prefix = prefix
        self._connections = connect(url, retries=1), connect(url, retries=0)
        self._commands, self._readers = (connection.client for connection in self._connections)
        self._waiting: set[asyncio.Timeout] = set()
        self._stopped = False
        register = self._commands.register_script
        self._add: AsyncScript = register(scripts.ADD)
        self._claim: AsyncScript = register(scripts.CLAIM)
        self._push: AsyncScript = register(scripts.PUSH)
        self._tail: AsyncScript = register(scripts.TAIL)
        self._horizon: AsyncScript = register(scripts.HORIZON)
        self._beat: AsyncScript = register(scripts.BEAT)
        self._present: AsyncScript = register(scripts.PRESENT)
        self._acquire: AsyncScript = register(scripts.ACQUIRE_LEASE)
        self._renew: AsyncScript = register(scripts.RENEW_LEASE)
        self._release: AsyncScript = register(scripts.RELEASE_LEASE)

    # ---- life

    async def start(self) -> None:
        """Connect and check the server. ConfigurationError: too old, a cluster, or wrong credentials."""
        try:
            async with _command():
                info = await self._commands.info()
        except _CredentialsError as error:
            raise ConfigurationError(f"queues.url: {error}; check user and password") from error
        check_server(info)
        policy = str(info.get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys"):
            logger.warning("queues.redis_may_evict", maxmemory_policy=policy, advice="use noeviction")
        logger.info("queues.redis_connected", version=info.get("valkey_version") or info.get("redis_version"))

    async def stop(self) -> None:
        """Wake blocked readers, which return nothing, and close all connections."""
        self._stopped = True
        for timeout in tuple(self._waiting):
            timeout.reschedule(asyncio.get_running_loop().time())
        for connection in self._connections:
            await connection.aclose()

    async def ping(self) -> None:
        """Raise TransientError unless the server answers."""
        async with _command():
            await cast("Any", self._commands.ping())  # typed as bool or awaitable, by version

    # ---- work streams

    async def add(self, stream: str, items: Sequence[Mapping[str, str]]) -> None:
        """Append `items` in order, in one round trip."""
        if not items:
            return
        words: list[str | int] = []
        for fields in items:
            words.append(2 * len(fields))
            for pair in fields.items():
                words.extend(pair)
        async with _command():
            await self._add(keys=[self._stream(stream)], args=words)

    async def read(
        self, stream: str, *, consumer: str, count: int = READ_BATCH, block_s: float = 1.0
    ) -> list[WorkItem]:
        """Hand out new items. A group that is gone (first use, FLUSHALL) is made, then the call goes on."""
        key = self._stream(stream)
        async with self._blocking(block_s):
            while True:
                try:
                    reply: Any = await self._readers.xreadgroup(
                        stream, consumer, {key: ">"}, count=count, block=_block_ms(block_s)
                    )
                except redis.exceptions.ResponseError as error:
                    if not _group_is_gone(error):
                        raise
                    await self._make_group(stream)
                    continue
                return [WorkItem(id=entry_id, fields=fields, tries=1) for entry_id, fields in _entries(reply)]
        return []

    async def _make_group(self, stream: str) -> None:
        try:
            await self._commands.xgroup_create(self._stream(stream), stream, id="0", mkstream=True)
        except redis.exceptions.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # somebody else was quicker
                raise

    async def ack(self, stream: str, ids: Sequence[str]) -> None:
        """Acknowledge and delete in one step: nothing stays that is neither waiting nor pending."""
        if not ids:
            return
        key = self._stream(stream)
        async with _command(), self._commands.pipeline(transaction=True) as pipeline:
            pipeline.xack(key, stream, *ids)
            pipeline.xdel(key, *ids)
            await pipeline.execute()

    async def claim(self, stream: str, *, consumer: str, idle_s: float, count: int = READ_BATCH) -> list[WorkItem]:
        """Take over what dead workers left."""
        async with _command():
            reply = await self._claim(
                keys=[self._stream(stream)], args=[stream, consumer, math.ceil(idle_s * 1000), count]
            )
        return [
            WorkItem(id=entry_id, fields=dict(zip(pairs[::2], pairs[1::2], strict=True)), tries=int(tries))
            for entry_id, pairs, tries in reply
        ]

    async def touch(self, stream: str, ids: Sequence[str], *, consumer: str) -> None:
        """Renew the age of items in hand (XCLAIM JUSTID counts no delivery)."""
        if not ids:
            return
        async with _command():
            try:
                await self._commands.xclaim(self._stream(stream), stream, consumer, 0, list(ids), justid=True)
            except redis.exceptions.ResponseError as error:
                if not _group_is_gone(error):  # FLUSHALL: there is nothing to hold on to
                    raise

    async def depth(self, stream: str) -> StreamDepth:
        """Count what the stream holds."""
        key = self._stream(stream)
        async with _command():
            async with self._commands.pipeline(transaction=True) as pipeline:
                pipeline.xlen(key)
                pipeline.xpending(key, stream)
                length, pending = await pipeline.execute(raise_on_error=False)
            if isinstance(length, Exception):
                raise length
            if isinstance(pending, Exception):
                if not _group_is_gone(pending):
                    raise pending
                pending = {"pending": 0}
        held = int(pending["pending"])
        return StreamDepth(waiting=max(0, length - held), pending=held)

    # ---- agent queues

    async def push(self, messages: Sequence[tuple[str, Mapping[str, object]]]) -> list[str]:
        """Append to agents' queues in one round trip."""
        if not messages:
            return []
        keys = [key for agent_id, _ in messages for key in self._agent_queue(agent_id)]
        bodies = [orjson.dumps(dict(message)).decode() for _, message in messages]
        async with _command():
            return list(await self._push(keys=keys, args=[new_epoch(), AGENT_QUEUE_KEEPS, AGENT_QUEUE_TTL_S, *bodies]))

    async def read_agent_queue(
        self, agent_id: str, *, after_id: str, count: int = READ_BATCH, block_s: float = 1.0
    ) -> list[AgentQueueEntry]:
        """Return entries after `after_id`; from the oldest kept if that id is of another epoch or none at all."""
        queue, epoch_key = self._agent_queue(agent_id)
        async with self._blocking(block_s):
            place = after_id
            if after_id not in (FROM_OLDEST, FROM_NOW):
                seen = AgentQueueId.parse(after_id)
                same_life = seen is not None and await self._commands.get(epoch_key) == seen.epoch
                place = after_id.partition(".")[2] if same_life else FROM_OLDEST
            reply: Any = await self._readers.xread({queue: place}, count=count, block=_block_ms(block_s))
            return [
                AgentQueueEntry(id=f"{fields['e']}.{entry_id}", message=orjson.loads(fields["m"]))
                for entry_id, fields in _entries(reply)
            ]
        return []

    async def agent_queue_tail(self, agent_id: str) -> str:
        """Return the newest entry's id; of an empty queue the id before its first."""
        async with _command():
            return str(await self._tail(keys=self._agent_queue(agent_id), args=[new_epoch(), AGENT_QUEUE_TTL_S]))

    async def agent_queue_has_gap(self, agent_id: str, after_id: str) -> bool:
        """Tell whether entries after `after_id` may be gone."""
        async with _command():
            epoch, oldest, trimmed = await self._horizon(keys=self._agent_queue(agent_id))
        first = AgentQueueId.parse(f"{epoch}.{oldest}")
        return has_gap(after_id, epoch=epoch, oldest=first.place if first else None, trimmed=trimmed > 0)

    # ---- presence

    async def beat(self, agent_id: str, connection_id: str, *, ttl_s: float) -> None:
        """Note a living connection, by the server's clock."""
        member = orjson.dumps([agent_id, connection_id])
        async with _command():
            await self._beat(keys=[f"{self._prefix}presence"], args=[member, math.ceil(ttl_s * 1000)])

    async def leave(self, agent_id: str, connection_id: str) -> None:
        """Forget a connection."""
        async with _command():
            await self._commands.zrem(f"{self._prefix}presence", orjson.dumps([agent_id, connection_id]))

    async def present(self) -> frozenset[str]:
        """Return agents with a living connection."""
        async with _command():
            members = await self._present(keys=[f"{self._prefix}presence"])
        return frozenset(orjson.loads(member)[0] for member in members)

    # ---- lease

    async def acquire_lease(self, name: str, holder: str, *, ttl_s: float, at_least: int) -> LeaseGrant | None:
        """Win a free lease with a token above `at_least` and all granted before, else None."""
        keys = [self._lease(name), f"{self._prefix}lease-token:{name}"]
        async with _command():
            token = await self._acquire(keys=keys, args=[holder, math.ceil(ttl_s * 1000), at_least])
        return None if token is None else LeaseGrant(name=name, holder=holder, token=int(token))

    async def renew_lease(self, grant: LeaseGrant, *, ttl_s: float) -> bool:
        """Prolong the lease if it is still ours."""
        async with _command():
            return bool(
                await self._renew(keys=[self._lease(grant.name)], args=[_owner(grant), math.ceil(ttl_s * 1000)])
            )

    async def release_lease(self, grant: LeaseGrant) -> None:
        """Give the lease back if it is still ours."""
        async with _command():
            await self._release(keys=[self._lease(grant.name)], args=[_owner(grant)])

    # ---- keys and waiting

    def _stream(self, stream: str) -> str:
        return f"{self._prefix}stream:{stream}"

    def _agent_queue(self, agent_id: str) -> list[str]:
        return [f"{self._prefix}agent:{agent_id}", f"{self._prefix}agent-epoch:{agent_id}"]

    def _lease(self, name: str) -> str:
        return f"{self._prefix}lease:{name}"

    @contextlib.asynccontextmanager
    async def _blocking(self, block_s: float) -> AsyncIterator[None]:
        """Bound a blocking read; `stop` ends it early. The body is left without an error if we stop."""
        if self._stopped:
            raise TransientError("the queues are stopped")
        try:
            with _translated():
                async with asyncio.timeout(max(0.0, block_s) + BLOCK_GRACE_S) as timeout:
                    self._waiting.add(timeout)
                    try:
                        yield
                    finally:
                        self._waiting.discard(timeout)
        except TransientError:
            if not self._stopped:
                raise


class _CredentialsError(TransientError):
    """Redis refused the user or the password."""


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn what redis-py raises into TransientError."""
    try:
        yield
    except (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise _CredentialsError(f"Redis: {error}") from error
    except TimeoutError as error:
        raise TransientError("Redis did not answer in time") from error
    except (redis.exceptions.RedisError, OSError) as error:
        raise TransientError(f"Redis: {type(error).__name__}: {error}") from error


@contextlib.asynccontextmanager
async def _command() -> AsyncIterator[None]:
    """Bound commands in time and turn what they raise into TransientError."""
    with _translated():
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            yield


def _group_is_gone(error: Exception) -> bool:
    """Tell whether the stream or its group does not exist (any more); a blocked reader learns it as UNBLOCKED."""
    return str(error).startswith(("NOGROUP", "UNBLOCKED"))


def _entries(reply: Any) -> list[tuple[str, dict[str, str]]]:
    """Return the entries of the one stream that was read: [[key, [(id, fields), …]]], or nothing."""
    return reply[0][1] if reply else []


def _block_ms(block_s: float) -> int | None:
    """Return BLOCK's argument; None for not at all, as 0 means for ever."""
    return max(1, math.ceil(block_s * 1000)) if block_s > 0 else None


def _owner(grant: LeaseGrant) -> str:
    return f"{grant.token} {grant.holder}"
