"""The updates of the local Bot API server: kept until they are confirmed, handed out by polling or by webhook."""

import asyncio
import json
import secrets
from collections import deque
from dataclasses import dataclass

import aiohttp
import structlog

logger = structlog.get_logger(__name__)

WEBHOOK_RETRY_S = 0.2  # the real one waits longer with every failure
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header's name


class PollConflictError(Exception):
    """Another getUpdates ended this one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """Where updates are posted, and the secret that goes with them."""

    url: str
    secret: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Update:
    id: int
    content: bytes
    chat: str  # the webhook gets a chat's updates one after another, those of several chats side by side


class UpdateQueue:
    """Updates in order. `webhook_statuses` is what the hook answered so far."""

    def __init__(self) -> None:
        self.next_id = 500_000_000 + secrets.randbelow(1_000_000)
        self.webhook: Webhook | None = None
        self.webhook_statuses: list[int] = []
        self._waiting: deque[_Update] = deque()
        self._changed = asyncio.Event()
        self._poll = 0  # the newest; an older one that still waits is ended

    @property
    def ids(self) -> list[int]:
        """Ids of the updates that are not confirmed."""
        return [update.id for update in self._waiting]

    def add(self, content: bytes, *, update_id: int | None = None) -> int:
        """Queue one update as it is; return its id."""
        update_id = self.next_id if update_id is None else update_id
        self.next_id = update_id + 1
        self._waiting.append(_Update(id=update_id, content=content, chat=_chat_of(content)))
        self._wake()
        return update_id

    def set_webhook(self, webhook: Webhook | None, *, drop_pending: bool = False) -> None:
        """Post to `webhook` from now on; None: wait to be polled."""
        self.webhook = webhook
        if drop_pending:
            self._waiting.clear()
        self._wake()

    async def poll(self, *, offset: int, limit: int, timeout_s: float) -> list[bytes]:
        """Confirm what is before `offset`; return the oldest of the rest, waiting for a first one."""
        self._poll += 1
        poll = self._poll
        self._confirm(offset)
        try:
            async with asyncio.timeout(timeout_s):
                while not self._waiting and poll == self._poll:
                    await self._changed.wait()
        except TimeoutError:
            return []
        if poll != self._poll:
            raise PollConflictError
        return [update.content for update in self._waiting][:limit]

    async def wait_until_confirmed(self, *, timeout_s: float) -> None:
        """Return once every update is confirmed. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self._waiting:
                await self._changed.wait()

    async def post_to_webhook(self) -> None:
        """Post each update until the hook answers 2xx, for ever: a chat's in order, like the real server's queues."""
        posting: set[str] = set()
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:

            async def post(update: _Update, webhook: Webhook) -> None:
                if await self._post(session, webhook, content=update.content):
                    self._waiting = deque(item for item in self._waiting if item.id != update.id)
                else:
                    await asyncio.sleep(WEBHOOK_RETRY_S)
                posting.discard(update.chat)
                self._wake()

            while True:
                changed = self._changed
                for update in list(self._waiting) if self.webhook else ():
                    if self.webhook and update.chat not in posting:
                        posting.add(update.chat)
                        group.create_task(post(update, self.webhook))
                await changed.wait()

    async def _post(self, session: aiohttp.ClientSession, webhook: Webhook, *, content: bytes) -> bool:
        headers = {"Content-Type": "application/json", SECRET_HEADER: webhook.secret}
        try:
            async with session.post(webhook.url, data=content, headers=headers) as response:
                self.webhook_statuses.append(response.status)
                return response.ok
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.info("outside.webhook_failed", service="telegram", error=type(error).__name__)
            return False

    def _confirm(self, offset: int) -> None:
        while self._waiting and self._waiting[0].id < offset:
            self._waiting.popleft()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _chat_of(content: bytes) -> str:
    try:
        value = json.loads(content)
        kind = next(name for name in value if name != "update_id")
        part = value[kind]
        return str((part.get("message") if kind == "callback_query" else part)["chat"]["id"])
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError):
        return ""
