"""The Redis backend when Redis forgets everything, dies, comes back, hangs, or is not what we need."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis.asyncio

from appeals.errors import ConfigurationError, TransientError
from queues.redis import RedisQueues
from queues.redis_connection import check_server
from tests.servers import RedisServer

LONG_S = 10.0
STREAM = "deliver"


@pytest.fixture
async def queues(own_redis_server: RedisServer) -> AsyncIterator[RedisQueues]:
    backend = RedisQueues(own_redis_server.url)
    await backend.start()
    yield backend
    await backend.stop()


def items(*names: str) -> list[dict[str, str]]:
    return [{"reply_id": name} for name in names]


async def blocked_clients(url: str, expected: int) -> None:
    """Wait until the server counts `expected` clients that wait in a blocking read."""
    async with asyncio.timeout(LONG_S), redis.asyncio.from_url(url) as client:
        while (await client.info("clients"))["blocked_clients"] != expected:
            await asyncio.sleep(0.005)


async def until_answered(call: Callable[[], Awaitable[object]]) -> None:
    """Call until it does not raise TransientError."""
    async with asyncio.timeout(LONG_S):
        while True:
            try:
                await call()
            except TransientError:
                await asyncio.sleep(0.01)
            else:
                return


async def test_flushall_wakes_a_blocked_reader_which_goes_on(
    queues: RedisQueues, own_redis_server: RedisServer
) -> None:
    """The group is made anew inside the same call, which then returns what is added next."""
    waiting = asyncio.create_task(queues.read(STREAM, consumer="a", block_s=LONG_S))
    await blocked_clients(own_redis_server.url, 1)
    own_redis_server.flushall()
    await queues.add(STREAM, items("1"))
    async with asyncio.timeout(LONG_S / 2):
        assert [item.fields["reply_id"] for item in await waiting] == ["1"]


async def test_flushall_with_items_in_hand(queues: RedisQueues, own_redis_server: RedisServer) -> None:
    """Acknowledging, claiming, touching and counting what the server forgot is harmless; new items flow."""
    await queues.add(STREAM, items("1", "2"))
    ids = [item.id for item in await queues.read(STREAM, consumer="a", block_s=0)]
    own_redis_server.flushall()
    await queues.touch(STREAM, ids, consumer="a")
    await queues.ack(STREAM, ids)
    assert await queues.claim(STREAM, consumer="b", idle_s=0) == []
    depth = await queues.depth(STREAM)
    assert (depth.waiting, depth.pending) == (0, 0)
    await queues.add(STREAM, items("3"))
    assert [item.fields["reply_id"] for item in await queues.read(STREAM, consumer="a", block_s=0)] == ["3"]


@pytest.mark.parametrize("pushed_before", [0, 1, 3])
@pytest.mark.parametrize("pushed_after", [0, 1, 5])
async def test_flushall_is_a_gap_for_every_console(
    queues: RedisQueues, own_redis_server: RedisServer, pushed_before: int, pushed_after: int
) -> None:
    """An id from before the loss is never taken for one after it, however few or many entries there were."""
    await queues.push([("anna", {"n": n}) for n in range(pushed_before)])
    seen = await queues.agent_queue_tail("anna")
    own_redis_server.flushall()
    ids = await queues.push([("anna", {"n": n}) for n in range(pushed_after)])
    assert await queues.agent_queue_has_gap("anna", seen)
    entries = await queues.read_agent_queue("anna", after_id=seen, block_s=0.01)
    assert [entry.id for entry in entries] == ids
    assert not await queues.agent_queue_has_gap("anna", await queues.agent_queue_tail("anna"))


async def test_one_evicted_queue_is_a_gap(queues: RedisQueues, own_redis_server: RedisServer) -> None:
    """A server short of memory may drop a single key: its consoles reload, before and after the next push."""
    (seen,) = await queues.push([("anna", {"n": 1})])
    async with redis.asyncio.from_url(own_redis_server.url) as client:
        await client.delete("okno:agent:anna")
    assert await queues.agent_queue_has_gap("anna", seen)
    await queues.push([("anna", {"n": 2})])
    assert await queues.agent_queue_has_gap("anna", seen)


async def test_tokens_grow_across_flushall(queues: RedisQueues, own_redis_server: RedisServer) -> None:
    """The registry's fence, given as `at_least`, keeps tokens growing though the server forgot them; the old lease is lost."""
    first = await queues.acquire_lease("router", "a", ttl_s=LONG_S, at_least=0)
    assert first is not None
    own_redis_server.flushall()
    assert not await queues.renew_lease(first, ttl_s=LONG_S)
    second = await queues.acquire_lease("router", "b", ttl_s=LONG_S, at_least=first.token)
    assert second is not None
    assert second.token > first.token
    await queues.release_lease(first)
    assert await queues.renew_lease(second, ttl_s=LONG_S)


