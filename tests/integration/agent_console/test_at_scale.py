"""The console on Redis and PostgreSQL, and what it does when Redis loses everything or dies."""

from typing import Any
from uuid import uuid4

import pytest

from queues.redis import RedisQueues


@pytest.fixture
async def scaled(make_site: Any, redis_url: str, postgres_url: str) -> Any:
    """Serve a site on a real Redis and a real PostgreSQL."""
    return await make_site(queues=RedisQueues(redis_url), database_url=postgres_url)


def changed(version: int) -> dict[str, object]:
    """Return a queue message that can be told apart."""
    return {"type": "appeal_changed", "appeal_id": str(uuid4()), "version": version, "state": "assigned"}


async def test_the_main_path_on_redis_and_postgresql(scaled: Any) -> None:
    """Offer → accept → reply with a file → close works as on the embedded defaults."""
    client = await scaled.logged_in("ivanova")
    console, _ = await scaled.console_of("ivanova", client=client)
    offer_id = await scaled.offer("ivanova")
    await console.until(lambda message: message["type"] == "offer")
    appeal = (await console.command("accept", offer_id=str(offer_id)))["appeal"]
    upload = await scaled.upload(client, b"%PDF-1.7 plan")
    replied = await console.command(
        "reply", appeal_id=appeal["id"], version=appeal["version"], text="Да.", attachments=[upload["id"]]
    )
    closed = await console.command("close", appeal_id=appeal["id"], version=replied["appeal"]["version"])
    assert closed["appeal"]["state"] == "closed"


async def test_a_nul_never_reaches_postgresql(scaled: Any) -> None:
    """PostgreSQL refuses NUL in texts: it is a 4xx of ours, not a 500."""
    client = await scaled.logged_in("boss")
    cases = ["/api/v1/appeals?q=%00", "/api/v1/appeals?queue=%00", "/api/v1/appeals/%00"]
    for path in cases:
        async with client.get(path) as response:
            assert response.status in (400, 404)


async def test_a_flushed_redis_gives_live_consoles_a_fresh_snapshot(
    make_site: Any, redis_server: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: after FLUSHALL a connected console gets the whole picture, and messages after it."""
    monkeypatch.setattr("agent_console.connection.BLOCK_S", 0.2)
    site = await make_site(queues=RedisQueues(redis_url))
    console, welcome = await site.console_of("ivanova")
    offer_id = str(await site.offer("ivanova"))
    await console.until(lambda message: message["type"] == "offer")
    redis_server.flushall()
    fresh = await console.until(lambda message: message["type"] == "snapshot")
    assert [offer["offer_id"] for offer in fresh["snapshot"]["offers"]] == [offer_id]
    await site.queues.push([("ivanova", changed(7))])
    await console.until(lambda message: message.get("version") == 7)
    _, welcome = await site.console_of("ivanova", after_id=welcome["snapshot"]["tail_id"])
    assert welcome["resume_gap"] is True


async def test_a_killed_redis_does_not_stop_the_work_on_appeals(
    make_site: Any, own_redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Redis dead, accepting and answering go on; when it is back, the console is told everything."""
    monkeypatch.setattr("agent_console.connection.BLOCK_S", 0.2)
    monkeypatch.setattr("agent_console.connection.RETRY_S", 0.1)
    site = await make_site(queues=RedisQueues(own_redis_server.url))
    console, _ = await site.console_of("ivanova")
    offer_id = str(await site.offer("ivanova"))
    await console.until(lambda message: message["type"] == "offer")
    own_redis_server.kill()
    accepted = await console.command("accept", offer_id=offer_id)
    assert accepted["type"] == "ack", accepted
    late = await site.logged_in("petrov")
    async with late.ws_connect("/ws/agent") as socket:
        await socket.send_json({"type": "hello", "request_id": "1"})
        assert (await socket.receive_json(timeout=10))["code"] == "unavailable"
    own_redis_server.restart()
    fresh = await console.until(lambda message: message["type"] == "snapshot")
    assert [appeal["id"] for appeal in fresh["snapshot"]["appeals"]] == [accepted["appeal"]["id"]]
