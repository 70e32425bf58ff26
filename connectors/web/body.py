"""A request's body on its way in: spooled to disk, so that slow large uploads do not fill the memory."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

from aiohttp import web

from appeals.errors import TransientError
from connectors.problem import BROKEN_BODY

IN_MEMORY_BYTES = 256 * 1024  # a form without files fits
UPLOAD_TIMEOUT_S = 900.0  # 40 MB at 400 kbit/s
WRITE_BYTES = 1024 * 1024  # gathered before a thread writes them


@asynccontextmanager
async def spooled_body(
    request: web.Request, *, max_bytes: int, timeout_s: float = UPLOAD_TIMEOUT_S
) -> AsyncIterator[IO[bytes]]:
    """Read the whole body, at most `max_bytes`, into a temporary file (memory while it is small), gone at the end.

    Raises web.HTTPRequestEntityTooLarge (413), web.HTTPRequestTimeout (408), web.HTTPBadRequest (400: broken transfer
    or content coding) and TransientError (no room on the disk).
    """
    if (request.content_length or 0) > max_bytes:
        raise web.HTTPRequestEntityTooLarge(max_size=max_bytes, actual_size=request.content_length or 0)
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as file:
        try:
            async with asyncio.timeout(timeout_s):
                await _spool(request, file, max_bytes=max_bytes)
        except TimeoutError as error:
            raise web.HTTPRequestTimeout from error
        except BROKEN_BODY as error:
            raise web.HTTPBadRequest(reason="Broken body") from error
        except OSError as error:
            raise TransientError("there is no room for the body") from error
        yield file


async def _spool(request: web.Request, file: IO[bytes], *, max_bytes: int) -> None:
    size_bytes, gathered = 0, bytearray()
    async for chunk in request.content.iter_any():
        gathered += chunk
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise web.HTTPRequestEntityTooLarge(max_size=max_bytes, actual_size=size_bytes)
        if len(gathered) >= WRITE_BYTES:
            await asyncio.to_thread(file.write, bytes(gathered))
            gathered.clear()
    file.write(gathered)
    file.seek(0)
