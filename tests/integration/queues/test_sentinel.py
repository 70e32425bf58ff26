"""Behind Sentinel the queues follow the master to another server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from appeals.errors import TransientError
from queues.port import WorkItem
from queues.redis import RedisQueues
from tests.servers import RedisSentinel, RedisServer, find_redis_server, wait_until

STREAM = "classify"
FAILOVER_S = 30.0  # takes about 3 s on an idle machine


@pytest.fixture
def sentinel(own_redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisSentinel]:
    """Run a replica and a sentinel beside the test's own Redis, which is the master."""
    program = find_redis_server()
    folders = [tmp_path / "replica", tmp_path / "sentinel"]
    for folder in folders:
        folder.mkdir()
    replica = RedisServer(
        folders[0],
        program=program,
        options={"replicaof": f"127.0.0.1 {own_redis_server.port}", "repl-diskless-sync-delay": "0"},
    )
    watcher = RedisSentinel(folders[1], program=program, master=own_redis_server)
    try:
        replica.start()
        watcher.start()
        wait_until(lambda: watcher.replicas() == 1, what="the sentinel's view of the replica")
        yield watcher
    finally:
        watcher.kill()
        replica.kill()


async def test_work_goes_on_after_a_failover(sentinel: RedisSentinel, own_redis_server: RedisServer) -> None:
    """The master is killed under a blocked reader: transient errors until another is master, then all goes on."""
    queues = RedisQueues(sentinel.url)
    await queues.start()
    await queues.add(STREAM, [{"appeal_id": "1"}])
    assert len(await queues.read(STREAM, consumer="a", block_s=0)) == 1
    blocked = asyncio.create_task(queues.read(STREAM, consumer="a", block_s=10))
    await asyncio.sleep(0)
    own_redis_server.kill()
    with pytest.raises(TransientError):
        await blocked

    got: list[WorkItem] = []
    async with asyncio.timeout(FAILOVER_S):
        while not got:
            try:
                await queues.add(STREAM, [{"appeal_id": "2"}])
                got = await queues.read(STREAM, consumer="a", block_s=0)
            except TransientError:
                await asyncio.sleep(0.05)
    assert {item.fields["appeal_id"] for item in got} == {"2"}
    await queues.stop()


async def test_no_sentinel_is_transient(free_port: int) -> None:
    """Sentinel itself out of reach is an outage like any other."""
    queues = RedisQueues(f"redis+sentinel://127.0.0.1:{free_port}/0?service=okno")
    with pytest.raises(TransientError):
        await queues.start()
    await queues.stop()
