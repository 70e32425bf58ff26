"""A reference kiosk: signs forms and delivers them, and receives the signed answers. For the demo and for tests."""

import base64
import json
from collections.abc import Mapping, Sequence
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
) -> dict[str, Any]:
    """Return a form as a kiosk writes it (`okno.kiosk-submission/1`). Without `submission_id` it gets a fresh UUID."""
    return {
        "schema": "okno.kiosk-submission/1",
        "id": submission_id or str(uuid4()),
        "form": "appeal",
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
                "content_base64": base64.b64encode(photo.content).decode("ascii"),
            }
            for photo in photos
        ],
    }


def sign(body: str, *, secret: str, message_id: str, at: datetime | None = None) -> dict[str, str]:
    """Return the headers of a Standard Webhooks delivery of `body`; `at` is aware UTC, now if not given."""
    moment = at or datetime.now(UTC)
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, moment, body),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class KioskClient:
    """One kiosk. A form it could not deliver it keeps and delivers again later, signed anew, under the same id."""

    hook_url: str  # <public url>/hooks/kiosk/<kiosk id>
    secret: str  # whsec_…
    session: aiohttp.ClientSession

    async def deliver(self, submission: Mapping[str, Any], *, signed_at: datetime | None = None) -> tuple[int, Any]:
        """Post one form; returns the status and the JSON answer: `{"number": …}` once it is registered."""
        body = json.dumps(submission, ensure_ascii=False)
        message_id = f"msg_{submission['id']}"
        headers = sign(body, secret=self.secret, message_id=message_id, at=signed_at)
        async with self.session.post(self.hook_url, data=body.encode(), headers=headers) as response:
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