async def test_kill_while_readers_block(queues: RedisQueues, own_redis_server: RedisServer) -> None:
    """Blocked readers end with TransientError when the server is killed; after its restart the same object works."""
    await queues.push([("anna", {"n": 1})])
    readers = [
        asyncio.create_task(queues.read(STREAM, consumer="a", block_s=LONG_S)),
        asyncio.create_task(queues.read(STREAM, consumer="b", block_s=LONG_S)),
        asyncio.create_task(queues.read_agent_queue("anna", after_id="$", block_s=LONG_S)),
    ]
    await blocked_clients(own_redis_server.url, len(readers))
    own_redis_server.kill()
    async with asyncio.timeout(LONG_S / 2):
        outcomes = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TransientError] * len(readers)
    with pytest.raises(TransientError):
        await queues.ping()
    own_redis_server.restart()
    await queues.add(STREAM, items("1"))
    assert len(await queues.read(STREAM, consumer="a", block_s=LONG_S)) == 1
    await queues.push([("anna", {"n": 2})])
    assert len(await queues.read_agent_queue("anna", after_id="0", block_s=LONG_S)) == 1


async def test_the_first_call_after_a_restart_succeeds(queues: RedisQueues, own_redis_server: RedisServer) -> None:
    """Many pooled connections that died unnoticed cost no caller an error."""
    await asyncio.gather(*(queues.add(STREAM, items(str(n))) for n in range(20)))
    own_redis_server.restart()
    await asyncio.gather(*(queues.add(STREAM, items(str(n))) for n in range(20)))
    assert len(await queues.read(STREAM, consumer="a", block_s=0)) == 20


EVERY_CALL: dict[str, Callable[[RedisQueues], Awaitable[object]]] = {
    "start": lambda queues: queues.start(),
    "ping": lambda queues: queues.ping(),
    "add": lambda queues: queues.add(STREAM, items("1")),
    "read": lambda queues: queues.read(STREAM, consumer="a", block_s=0.1),
    "ack": lambda queues: queues.ack(STREAM, ["1-0"]),
    "touch": lambda queues: queues.touch(STREAM, ["1-0"], consumer="a"),
    "claim": lambda queues: queues.claim(STREAM, consumer="a", idle_s=1),
    "depth": lambda queues: queues.depth(STREAM),
    "push": lambda queues: queues.push([("anna", {})]),
    "read_agent_queue": lambda queues: queues.read_agent_queue("anna", after_id="0", block_s=0.1),
    "agent_queue_tail": lambda queues: queues.agent_queue_tail("anna"),
    "agent_queue_has_gap": lambda queues: queues.agent_queue_has_gap("anna", "0"),
    "beat": lambda queues: queues.beat("anna", "tab", ttl_s=1),
    "leave": lambda queues: queues.leave("anna", "tab"),
    "present": lambda queues: queues.present(),
    "acquire_lease": lambda queues: queues.acquire_lease("router", "a", ttl_s=1, at_least=0),
}


@pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL.keys())
async def test_connection_refused_is_transient(
    free_port: int, call: Callable[[RedisQueues], Awaitable[object]]
) -> None:
    """Nobody listens: every method says TransientError, never a library's or the system's error."""
    queues = RedisQueues(f"redis://127.0.0.1:{free_port}/0")
    with pytest.raises(TransientError):
        await call(queues)
    await queues.stop()


@pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL.keys())
async def test_a_foreign_type_under_our_keys_is_transient(
    redis_url: str, call: Callable[[RedisQueues], Awaitable[object]]
) -> None:
    """Somebody else's keys in our place end in TransientError or do not matter: no library's error comes through."""
    async with redis.asyncio.from_url(redis_url) as client:
        for key in ("stream:deliver", "agent:anna", "agent-epoch:anna", "presence", "lease-token:router"):
            await client.sadd(f"okno:{key}", "not ours")
    queues = RedisQueues(redis_url)
    (outcome,) = await asyncio.gather(call(queues), return_exceptions=True)
    await queues.stop()
    assert not isinstance(outcome, BaseException) or isinstance(outcome, TransientError)


async def test_a_hung_server_is_transient_and_recovers(
    queues: RedisQueues, own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader does not wait for ever on a server that accepts but never answers."""
    monkeypatch.setattr("queues.redis.BLOCK_GRACE_S", 0.2)
    os.kill(own_redis_server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(TransientError):
            await queues.read(STREAM, consumer="a", block_s=0.1)
    finally:
        os.kill(own_redis_server.pid, signal.SIGCONT)
    await until_answered(queues.ping)
    await queues.add(STREAM, items("1"))
    assert len(await queues.read(STREAM, consumer="a", block_s=LONG_S)) == 1


async def test_a_cancelled_reader_leaves_no_broken_connection(
    queues: RedisQueues, own_redis_server: RedisServer
) -> None:
    """A consumer that is cancelled in its wait does not leave its half-read reply to the next one."""
    for n in range(5):
        waiting = asyncio.create_task(queues.read(STREAM, consumer="a", block_s=LONG_S))
        await blocked_clients(own_redis_server.url, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await blocked_clients(own_redis_server.url, 0)
        await queues.add(STREAM, items(str(n)))
        got = await queues.read(STREAM, consumer="a", block_s=LONG_S)
        assert [item.fields["reply_id"] for item in got] == [str(n)]


async def test_what_is_not_redis_is_transient() -> None:
    """Something else on that port, which says nonsense and hangs up, is no traceback."""

    async def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(nonsense, "127.0.0.1", family=socket.AF_INET)
    async with server:
        queues = RedisQueues(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        with pytest.raises(TransientError):
            await queues.start()
        await queues.stop()


async def test_a_wrong_password_is_a_configuration_error(own_redis_server: RedisServer) -> None:
    """Waiting would not help: the message names the setting."""
    async with redis.asyncio.from_url(own_redis_server.url) as client:
        await client.config_set("requirepass", "right")
    queues = RedisQueues(own_redis_server.url.replace("redis://", "redis://:wrong@"))
    with pytest.raises(ConfigurationError, match=r"queues\.url"):
        await queues.start()
    await queues.stop()
    async with redis.asyncio.from_url(own_redis_server.url, password="right") as client:
        await client.config_set("requirepass", "")


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"redis_version": "6.2.14"}, "Redis 6.2.14 is too old"),
        ({"redis_version": "7.2.4", "redis_mode": "cluster"}, "Cluster"),
        ({}, "too old"),
    ],
)
def test_unfit_servers_are_refused(info: dict[str, str], said: str) -> None:
    """A server that is too old or a cluster is refused with what to use instead."""
    with pytest.raises(ConfigurationError, match=said):
        check_server(info)


@pytest.mark.parametrize(
    "info",
    [{"redis_version": "7.0.0"}, {"redis_version": "8.2.1"}, {"redis_version": "7.2.4", "valkey_version": "9.1.2"}],
)
def test_fit_servers_are_taken(info: dict[str, str]) -> None:
    """Redis from 7 on and every Valkey will do."""
    check_server(info)
