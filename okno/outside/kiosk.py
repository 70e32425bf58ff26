"""A reference kiosk: signs forms and delivers them, and receives the signed answers. For the demo and for tests."""

import base64
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

LOOPBACK = "127.0.0.1"
MAX_ANSWER_BYTES = 50 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class KioskPhoto:
    """A scan or a photo to send with a form."""

    name: str
    media_type: str
    content: bytes
    field: str = ""  # the form's field it is for


def make_submission(
    text: str,
    *,
    submission_id: str | None = None,
    subject: str = "",
    language: str = "ru",
    citizen: Mapping[str, str] | None = None,
    fields: Mapping[str, Any] | None = None,
    photos: Sequence[KioskPhoto] = (),
    created_at: datetime | None = None,
    form: str = "appeal",
    form_version: int | None = None,
) -> dict[str, Any]:
    """Return a form as a kiosk writes it (`okno.kiosk-submission/1`). Without `submission_id` it gets a fresh UUID."""
    return {
        "schema": "okno.kiosk-submission/1",
        "id": submission_id or str(uuid4()),
        "form": form,
        **({} if form_version is None else {"form_version": form_version}),
        "language": language,
        "created_at": (created_at or datetime.now(UTC)).isoformat(),
        "citizen": dict(citizen or {}),
        "subject": subject,
        "text": text,
        "fields": dict(fields or {}),
        "attachments": [
            {
                "name": photo.name,
                "media_type": photo.media_type,
                "field": photo.field,
                "content_base64": base64.b64encode(photo.content).decode("ascii"),
            }
            for photo in photos
        ],
    }


def sign(
    body: str | bytes,
    *,
    secret: str,
    message_id: str,
    at: datetime | None = None,
    content_type: str = "application/json",
) -> dict[str, str]:
    """Return the headers of a Standard Webhooks delivery of `body`; `at` is aware UTC, now if not given."""
    moment = at or datetime.now(UTC)
    stamp = str(int(moment.timestamp()))
    if isinstance(body, str):
        signature = Webhook(secret).sign(message_id, moment, body)
    else:  # the library signs text alone; a multipart body is none
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.digest(key, f"{message_id}.{stamp}.".encode() + body, "sha256")
        signature = "v1," + base64.b64encode(digest).decode("ascii")
    return {
        "Content-Type": content_type,
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": signature,
    }


def make_multipart(submission: Mapping[str, Any], photos: Sequence[KioskPhoto]) -> tuple[bytes, str]:
    """Return (body, content type) of a form with its photos as parts of their own instead of Base64 (RFC 7578)."""
    boundary = uuid4().hex
    attachments = [
        {"name": photo.name, "media_type": photo.media_type, "part": f"file{number}", "field": photo.field}
        for number, photo in enumerate(photos)
    ]
    document = json.dumps({**submission, "attachments": attachments}, ensure_ascii=False).encode()
    parts = [('name="submission"', "application/json", document)]
    parts += [
        (f'name="file{number}"; filename="{number}"', photo.media_type, photo.content)
        for number, photo in enumerate(photos)
    ]
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\nContent-Type: {kind}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, kind, content in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@dataclass(frozen=True, kw_only=True, slots=True)
class KioskClient:
    """One kiosk. A form it could not deliver it keeps and delivers again later, signed anew, under the same id."""

    hook_url: str  # <public url>/hooks/kiosk/<kiosk id>
    secret: str  # whsec_…
    session: aiohttp.ClientSession

    async def deliver(self, submission: Mapping[str, Any], *, signed_at: datetime | None = None) -> tuple[int, Any]:
        """Post one form; returns the status and the JSON answer: `{"number": …}` once it is registered."""
        body = json.dumps(submission, ensure_ascii=False)
        return await self.post("", body, message_id=f"msg_{submission['id']}", signed_at=signed_at)

    async def deliver_multipart(self, submission: Mapping[str, Any], photos: Sequence[KioskPhoto]) -> tuple[int, Any]:
        """Post one form with its photos beside it."""
        body, content_type = make_multipart(submission, photos)
        return await self.post("", body, message_id=f"msg_{submission['id']}", content_type=content_type)

    async def deliver_batch(self, submissions: Iterable[Mapping[str, Any] | str]) -> tuple[int, list[dict[str, Any]]]:
        """Post stored forms in one go; returns the status and the results by index, the summary last."""
        lines = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in submissions]
        body = "\n".join(lines)
        headers = sign(body, secret=self.secret, message_id=f"batch_{uuid4()}", content_type="application/x-ndjson")
        async with self.session.post(f"{self.hook_url}/batch", data=body.encode(), headers=headers) as response:
            results = [json.loads(line) async for line in response.content]
        return response.status, sorted(results, key=lambda result: result.get("index", len(lines)))

    async def beat(self, *, signed_at: datetime | None = None, **report: Any) -> tuple[int, Any]:
        """Post a heartbeat (`okno.kiosk-health/1`)."""
        return await self.post("/health", json.dumps(report), message_id=f"beat_{uuid4()}", signed_at=signed_at)

    async def post(
        self,
        hook: str,
        body: str | bytes,
        *,
        message_id: str,
        signed_at: datetime | None = None,
        content_type: str = "application/json",
    ) -> tuple[int, Any]:
        """Post a signed body to the kiosk's hook, or one below it ("/health"); returns the status and the answer."""
        headers = sign(body, secret=self.secret, message_id=message_id, at=signed_at, content_type=content_type)
        data = body.encode() if isinstance(body, str) else body
        async with self.session.post(self.hook_url + hook, data=data, headers=headers) as response:
            return response.status, await response.json(content_type=None)


@dataclass(kw_only=True)
class AnswerReceiver:
    """The kiosks' operator: a server that takes answers signed with `secret`. Use it as an async context manager."""

    secret: str
    port: int = 0  # 0: any free one
    answers: list[dict[str, Any]] = field(default_factory=list)  # verified, in order, each once
    refusals: list[int] = field(default_factory=list)  # statuses to answer with first, one a request
    url: str = ""
    _seen: set[str] = field(default_factory=set)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Listen on loopback; `url` is where answers go."""
        application = web.Application(client_max_size=MAX_ANSWER_BYTES)
        application.add_routes([web.post("/answers", self._receive)])
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, self.port)
        await site.start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}/answers"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.refusals:
            return web.Response(status=self.refusals.pop(0), headers={"Retry-After": "7"})
        try:
            answer = Webhook(self.secret).verify(body, dict(request.headers))
        except (WebhookVerificationError, ValueError):
            return web.Response(status=401)
        if request.headers["webhook-id"] not in self._seen:
            self._seen.add(request.headers["webhook-id"])
            self.answers.append(answer)
        return web.Response(status=204)
