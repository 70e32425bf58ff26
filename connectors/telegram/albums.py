"""Albums: their parts come as separate updates and are gathered into one message.

A webhook gets the next update of a chat only after the one before was answered (the Bot API server keeps a queue a
chat), so no part can wait for the others unanswered. Each part is therefore committed to the connector's cursors, byte
for byte, before it is acknowledged (P1), and the album is registered as soon as no further part has come for a short
while, when it is full, when the chat goes on, or when the daemon stops. A row for each open album is written before its
first part, so that what a crash leaves behind is found, by the next run or by another process. The set of parts is
frozen before it is registered under an id made of exactly this set, so that no repetition can add to it or replace it
(P2); a straggler is registered as its own message. Rows change by compare-and-set: several processes may take parts.
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import NamedTuple
from weakref import WeakValueDictionary

import structlog
from pydantic import BaseModel, ConfigDict, Field

from appeals.errors import OknoError
from connectors.base import Cursors

logger = structlog.get_logger(__name__)

MAX_PARTS = 10  # https://core.telegram.org/bots/api#sendmediagroup
MAX_GROUP_CHARS = 64  # of a media_group_id; they have 17
ABANDONED_AFTER_S = 60.0  # open for so long: the process that took its parts is dead
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 30.0


class AlbumKey(NamedTuple):
    """One album."""

    chat: int
    group: str  # media_group_id


class Taken(Enum):
    """What became of a part."""

    STAGED = auto()  # committed; it is registered with its album
    KNOWN = auto()  # registered before
    STRAGGLER = auto()  # its album is registered already: register it as its own message


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)

    parts: dict[int, str] = Field(
        default_factory=dict
    )  # message id -> its update, base 64: cursors hold text, updates are bytes
    method: str = ""
    frozen: bool = False  # being registered: takes no more parts
    taken: tuple[int, ...] = ()  # message ids registered
    external_id: str = ""


Register = Callable[[AlbumKey, Sequence[bytes], str], Awaitable[str]]
"""Registers or quarantines an album's updates, given how we know that they are Telegram's; returns its external id."""


class AlbumStage:
    """The open albums of one bot."""

    def __init__(self, cursors: Cursors, *, connector: str, bot_id: int, linger_s: float, register: Register) -> None:
        self._cursors = cursors
        self._connector = connector
        self._bot_id = bot_id
        self._linger_s = linger_s
        self._register = register
        self._due_s: dict[AlbumKey, float] = {}  # open albums, by the loop's clock
        self._retry_s: dict[AlbumKey, float] = {}
        self._locks: WeakValueDictionary[AlbumKey, asyncio.Lock] = WeakValueDictionary()
        self._recovered = False
        self._look_again_s = 0.0  # for what other processes left behind, by the loop's clock
        self._changed = asyncio.Event()

    async def add(self, key: AlbumKey, message_id: int, content: bytes, *, method: str) -> Taken:
        """Commit one part. Raises TransientError if nothing was kept."""
        await self.recover()
        async with self._holding(key):
            while True:
                stored, record = await self._read(key)
                if record.frozen:  # left behind in the middle of its registration
                    record = await self._flush(key)
                if record.taken:
                    return Taken.KNOWN if message_id in record.taken else Taken.STRAGGLER
                if key not in self._due_s:
                    await self._cursors.put(self._connector, self._open_name(key), str(time.time()))
                parts = {**record.parts, message_id: base64.b64encode(content).decode("ascii")}
                if await self._swap(key, stored, record.model_copy(update={"parts": parts, "method": method})):
                    break  # else another process has added a part
            self._plan(key, self._linger_s)
            if len(parts) >= MAX_PARTS:
                await self._flush(key)
        return Taken.STAGED

    async def settle(self, chat: int) -> None:
        """Register the chat's open albums: what comes after them must find them there."""
        await self.recover()
        for key in [key for key in self._due_s if key.chat == chat]:
            await self.flush(key)

    async def settle_all(self) -> None:
        """Register all open albums; what cannot be is left for the next start."""
        for key in list(self._due_s):
            try:
                await self.flush(key)
            except OknoError as error:
                logger.warning("connector.album_left_open", connector=self._connector, reason=str(error))

    async def flush(self, key: AlbumKey) -> None:
        """Register an album as it stands. Raises TransientError: it stays open."""
        async with self._holding(key):
            await self._flush(key)

    async def external_id_of(self, key: AlbumKey, message_id: int) -> str:
        """Return the external id under which a part was registered; "" if it was not as a part of an album."""
        _, record = await self._read(key)
        return record.external_id if message_id in record.taken else ""

    async def recover(self) -> None:
        """Find the albums that an earlier run left open."""
        if not self._recovered:
            await self._find_open(older_than_s=0.0)
            self._recovered = True

    async def _find_open(self, *, older_than_s: float) -> None:
        prefix = f"open_album:{self._bot_id}:"
        for name, opened_at in (await self._cursors.items(self._connector, prefix)).items():
            chat, _, group = name.removeprefix(prefix).partition(":")
            key = AlbumKey(chat=int(chat), group=group)
            if key not in self._due_s and time.time() - float(opened_at) >= older_than_s:
                self._plan(key, self._linger_s)

    async def run(self, stopping: asyncio.Event) -> None:
        """Register albums when their time has come, until `stopping`; a failure is tried again."""
        while not stopping.is_set():
            await self._try_recover()
            self._changed.clear()
            await self._wait(stopping)
            now_s = asyncio.get_running_loop().time()
            for key in [key for key, due_s in self._due_s.items() if due_s <= now_s]:
                await self._try_flush(key)

    async def _try_recover(self) -> None:
        now_s = asyncio.get_running_loop().time()
        try:
            await self.recover()
            if now_s >= self._look_again_s:
                self._look_again_s = now_s + ABANDONED_AFTER_S
                await self._find_open(older_than_s=ABANDONED_AFTER_S)
        except OknoError as error:
            logger.warning("connector.albums_unreadable", connector=self._connector, reason=str(error))
        except Exception:  # an index that nobody can read: new albums go on
            logger.exception("connector.albums_unreadable", connector=self._connector)

    async def _wait(self, stopping: asyncio.Event) -> None:
        """Wait for a change or for the next album's time."""
        loop = asyncio.get_running_loop()
        waits = [asyncio.ensure_future(event.wait()) for event in (stopping, self._changed)]
        first_s = min(self._due_s.values(), default=loop.time() + MAX_RETRY_S)
        try:
            await asyncio.wait(waits, timeout=max(0.0, first_s - loop.time()), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _try_flush(self, key: AlbumKey) -> None:
        try:
            await self.flush(key)
        except OknoError as error:
            logger.warning("connector.album_postponed", connector=self._connector, reason=str(error))
        except Exception:  # a bug of ours: the other albums go on, this one is kept
            logger.exception("connector.album_postponed", connector=self._connector)
        else:
            return
        delay_s = self._retry_s[key] = min(self._retry_s.get(key, FIRST_RETRY_S / 2) * 2, MAX_RETRY_S)
        self._plan(key, delay_s)

    async def _flush(self, key: AlbumKey) -> _Record:
        """Register what is staged and return the record as it then stands; with the key's lock held."""
        while True:
            stored, record = await self._read(key)
            if not record.parts:
                break
            if not record.frozen:
                if not await self._swap(key, stored, record.model_copy(update={"frozen": True})):
                    continue  # another process has added a part, or frozen it
                stored, record = await self._read(key)
            contents = [base64.b64decode(record.parts[number]) for number in sorted(record.parts)]
            external_id = await self._register(key, contents, record.method)
            await self._swap(key, stored, _Record(taken=tuple(sorted(record.parts)), external_id=external_id))
        await self._cursors.drop(self._connector, self._open_name(key))
        self._due_s.pop(key, None)
        self._retry_s.pop(key, None)
        return record

    def _plan(self, key: AlbumKey, delay_s: float) -> None:
        self._due_s[key] = asyncio.get_running_loop().time() + delay_s
        self._changed.set()

    @asynccontextmanager
    async def _holding(self, key: AlbumKey) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            yield

    # ---- rows
    async def _read(self, key: AlbumKey) -> tuple[str | None, _Record]:
        """Return the row as it is kept, for compare-and-set, and what it says."""
        stored = await self._cursors.get(self._connector, self._name(key))
        return stored, _Record.model_validate_json(stored) if stored else _Record()

    async def _swap(self, key: AlbumKey, stored: str | None, record: _Record) -> bool:
        value = record.model_dump_json()
        return await self._cursors.replace(self._connector, self._name(key), value, expected=stored)

    def _name(self, key: AlbumKey) -> str:
        return f"album:{self._bot_id}:{key.chat}:{key.group}"

    def _open_name(self, key: AlbumKey) -> str:
        return f"open_album:{self._bot_id}:{key.chat}:{key.group}"
