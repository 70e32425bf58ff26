"""Logging in and out, and what a session is good for."""

import asyncio
import zlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp

from agent_console.log_in import hash_password
from agent_console.session import COOKIE

URL = "/api/v1/session"
GOOD = {"agent_id": "ivanova", "password": "correct horse"}


async def post(client: aiohttp.ClientSession, body: Any, **options: Any) -> tuple[int, dict[str, Any], Any]:
    async with client.post(URL, json=body, **options) as response:
        return response.status, await response.json(content_type=None), response.headers


async def test_a_log_in_sets_a_guarded_cookie_and_tells_who_one_is(site: Any) -> None:
    """The cookie is HttpOnly and SameSite=Strict; the session can be asked for again."""
    client = await site.client()
    status, view, headers = await post(client, GOOD)
    assert status == 200
    assert (view["agent"]["id"], view["office"]["name"]) == ("ivanova", "Okno")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    async with client.get(URL) as response:
        assert (await response.json())["agent"]["id"] == "ivanova"


async def test_the_cookie_is_secure_where_the_public_address_is_https(make_site: Any) -> None:
    """Behind https the cookie never travels in the clear."""
    site = await make_site(public_url="https://okno.example")
    _, _, headers = await post(await site.client(), GOOD)
    assert "Secure" in headers["Set-Cookie"]


async def test_wrong_name_wrong_password_and_inactive_agent_look_the_same(site: Any) -> None:
    """A log-in tells nobody which names exist."""
    petrov = await site.registry.agent("petrov")
    await site.lifecycle.put_agent(replace(petrov, active=False))
    client = await site.client()
    bodies = [
        {"agent_id": "ivanova", "password": "wrong"},
        {"agent_id": "nobody", "password": "wrong"},
        {"agent_id": "petrov", "password": GOOD["password"]},
    ]
    answers = [await post(client, body) for body in bodies]
    assert [status for status, _, _ in answers] == [401, 401, 401]
    assert all(answer == answers[0][1] for _, answer, _ in answers)
    assert answers[0][1]["code"] == "log_in_failed"


async def test_a_password_hashed_as_for_the_registry_logs_in(site: Any) -> None:
    """`hash_password`, which the CLI uses, and the log-in agree."""
    boss = await site.registry.agent("boss")
    await site.lifecycle.put_agent(boss, hash_password("Пароль начальника"))
    status, view, _ = await post(await site.client(), {"agent_id": "boss", "password": "Пароль начальника"})
    assert (status, view["agent"]["role"]) == (200, "supervisor")


async def test_attempts_on_one_account_are_limited(make_site: Any) -> None:
    """After so many tries a minute even the right password has to wait, and is told how long."""
    site = await make_site(log_in_attempts_per_minute=3)
    client = await site.client()
    for _ in range(3):
        status, _, _ = await post(client, {"agent_id": "ivanova", "password": "wrong"})
        assert status == 401
    status, problem, headers = await post(client, GOOD)
    assert (status, problem["code"]) == (429, "too_many_requests")
    assert 1 <= int(headers["Retry-After"]) <= 62


async def test_failures_of_one_address_are_limited_and_successes_are_not(make_site: Any) -> None:
    """An office behind one address may log in; one who tries many names from it may not."""
    site = await make_site(log_in_attempts_per_minute=3)
    client = await site.client()
    for agent_id in ("ivanova", "petrov", "boss", "ivanova"):
        assert (await post(client, {**GOOD, "agent_id": agent_id}))[0] == 200
    for number in range(3):
        assert (await post(client, {"agent_id": f"guess{number}", "password": "x"}))[0] == 401
    assert (await post(client, {"agent_id": "guess4", "password": "x"}))[0] == 429


async def test_a_log_out_ends_the_session_and_its_websockets(site: Any) -> None:
    """A cookie kept from before the log-out is worth nothing, and open consoles are closed with 4401."""
    client = await site.logged_in("ivanova")
    console, _ = await site.console_of("ivanova", client=client)
    kept = next(cookie.value for cookie in client.cookie_jar if cookie.key == COOKIE)
    async with client.delete(URL) as response:
        assert response.status == 204
    closing = await console.socket.receive(timeout=5)
    assert closing.type is aiohttp.WSMsgType.CLOSE
    assert closing.data == 4401
    other = await site.client()
    async with other.get(URL, headers={"Cookie": f"{COOKIE}={kept}"}) as response:
        assert response.status == 401


