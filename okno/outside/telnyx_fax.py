"""A local gateway that speaks Telnyx Programmable Fax v2: signed webhooks, media that expires, uploads, sending.

After https://developers.telnyx.com/docs/programmable-fax (webhooks, commands) and the API reference of /media, /faxes.
"""

import asyncio
import base64
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self
from uuid import uuid4

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

LOOPBACK = "127.0.0.1"
MAX_FAX_BYTES = 50 * 1024 * 1024
WEBHOOK_TRIES = 40
WEBHOOK_RETRY_S = 0.25  # Telnyx waits longer
DONE_STATES = range(200, 300)
SENDING_EVENTS = (
    ("fax.queued", "queued"),
    ("fax.media.processed", "media.processed"),
    ("fax.sending.started", "sending"),
)

MediaFault = Literal["expired", "missing", "gone", "error", "truncated", "hangs", "html"]
MEDIA_STATUSES = {"expired": 403, "missing": 404, "gone": 410, "error": 503}


@dataclass(kw_only=True)
class StoredFax:
    """A fax that came in. `faults` are what the next GETs of its media meet; then it is served."""

    document: bytes
    address: str = field(default_factory=lambda: uuid4().hex)  # changes when it is refreshed: older ones have expired
    faults: list[MediaFault] = field(default_factory=list)
    known: bool = True  # False: the API answers 404
    fetched: int = 0
    sender: str = "+78121234567"
    recipient: str = "+78120000000"
    status: str = "received"
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(kw_only=True)
class TelnyxFaxServer:
    """The gateway. Use it as an async context manager; `url` is the API's address."""

    api_key: str = "KEY-demo"
    connection_id: str = "1234567890"
    webhook_url: str = ""  # where incoming faxes are told of
    failure_reason: str = ""  # of what is sent from now on; "": it is delivered
    completes: bool = True  # False: no webhook about what is sent is posted by itself
    refusals: list[int] = field(default_factory=list)  # statuses to answer the next commands with
    media: dict[str, bytes] = field(default_factory=dict)  # uploads by media_name
    sent: list[dict[str, Any]] = field(default_factory=list)  # fax objects, in order
    stored: dict[str, StoredFax] = field(default_factory=dict)  # incoming faxes by id
    webhook_statuses: list[int] = field(default_factory=list)  # what our webhooks were answered with, in order
    url: str = ""
    _key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None
    _session: aiohttp.ClientSession | None = None

    @property
    def public_key(self) -> str:
        """The account's public key as the portal shows it."""
        return base64.b64encode(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode("ascii")

    async def __aenter__(self) -> Self:
        """Listen on loopback."""
        application = web.Application(client_max_size=MAX_FAX_BYTES)
        application.add_routes(
            [
                web.post("/v2/media", self._upload),
                web.post("/v2/faxes", self._send),
                web.get("/v2/faxes", self._list),
                web.get("/v2/faxes/{fax_id}", self._show),
                web.post("/v2/faxes/{fax_id}/actions/refresh", self._refresh),
                web.get("/store/{fax_id}/{address}", self._serve),
            ]
        )
        self._session = aiohttp.ClientSession()
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; what was not told is not told any more."""
        self._released.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # ---- faxes in
    def store(self, document: bytes, *faults: MediaFault, fax_id: str = "") -> str:
        """Keep the pages of a fax that came in; returns its id."""
        fax_id = fax_id or str(uuid4())
        self.stored[fax_id] = StoredFax(document=document, faults=list(faults))
        return fax_id

    def received_event(self, fax_id: str, *, sender: str, recipient: str, **more: Any) -> dict[str, Any]:
        """Return the event fax.received of a stored fax."""
        payload = {
            "connection_id": self.connection_id,
            "direction": "inbound",
            "fax_id": fax_id,
            "from": sender,
            "to": recipient,
            "media_url": self._media_url(fax_id),
            "page_count": 1,
            "partial_content": False,
            "status": "received",
            "user_id": "19a75cea-02c6-4b9a-84fa-c9bc8341feb8",
            **more,
        }
        return self.event("fax.received", payload)

    def event(self, event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Return an event as it is posted."""
        data = {"event_type": event_type, "id": str(uuid4()), "occurred_at": _now(), "record_type": "event"}
        return {"data": {**data, "payload": payload}, "meta": {"attempt": 1, "delivered_to": self.webhook_url}}

    async def post(self, event: dict[str, Any], *, url: str = "", at: float | None = None) -> int:
        """Post an event once, signed; returns the answer's status. `at`: the time it is signed for, else now."""
        body = json.dumps(event).encode()
        return await self.post_body(body, self.sign(body, at=at), url=url)

    async def post_body(self, body: bytes, headers: dict[str, str], *, url: str = "") -> int:
        """Post any bytes with any headers; returns the answer's status."""
        if self._session is None:
            raise RuntimeError("use the gateway as a context manager")
        headers = {"Content-Type": "application/json", **headers}
        async with self._session.post(url or self.webhook_url, data=body, headers=headers) as response:
            await response.read()
            self.webhook_statuses.append(response.status)
            return response.status

    def sign(self, body: bytes, *, at: float | None = None) -> dict[str, str]:
        """Return the headers of a signed call."""
        timestamp = str(int(time.time() if at is None else at))
        signature = self._key.sign(timestamp.encode() + b"|" + body)
        return {
            "telnyx-timestamp": timestamp,
            "telnyx-signature-ed25519": base64.b64encode(signature).decode("ascii"),
        }

    async def deliver(self, event: dict[str, Any]) -> int:
        """Post an event until it is taken; returns the last status."""
        status = 0
        for attempt in range(1, WEBHOOK_TRIES + 1):
            event["meta"]["attempt"] = attempt
            with suppress(aiohttp.ClientError):  # not up yet: tried again
                status = await self.post(event)
            if status in DONE_STATES:
                break
            await asyncio.sleep(WEBHOOK_RETRY_S)
        return status

    def _media_url(self, fax_id: str) -> str:
        return f"{self.url}/store/{fax_id}/{self.stored[fax_id].address}"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        fax = self.stored.get(request.match_info["fax_id"])
        if fax is None or request.match_info["address"] != fax.address:
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code><Message>Request has expired")
        fault = fax.faults.pop(0) if fax.faults else None
        if fault in MEDIA_STATUSES:
            return web.Response(status=MEDIA_STATUSES[fault], text="<Error/>")
        if fault == "html":
            return web.Response(text="<html>Maintenance</html>", content_type="text/html")
        if fault == "truncated":
            return await self._serve_cut(request, fax.document)
        if fault == "hangs":
            await self._released.wait()
        fax.fetched += 1
        return web.Response(body=fax.document, content_type="application/pdf")

    async def _serve_cut(self, request: web.Request, document: bytes) -> web.StreamResponse:
        """Announce all bytes, send half of them and hang up."""
        response = web.StreamResponse(headers={"Content-Length": str(len(document))})
        await response.prepare(request)
        await response.write(document[: len(document) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    async def _refresh(self, request: web.Request) -> web.Response:
        fax = self.stored.get(request.match_info["fax_id"])
        if (refusal := self._refusal(request)) is not None:
            return refusal
        if fax is None or not fax.known:
            return _error(404, "Resource not found")
        fax.address = uuid4().hex
        return web.json_response({"data": {"result": "ok"}})

    async def _list(self, request: web.Request) -> web.Response:
        """Return a page of received faxes, the newest first."""
        if (refusal := self._refusal(request)) is not None:
            return refusal
        since = datetime.fromisoformat(request.query["filter[created_at][gte]"])
        size, number = int(request.query["page[size]"]), int(request.query["page[number]"])
        found = [
            {
                "id": fax_id,
                "record_type": "fax",
                "connection_id": self.connection_id,
                "direction": "inbound",
                "from": fax.sender,
                "to": fax.recipient,
                "status": fax.status,
                "media_url": self._media_url(fax_id),
                "created_at": fax.created_at.isoformat(),
                "updated_at": fax.created_at.isoformat(),
            }
            for fax_id, fax in reversed(self.stored.items())
            if fax.created_at >= since
        ]
        return web.json_response(
            {"data": found[(number - 1) * size : number * size], "meta": {"total_results": len(found)}}
        )

    async def _show(self, request: web.Request) -> web.Response:
        fax_id = request.match_info["fax_id"]
        if (refusal := self._refusal(request)) is not None:
            return refusal
        if fax_id in self.stored and self.stored[fax_id].known:
            fax = {"id": fax_id, "direction": "inbound", "media_url": self._media_url(fax_id), "status": "received"}
            return web.json_response({"data": fax})
        found = [fax for fax in self.sent if fax["id"] == fax_id]
        return web.json_response({"data": found[0]}) if found else _error(404, "Resource not found")

    # ---- faxes out
    async def _upload(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        form = await request.post()
        part, name = form.get("media"), str(form.get("media_name") or uuid4())
        if not isinstance(part, web.FileField):
            return _error(422, "media is required")
        if name in self.media:
            return _error(422, "media_name is taken")
        self.media[name] = part.file.read()
        return web.json_response({"data": {"media_name": name, "created_at": _now(), "expires_at": _now()}})

    async def _send(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        asked = await request.json()
        if asked.get("connection_id") != self.connection_id or asked.get("media_name") not in self.media:
            return _error(422, "connection_id or media_name is invalid")
        if not str(asked.get("to", "")).startswith("+") or not str(asked.get("from", "")).startswith("+"):
            return _error(422, "to and from must be in E.164")
        fax = {**asked, "id": str(uuid4()), "record_type": "fax", "direction": "outbound", "status": "queued"}
        self.sent.append(fax)
        if self.completes:
            task = asyncio.create_task(self.tell(fax))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.json_response({"data": fax}, status=202)

    async def tell(self, fax: dict[str, Any]) -> None:
        """Post all events about a fax that was sent, each until it is taken."""
        payload = {
            name: fax[name] for name in ("connection_id", "direction", "from", "to", "media_name", "client_state")
        }
        payload |= {"fax_id": fax["id"], "user_id": "19a75cea-02c6-4b9a-84fa-c9bc8341feb8"}
        self.webhook_url = fax.get("webhook_url") or self.webhook_url
        for event_type, status in SENDING_EVENTS:
            await self.deliver(self.event(event_type, {**payload, "status": status}))
        if self.failure_reason:
            failed = {**payload, "status": "failed", "failure_reason": self.failure_reason}
            await self.deliver(self.event("fax.failed", failed))
        else:
            delivered = {**payload, "status": "delivered", "page_count": 1, "call_duration_secs": 42}
            await self.deliver(self.event("fax.delivered", delivered))

    def _refusal(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return _error(401, "Authentication failed")
        if self.refusals:
            return _error(self.refusals.pop(0), "try again")
        return None


def _error(status: int, title: str) -> web.Response:
    errors = [{"code": str(status), "title": title, "detail": title}]
    return web.json_response({"errors": errors}, status=status, headers={"Retry-After": "9"})


def _now() -> str:
    return datetime.now(UTC).isoformat()
