"""The settings' URL chooses the backend; a wrong one is refused with what would be right."""

import pytest

from appeals.errors import ConfigurationError
from config.settings import QueueSettings
from queues.factory import open_queues
from queues.memory import MemoryQueues
from queues.redis import RedisQueues


def test_memory_is_the_default() -> None:
    """Nothing configured: memory."""
    assert isinstance(open_queues(QueueSettings()), MemoryQueues)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:secret@localhost:6379/3",
        "rediss://user:secret@redis.example.org",
        "valkey://localhost:6379",
        "valkeys://localhost:6379",
        "unix:///run/redis.sock?db=1",
        "redis+sentinel://one:26379,two,[::1]:26380/2?service=mymaster",
        "rediss+sentinel://user:p%40ss@one/0?service=mymaster&sentinel_password=s",
    ],
)
async def test_known_schemes_open_redis(url: str) -> None:
    """All ways to name a Redis are understood; nothing is connected yet."""
    queues = open_queues(QueueSettings(url=url))
    assert isinstance(queues, RedisQueues)
    await queues.stop()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "unknown scheme ''"),
        ("localhost:6379", "unknown scheme"),
        ("amqp://localhost", "known: memory, redis"),
        ("redis+sentinel://one:26379/0", "service"),
        ("redis+sentinel://one:many/0?service=mymaster", "queues.url"),
        ("redis+sentinel:///0?service=mymaster", "no host"),
        ("redis+sentinel://one/zero?service=mymaster", "queues.url"),
        ("redis://localhost:99999/0", "queues.url"),
        ("redis://[::1/0", "queues.url"),
    ],
)
def test_wrong_urls_are_refused(url: str, said: str) -> None:
    """The message names the setting and what is wrong with it."""
    with pytest.raises(ConfigurationError, match=r"queues\.url") as caught:
        open_queues(QueueSettings(url=url))
    assert said in str(caught.value)
