"""Runs Alembic's migrations from within the process: no ini file, no second configuration."""

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from appeals.database import Database
from appeals.errors import ConfigurationError
from appeals.tables import metadata

MIGRATION_LOCK = 0x6F6B6E6F  # "okno": PostgreSQL's advisory lock, so that two processes do not migrate at once


def _scripts() -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config, ScriptDirectory.from_config(config)


def _missing(connection: Connection) -> list[str]:
    _, scripts = _scripts()
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise ConfigurationError(f"the registry was made by a newer Okno (migration {current}); install that one")
    head = scripts.get_current_head()
    if current == head or head is None:
        return []
    return [script.revision for script in scripts.iterate_revisions(head, current or "base")]


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    if not _missing(connection):
        return
    config, scripts = _scripts()
    with EnvironmentContext(config, scripts, fn=lambda rev, _: scripts._upgrade_revs("head", rev)) as environment:  # noqa: SLF001 - as alembic.command.upgrade does
        environment.configure(connection=connection, target_metadata=metadata)
        environment.run_migrations()


async def migrate(database: Database) -> None:
    """Bring the tables to the newest form in one transaction. Raises ConfigurationError if they are newer than that."""
    async with database.write() as connection:
        await connection.run_sync(_upgrade)


async def missing_migrations(database: Database) -> list[str]:
    """Return the ids of migrations not yet run, newest first."""
    async with database.read() as connection:
        return await connection.run_sync(_missing)
