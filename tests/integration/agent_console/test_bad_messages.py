"""What a broken or hostile console gets: a clear refusal, and the daemon goes on."""

import asyncio
from typing import Any

import aiohttp
import pytest

from agent_console.protocol import MAX_MESSAGE_BYTES

UNREADABLE = (
    "",
    "null",
    "{",
    "[]",
    '"hello"',
    "{}",
    '{"type": "nothing", "request_id": "1"}',
    '{"type": "ping"}',
    '{"type": "ping", "request_id": ""}',
    '{"type": "ping", "request_id": "1", "extra": 1}',
    '{"type": "accept", "request_id": "1", "offer_id": "not-a-uuid"}',
    '{"type": "reply", "request_id": "1", "appeal_id": 5, "version": "x", "text": ""}',
    '{"type": "set_status", "request_id": "1", "status": "wrap_up"}',
    '{"type": "close", "request_id": "1", "appeal_id": "0197b1c2-0000-7000-8000-000000000000", "version": -1}',
    '{"type": "ping", "request_id": "\\ud800"}',
    "[" * 10_000,
    '{"type": "decline", "request_id": "1", "offer_id": "0197b1c2-0000-7000-8000-000000000000", "reason": "\\u0000"}',
)


async def test_a_message_that_cannot_be_read_gets_an_error_and_the_connection_goes_on(site: Any) -> None:
    """Invalid JSON, unknown types and wrong fields are answered with `invalid_message`."""
    console, _ = await site.console_of("ivanova")
    for text in UNREADABLE:
        await console.socket.send_str(text)
        answer = await console.receive()
        assert (answer["type"], answer.get("code")) == ("error", "invalid_message"), text
    assert (await console.command("ping"))["type"] == "pong"


async def test_the_error_names_the_request_where_it_can(site: Any) -> None:
    """A request id in an otherwise wrong message comes back."""
    console, _ = await site.console_of("ivanova")
    await console.socket.send_str('{"type": "nothing", "request_id": "abc"}')
    assert (await console.receive())["request_id"] == "abc"
    await console.socket.send_str("{")
    assert (await console.receive())["request_id"] is None


async def test_binary_messages_are_refused(site: Any) -> None:
    """The protocol is text."""
    console, _ = await site.console_of("ivanova")
    await console.socket.send_bytes(b'{"type": "ping", "request_id": "1"}')
    assert (await console.receive())["code"] == "invalid_message"


async def test_a_command_before_hello_is_refused(site: Any) -> None:
    """`hello` comes first, and once."""
    client = await site.logged_in("ivanova")
    async with client.ws_connect("/ws/agent") as socket:
        await socket.send_json({"type": "ping", "request_id": "1"})
        assert (await socket.receive_json(timeout=5))["code"] == "hello_first"
        await socket.send_json({"type": "hello", "request_id": "2"})
        assert (await socket.receive_json(timeout=5))["type"] == "welcome"
        await socket.send_json({"type": "hello", "request_id": "3"})
        assert (await socket.receive_json(timeout=5))["code"] == "invalid_message"


async def test_a_huge_message_closes_the_connection_with_1009(site: Any) -> None:
    """Nobody can fill our memory through a websocket; other consoles do not notice."""
    other, _ = await site.console_of("petrov")
    console, _ = await site.console_of("ivanova")
    await console.socket.send_str("x" * (MAX_MESSAGE_BYTES + 1))
    closing = await console.socket.receive(timeout=5)
    assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1009)
    assert (await other.command("ping"))["type"] == "pong"


async def test_unknown_ids_are_not_found(site: Any) -> None:
    """Commands on what does not exist get `not_found`."""
    console, _ = await site.console_of("ivanova")
    nowhere = "0197b1c2-0000-7000-8000-000000000000"
    for type_, fields in (
        ("accept", {"offer_id": nowhere}),
        ("decline", {"offer_id": nowhere}),
        ("open", {"appeal_id": nowhere}),
        ("reply", {"appeal_id": nowhere, "version": 1, "text": "x"}),
        ("close", {"appeal_id": nowhere, "version": 1}),
        ("release", {"appeal_id": nowhere, "version": 1}),
    ):
        answer = await console.command(type_, **fields)
        assert (answer["type"], answer["code"]) == ("error", "not_found"), type_


