"""A local stand-in for Vonage's SMS API: https://developer.vonage.com/en/api/sms, as far as a contact centre meets it."""

import hashlib
import hmac
import json
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

KEY, SECRET, SIGNATURE_SECRET = "abcd1234", "api-secret", "signature-secret"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """One text that the API was asked to send."""

    id: str
    form: dict[str, str]


class VonageApi:
    """`sent` are the texts taken; `refuse_next` are statuses for the next calls ("1" throttled, "429" as HTTP …)."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.refuse_next: deque[str] = deque()
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.post("/sms/json", self._send)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _send(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        status = self.refuse_next.popleft() if self.refuse_next else "0"
        if len(status) == 3:
            return web.Response(status=int(status), headers={"Retry-After": "9"})
        if (form["api_key"], form["api_secret"]) != (KEY, SECRET):
            status = "4"
        if status != "0":
            return web.json_response({"message-count": "1", "messages": [{"status": status, "error-text": "no"}]})
        sent = Sent(id=f"0A00000{len(self.sent):09X}", form=form)
        self.sent.append(sent)
        part = {"to": form["to"], "message-id": sent.id, "status": "0", "message-price": "0.03", "network": "25099"}
        return web.json_response({"message-count": "1", "messages": [part]})

    def inbound(self, text: str, **fields: str) -> dict[str, str]:
        """Return the fields of an inbound message."""
        return {
            "msisdn": "79161234567",
            "to": "79990000000",
            "messageId": f"1700000{time.monotonic_ns():x}"[:32],
            "text": text,
            "type": "unicode",
            "keyword": text.split(" ", 1)[0].upper(),
            "message-timestamp": "2026-11-22 10:00:00",
            "api-key": KEY,
        } | fields

    async def post(
        self, hook: str, fields: dict[str, str], *, way: str = "json", age_s: float = 0.0, sig: str | None = None
    ) -> int:
        """Post fields to a hook, signed unless `sig` says otherwise; `way`: json, form or get. Returns the status."""
        fields = {**fields, "timestamp": str(int(time.time() - age_s)), "nonce": "a1b2c3"}
        fields["sig"] = sig if sig is not None else signature(fields)
        if way == "get":
            call = self._session.get(f"{hook}?{urlencode(fields)}")
        elif way == "form":
            call = self._session.post(hook, data=fields)
        else:
            body = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
            call = self._session.post(hook, data=body, headers={"Content-Type": "application/json"})
        async with call as response:
            return response.status


def signature(fields: dict[str, Any]) -> str:
    """Sign as Vonage's own client libraries do, written apart from our code."""
    text = ""
    for key in sorted(fields):
        text += "&" + key + "=" + str(fields[key]).replace("&", "_").replace("=", "_")
    return hmac.new(SIGNATURE_SECRET.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
