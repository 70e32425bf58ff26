"""History can't be rewritten unseen (P9), and the tables are what the migrations make."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from appeals import tables
from appeals.blobs import FileBlobStore
from appeals.event_chain import Event
from appeals.registry import Registry

TRIGGERS = {
    "sqlite": ("DROP TRIGGER events_no_update", "DROP TRIGGER events_no_delete"),
    "postgresql": ("DROP TRIGGER events_append_only ON events",),
}


@pytest.fixture
async def three_appeals(registered):
    return [await registered(f"m{number}", sender=f"{number}@x.org") for number in range(3)]


async def _tamper(registry: Registry, *statements: str) -> None:
    """Do what a person with a database client can do: drop the triggers first."""
    kind = registry.database.url.get_backend_name()
    async with registry.database.write() as connection:
        for statement in (*TRIGGERS[kind], *statements):
            await connection.execute(text(statement))


@pytest.mark.parametrize("statement", ["UPDATE events SET actor = 'nobody'", "DELETE FROM events"])
async def test_the_database_itself_refuses(registry, three_appeals, statement):
    """Events can be neither changed nor deleted while the triggers stand."""
    with pytest.raises((DatabaseError, SQLAlchemyError), match="append-only"):
        async with registry.database.write() as connection:
            await connection.execute(text(statement))


@pytest.mark.parametrize(
    "statements",
    [
        ("UPDATE events SET actor = 'nobody' WHERE seq = 2",),
        ("UPDATE events SET data = '{}' WHERE seq = 2",),
        ("DELETE FROM events WHERE seq = 2",),
        ("DELETE FROM events WHERE seq = 3",),
        ("UPDATE appeals SET version = version + 1",),
    ],
    ids=["actor", "data", "middle", "end", "version"],
)
async def test_tampering_is_seen(registry, three_appeals, statements):
    """A changed, removed or missing event, and an appeal changed past its history, are named."""
    assert not (await registry.check_history()).faults
    await _tamper(registry, *statements)
    assert (await registry.check_history()).faults


async def test_a_vanished_appeal_is_seen(registry, three_appeals):
    """Removing an appeal with its messages, its events and the head of the chain still shows, by the next chain."""
    gone = three_appeals[2].appeal_id
    key = gone.hex if registry.database.is_sqlite else str(gone)
    later = Registry(registry.database.url, blobs=registry.blobs)
    async with later.transaction() as transaction:
        transaction.events.append(Event(kind="leader.took_over", actor="router"))
    await later.close()
    await _tamper(
        registry,
        *(f"DELETE FROM {table} WHERE appeal_id = '{key}'" for table in ("envelopes", "replies", "thread_keys")),
        f"DELETE FROM appeals WHERE id = '{key}'",
        f"DELETE FROM events WHERE appeal_id = '{key}'",
        "UPDATE chains SET seq = 2, head = (SELECT hash FROM events WHERE seq = 2 AND chain = chains.id) WHERE seq = 3",
    )
    report = await registry.check_history()
    assert any("vouches" in fault for fault in report.faults)


async def test_a_restart_begins_a_new_chain_that_fits(registry, three_appeals, tmp_path):
    """Each process has its own chain; together they are whole."""
    other = Registry(registry.database.url, blobs=FileBlobStore(tmp_path / "blobs"))
    async with other.transaction() as transaction:
        transaction.events.append(Event(kind="leader.took_over", actor="router"))
    await other.close()
    report = await registry.check_history()
    assert (report.chains, report.faults) == (2, ())


async def test_a_failed_transaction_leaves_no_event(registry, three_appeals):
    """What was rolled back is not in the history, and the chain goes on."""
    with pytest.raises(RuntimeError):
        async with registry.transaction() as transaction:
            transaction.events.append(Event(kind="never.happened", actor="okno"))
            raise RuntimeError
    before = await registry.check_history()
    async with registry.transaction() as transaction:
        transaction.events.append(Event(kind="did.happen", actor="okno"))
    after = await registry.check_history()
    assert (after.events, after.faults) == (before.events + 1, ())


async def test_migrations_make_the_tables(registry):
    """What the migrations made is what `tables.py` describes, and there is nothing left to run."""
    assert await registry.missing_migrations() == []
    await registry.migrate()
    async with registry.database.read() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), tables.metadata)
        )
    assert differences == []
