"""Bodies on their way in: slow, broken off, chunked, larger than they said."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from connectors.problem import answering_problems
from connectors.web.body import IN_MEMORY_BYTES, spooled_body

MAX_BYTES = 3 * 1024 * 1024


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Serve a hook that answers how much it has read."""

    async def take(request: web.Request) -> web.Response:
        async with spooled_body(request, max_bytes=MAX_BYTES, timeout_s=1.0) as file:
            content = file.read()
        return web.json_response({"size": len(content), "last": content[-1:].hex()})

    app = web.Application()
    app.add_routes([web.post("/", answering_problems(take))])
    runner = web.AppRunner(app, access_log=None, lingering_time=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def chunks(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * (size - 1) + b"\x07"


@pytest.mark.parametrize("sizes", [(1,), (IN_MEMORY_BYTES, 1), (1024 * 1024, 1024 * 1024, 5)])
async def test_a_body_of_any_size_is_read_whole(url: str, sizes: tuple[int, ...]):
    """In memory, in a file, and over several writes; sent in chunks, so that nothing tells its length before."""
    async with aiohttp.ClientSession() as client, client.post(url, data=chunks(*sizes)) as answer:
        assert await answer.json() == {"size": sum(sizes), "last": "07"}


async def test_a_body_that_grows_over_the_limit_is_refused(url: str):
    """Also when no header said how long it is."""
    async with aiohttp.ClientSession() as client, client.post(url, data=chunks(*[1024 * 1024] * 4)) as answer:
        assert answer.status == 413


async def test_a_body_that_does_not_come_is_given_up(url: str):
    """A sender who trickles does not hold a connection for ever."""
    stuck = asyncio.Event()

    async def trickle() -> AsyncIterator[bytes]:
        yield b"x"
        await stuck.wait()

    async with aiohttp.ClientSession() as client:
        async with client.post(url, data=trickle()) as answer:
            assert answer.status == 408
        stuck.set()
