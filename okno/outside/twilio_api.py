"""A local stand-in for Twilio: the Messages API, MMS media, signed webhooks and status call-backs.

Follows https://www.twilio.com/docs/messaging/api/message-resource, …/media-resource, …/usage/webhooks/webhooks-security
and …/docs/api/errors as far as a contact centre meets them.
"""

import asyncio
import base64
import re
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urldefrag, urlencode

import aiohttp
import structlog
from aiohttp import web
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from connectors.sms.segments import measure
from okno.outside.mailbox import Mailbox
from okno.outside.twilio_errors import refusal

logger = structlog.get_logger(__name__)

MAX_BODY_CHARS = 1_600
API_VERSION = "2010-04-01"
_PHONE = re.compile(r"\+[1-9]\d{6,14}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SentSms:
    """One message that the API was asked to send."""

    sid: str
    sender: str
    recipient: str
    body: str
    status_callback: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HookAnswer:
    """What our hook answered to a post of Twilio's."""

    status: int
    body: str
    content_type: str
    message_sid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaFile:
    """A file of an MMS."""

    content: bytes
    media_type: str = "image/jpeg"


@dataclass(kw_only=True, slots=True)
class _Failure:
    code: int
    headers: dict[str, str] = field(default_factory=dict)


class TwilioApi:
    """The stand-in: an aiohttp server with a Python API for the demo and the tests.

    `sent` are the messages taken, oldest first. `opted_out` are numbers that wrote STOP. `final_status` is what the
    call-backs end with ("delivered", "undelivered"); None: no call-backs.
    """

    def __init__(
        self,
        *,
        account_sid: str = "AC00000000000000000000000000000000",
        auth_token: str = "local-auth-token",  # noqa: S107 - a stand-in's
        number: str = "+15005550006",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.account_sid = account_sid
        self.auth_token = auth_token
        self.number = number
        self.opted_out: set[str] = set()
        self.final_status: str | None = "delivered"
        self.final_error_code = ""
        self.media_requests: list[str] = []  # paths asked for, with or without credentials
        self.url = ""  # set by start()
        self._address = (host, port)
        self._mailbox: Mailbox[SentSms] = Mailbox()
        self._media: dict[str, MediaFile] = {}
        self._received: dict[str, tuple[datetime, dict[str, str]]] = {}  # by SID, whether its hook was called or not
        self._failures: deque[_Failure] = deque()
        self._media_failures: deque[int] = deque()
        self._call_backs: set[asyncio.Task[None]] = set()
        self._validator = RequestValidator(auth_token)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def sent(self) -> Sequence[SentSms]:
        """Messages taken so far, oldest first."""
        return self._mailbox.messages

    # ---- life
    async def start(self) -> None:
        """Listen; `url` is then the value for `sms.api_url`."""
        account = f"/{API_VERSION}/Accounts/{self.account_sid}"
        app = web.Application()
        app.add_routes(
            [
                web.post(f"/{API_VERSION}/Accounts/{{account}}/Messages.json", self._create_message),
                web.get(f"{account}/Messages.json", self._list_messages),
                web.get(f"{account}/Messages/{{message}}/Media.json", self._list_media),
                web.get(f"{account}/Messages/{{message}}/Media/{{media}}", self._redirect_media),
                web.get("/cdn/{media}", self._serve_media),
            ]
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, *self._address)
        await site.start()
        self.url = f"http://{self._runner.addresses[0][0]}:{self._runner.addresses[0][1]}"
        self._session = aiohttp.ClientSession()

    async def stop(self) -> None:
        """Stop listening; call-backs on their way are dropped."""
        for task in self._call_backs:
            task.cancel()
        await asyncio.gather(*self._call_backs, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # ---- what tests and the demo do
    async def wait_for_sent(
        self, wanted: Callable[[SentSms], bool] = lambda _: True, *, count: int = 1, timeout_s: float = 30.0
    ) -> list[SentSms]:
        """Return the first `count` messages that `wanted` takes, once they are there. Raises TimeoutError."""
        return await self._mailbox.wait_for(wanted, count=count, timeout_s=timeout_s)

    def fail_next(self, code: int, *, times: int = 1, retry_after_s: int | None = None) -> None:
        """Let the next calls to send fail with a Twilio error code (20429: 429, 20500: 500, 21610: opted out …)."""
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self._failures.extend(_Failure(code=code, headers=headers) for _ in range(times))

    def fail_media(self, status: int, *, times: int = 1) -> None:
        """Let the next downloads of media fail with an HTTP status."""
        self._media_failures.extend([status] * times)

    def incoming_form(
        self, *, sender: str, body: str, media: Sequence[MediaFile] = (), message_sid: str | None = None
    ) -> dict[str, str]:
        """Take a message in as Twilio does; return the fields it posts. From now on the API lists the message."""
        kind = "MM" if media else "SM"
        sid = message_sid or _new_sid(kind)
        form = {
            "ToCountry": "US",
            "SmsMessageSid": sid,
            "NumMedia": str(len(media)),
            "SmsSid": sid,
            "SmsStatus": "received",
            "Body": body,
            "To": self.number,
            "NumSegments": str(measure(body).parts),
            "MessageSid": sid,
            "AccountSid": self.account_sid,
            "From": sender,
            "ApiVersion": API_VERSION,
        }
        for at, item in enumerate(media):
            media_sid = _new_sid("ME")
            self._media[media_sid] = item
            path = f"/{API_VERSION}/Accounts/{self.account_sid}/Messages/{sid}/Media/{media_sid}"
            form |= {f"MediaUrl{at}": f"{self.url}{path}", f"MediaContentType{at}": item.media_type}
        self._received.setdefault(sid, (datetime.now(UTC), form))
        return form

    async def post_incoming(
        self,
        hook_url: str,
        *,
        sender: str,
        body: str,
        media: Sequence[MediaFile] = (),
        message_sid: str | None = None,
        public_url: str | None = None,
    ) -> HookAnswer:
        """Post an incoming message to our hook, signed. `public_url`: what is signed, if not the hook's URL."""
        form = self.incoming_form(sender=sender, body=body, media=media, message_sid=message_sid)
        return await self.post_form(hook_url, form, public_url=public_url)

    async def post_form(
        self, hook_url: str, form: dict[str, str], *, public_url: str | None = None, signature: str | None = None
    ) -> HookAnswer:
        """Post any form, signed unless `signature` says otherwise (an empty one: no header)."""
        if self._session is None:
            raise RuntimeError("start() comes first")
        url = urldefrag(hook_url).url  # connection overrides (#rc=5) are for Twilio alone
        if signature is None:
            signature = self._validator.compute_signature(public_url or url, form)
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        if signature:
            headers["X-Twilio-Signature"] = signature
        async with self._session.post(url, data=urlencode(form), headers=headers) as response:
            return HookAnswer(
                status=response.status,
                body=await response.text(),
                content_type=response.content_type,
                message_sid=form.get("MessageSid", ""),
            )

    # ---- Messages API
    async def _create_message(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not self._authorised(request) or request.match_info["account"] != self.account_sid:
            return refusal(20003)
        if self._failures:
            failure = self._failures.popleft()
            return refusal(failure.code, headers=failure.headers)
        recipient, body = str(form.get("To", "")), str(form.get("Body", ""))
        if code := self._fault(recipient, body=body, sender=str(form.get("From", ""))):
            return refusal(code)
        message = SentSms(
            sid=_new_sid("SM"),
            sender=str(form["From"]),
            recipient=recipient,
            body=body,
            status_callback=str(form.get("StatusCallback", "")),
        )
        self._mailbox.put(message)
        if message.status_callback and self.final_status:
            task = asyncio.create_task(self._call_back(message))
            self._call_backs.add(task)
            task.add_done_callback(self._call_backs.discard)
        return web.json_response(self._resource(message), status=HTTPStatus.CREATED)

    async def _list_messages(self, request: web.Request) -> web.Response:
        if not self._authorised(request):
            return refusal(20003)
        since = datetime.fromisoformat(request.query.get("DateSent>", "1970-01-01T00:00:00Z"))
        found = [
            self._inbound_resource(form, received_at)
            for received_at, form in reversed(self._received.values())
            if received_at >= since and form["To"] == request.query.get("To", form["To"])
        ]
        return web.json_response({"messages": found, "next_page_uri": None, "page": 0, "page_size": len(found)})

    def _inbound_resource(self, form: dict[str, str], received_at: datetime) -> dict[str, object]:
        message = SentSms(
            sid=form["MessageSid"], sender=form["From"], recipient=form["To"], body=form["Body"], status_callback=""
        )
        changes = {
            "direction": "inbound",
            "status": "received",
            "num_media": form["NumMedia"],
            "date_sent": format_datetime(received_at),
        }
        return self._resource(message) | changes

    async def _list_media(self, request: web.Request) -> web.Response:
        if not self._authorised(request):
            return refusal(20003)
        _, form = self._received[request.match_info["message"]]
        found = [
            {
                "sid": form[f"MediaUrl{at}"].rpartition("/")[2],
                "account_sid": self.account_sid,
                "parent_sid": form["MessageSid"],
                "content_type": form[f"MediaContentType{at}"],
                "uri": f"{form[f'MediaUrl{at}'].removeprefix(self.url)}.json",
            }
            for at in range(int(form["NumMedia"]))
        ]
        return web.json_response({"media_list": found, "next_page_uri": None, "page": 0, "page_size": len(found)})

    def _fault(self, recipient: str, *, body: str, sender: str) -> int | None:
        if not recipient:
            return 21604
        if not _PHONE.fullmatch(recipient):
            return 21211
        if sender != self.number:
            return 21606
        if not body:
            return 21602
        if len(body) > MAX_BODY_CHARS:
            return 21617
        return 21610 if recipient in self.opted_out else None

    def _resource(self, message: SentSms) -> dict[str, object]:
        uri = f"/{API_VERSION}/Accounts/{self.account_sid}/Messages/{message.sid}"
        now = format_datetime(datetime.now(UTC))
        return {
            "account_sid": self.account_sid,
            "api_version": API_VERSION,
            "body": message.body,
            "date_created": now,
            "date_sent": None,
            "date_updated": now,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": message.sender,
            "messaging_service_sid": None,
            "num_media": "0",
            "num_segments": str(measure(message.body).parts),
            "price": None,
            "price_unit": "USD",
            "sid": message.sid,
            "status": "queued",
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": message.recipient,
            "uri": f"{uri}.json",
        }

    async def _call_back(self, message: SentSms) -> None:
        for status in ("sent", self.final_status or "delivered"):
            error_code = self.final_error_code if status == self.final_status else ""
            try:
                await self.report(message, status, error_code=error_code)
            except aiohttp.ClientError as error:  # as with the real one, a call-back is not tried for ever
                logger.info("outside.call_back_failed", service="twilio", error=type(error).__name__)

    async def report(self, message: SentSms, status: str, *, error_code: str = "") -> HookAnswer:
        """Post one status call-back of a message, in whatever order the caller wants."""
        form = {
            "SmsSid": message.sid,
            "SmsStatus": status,
            "MessageStatus": status,
            "To": message.recipient,
            "MessageSid": message.sid,
            "AccountSid": self.account_sid,
            "From": message.sender,
            "ApiVersion": API_VERSION,
        }
        return await self.post_form(message.status_callback, form | ({"ErrorCode": error_code} if error_code else {}))

    # ---- media
    async def _redirect_media(self, request: web.Request) -> web.Response:
        self.media_requests.append(request.path)
        if self._media_failures:
            return web.Response(status=self._media_failures.popleft())
        if not self._authorised(request):
            return refusal(20003)
        media_sid = request.match_info["media"]
        if media_sid not in self._media:
            return refusal(20404)
        return web.Response(
            status=HTTPStatus.TEMPORARY_REDIRECT, headers={"Location": f"{self.url}/cdn/{media_sid}?Signature=local"}
        )

    async def _serve_media(self, request: web.Request) -> web.Response:
        self.media_requests.append(request.path)
        if "Authorization" in request.headers:  # S3 refuses a signed URL with credentials beside it
            return web.Response(status=HTTPStatus.BAD_REQUEST, text="Only one auth mechanism allowed")
        item = self._media[request.match_info["media"]]
        return web.Response(body=item.content, content_type=item.media_type)

    def _authorised(self, request: web.Request) -> bool:
        expected = f"Basic {base64.b64encode(f'{self.account_sid}:{self.auth_token}'.encode()).decode()}"
        return secrets.compare_digest(request.headers.get("Authorization", ""), expected)


def _new_sid(kind: str) -> str:
    return kind + secrets.token_hex(16)
