"""Problem details: what leaves a hook when something goes wrong."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
import structlog
from aiohttp import web

from appeals.errors import DecodeError, PermanentError, TransientError
from connectors.problem import answering_problems, read_body

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def hook(handler: Handler) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_post("/hooks/x/{secret}", answering_problems(handler))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/x/s3cret"
    finally:
        await runner.cleanup()


def raising(error: BaseException) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (TransientError("db password wrong"), 503, "10"),
        (TransientError("db password wrong", retry_after_s=2.1), 503, "3"),
        (DecodeError("db password wrong", data=b""), 400, None),
        (PermanentError("db password wrong"), 422, None),
        (RuntimeError("db password wrong"), 503, "60"),
        (web.HTTPRequestEntityTooLarge(max_size=1, actual_size=2), 413, None),
    ],
)
async def test_errors_leave_as_problems(error: BaseException, status: int, retry_after: str | None):
    """Each kind of error has its status and Retry-After; its text stays inside, the secret path out of the log."""
    with structlog.testing.capture_logs() as logs:
        async with hook(raising(error)) as url, aiohttp.ClientSession() as session, session.post(url) as response:
            body = await response.json(content_type="application/problem+json")
            assert (response.status, response.headers.get("Retry-After")) == (status, retry_after)
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert "password" not in str(body)
    assert "s3cret" not in str(logs)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_body_is_limited_after_decompression(coding: str):
    """A small compressed body cannot become a large one."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=str(len(await read_body(request, max_bytes=1000))))

    async with hook(handler) as url, aiohttp.ClientSession() as session:
        async with session.post(url, data=b"x" * 900, compress=coding) as response:
            assert await response.text() == "900"
        async with session.post(url, data=b"x" * 500_000, compress=coding) as response:
            assert response.status == 413
