"""A local fax gateway that speaks Sinch Fax API v3: takes faxes, reports their outcome, delivers incoming ones."""

import asyncio
import base64
import binascii
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self
from uuid import uuid4

import aiohttp
from aiohttp import web
from yarl import URL

from connectors.http_outcome import basic_authorization
from okno.outside.fax_document import make_fax_document

__all__ = ["FaxGatewayServer", "SentFax", "WebhookFormat", "make_fax_document"]

LOOPBACK = "127.0.0.1"
MAX_FAX_BYTES = 100 * 1024 * 1024
WEBHOOK_TRIES = 40
WEBHOOK_RETRY_S = 0.25  # Sinch waits 5 minutes first
DONE_STATES = range(200, 300)

WebhookFormat = Literal["multipart/form-data", "application/json"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SentFax:
    """A fax that was handed to us to send."""

    fax: dict[str, Any]  # the fax object of the API
    documents: tuple[bytes, ...]
    callback_url: str


@dataclass(kw_only=True)
class FaxGatewayServer:
    """The gateway. Use it as an async context manager; `url` is the API's address."""

    project_id: str
    key_id: str
    key_secret: str
    webhook_url: str = ""  # where incoming faxes are posted
    webhook_username: str = ""
    webhook_password: str = ""
    port: int = 0  # 0: any free one
    outcome: Literal["COMPLETED", "FAILURE"] = "COMPLETED"  # of what is sent from now on
    completes: bool = True  # False: FAX_COMPLETED is not posted by itself, see `complete`
    refusals: list[int] = field(default_factory=list)  # statuses to answer the next sendings with
    sent: list[SentFax] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)  # documents of incoming faxes, for GET …/file.pdf
    webhook_statuses: list[int] = field(default_factory=list)  # what our webhooks were answered with, in order
    url: str = ""
    _tasks: set[asyncio.Task[int]] = field(default_factory=set)
    _runner: web.AppRunner | None = None
    _session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Listen on loopback."""
        application = web.Application(client_max_size=MAX_FAX_BYTES)
        faxes = f"/v3/projects/{self.project_id}/faxes"
        application.add_routes(
            [
                web.post(faxes, self._send_fax),
                web.get(f"{faxes}/{{fax_id}}", self._get_fax),
                web.get(f"{faxes}/{{fax_id}}/file.pdf", self._get_file),
            ]
        )
        self._session = aiohttp.ClientSession()
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.port).start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; outcomes not yet reported are not reported any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def send_incoming(
        self,
        document: bytes | None,
        *,
        sender: str,
        recipient: str,
        pages: int = 1,
        webhook_format: WebhookFormat = "multipart/form-data",
        fax_id: str | None = None,
        status: Literal["COMPLETED", "FAILURE"] = "COMPLETED",
    ) -> int:
        """Post INCOMING_FAX to `webhook_url`, once, and return the answer's status.

        `document` None: the call carries no file. `fax_id`: give the same again for a redelivery.
        """
        fax: dict[str, Any] = {
            "id": fax_id or f"01{uuid4().hex[:24].upper()}",
            "direction": "INBOUND",
            "from": sender,
            "to": recipient,
            "numberOfPages": pages,
            "status": status,
            "createTime": _now(),
            "completedTime": _now(),
            "projectId": self.project_id,
            "hasFile": document is not None,
        }
        if status == "FAILURE":
            fax |= {"errorType": "LINE_ERROR", "errorCode": 1006, "errorMessage": "The line was dropped"}
        authorization = basic_authorization(self.webhook_username, self.webhook_password)
        multipart = webhook_format == "multipart/form-data"
        body = (_form if multipart else _json)("INCOMING_FAX", fax, document)
        return await self._post(body, self.webhook_url, authorization)

    async def complete(self, sent: SentFax) -> int:
        """Post FAX_COMPLETED for a fax until it is taken; returns the last status."""
        url = URL(sent.callback_url)
        authorization = basic_authorization(url.user or "", url.password or "")
        status = 0
        for _ in range(WEBHOOK_TRIES):
            with suppress(aiohttp.ClientError):  # not up yet: tried again
                status = await self._post(
                    _json("FAX_COMPLETED", sent.fax, None), str(url.with_user(None)), authorization
                )
            if status in DONE_STATES:
                break
            await asyncio.sleep(WEBHOOK_RETRY_S)
        return status

    async def _post(self, body: aiohttp.FormData | aiohttp.JsonPayload, url: str, authorization: str) -> int:
        if self._session is None:
            raise RuntimeError("use the gateway as a context manager")
        async with self._session.post(url, data=body, headers={"Authorization": authorization}) as response:
            await response.read()
            self.webhook_statuses.append(response.status)
            return response.status

    async def _send_fax(self, request: web.Request) -> web.Response:
        if not self._authenticated(request):
            return _error(401, "Unauthorized")
        if self.refusals:
            status = self.refusals.pop(0)
            return web.json_response({"error": {"code": status}}, status=status, headers={"Retry-After": "9"})
        try:
            asked, documents = await self._read_request(request)
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            return _error(400, f"Bad request: {type(error).__name__}")
        sent = self._accept(asked, documents)
        if self.completes and sent.callback_url:
            task = asyncio.create_task(self.complete(sent))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.json_response(sent.fax | {"status": "IN_PROGRESS"})

    async def _read_request(self, request: web.Request) -> tuple[dict[str, Any], Sequence[bytes]]:
        if request.content_type == "application/json":
            asked = await request.json()
            return asked, [base64.b64decode(file["file"], validate=True) for file in asked["files"]]
        form = await request.post()
        documents = [part.file.read() for part in form.values() if isinstance(part, web.FileField)]
        return {name: value for name, value in form.items() if isinstance(value, str)}, documents

    def _accept(self, asked: dict[str, Any], documents: Sequence[bytes]) -> SentFax:
        if not asked["to"].startswith("+") or not documents:
            raise ValueError("a number in E.164 and a file are needed")
        failed = {"errorType": "CALL_ERROR", "errorCode": 16, "errorMessage": "No answer"}
        fax = {
            "id": f"01{uuid4().hex[:24].upper()}",
            "direction": "OUTBOUND",
            "from": asked.get("from", ""),
            "to": asked["to"],
            "status": self.outcome,
            "headerText": asked.get("headerText", "-"),
            "labels": asked.get("labels") or {},
            "createTime": _now(),
            "completedTime": _now(),
            "projectId": self.project_id,
            **(failed if self.outcome == "FAILURE" else {}),
        }
        sent = SentFax(fax=fax, documents=tuple(documents), callback_url=asked.get("callbackUrl", ""))
        self.sent.append(sent)
        return sent

    async def _get_fax(self, request: web.Request) -> web.Response:
        if not self._authenticated(request):
            return _error(401, "Unauthorized")
        found = [sent.fax for sent in self.sent if sent.fax["id"] == request.match_info["fax_id"]]
        return web.json_response(found[0]) if found else _error(404, "Not found")

    async def _get_file(self, request: web.Request) -> web.Response:
        if not self._authenticated(request):
            return _error(401, "Unauthorized")
        document = self.stored.get(request.match_info["fax_id"])
        return _error(404, "Not found") if document is None else web.Response(body=document)

    def _authenticated(self, request: web.Request) -> bool:
        wanted = basic_authorization(self.key_id, self.key_secret)
        return request.headers.get("Authorization") == wanted


def _form(event: str, fax: dict[str, Any], document: bytes | None) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("event", event)
    form.add_field("eventTime", _now())
    form.add_field("fax", json.dumps(fax), content_type="application/json")
    if document is not None:
        form.add_field("file", document, filename=f"{fax['id']}.pdf", content_type="application/pdf")
    return form


def _json(event: str, fax: dict[str, Any], document: bytes | None) -> aiohttp.JsonPayload:
    members: dict[str, Any] = {"event": event, "eventTime": _now(), "fax": fax}
    if document is not None:
        members |= {"file": base64.b64encode(document).decode("ascii"), "fileType": "PDF"}
    return aiohttp.JsonPayload(members)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"code": status, "message": message}}, status=status)


def _now() -> str:
    return datetime.now(UTC).isoformat()
