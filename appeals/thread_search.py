"""What the registry knows about the conversations that messages belong to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appeals import tables
from appeals.envelope import AppealEnvelope
from appeals.numbering import read_reply_token
from appeals.rows import dedup_key
from appeals.threading import inbound_key, outbound_key, referenced_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundThreads:
    """Ids of appeals by what a message may name them by, and the rows of those appeals."""

    by_envelope: Mapping[str, UUID] = field(default_factory=dict)  # by dedup key
    by_key: Mapping[str, UUID] = field(default_factory=dict)  # by thread key
    by_conversation: Mapping[str, UUID] = field(default_factory=dict)  # the newest of each
    rows: Sequence[Row[Any]] = ()


async def find_threads(
    connection: AsyncConnection, envelopes: Sequence[AppealEnvelope], *, secret_key: bytes
) -> FoundThreads:
    """Read everything that the envelopes refer to. A mail that refers to nothing costs no statement."""
    by_key = await _by_key(connection, envelopes)
    by_envelope = await _by_envelope(connection, envelopes)
    by_conversation = await _by_conversation(connection, envelopes)
    tokens = [item.threading.reply_token for item in envelopes if item.threading.reply_token]
    named = {appeal_id for token in tokens if (appeal_id := read_reply_token(secret_key, token)) is not None}
    ids = {*by_key.values(), *by_envelope.values(), *by_conversation.values(), *named}
    numbers = [item.threading.appeal_number for item in envelopes if item.threading.appeal_number]
    if not ids and not numbers:
        return FoundThreads()
    column = tables.appeals.c
    query = select(tables.appeals).where(column.id.in_(ids) | column.number.in_(numbers))
    return FoundThreads(
        by_envelope=by_envelope,
        by_key=by_key,
        by_conversation=by_conversation,
        rows=(await connection.execute(query)).all(),
    )


async def _by_key(connection: AsyncConnection, envelopes: Iterable[AppealEnvelope]) -> dict[str, UUID]:
    ids = {message_id for item in envelopes for message_id in referenced_ids(item)}
    if not ids:
        return {}
    keys = [key for message_id in ids for key in (outbound_key(message_id), inbound_key(message_id))]
    column = tables.thread_keys.c
    query = select(column.key, column.appeal_id).where(column.key.in_(keys))
    return {row.key: row.appeal_id for row in await connection.execute(query)}


async def _by_envelope(connection: AsyncConnection, envelopes: Iterable[AppealEnvelope]) -> dict[str, UUID]:
    keys = [dedup_key(item.connector, item.revises) for item in envelopes if item.revises is not None]
    if not keys:
        return {}
    column = tables.envelopes.c
    query = select(column.dedup_key, column.appeal_id).where(column.dedup_key.in_(keys))
    return {row.dedup_key: row.appeal_id for row in await connection.execute(query)}


async def _by_conversation(connection: AsyncConnection, envelopes: Iterable[AppealEnvelope]) -> dict[str, UUID]:
    talks = [item.threading.conversation for item in envelopes if item.threading.conversation]
    if not talks:
        return {}
    column = tables.appeals.c
    query = select(column.conversation, column.id).where(column.conversation.in_(talks))
    rows = await connection.execute(query.order_by(column.registered_at, column.id))
    return {row.conversation: row.id for row in rows}