async def test_no_session_no_websocket(site: Any) -> None:
    """Without a log-in the upgrade is refused with 401."""
    client = await site.client()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect("/ws/agent")
    assert refused.value.status == 401


async def test_a_websocket_of_a_foreign_page_is_refused(site: Any) -> None:
    """Cross-site websocket hijacking: the cookie alone opens nothing."""
    client = await site.logged_in("ivanova")
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://okno.example.evil", "x"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/ws/agent", origin=origin)
        assert refused.value.status == 403, origin


async def test_our_own_origins_are_taken(site: Any) -> None:
    """The public address and the address that was asked are ours."""
    client = await site.logged_in("ivanova")
    for origin in ("http://okno.example", "http://okno.example:80", site.url):
        async with client.ws_connect("/ws/agent", origin=origin) as socket:
            await socket.send_json({"type": "hello", "request_id": "1"})
            assert (await socket.receive_json(timeout=5))["type"] == "welcome"


async def test_a_plain_request_to_the_websocket_address_is_refused(site: Any) -> None:
    """A GET without an upgrade is a 400 problem."""
    client = await site.logged_in("ivanova")
    async with client.get("/ws/agent") as response:
        assert (response.status, response.content_type) == (400, "application/problem+json")


async def test_a_script_in_a_subject_stays_data(site: Any) -> None:
    """Markup in what a citizen wrote reaches the console as the text it is, in JSON that no browser runs."""
    script = '</script><script>alert(1)</script><img src=x onerror="alert(1)">'
    offer_id = await site.offer("ivanova", await site.register(subject=script, text=script))
    console, welcome = await site.console_of("ivanova")
    assert welcome["snapshot"]["offers"][0]["subject"] == script
    appeal = (await console.command("accept", offer_id=str(offer_id)))["appeal"]
    client = await site.logged_in("ivanova")
    async with client.get(f"/api/v1/appeals/{appeal['number']}") as response:
        assert response.content_type == "application/json"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert (await response.json())["envelopes"][0]["text"] == script


async def test_a_registry_that_is_down_is_told_and_recovers(site: Any) -> None:
    """REST 503 with Retry-After, websocket `unavailable`; when the registry is back, everything goes on."""
    client = await site.logged_in("ivanova")
    console, _ = await site.console_of("ivanova", client=client)
    appeal = await site.register()
    async with site.registry.database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE appeals RENAME TO away")
    assert (await console.command("open", appeal_id=str(appeal.id)))["code"] == "unavailable"
    async with client.get(f"/api/v1/appeals/{appeal.number}") as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (503, "unavailable")
        assert int(response.headers["Retry-After"]) >= 1
    async with site.registry.database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO appeals")
    assert (await console.command("open", appeal_id=str(appeal.id)))["type"] == "opened"


async def test_a_stop_closes_consoles_with_going_away(site: Any) -> None:
    """Consoles are told to come back, the command in hand is answered first, and no new one is let in."""
    client = await site.logged_in("ivanova")
    console, _ = await site.console_of("ivanova", client=client)
    await console.socket.send_json({"type": "ping", "request_id": "last"})
    await asyncio.sleep(0)
    await site.console.stop(restarting=True)
    answers = []
    while (message := await console.socket.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
        answers.append(message.json())
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect("/ws/agent")
    assert refused.value.status == 503


async def test_a_console_that_reads_nothing_is_dropped(site: Any, monkeypatch: pytest.MonkeyPatch, poll: Any) -> None:
    """A slow consumer costs a bounded buffer: it is dropped, and may resume."""
    monkeypatch.setattr("agent_console.connection.SEND_TIMEOUT_S", 0.2)
    monkeypatch.setattr("agent_console.connection.CLOSE_TIMEOUT_S", 0.1)
    console, _ = await site.console_of("ivanova")
    transport = console.socket._response.connection.transport
    transport.pause_reading()
    filler = "x" * 2000

    async def dropped() -> bool:
        messages = [("ivanova", {"type": "status", "status": "busy", "reason": filler}) for _ in range(500)]
        await site.queues.push(messages)
        return len(site.console.sockets) == 0

    await poll(dropped)
    transport.abort()
