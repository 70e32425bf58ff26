"""Items a second through a work stream: added, read and acknowledged in batches, by one process on one connection each.

Usage: python bench/queues_throughput.py [--url redis://localhost:6379/0] [--items 20000] [--batch 50]
The streams of that server are used under a prefix of their own, and removed.
"""

import argparse
import asyncio
import time

from redis.asyncio import Redis

from queues.memory import MemoryQueues
from queues.port import READ_BATCH, Queues
from queues.redis import RedisQueues

PREFIX = "okno-bench:"
STREAM = "classify"


async def move(queues: Queues, *, items: int, batch: int) -> float:
    """Add all items, then read and acknowledge them; return items a second over both."""
    fields = [{"appeal_id": f"{number:032x}"} for number in range(batch)]
    started = time.perf_counter()
    for _ in range(items // batch):
        await queues.add(STREAM, fields)
    done = 0
    while got := await queues.read(STREAM, consumer="bench", count=batch, block_s=0):
        await queues.ack(STREAM, [item.id for item in got])
        done += len(got)
    return done / (time.perf_counter() - started)


async def measure(url: str, *, items: int, batch: int) -> None:
    """Print the figures of one backend."""
    queues: Queues = MemoryQueues() if url == "memory://" else RedisQueues(url, prefix=PREFIX)
    await queues.start()
    try:
        batched = await move(queues, items=items, batch=batch)
        single = await move(queues, items=max(1, items // 20), batch=1)
    finally:
        await queues.stop()
        if url != "memory://":
            async with Redis.from_url(url) as client:
                await client.delete(f"{PREFIX}stream:{STREAM}")
    print(f"{url.partition('://')[0]}: {batched:,.0f} items/s in batches of {batch}, {single:,.0f} items/s one by one")


def main() -> None:
    """Read the command line and measure Redis and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="redis://localhost:6379/0")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=READ_BATCH)
    arguments = parser.parse_args()
    for url in (arguments.url, "memory://"):
        asyncio.run(measure(url, items=arguments.items, batch=arguments.batch))


if __name__ == "__main__":
    main()