async def test_a_new_password_ends_sessions(site: Any) -> None:
    """Changing the password locks out whoever holds an old cookie."""
    client = await site.logged_in("ivanova")
    await site.lifecycle.put_agent(await site.registry.agent("ivanova"), hash_password("another"))
    async with client.get(URL) as response:
        assert response.status == 401


async def test_a_session_ends_by_itself(site: Any) -> None:
    """After session_hours the cookie is not taken any more."""
    client = await site.logged_in("ivanova")
    site.clock.ahead = timedelta(hours=12, minutes=1)
    async with client.get(URL) as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (401, "not_logged_in")


async def test_a_forged_cookie_is_no_session(site: Any) -> None:
    """Whatever stands in the cookie, without our signature it is a 401 and no error of ours."""
    client = await site.client()
    cases = ["", "x", "e30=.", "eyJhZ2VudCI6ICJib3NzIn0=.AAAA", "а" * 3000, ".", "e30=.e30="]
    for cookie in cases:
        async with client.get(URL, headers={"Cookie": f"{COOKIE}={cookie}"}) as response:
            assert response.status == 401


async def test_a_changed_cookie_is_refused(site: Any) -> None:
    """One changed character of the claims breaks the signature."""
    client = await site.logged_in("ivanova")
    value = next(cookie.value for cookie in client.cookie_jar if cookie.key == COOKIE)
    changed = ("A" if value[5] != "A" else "B").join((value[:5], value[6:]))
    other = await site.client()
    async with other.get(URL, headers={"Cookie": f"{COOKIE}={changed}"}) as response:
        assert response.status == 401


async def test_a_request_of_a_foreign_page_is_refused(site: Any) -> None:
    """CSRF: without our header nothing that changes something is even looked at."""
    async with aiohttp.ClientSession(site.url) as foreign:
        for method, path in (
            ("POST", URL),
            ("DELETE", URL),
            ("POST", "/api/v1/uploads"),
            ("POST", "/api/v1/citizen/status"),
        ):
            async with foreign.request(method, path, json=GOOD) as response:
                assert (response.status, (await response.json(content_type=None))["code"]) == (403, "csrf")
                assert "Set-Cookie" not in response.headers


async def test_a_malformed_log_in_is_refused_in_words(site: Any) -> None:
    """Bad bodies get 4xx problem details, never a 500."""
    client = await site.client()
    cases = [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"{}", "application/json", 422),
        (b'{"agent_id": "a", "password": "b", "extra": 1}', "application/json", 422),
        (b'{"agent_id": "a\\u0000", "password": "b"}', "application/json", 422),
        (b"agent_id=a&password=b", "application/x-www-form-urlencoded", 415),
        (b"[" * 70_000, "application/json", 413),
        (b"[" * 50_000, "application/json", 400),
    ]
    for body, content_type, status in cases:
        async with client.post(URL, data=body, headers={"Content-Type": content_type}) as response:
            assert response.status == status, await response.text()
            assert response.content_type == "application/problem+json"
            assert set((await response.json(content_type=None))["message"]) == {"ru", "en"}


async def test_a_body_that_is_not_what_its_headers_say_is_refused(site: Any) -> None:
    """A broken compression is a 400, and a bomb of it is cut off at the limit."""
    client = await site.client()
    bomb = zlib.compress(b" " * 50_000_000)
    for body, status in ((b"this is no deflate stream", 400), (bomb, 413)):
        headers = {"Content-Type": "application/json", "Content-Encoding": "deflate"}
        async with client.post(URL, data=body, headers=headers) as response:
            assert response.status == status, await response.text()
            assert response.content_type == "application/problem+json"


async def test_a_body_that_is_cut_off_disturbs_nobody(site: Any) -> None:
    """A client that promises more than it sends, and goes, leaves a server that serves the next one."""
    host, port = site.runner.addresses[0][:2]
    _, writer = await asyncio.open_connection(host, port)
    head = b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nX-Okno-Request: 1\r\nContent-Type: application/json\r\n"
    writer.write(head + b"Content-Length: 1000\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await post(await site.client(), GOOD))[0] == 200
