"""Quarantine: what cannot be processed is kept with its bytes and the reason, is visible, and can be retried (P4)."""

import hashlib
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

from appeals import tables
from appeals.blob_rows import keep_blobs, store_large_blobs
from appeals.errors import NotFoundError, TransientError
from appeals.event_chain import Event
from appeals.registration import QuarantineItem
from appeals.registry import Registry

HELD, RETRIED, DROPPED = "held", "retried", "dropped"


async def hold(registry: Registry, item: QuarantineItem, content: bytes, *, inline_max_bytes: int) -> UUID:
    """Keep `content` with the reason; the same bytes from the same connector are one entry that counts its times.

    Committed when it returns. Raises TransientError if nothing was kept.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    blobs = {sha256: content}
    await store_large_blobs(registry.blobs, blobs, inline_max_bytes=inline_max_bytes)
    table = tables.quarantine
    try:
        async with registry.transaction() as transaction:
            connection = transaction.connection
            is_held = (table.c.connector == item.connector) & (table.c.sha256 == sha256) & (table.c.state == HELD)
            known: UUID | None = (await connection.execute(select(table.c.id).where(is_held))).scalar()
            if known is not None:
                await connection.execute(
                    update(table).where(table.c.id == known).values(times=table.c.times + 1, reason=item.reason)
                )
                return known
            await keep_blobs(connection, [blobs], inline_max_bytes=inline_max_bytes)
            entry_id = uuid7()
            row = {
                "id": entry_id,
                "at": transaction.now,
                "connector": item.connector,
                "channel": item.channel.value,
                "stage": item.stage,
                "reason": item.reason,
                "context": dict(item.context),
                "sha256": sha256,
                "state": HELD,
                "times": 1,
                "note": "",
            }
            await connection.execute(table.insert(), row)
            data = {"entry_id": str(entry_id), "connector": item.connector, "stage": item.stage, "sha256": sha256}
            transaction.events.append(Event(kind="quarantine.held", actor="okno", data=data))
            return entry_id
    except IntegrityError as error:  # another process held the same bytes at the same moment
        raise TransientError("lost a race for a quarantine entry; try again") from error


async def settle(registry: Registry, entry_id: UUID, *, state: str, actor: str, note: str) -> None:
    """Mark a held entry as retried or dropped, with the reason. Raises NotFoundError if it is not held."""
    table = tables.quarantine
    async with registry.transaction() as transaction:
        result = await transaction.connection.execute(
            update(table).where(table.c.id == entry_id, table.c.state == HELD).values(state=state, note=note)
        )
        if result.rowcount != 1:
            raise NotFoundError(f"no held quarantine entry {entry_id}")
        data = {"entry_id": str(entry_id), "note": note}
        transaction.events.append(Event(kind=f"quarantine.{state}", actor=actor, data=data))
