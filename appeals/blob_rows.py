"""Blobs in the registry: small ones as rows, larger ones as a row that points to the blob store."""

import asyncio
from collections.abc import Iterable, Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from appeals import tables
from appeals.blobs import BlobStore
from appeals.bulk_rows import insert_rows


async def store_large_blobs(store: BlobStore, contents: Mapping[str, bytes], *, inline_max_bytes: int) -> None:
    """Put what is too large for a row into the store: before the commit that will point to it."""
    large = [(sha256, content) for sha256, content in contents.items() if len(content) > inline_max_bytes]
    if large:
        await asyncio.gather(*(store.put(sha256, content) for sha256, content in large))


async def keep_blobs(
    connection: AsyncConnection, groups: Iterable[Mapping[str, bytes]], *, inline_max_bytes: int
) -> None:
    """Write the rows of all blobs in `groups`, inside the caller's transaction."""
    rows = {
        sha256: {
            "sha256": sha256,
            "size_bytes": len(content),
            "content": content if len(content) <= inline_max_bytes else None,
        }
        for contents in groups
        for sha256, content in contents.items()
    }
    await insert_rows(connection, tables.blobs, list(rows.values()), ignore_known=True)
