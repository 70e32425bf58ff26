"""Tells the queues what a commit changed. Best effort: the sweeper makes up for losses from the registry (P3)."""

import structlog

from appeals.errors import TransientError
from appeals.notify import Changes
from queues.port import CLASSIFY, DELIVER, RECOGNISE, ROUTE, Queues

logger = structlog.get_logger(__name__)


class QueueNotifier:
    """The `appeals.notify.Notifier` of a process that has queues."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    async def notify(self, changes: Changes) -> None:
        """Put what changed onto the streams and agent queues; queues out of reach are logged, never raised."""
        routes = [{"appeal_id": str(item)} for item in changes.route_appeals]
        routes += [{"agent_id": item} for item in changes.route_agents]
        try:
            if changes.recognise:
                await self._queues.add(RECOGNISE, [{"envelope_id": str(item)} for item in changes.recognise])
            if changes.classify:
                await self._queues.add(CLASSIFY, [{"appeal_id": str(item)} for item in changes.classify])
            if routes:
                await self._queues.add(ROUTE, routes)
            if changes.deliver:
                await self._queues.add(DELIVER, [{"reply_id": str(item)} for item in changes.deliver])
            if changes.agent_messages:
                await self._queues.push(changes.agent_messages)
        except TransientError as error:
            logger.warning("queues.notify_failed", reason=str(error))
