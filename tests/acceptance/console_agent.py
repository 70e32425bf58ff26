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
        welcome = await self.command("hello", after_id=None)
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
        await self.command("set_status", status="available")

    async def answer_everything(self, count: int, *, text: Callable[[str], str]) -> dict[str, dict[str, Any]]:
        """Accept offers, read the conversation and answer, until `count` appeals are answered; return them."""
        while len(self.answered) < count:
            detail = await self.take_next(timeout_s=None)
            appeal = detail["appeal"]
            assert detail["envelopes"], "an agent sees what the citizen wrote"
            await self.command(
                "reply",
                appeal_id=appeal["id"],
                version=appeal["version"],
                text=text(appeal["number"]),
                close=False,
            )
            self.answered[appeal["number"]] = appeal
        return self.answered

    async def take_next(self, *, timeout_s: float | None = COMMAND_TIMEOUT_S) -> dict[str, Any]:
        """Accept the next offer, wait for one if need be, and return the appeal with its conversation."""
        async with asyncio.timeout(timeout_s):
            offer = await self._offers.get()
        appeal = (await self.command("accept", offer_id=offer["offer_id"]))["appeal"]
        return await self.open(appeal["id"])

    async def open(self, appeal_id: str) -> dict[str, Any]:
        """Return an appeal with its conversation."""
        detail: dict[str, Any] = (await self.command("open", appeal_id=appeal_id))["detail"]
        return detail

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a GET as this agent."""
        async with self._http.get(f"{self._url}{path}") as response:
            return response.status, await response.read()

    async def post_form(self, path: str, **parts: str | tuple[str, bytes]) -> dict[str, Any]:
        """Post a form as this agent; a part is a text, or a file's name and bytes. AssertionError unless it is 2xx."""
        form = aiohttp.FormData(quote_fields=False)
        for name, part in parts.items():
            if isinstance(part, str):
                form.add_field(name, part, content_type="application/json")
            else:
                form.add_field(name, part[1], filename=part[0], content_type="application/octet-stream")
        async with self._http.post(f"{self._url}{path}", data=form) as response:
            assert response.ok, await response.text()
            answer: dict[str, Any] = await response.json()
            return answer

    async def wait_until_assigned_again(self, count: int) -> set[str]:
        """Wait until `count` answered appeals came back because their citizens wrote; return their numbers."""
        while len(self._assigned_again) < count:
            self._changed.clear()
            await self._changed.wait()
        numbers = {appeal["id"]: number for number, appeal in self.answered.items()}
        return {numbers[appeal_id] for appeal_id in self._assigned_again}

    async def command(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send one command and return its answer; AssertionError if it is an error."""
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
