"""INSERT and UPDATE of many rows with little work a row: the hot path of intake, classifier and router.

SQLAlchemy's own executemany costs about 30 µs of Python a row and table, most of it in parameter handling that is the
same for each row. Here a statement is compiled once for a dialect, and each row is only converted and handed to the
driver.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Table, bindparam, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection

Processor = Callable[[Any], Any]
Row = Mapping[str, Any]


class _Prepared:
    """One statement, compiled for one dialect; `types` names the column that each parameter is for."""

    def __init__(self, statement: Any, table: Table, dialect: Dialect, *, types: Mapping[str, str]) -> None:
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._positional = compiled.positional
        names = compiled.positiontup if compiled.positional else list(compiled.params)
        self._parameters = [(name, _processor(table, types[name], dialect)) for name in names or ()]

    def parameters(self, rows: Sequence[Row]) -> list[Any]:
        """Return the rows as the driver takes them: tuples or dicts."""
        wanted = self._parameters
        if self._positional:
            return [
                tuple([row[name] if process is None else process(row[name]) for name, process in wanted])
                for row in rows
            ]
        return [
            {name: row[name] if process is None else process(row[name]) for name, process in wanted} for row in rows
        ]


def _processor(table: Table, name: str, dialect: Dialect) -> Processor | None:
    processor: Processor | None = table.columns[name].type.dialect_impl(dialect).bind_processor(dialect)
    return processor


def _insert_into(table: Table, dialect: Dialect) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if dialect.name == "sqlite" else postgresql.insert(table)


def insert_new(table: Table, dialect: Dialect) -> Any:
    """Return an INSERT that leaves rows alone which are there already; both dialects say it alike."""
    return _insert_into(table, dialect).on_conflict_do_nothing()


@lru_cache(maxsize=64)
def _insert(table: Table, dialect: Dialect, *, ignore_known: bool) -> _Prepared:
    names = [column.name for column in table.columns]
    insert = insert_new(table, dialect) if ignore_known else _insert_into(table, dialect)
    statement = insert.values({name: bindparam(name) for name in names})
    return _Prepared(statement, table, dialect, types={name: name for name in names})


@lru_cache(maxsize=64)
def _update(table: Table, dialect: Dialect, *, keys: tuple[str, ...], values: tuple[str, ...]) -> _Prepared:
    statement = update(table).values({name: bindparam(f"new_{name}") for name in values})
    for name in keys:
        statement = statement.where(table.columns[name] == bindparam(f"base_{name}"))
    types = {f"new_{name}": name for name in values} | {f"base_{name}": name for name in keys}
    return _Prepared(statement, table, dialect, types=types)


async def insert_rows(
    connection: AsyncConnection, table: Table, rows: Sequence[Row], *, ignore_known: bool = False
) -> None:
    """Insert `rows`, each with a value for every column of `table`. None are none.

    `ignore_known`: leave rows alone whose key is there already. Raises IntegrityError otherwise.
    """
    if not rows:
        return
    prepared = _insert(table, connection.dialect, ignore_known=ignore_known)
    await connection.exec_driver_sql(prepared.sql, prepared.parameters(rows))


async def update_rows(
    connection: AsyncConnection, table: Table, rows: Sequence[Row], *, keys: tuple[str, ...], values: tuple[str, ...]
) -> int:
    """Set `values` where `keys` are equal, row by row; returns how many rows were changed in all.

    Each row has `base_<name>` for every key and `new_<name>` for every value.
    """
    if not rows:
        return 0
    prepared = _update(table, connection.dialect, keys=keys, values=values)
    result = await connection.exec_driver_sql(prepared.sql, prepared.parameters(rows))
    return result.rowcount
