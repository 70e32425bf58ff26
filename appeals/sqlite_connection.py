"""SQLite without a thread hop a statement: what waits for the disk runs in a thread, what does not runs at once.

aiosqlite hands every call to a thread, and SQLAlchemy makes three or four calls a statement: a transaction of fifteen
statements then waits for the event loop some fifty times while it holds the write lock. On a busy loop that was 28 ms
for a group of ten messages. But a statement in WAL mode only touches memory; BEGIN IMMEDIATE (waits for other
processes) and COMMIT (waits for the disk) are the ones that block. So only these go to a thread here.

An object of this module stands in for `aiosqlite.Connection` by way of SQLAlchemy's `async_creator`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class InlineCursor:
    """The part of `aiosqlite.Cursor` that SQLAlchemy uses."""

    def __init__(self, connection: "InlineConnection", cursor: sqlite3.Cursor) -> None:
        self._connection = connection
        self._cursor = cursor

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cursor.close()

    async def execute(self, sql: str, parameters: Sequence[Any] | None = None) -> Self:
        """Run one statement: in the thread if it may wait for another process's lock, else at once."""
        if sql.startswith("BEGIN IMMEDIATE"):
            await self._connection.run(lambda: self._cursor.execute(sql))
        else:
            self._cursor.execute(sql, parameters or ())
        return self

    async def executemany(self, sql: str, parameters: Sequence[Sequence[Any]]) -> Self:
        """Run one statement for many rows."""
        self._cursor.executemany(sql, parameters)
        return self

    async def fetchall(self) -> list[Any]:
        """Return the rows left."""
        return self._cursor.fetchall()

    async def fetchone(self) -> Any:
        """Return the next row."""
        return self._cursor.fetchone()

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows."""
        return self._cursor.fetchmany(size or self._cursor.arraysize)

    async def close(self) -> None:
        """Close the cursor; what was fetched stays with the caller."""
        self._cursor.close()

    @property
    def description(self) -> Any:
        """The columns of the result, None if there is none."""
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The last row's id."""
        return self._cursor.lastrowid

    @property
    def arraysize(self) -> int:
        """How many rows `fetchmany` returns."""
        return self._cursor.arraysize

    @arraysize.setter
    def arraysize(self, size: int) -> None:
        self._cursor.arraysize = size


class InlineConnection:
    """The part of `aiosqlite.Connection` that SQLAlchemy uses. One transaction at a time, in one event loop."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._conn = connection
        self._connection: sqlite3.Connection | None = connection  # None once closed, as in aiosqlite
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")

    async def run(self, call: Callable[[], T]) -> T:
        """Run what may block in this connection's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def cursor(self) -> InlineCursor:
        """Return a new cursor."""
        return InlineCursor(self, self._conn.cursor())

    async def execute(self, sql: str, parameters: Sequence[Any] | None = None) -> InlineCursor:
        """Run one statement in a cursor of its own."""
        return await self.cursor().execute(sql, parameters)

    async def commit(self) -> None:
        """Make the transaction durable; waits for the disk in the thread."""
        await self.run(self._conn.commit)

    async def rollback(self) -> None:
        """Undo the transaction."""
        self._conn.rollback()

    async def create_function(self, name: str, arguments: int, function: Callable[..., Any], **options: Any) -> None:
        """Register a SQL function: SQLAlchemy adds `regexp`."""
        self._conn.create_function(name, arguments, function, **options)

    async def close(self) -> None:
        """Close; the last one to close writes the log back into the database, so in the thread."""
        if self._connection is None:
            return
        self._connection = None
        await self.run(self._conn.close)
        self._thread.shutdown(wait=False)

    def stop(self) -> None:
        """Close at once, from wherever; called when the pool gives a connection up without an event loop."""
        if self._connection is not None:
            self._connection = None
            self._conn.close()
            self._thread.shutdown(wait=False)


async def connect_inline(path: Path | str, *, timeout_s: float) -> InlineConnection:
    """Open the database file. `timeout_s`: how long a statement waits for another process's lock.

    The driver's own transactions are off: it would begin too late, and not IMMEDIATE.
    """

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=timeout_s, check_same_thread=False, isolation_level=None)

    return InlineConnection(await asyncio.to_thread(connect))
