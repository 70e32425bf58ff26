"""An agent whose console lives through anything: it connects again, resumes, and takes every offer."""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Self
from uuid import uuid4

import aiohttp

from tests.acceptance.harness import PASSWORD

HEARTBEAT_S = 10.0
REQUEST_TIMEOUT_S = 20.0
MAX_ASKED = 50  # accepts without an answer
RECONNECT_S = 0.2  # the protocol asks for 1-5 s of real consoles: kinder to the server, slower in a test
MAX_MESSAGE_BYTES = 1 << 26  # a snapshot with all pending offers
HTTP_UNAUTHORIZED = 401


class ResumingAgent:
    """Use as an async context manager; from then on the agent is available whenever a daemon is there."""

    def __init__(self, url: str, login: str) -> None:
        self._url, self._login = url, login
        self._work: asyncio.Task[None] | None = None
        self._after_id: str | None = None  # the last queue id seen
        self._seen: set[str] = set()  # offers, on this connection
        self._to_accept: deque[str] = deque()  # offers
        self._asked: dict[str, str] = {}  # request -> offer, of accepts that are not answered
        self.acknowledged: list[str] = []  # ids of appeals whose acceptance was acknowledged; none may be there twice
        self.connections = 0
        self.errors: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self._work = asyncio.create_task(self._stay_connected())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._work is not None
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)

    def check(self) -> None:
        """Raise what ended the agent's work, if something did: it never ends by itself."""
        assert self._work is not None
        if self._work.done():
            self._work.result()

    async def _stay_connected(self) -> None:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(headers={"X-Okno-Request": "1"}, cookie_jar=jar, timeout=timeout) as http:
            while True:
                with suppress(aiohttp.ClientError, OSError, TimeoutError):  # what a console lives with
                    await self._connect(http)
                await asyncio.sleep(RECONNECT_S)  # a console's pause, not a wait for something

    async def _connect(self, http: aiohttp.ClientSession) -> None:
        try:
            await self._serve(http)
        except aiohttp.WSServerHandshakeError as error:
            if error.status != HTTP_UNAUTHORIZED:
                raise
            body = {"agent_id": self._login, "password": PASSWORD}
            async with http.post(f"{self._url}/api/v1/session", json=body) as response:
                response.raise_for_status()

    async def _serve(self, http: aiohttp.ClientSession) -> None:
        connecting = http.ws_connect(
            f"{self._url}/ws/agent", origin=self._url, max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT_S
        )
        async with connecting as websocket:
            self.connections += 1
            for of_the_last_connection in (self._seen, self._to_accept, self._asked):
                of_the_last_connection.clear()
            await _send(websocket, "hello", after_id=self._after_id)
            async for frame in websocket:
                await self._take(websocket, frame.json())

    async def _take(self, websocket: aiohttp.ClientWebSocketResponse, message: dict[str, Any]) -> None:
        if "id" in message:
            self._after_id = message["id"]
        match message["type"]:
            case "welcome":
                await _send(websocket, "set_status", status="available")
                await self._take_snapshot(websocket, message["snapshot"])
            case "snapshot":
                await self._take_snapshot(websocket, message["snapshot"])
            case "offer":
                await self._offer(websocket, [message["offer_id"]])
            case "status" if message["status"] != "available":
                await _send(websocket, "set_status", status="available")
            case "ack" | "error":
                await self._take_answer(websocket, message)

    async def _take_snapshot(self, websocket: aiohttp.ClientWebSocketResponse, snapshot: dict[str, Any]) -> None:
        self._after_id = snapshot["tail_id"]
        await self._offer(websocket, [offer["offer_id"] for offer in snapshot["offers"]])

    async def _offer(self, websocket: aiohttp.ClientWebSocketResponse, offer_ids: Iterable[str]) -> None:
        """Accept these offers, some at a time: neither side's buffer shall fill while both only send."""
        for offer_id in offer_ids:
            if offer_id not in self._seen:  # told twice: by a snapshot and by the queue
                self._seen.add(offer_id)
                self._to_accept.append(offer_id)
        while self._to_accept and len(self._asked) < MAX_ASKED:
            offer_id = self._to_accept.popleft()
            self._asked[await _send(websocket, "accept", offer_id=offer_id)] = offer_id

    async def _take_answer(self, websocket: aiohttp.ClientWebSocketResponse, message: dict[str, Any]) -> None:
        """Note an `ack` or an `error`. What a store that was down refused is asked again; `gone` offers are gone."""
        offer_id = self._asked.pop(message["request_id"], None)
        if message["type"] == "ack" and offer_id is not None:
            self.acknowledged.append(message["appeal"]["id"])
        elif message["type"] == "error" and message["code"] != "gone":
            self.errors.append(message)
            await asyncio.sleep(RECONNECT_S)  # a person's pause before the second click
            if offer_id is None:  # `hello` or `set_status`: begin again
                await websocket.close()
            else:
                self._to_accept.append(offer_id)
        await self._offer(websocket, ())


async def _send(websocket: aiohttp.ClientWebSocketResponse, kind: str, **fields: Any) -> str:
    request_id = uuid4().hex
    await websocket.send_json({"type": kind, "request_id": request_id, **fields})
    return request_id
