"""A received fax's document fetched over HTTP: whole or not at all, and never more than we take."""

import aiohttp

from appeals.errors import PermanentError, TransientError
from connectors.fax.gateway import PagesGoneError
from connectors.http_outcome import check_outcome

FETCH_TIMEOUT = aiohttp.ClientTimeout(total=20.0, sock_connect=5.0, sock_read=10.0)  # the gateway waits meanwhile


async def fetch_document(session: aiohttp.ClientSession, url: str, *, max_bytes: int, what: str) -> bytes:
    """Return the document at `url`.

    Raises TransientError if it may be had later: 408, 425, 429, 5xx, no connection, too slow, cut off.
    Raises PagesGoneError for any other refusal (403 of an expired address, 404, 410), a redirection, or if it has more
    than `max_bytes`.
    """
    try:
        async with session.get(url, allow_redirects=False, timeout=FETCH_TIMEOUT) as response:
            check_outcome(response.status, response.headers, what=what)
            content = await _read_at_most(response, max_bytes)
    except PagesGoneError:
        raise
    except PermanentError as error:
        raise PagesGoneError(str(error)) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:  # ClientPayloadError: cut off
        raise TransientError(f"{what}: {type(error).__name__}") from error
    if not content:
        raise TransientError(f"{what}: an empty document")
    return content


async def _read_at_most(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > max_bytes:
            raise PagesGoneError(f"the document is larger than fax.max_body_bytes ({max_bytes})")
    return bytes(content)
