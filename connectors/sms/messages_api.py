"""Twilio's Messages API through Twilio's own client."""

from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlencode
from uuid import UUID

import aiohttp
import structlog
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException  # type: ignore[import-untyped]
from twilio.http import AsyncHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]
from twilio.rest.api.v2010.account.message import MessageInstance  # type: ignore[import-untyped]
from yarl import URL

from appeals.errors import OknoError, PermanentError, TransientError
from appeals.reply import DeliveryState
from connectors.http_outcome import basic_authorization
from connectors.sms.provider import CallBack, OptedOutError

logger = structlog.get_logger(__name__)

MAX_BODY_UNITS = 1_600  # Twilio concatenates up to this; https://www.twilio.com/docs/errors/21617
REQUEST_TIMEOUT_S = 20.0
PAGE_SIZE = 1_000  # Twilio's largest

OPTED_OUT = 21610
REASONS = {  # https://www.twilio.com/docs/api/errors, in the agent's words
    21211: "the number is not a valid telephone number",
    21408: "our account may not send to that country",
    21606: "our own number cannot send SMS: an operator has to check sms.number",
    OPTED_OUT: "the citizen has opted out of our messages (STOP); only they can undo it, with START",
    21612: "this number cannot be reached from ours",
    21614: "the number is not a mobile telephone",
    21617: "the text is too long for one message",
    30001: "too many messages waited to be sent",
    30002: "our account at Twilio is suspended: an operator has to act",
    30003: "the telephone is switched off or out of reach",
    30004: "the citizen or their carrier blocks our messages",
    30005: "the number does not exist any more",
    30006: "the number is a land line or its carrier does not take SMS",
    30007: "the carrier filtered the message out as spam",
    30008: "the carrier does not say why",
    30010: "the message costs more than our account allows",
    30034: "our number is not registered with the carriers for such messages",
}
STATES = {  # MessageStatus -> ours; the ones before "sent" say nothing new
    "sent": DeliveryState.SENT,
    "delivered": DeliveryState.DELIVERED,
    "read": DeliveryState.READ,
    "undelivered": DeliveryState.FAILED,
    "failed": DeliveryState.FAILED,
    "canceled": DeliveryState.FAILED,
}


class _RebasedHttpClient(AsyncHttpClient):  # type: ignore[misc]
    """Carries the Twilio client's requests to `api_url`, and tells transient refusals by their status."""

    def __init__(self, session: aiohttp.ClientSession, api_url: str) -> None:
        super().__init__(logger=logger, is_async=True, timeout=REQUEST_TIMEOUT_S)
        self._session = session
        self._base = URL(api_url)

    async def request(  # noqa: PLR0917 - the base class's signature
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
        allow_redirects: bool = False,  # noqa: FBT001, FBT002
    ) -> Response:
        url = URL(uri).with_scheme(self._base.scheme).with_host(self._base.host or "").with_port(self._base.port)
        credentials = {"Authorization": basic_authorization(*auth)} if auth else {}
        try:
            async with self._session.request(
                method,
                url,
                params=params,  # type: ignore[arg-type]
                data=data,
                headers={**(headers or {}), **credentials},
                timeout=aiohttp.ClientTimeout(total=timeout or self.timeout),
                allow_redirects=allow_redirects,
            ) as response:
                text = await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"Twilio out of reach: {type(error).__name__}") from error
        if response.status == HTTPStatus.TOO_MANY_REQUESTS or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise TransientError(
                f"Twilio answered {response.status}",
                retry_after_s=_seconds(response.headers.get("Retry-After")),
            )
        return Response(response.status, text, response.headers)


class MessagesApi:
    """Sends single messages."""

    def __init__(self, session: aiohttp.ClientSession, *, account_sid: str, auth_token: str, api_url: str) -> None:
        self._api_url = api_url.rstrip("/")
        self._client = Client(account_sid, auth_token, http_client=_RebasedHttpClient(session, api_url))

    async def send(self, text: str, *, sender: str, recipient: str, call_back: CallBack, reply_id: UUID) -> str:
        """Send one message of at most MAX_BODY_UNITS; return its SID.

        Raises TransientError (out of reach, 429, 5xx, credentials refused: an operator has to act) or PermanentError
        (this message will never go out; the reason is meant for the agent).
        """
        try:
            message = await self._client.messages.create_async(
                to=recipient, from_=sender, body=text, status_callback=_address(call_back)
            )
        except (TwilioRestException, TwilioServiceException) as error:
            logger.warning(
                "connector.send_refused", reply_id=str(reply_id), status=error.status, twilio_code=error.code
            )
            raise _translated(error) from error
        except ValueError as error:  # a 2xx with a body that is not JSON
            raise TransientError("Twilio's answer cannot be read") from error
        if not message.sid:
            raise TransientError("Twilio's answer names no message")
        return str(message.sid)

    async def incoming_since(self, since: datetime, *, number: str) -> list[dict[str, str]]:
        """Return the messages sent to `number` since then, oldest first, each as the form its hook would have got.

        Raises TransientError or PermanentError like `send`.
        """
        try:
            found = await self._client.messages.list_async(
                to=number, date_sent_after=since.astimezone(UTC), page_size=PAGE_SIZE
            )
            return [await self._form_of(message) for message in reversed(found) if message.direction == "inbound"]
        except (TwilioRestException, TwilioServiceException) as error:
            raise _translated(error) from error
        except (TwilioException, ValueError, KeyError) as error:
            raise TransientError("Twilio's answer cannot be read") from error

    async def _form_of(self, message: MessageInstance) -> dict[str, str]:
        media = await self._client.messages(message.sid).media.list_async() if int(message.num_media or 0) else []
        form = {
            "MessageSid": message.sid,
            "AccountSid": message.account_sid or "",
            "From": message.from_ or "",
            "To": message.to or "",
            "Body": message.body or "",
            "NumMedia": str(len(media)),
        }
        for at, item in enumerate(media):
            form[f"MediaUrl{at}"] = f"{self._api_url}{item.uri.removesuffix('.json')}"
            form[f"MediaContentType{at}"] = item.content_type or ""
        return form


def explain(code: str | int | None) -> str:
    """Return what a Twilio error code means, for the agent; empty for no code."""
    if not code:
        return ""
    number = int(code) if str(code).isascii() and str(code).isdigit() else 0
    return f"{REASONS.get(number, 'refused by Twilio')} (Twilio error {number})"


def _address(call_back: CallBack) -> str:
    """Return the StatusCallback URL."""
    query = {"whole": call_back.whole, "part": str(call_back.part), "of": str(call_back.of)}
    return f"{call_back.url}?{urlencode(query)}"


def _translated(error: TwilioRestException | TwilioServiceException) -> OknoError:
    if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and error.code not in REASONS:
        return TransientError(f"Twilio refuses our credentials (error {error.code})")
    if error.code == OPTED_OUT:
        return OptedOutError(explain(error.code))
    return PermanentError(explain(error.code) or f"Twilio answered {error.status}")


def _seconds(value: str | None) -> float | None:
    """Read a Retry-After of seconds; the form with a date is left to our own back-off."""
    return float(value) if value and value.isascii() and value.isdigit() else None
