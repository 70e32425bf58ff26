"""The one UPDATE by which an appeal changes: compare-and-set on its version (P7)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from appeals import tables
from appeals.appeal import Appeal
from appeals.bulk_rows import update_rows
from appeals.errors import StaleVersionError

MUTABLE = (
    "version",
    "state",
    "channel",
    "connector",
    "subject",
    "language",
    "topic",
    "topic_confidence",
    "priority",
    "queue",
    "agent_id",
    "rule_set",
    "waiting_since",
    "changed_at",
    "answered_at",
    "closed_at",
    "attributes",
)


async def write_changed(connection: AsyncConnection, changed: Sequence[tuple[Appeal, int]]) -> None:
    """Write (appeal, the version it was read at) pairs, each where that version is still the newest.

    Raises StaleVersionError if one is not: the caller's transaction must then be rolled back.
    """
    rows = [_row(appeal, version) for appeal, version in changed]
    if await update_rows(connection, tables.appeals, rows, keys=("id", "version"), values=MUTABLE) != len(rows):
        raise StaleVersionError("an appeal was changed in the meantime")


def _row(appeal: Appeal, base_version: int) -> dict[str, Any]:
    row = {f"new_{name}": getattr(appeal, name) for name in MUTABLE}
    row |= {"new_state": appeal.state.value, "new_channel": appeal.channel.value}
    return row | {"base_id": appeal.id, "base_version": base_version}
