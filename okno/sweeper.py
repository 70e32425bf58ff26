"""The sweeper: the registry's state is the outbox. What has stood too long in a state is queued again (P3)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import structlog

from appeals.appeal import AppealState
from appeals.errors import TransientError
from appeals.outbox import Outbox
from appeals.registry import Registry
from appeals.transcripts import Transcripts
from config.settings import QueueSettings, RoleName
from queues.port import CLASSIFY, DELIVER, RECOGNISE, ROUTE, Queues

PAGE = 2_000  # items queued again a turn: a large backlog comes back in several turns

logger = structlog.get_logger(__name__)


class DueIds(Protocol):
    """A page of ids whose time has come."""

    async def __call__(self, *, limit: int) -> list[UUID]:
        """Return at most `limit` of them."""
        ...


class Sweeper:
    """Re-adds what a crash between commit and queue, a flushed Redis or a restart has dropped from the streams.

    Items are ids and every stage is idempotent, so one too many does no harm. A stream that still holds work is left
    alone: what it holds will be handled, or claimed from a dead worker.
    """

    def __init__(
        self,
        registry: Registry,
        queues: Queues,
        outbox: Outbox,
        transcripts: Transcripts,
        *,
        settings: QueueSettings,
        roles: Collection[RoleName],
    ) -> None:
        self._registry = registry
        self._queues = queues
        self._outbox = outbox
        self._transcripts = transcripts
        self._settings = settings
        sweeps: dict[RoleName, Callable[[float], Awaitable[int]]] = {
            "classify": self._sweep_unread_and_registered,
            "route": self._sweep_waiting,
            "deliver": self._sweep_replies,
        }
        self._sweeps = {role: sweep for role, sweep in sweeps.items() if role in roles}
        self._swept: dict[AppealState, UUID] = {}  # where the last turn through a long backlog ended
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping.set()

    async def run(self) -> None:
        """Sweep at once, everything that is not held by a stream; then by the settings' interval, what is stale."""
        stale_after_s = 0.0
        while not self._stopping.is_set():
            try:
                for role, sweep in self._sweeps.items():
                    if swept := await sweep(stale_after_s):
                        logger.debug("sweeper.queued_again", role=role, items=swept)
                stale_after_s = self._settings.stale_after_s
            except TransientError as error:
                logger.warning("sweeper.put_off", reason=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.sweep_interval_s):
                    await self._stopping.wait()

    async def _sweep_unread_and_registered(self, stale_after_s: float) -> int:
        unread = await self._sweep_ids(RECOGNISE, "envelope_id", self._transcripts.pending)
        return unread + await self._sweep_appeals(CLASSIFY, AppealState.REGISTERED, stale_after_s)

    async def _sweep_waiting(self, stale_after_s: float) -> int:
        return await self._sweep_appeals(ROUTE, AppealState.WAITING, stale_after_s)

    async def _sweep_appeals(self, stream: str, state: AppealState, stale_after_s: float) -> int:
        if (await self._queues.depth(stream)).waiting:
            return 0
        before = self._registry.now() - timedelta(seconds=stale_after_s)
        ids = await self._registry.stale_appeals(state, before=before, limit=PAGE, after=self._swept.get(state))
        if len(ids) == PAGE:
            self._swept[state] = ids[-1]  # the next turn goes on from here
        else:
            self._swept.pop(state, None)
        if ids:
            await self._queues.add(stream, [{"appeal_id": str(appeal_id)} for appeal_id in ids])
        return len(ids)

    async def _sweep_replies(self, _: float) -> int:
        return await self._sweep_ids(DELIVER, "reply_id", self._outbox.due)

    async def _sweep_ids(self, stream: str, name: str, due: DueIds) -> int:
        if (await self._queues.depth(stream)).waiting:
            return 0
        ids = await due(limit=PAGE)
        if ids:
            await self._queues.add(stream, [{name: str(item)} for item in ids])
        return len(ids)
