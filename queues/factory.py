"""Opens the queues that the settings name."""

from config.settings import QueueSettings
from queues.memory import MemoryQueues
from queues.port import Queues
from queues.redis import RedisQueues


def open_queues(settings: QueueSettings) -> Queues:
    """Return the backend for `settings.url`, not started yet. Raises ConfigurationError for a URL nobody knows."""
    if settings.url.startswith("memory:"):
        return MemoryQueues()
    return RedisQueues(settings.url)
