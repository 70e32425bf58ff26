"""Durable positions of connectors: the Telegram offset, IMAP UIDs, a spool's mark."""

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from appeals import tables
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
