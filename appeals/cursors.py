"""Durable positions of connectors: the Telegram offset, IMAP UIDs, a spool's mark."""

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from appeals import tables
from appeals.bulk_rows import insert_new
from appeals.errors import TransientError
from appeals.registry import Registry


class RegistryCursors:
    """Keeps cursors in the registry: committed when `put` returns."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def get(self, connector: str, name: str) -> str | None:
        """Return the value committed last, None at first."""
        return await self._registry.cursor(connector, name)

    async def put(self, connector: str, name: str, value: str) -> None:
        """Commit the value."""
        table = tables.cursors
        row = {"connector": connector, "name": name, "value": value}
        try:
            async with self._registry.transaction() as transaction:
                row_ = {**row, "changed_at": transaction.now}
                result = await transaction.connection.execute(
                    update(table).where(table.c.connector == connector, table.c.name == name).values(row_)
                )
                if result.rowcount == 0:
                    await transaction.connection.execute(table.insert(), row_)
        except IntegrityError as error:  # two processes put the first value at once
            raise TransientError("lost a race for a cursor; try again") from error

    async def replace(self, connector: str, name: str, value: str, *, expected: str | None) -> bool:
        """Commit the value if the one kept is still `expected` (None: there is none); tell whether it was."""
        table = tables.cursors
        row = {"connector": connector, "name": name, "value": value}
        async with self._registry.transaction() as transaction:
            row_ = {**row, "changed_at": transaction.now}
            if expected is None:
                statement = insert_new(table, transaction.connection.dialect).values(row_)
            else:
                kept = (table.c.connector == connector) & (table.c.name == name) & (table.c.value == expected)
                statement = update(table).where(kept).values(row_)
            written = await transaction.connection.execute(statement.returning(table.c.name))
            return written.first() is not None

    async def items(self, connector: str, prefix: str) -> dict[str, str]:
        """Return all values whose name begins with `prefix`, by name."""
        column = tables.cursors.c
        query = select(column.name, column.value).where(
            column.connector == connector, column.name.startswith(prefix, autoescape=True)
        )
        async with self._registry.database.read() as connection:
            return {row.name: row.value for row in await connection.execute(query.order_by(column.name))}

    async def drop(self, connector: str, name: str) -> None:
        """Forget a value; one that is not there is fine."""
        table = tables.cursors
        async with self._registry.transaction() as transaction:
            statement = delete(table).where(table.c.connector == connector, table.c.name == name)
            await transaction.connection.execute(statement)
