"""Blobs: bytes by their SHA-256. Small ones are committed with the appeal, larger ones go to a content-addressed store.

A file costs an fsync of its own; a row costs none beyond the commit that is made anyway. So what is smaller than
`inline_max_bytes` is a row of the registry, and what is larger is written to the store *before* the commit: a blob
without an appeal is garbage, an appeal without its blob would be a loss.
"""

import asyncio
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.exceptions import NotFoundError as StoreNotFoundError
from obstore.store import ObjectStore, from_url

from appeals.errors import ConfigurationError, NotFoundError, PermanentError, TransientError


class BlobStore(Protocol):
    """Where larger blobs are kept."""

    async def put(self, sha256: str, content: bytes) -> None:
        """Keep `content` durably. Idempotent. Raises TransientError."""
        ...

    async def get(self, sha256: str) -> bytes:
        """Return the bytes. Raises NotFoundError, TransientError."""
        ...


class FileBlobStore:
    """Content-addressed files `ab/cd/<sha256>`, fsynced with their folder before `put` returns."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256[2:4] / sha256

    async def put(self, sha256: str, content: bytes) -> None:
        """Write to a temporary name, fsync, rename, fsync the folder."""
        try:
            await asyncio.to_thread(self._write, sha256, content)
        except OSError as error:
            raise TransientError("the blob store cannot be written") from error

    def _write(self, sha256: str, content: bytes) -> None:
        """Keep the content durably, whoever else writes the same at the same moment."""
        path = self._path(sha256)
        if not (path.exists() and path.stat().st_size == len(content)):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        # Also for a file that is there: another writer may have renamed it a moment ago and not synced its folder yet.
        for folder in (path.parent, path.parent.parent, self._root):
            _fsync_folder(folder)

    async def get(self, sha256: str) -> bytes:
        """Read the file and check it against its name."""
        try:
            content = await asyncio.to_thread(self._path(sha256).read_bytes)
        except FileNotFoundError as error:
            raise NotFoundError(f"no blob {sha256}") from error
        except OSError as error:
            raise TransientError("the blob store cannot be read") from error
        return _verified(sha256, content)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ObjectBlobStore:
    """Any S3-compatible store, by obstore: durable when the put is answered."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        try:
            self._store: ObjectStore = from_url(url, **dict(options))  # type: ignore[call-overload]
        except (BaseError, ValueError) as error:
            raise ConfigurationError(f"blobs.url: {url!r} cannot be opened; see the options obstore takes") from error

    async def put(self, sha256: str, content: bytes) -> None:
        """Put the object; a put of the same content again changes nothing."""
        try:
            await obstore.put_async(self._store, self._key(sha256), content)
        except (BaseError, OSError) as error:
            raise TransientError("the blob store cannot be written") from error

    async def get(self, sha256: str) -> bytes:
        """Get the object and check it against its name."""
        try:
            result = await obstore.get_async(self._store, self._key(sha256))
            content = bytes(await result.bytes_async())
        except (StoreNotFoundError, FileNotFoundError) as error:
            raise NotFoundError(f"no blob {sha256}") from error
        except (BaseError, OSError) as error:
            raise TransientError("the blob store cannot be read") from error
        return _verified(sha256, content)

    @staticmethod
    def _key(sha256: str) -> str:
        return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _verified(sha256: str, content: bytes) -> bytes:
    if hashlib.sha256(content).hexdigest() != sha256:
        raise PermanentError(f"blob {sha256} was changed in its store")
    return content


def open_blob_store(url: str, *, options: Mapping[str, str], data_dir: Path) -> BlobStore:
    """Return the store for what an operator wrote; empty means files in the data folder."""
    return ObjectBlobStore(url, options) if url else FileBlobStore(data_dir / "blobs")
