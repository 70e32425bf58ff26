"""The polling loop: getUpdates with an offset that moves only past what is kept (P1)."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog

from appeals.errors import OknoError, TransientError
from connectors.base import Cursors
from connectors.telegram.bot_client import BotClient, PollConflictError
from connectors.telegram.receiver import UpdateReceiver
from connectors.telegram.updates import RawUpdate, split_updates

logger = structlog.get_logger(__name__)

CURSOR = "offset"
METHOD = "network"  # we asked Telegram ourselves, over TLS
FIRST_BACK_OFF_S = 0.5
MAX_BACK_OFF_S = 60.0
MAX_CHATS_AT_ONCE = 16
OFFSET_TRUSTED_FOR = timedelta(days=6)  # Bot API: after a week without updates their ids start anywhere

Result = TypeVar("Result")


class Poller:
    """Asks for updates until told to stop. One bot has one poller anywhere: a second one gets 409."""

    def __init__(
        self,
        client: BotClient,
        receiver: UpdateReceiver,
        cursors: Cursors,
        *,
        connector: str,
        bot_id: int,
        poll_timeout_s: float,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._receiver = receiver
        self._cursors = cursors
        self._connector = connector
        self._cursor = f"{CURSOR}:{bot_id}"
        self._poll_timeout_s = poll_timeout_s
        self._now = now
        self._stopping = asyncio.Event()
        self._ready = False  # the webhook is gone and the offset read
        self._offset: int | None = None
        self._offset_at: datetime | None = None
        self.trouble = "not yet connected"  # empty once a poll has succeeded

    def stop(self) -> None:
        """Break off the wait for updates; what has come is finished."""
        self._stopping.set()

    async def run(self) -> None:
        """Poll until `stop`; every failure is waited out."""
        back_off_s = FIRST_BACK_OFF_S
        while not self._stopping.is_set():
            wanted_s = 0.0
            try:
                await self._poll_once()
            except OknoError as error:
                self.trouble = str(error)
                wanted_s = getattr(error, "retry_after_s", None) or 0.0
                self._ready = self._ready and not isinstance(error, PollConflictError)  # a webhook may be set again
                logger.warning("connector.poll_failed", connector=self._connector, reason=str(error))
            except Exception as error:  # a bug of ours; the channel goes on, and the updates come again
                self.trouble = f"unexpected {type(error).__name__}"
                logger.exception("connector.poll_failed", connector=self._connector)
            else:
                self.trouble = ""
                back_off_s = FIRST_BACK_OFF_S
                continue
            await self._unless_stopping(asyncio.sleep(max(back_off_s, wanted_s)))
            back_off_s = min(back_off_s * 2, MAX_BACK_OFF_S)

    async def _poll_once(self) -> None:
        if not self._ready:
            await self._client.begin_polling()
            await self._read_cursor()
            self._ready = True
        # After trouble a short poll tells soon whether it is over.
        timeout_s = 0.0 if self.trouble else self._poll_timeout_s
        body = await self._unless_stopping(self._client.next_updates(self._trusted_offset(), timeout_s=timeout_s))
        if body is None:
            return
        updates = split_updates(body)
        failure = await self._take(updates)
        if failure is not None:
            raise failure

    async def _take(self, updates: Sequence[RawUpdate]) -> OknoError | None:
        """Take a batch in: chats side by side, each chat in order; then move the offset past what is kept.

        Returns the failure that stopped a chat, if any did: its updates come again with the next poll, those of
        other chats too, which are then duplicates (P2).
        """
        chats: dict[str, list[RawUpdate]] = {}
        for update in updates:
            chats.setdefault(update.chat, []).append(update)
        limit = asyncio.Semaphore(MAX_CHATS_AT_ONCE)
        kept: set[int] = set()
        outcomes = await asyncio.gather(*(self._take_chat(chat, limit=limit, kept=kept) for chat in chats.values()))
        offset = self._offset
        for update in updates:
            if id(update) not in kept:
                break
            offset = offset if update.update_id is None else update.update_id + 1
        if offset is not None and offset != self._offset:
            await self._move_to(offset)
        elif len(kept) == len(updates) > 0:  # it would come again at once, for ever
            return TransientError("Telegram sends an update without an id: it is kept, but cannot be confirmed")
        return next((outcome for outcome in outcomes if outcome is not None), None)

    async def _take_chat(
        self, updates: Sequence[RawUpdate], *, limit: asyncio.Semaphore, kept: set[int]
    ) -> OknoError | None:
        async with limit:
            for update in updates:
                try:
                    await self._receiver.receive(update, method=METHOD)
                except OknoError as error:
                    return error
                kept.add(id(update))
        return None

    # ---- the offset
    async def _read_cursor(self) -> None:
        stored = await self._cursors.get(self._connector, self._cursor)
        if stored:
            offset, _, moved_at = stored.partition(" ")
            self._offset, self._offset_at = int(offset), datetime.fromisoformat(moved_at)

    async def _move_to(self, offset: int) -> None:
        moved_at = self._now()
        await self._cursors.put(self._connector, self._cursor, f"{offset} {moved_at.isoformat()}")
        self._offset, self._offset_at = offset, moved_at

    def _trusted_offset(self) -> int | None:
        """Return the offset, or None when ids may have started anew: Telegram then sends all that is unconfirmed."""
        if self._offset_at is None or self._now() - self._offset_at > OFFSET_TRUSTED_FOR:
            return None
        return self._offset

    async def _unless_stopping(self, work: Coroutine[Any, Any, Result]) -> Result | None:
        """Run `work`; break it off and return None when told to stop. Nothing is lost: the offset has not moved."""
        task = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for unfinished in (task, stopping):
                unfinished.cancel()
            await asyncio.gather(task, stopping, return_exceptions=True)
