"""What the registry asks of its database's connections."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from appeals.database import ABANDONED_S, Database, registry_url
from appeals.errors import TransientError

WAIT_S = 30.0
POLL_S = 0.01


@pytest.fixture
async def database(postgres_url: str):
    opened = Database(registry_url(postgres_url, Path()))
    yield opened
    await opened.close()


async def test_postgresql_lets_go_of_those_who_have_gone(database: Database):
    """The server looks for dead peers, and ends transactions in which nothing happens, on every connection."""
    async with database.write() as first, database.write() as second:
        for connection in (first, second):
            abandoned = await connection.scalar(text("SHOW idle_in_transaction_session_timeout"))
            assert abandoned == f"{ABANDONED_S // 60}min"
            assert int(await connection.scalar(text("SHOW tcp_keepalives_idle"))) > 0


async def test_a_transaction_that_was_abandoned_is_transient(database: Database):
    """Whoever comes back after that long, such as a process that was stopped, is told to try again."""
    with pytest.raises(TransientError):
        async with database.write() as abandoned:
            await abandoned.execute(text("SET idle_in_transaction_session_timeout = 50"))
            backend = await abandoned.scalar(text("SELECT pg_backend_pid()"))
            await _until_gone(database, backend)
            await abandoned.execute(text("SELECT 1"))
    async with database.write() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


async def _until_gone(database: Database, backend: int) -> None:
    living = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
    async with asyncio.timeout(WAIT_S):
        while True:
            async with database.read() as connection:
                if not await connection.scalar(living, {"pid": backend}):
                    return
            await asyncio.sleep(POLL_S)
