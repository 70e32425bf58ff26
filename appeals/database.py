"""The database under the registry: engines for SQLite and PostgreSQL by URL alone, and its errors in our words."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, make_url
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from appeals.errors import ConfigurationError, TransientError
from appeals.sqlite_connection import connect_inline

READERS = 8  # connections
BRIEF_READERS = 4  # connections, SQLite only
WAIT_S = 5.0  # SQLite: how long a second process waits for the write lock
CONNECT_TIMEOUT_S = 5
DEAD_PEER_S = 15  # PostgreSQL: a host that does not answer for so long, ours or the server's, has gone
ABANDONED_S = 60  # PostgreSQL: a transaction in which nothing happens for so long; its locks hold up everybody else
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


def registry_url(url: str, data_dir: Path) -> URL:
    """Return the SQLAlchemy URL for what an operator wrote; empty means SQLite in `data_dir`.

    Raises ConfigurationError, without the password, if it names no database we support.
    """
    if not url:
        return URL.create(DRIVERS["sqlite"], database=str(data_dir / "okno.db"))
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError("registry.url is no URL; write sqlite:////path/okno.db or postgresql://…") from error
    backend = parsed.drivername.partition("+")[0]
    if backend not in DRIVERS:
        raise ConfigurationError(f"registry.url: {backend!r} is not supported; use sqlite or postgresql")
    return parsed.set(drivername=DRIVERS[backend])


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn a database that is down, full, locked or slow into TransientError; leave broken constraints as they are."""
    try:
        yield
    except IntegrityError:
        raise
    except (OperationalError, InterfaceError, PoolTimeoutError, ConnectionError, TimeoutError) as error:
        raise TransientError("the registry's database is not available") from error
    except DatabaseError as error:
        if error.connection_invalidated:
            raise TransientError("the registry's database closed the connection") from error
        if type(error) is DatabaseError:  # SQLITE_NOTADB, SQLITE_CORRUPT; mistakes of ours are of its subclasses
            raise TransientError("the registry's database is damaged: put it back from a backup") from error
        raise


def _prepare_sqlite(engine: AsyncEngine, *, begin: str) -> None:
    """Set the pragmas the promises rest on, and take over BEGIN from the driver."""

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # P1: a commit is on disk, not in a cache
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-65536")  # KiB
        cursor.execute(
            "PRAGMA wal_autocheckpoint=8000"
        )  # pages, 32 MiB: a checkpoint holds up the commit that makes it
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def do_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _keepalives() -> dict[str, int]:
    """Return libpq's options by which we notice a server whose host has gone; the system's own take two hours."""
    return {
        "keepalives_idle": DEAD_PEER_S // 3,
        "keepalives_interval": DEAD_PEER_S // 3,
        "keepalives_count": 2,
        "tcp_user_timeout": DEAD_PEER_S * 1000,
    }


def _prepare_postgresql(engine: AsyncEngine) -> None:
    """Have the server notice when our host has gone, or stands still, and let go of our locks."""
    settings = {
        "tcp_keepalives_idle": DEAD_PEER_S // 3,
        "tcp_keepalives_interval": DEAD_PEER_S // 3,
        "tcp_keepalives_count": 2,
        "idle_in_transaction_session_timeout": ABANDONED_S * 1000,
    }

    @event.listens_for(engine.sync_engine, "connect")
    def set_session(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for name, value in settings.items():
            cursor.execute(f"SET {name} = {value}")
        cursor.close()
        connection.commit()


class Database:
    """Engines over one database: `writer`, used one transaction at a time, `reader`, and `brief_reader`."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.writer = self._inline_engine(url, pool_size=1)
            self.brief_reader = self._inline_engine(url, pool_size=BRIEF_READERS)
            self.reader = create_async_engine(
                url,
                poolclass=AsyncAdaptedQueuePool,
                pool_size=READERS,
                max_overflow=0,
                connect_args={"timeout": WAIT_S, "isolation_level": None},
            )
            _prepare_sqlite(self.writer, begin="BEGIN IMMEDIATE")
            _prepare_sqlite(self.brief_reader, begin="BEGIN")
            _prepare_sqlite(self.reader, begin="BEGIN")
        else:
            self.writer = self.reader = self.brief_reader = create_async_engine(
                url,
                pool_size=READERS,
                max_overflow=2,
                pool_pre_ping=True,  # a restarted server costs a reconnect, not an error
                pool_timeout=CONNECT_TIMEOUT_S,
                connect_args={"connect_timeout": CONNECT_TIMEOUT_S, **_keepalives()},
            )
            _prepare_postgresql(self.writer)

    @staticmethod
    def _inline_engine(url: URL, *, pool_size: int) -> AsyncEngine:
        path = url.database or ""
        return create_async_engine(
            url,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=pool_size,
            max_overflow=0,
            async_creator=lambda: connect_inline(path, timeout_s=WAIT_S),
        )

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One write transaction: committed and fsynced when the block ends, rolled back if it raises."""
        with translated_errors():
            async with self.writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One read transaction: everything in the block sees the same state (SQLite) or committed rows (PostgreSQL)."""
        with translated_errors():
            async with self.reader.connect() as connection:
                yield connection

    @asynccontextmanager
    async def read_briefly(self) -> AsyncIterator[AsyncConnection]:
        """One read transaction for the hot path: a handful of rows by key, in SQLite without leaving the event loop."""
        with translated_errors():
            async with self.brief_reader.connect() as connection:
                yield connection

    async def close(self) -> None:
        """Close all connections."""
        for engine in {self.writer, self.reader, self.brief_reader}:
            await engine.dispose()
