"""An agent at a real console: logs in over HTTP, works over the websocket."""

import asyncio
from collections.abc import Callable
from typing import Any, Self
from uuid import uuid4

import aiohttp

PASSWORD = "acceptance-password"
COMMAND_TIMEOUT_S = 30.0


class ConsoleAgent:
    """Use as an async context manager. One connection, commands answered in any order."""

    def __init__(self, url: str, login: str) -> None:
        self._url, self._login = url, login
        self._http = aiohttp.ClientSession(headers={"X-Okno-Request": "1"}, cookie_jar=aiohttp.CookieJar(unsafe=True))
        self._websocket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._offers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._offered: set[str] = set()
        self.answered: dict[str, dict[str, Any]] = {}  # number -> the appeal as it was accepted
        self._assigned_again: set[str] = set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        body = {"agent_id": self._login, "password": PASSWORD}
        async with self._http.post(f"{self._url}/api/v1/session", json=body) as response:
            assert response.status == 200, await response.text()
        self._websocket = await self._http.ws_connect(f"{self._url}/ws/agent", origin=self._url)
        self._reader = asyncio.create_task(self._read())
        welcome = await self._command("hello", after_id=None)
        for offer in welcome["snapshot"]["offers"]:
            self._take_offer(offer)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._websocket is not None
        assert self._reader is not None
        await self._websocket.close()
        await self._reader
        await self._http.close()

    async def become_available(self) -> None:
        """Take offers from now on."""
        await self._command("set_status", status="available")

    async def answer_everything(self, count: int, *, text: Callable[[str], str]) -> dict[str, dict[str, Any]]:
        """Accept offers, read the conversation and answer, until `count` appeals are answered; return them."""
        while len(self.answered) < count:
            offer = await self._offers.get()
            ack = await self._command("accept", offer_id=offer["offer_id"])
            appeal = ack["appeal"]
            detail = (await self._command("open", appeal_id=appeal["id"]))["detail"]
            assert detail["envelopes"], "an agent sees what the citizen wrote"
            await self._command(
                "reply",
                appeal_id=appeal["id"],
                version=detail["appeal"]["version"],
                text=text(appeal["number"]),
                close=False,
            )
            self.answered[appeal["number"]] = appeal
        return self.answered

    async def wait_until_assigned_again(self, count: int) -> set[str]:
        """Wait until `count` answered appeals came back because their citizens wrote; return their numbers."""
        while len(self._assigned_again) < count:
            self._changed.clear()
            await self._changed.wait()
        numbers = {appeal["id"]: number for number, appeal in self.answered.items()}
        return {numbers[appeal_id] for appeal_id in self._assigned_again}

    async def _command(self, kind: str, **fields: Any) -> dict[str, Any]:
        assert self._websocket is not None
        request_id = uuid4().hex
        answer = self._answers[request_id] = asyncio.get_running_loop().create_future()
        await self._websocket.send_json({"type": kind, "request_id": request_id, **fields})
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            message = await answer
        assert message["type"] != "error", message
        return message

    async def _read(self) -> None:
        assert self._websocket is not None
        async for frame in self._websocket:
            message = frame.json()
            answer = self._answers.pop(message.get("request_id") or "", None)
            if answer is not None:
                answer.set_result(message)
            elif message["type"] == "offer":
                self._take_offer(message)
            elif message["type"] == "appeal_changed":
                self._note(message)

    def _take_offer(self, offer: dict[str, Any]) -> None:
        if offer["offer_id"] not in self._offered:  # a snapshot and the queue may both tell of it
            self._offered.add(offer["offer_id"])
            self._offers.put_nowait(offer)

    def _note(self, message: dict[str, Any]) -> None:
        known = {appeal["id"] for appeal in self.answered.values()}
        if message["state"] == "assigned" and message["appeal_id"] in known:
            self._assigned_again.add(message["appeal_id"])
            self._changed.set()
