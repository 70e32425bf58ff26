"""INSERT of many rows with little work a row: the hot path of the intake.

SQLAlchemy's own executemany costs about 30 µs of Python a row and table, most of it in parameter handling that is the
same for each row. Here the statement is compiled once for a dialect, and each row is only converted and handed to the
driver.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection

Processor = Callable[[Any], Any]
Row = Mapping[str, Any]


class _BulkInsert:
    """One table's INSERT, compiled for one dialect."""

    def __init__(self, table: Table, dialect: Dialect, *, ignore_known: bool) -> None:
        insert = sqlite.insert(table) if dialect.name == "sqlite" else postgresql.insert(table)
        statement = insert.values({column.name: bindparam(column.name) for column in table.columns})
        if ignore_known:
            statement = statement.on_conflict_do_nothing()
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._positional = compiled.positional
        names = compiled.positiontup if compiled.positional else list(compiled.params)
        self._columns = [(name, _processor(table, name, dialect)) for name in names or ()]

    def parameters(self, rows: Sequence[Row]) -> list[Any]:
        """Return the rows as the driver takes them: tuples or dicts."""
        columns = self._columns
        if self._positional:
            return [
                tuple([row[name] if process is None else process(row[name]) for name, process in columns])
                for row in rows
            ]
        return [
            {name: row[name] if process is None else process(row[name]) for name, process in columns} for row in rows
        ]


def _processor(table: Table, name: str, dialect: Dialect) -> Processor | None:
    processor: Processor | None = table.columns[name].type.dialect_impl(dialect).bind_processor(dialect)
    return processor


@lru_cache(maxsize=64)
def _prepared(table: Table, dialect: Dialect, *, ignore_known: bool) -> _BulkInsert:
    return _BulkInsert(table, dialect, ignore_known=ignore_known)


async def insert_rows(
    connection: AsyncConnection, table: Table, rows: Sequence[Row], *, ignore_known: bool = False
) -> None:
    """Insert `rows`, each with a value for every column of `table`. None are none.

    `ignore_known`: leave rows alone whose key is there already. Raises IntegrityError otherwise.
    """
    if not rows:
        return
    prepared = _prepared(table, connection.dialect, ignore_known=ignore_known)
    await connection.exec_driver_sql(prepared.sql, prepared.parameters(rows))
