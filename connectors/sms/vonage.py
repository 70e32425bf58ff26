"""Vonage (Nexmo): its SMS API. JSON or form posts, or GET, signed with SHA-256 HMAC.

https://developer.vonage.com/en/messaging/sms/guides/inbound-sms, …/delivery-receipts, …/getting-started/concepts/
signing-messages and …/api/sms. Vonage posts a hook until it answers 2xx, for 24 hours, so there is nothing to catch up
with. It does not join concatenated messages: each part is a message of the same talk, marked `partial`.
"""

import hmac
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import aiohttp
import structlog
from aiohttp import web

from appeals.errors import DecodeError, PermanentError, TransientError
from appeals.reply import DeliveryState
from config.channel_settings import SmsSettings
from connectors.base import ConnectorPorts
from connectors.http_outcome import check_outcome
from connectors.media import clean_text
from connectors.problem import read_body
from connectors.sms.numbers import to_e164
from connectors.sms.part_states import part_of
from connectors.sms.provider import MAX_BODY_BYTES, CallBack, IncomingSms, SmsProvider, StatusReport
from connectors.sms.segments import measure

logger = structlog.get_logger(__name__)

API_URL = "https://rest.nexmo.com"
MAX_FIELDS = 100
MAX_PARTS = 255  # 3GPP TS 23.040: the count is one octet
REQUEST_TIMEOUT_S = 20.0
MAX_DIGITS = 12  # of any number in a post
MAX_AGE_S = 26 * 3600.0  # of a signed post: Vonage repeats it for a day

STATES = {  # delivery receipts; accepted, buffered and unknown say nothing new
    "delivered": DeliveryState.DELIVERED,
    "expired": DeliveryState.FAILED,
    "failed": DeliveryState.FAILED,
    "rejected": DeliveryState.FAILED,
}
RECEIPT_REASONS = {  # err-code
    "1": "the carrier does not say why",
    "2": "the telephone is switched off or out of reach",
    "3": "the telephone is switched off or out of reach for long",
    "4": "the number is blocked or does not exist any more",
    "5": "the carrier blocks our messages",
    "6": "the number was moved and cannot be reached",
    "7": "the carrier filtered the message out as spam",
    "8": "the carrier's network is busy",
}
TRANSIENT_STATUSES = frozenset({"1", "5", "9"})  # throttled, internal error, balance used up: an operator acts
CREDENTIAL_STATUSES = frozenset({"4", "8", "14"})  # wrong credentials, account barred, wrong signature
SEND_REASONS = {
    "3": "a value of the message is not valid: check the number",
    "6": "Vonage cannot process the message",
    "7": "the number is barred from our messages",
    "15": "our own number or name may not send there: an operator has to check sms.number",
}
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class VonageProvider(SmsProvider):
    """One number of a Vonage account."""

    name = "vonage"
    title = "Vonage"
    incoming_path = "/hooks/vonage/sms"
    status_path = "/hooks/vonage/status"
    methods = ("POST", "GET")  # as the account is set
    media_type = "text/plain"  # JSON or a form, as the account is set
    max_body_units = 1_500  # Vonage takes 3,200 characters; telephones join ten parts at most
    answers_in_hook = False

    def __init__(self, settings: SmsSettings, ports: ConnectorPorts) -> None:
        self._settings = settings
        self._ports = ports
        self._api_url = (settings.api_url or API_URL).rstrip("/")
        self._secret = settings.signature_secret.get_secret_value()
        self._session: aiohttp.ClientSession | None = None

    def open(self, session: aiohttp.ClientSession) -> None:
        """Keep the session."""
        self._session = session

    # ---- in
    async def take(self, request: web.Request) -> bytes | None:
        """Return the fields' bytes if Vonage signed them not too long ago: the body, or the query of a GET."""
        if request.method == "GET":
            body = request.rel_url.raw_query_string.encode("ascii", "replace")
        else:
            body = await read_body(request, max_bytes=MAX_BODY_BYTES)
        fields = _fields(body)
        wanted = sign(fields, self._secret)
        if not hmac.compare_digest(wanted.encode(), fields.get("sig", "").lower().encode("utf-8", "replace")):
            return None
        age_s = self._ports.now().timestamp() - _number(fields.get("timestamp", ""))
        return body if abs(age_s) <= MAX_AGE_S else None

    def read(self, body: bytes) -> IncomingSms:
        """Read an inbound message."""
        fields = _fields(body)
        sid, sender = fields.get("messageId", ""), clean_text(fields.get("msisdn", "")).strip()
        if not _ID.fullmatch(sid):
            raise DecodeError("no usable messageId", data=body)
        if not sender:
            raise DecodeError("no msisdn", data=body)
        if fields.get("type") == "binary":
            raise DecodeError("a binary message, not a text", data=body)
        region = self._settings.default_region
        number = to_e164(f"+{sender}", default_region=region) if sender.isdigit() else None
        recipient = clean_text(fields.get("to", "")).strip()
        return IncomingSms(
            sid=sid,
            sender=number or sender[:64],
            sender_is_phone=number is not None,
            recipient=to_e164(f"+{recipient}", default_region=region) or recipient[:64],
            text=clean_text(fields.get("text", "")),
            sent_at=_moment(fields.get("message-timestamp", "")),
            part=_part(fields),
        )

    def read_status(self, body: bytes, query: Mapping[str, str]) -> StatusReport | None:  # noqa: ARG002
        """Read a delivery receipt; `client-ref` carries which whole it is a part of."""
        fields = _fields(body)
        state = STATES.get(fields.get("status", ""))
        whole, _, rest = fields.get("client-ref", "").partition("/")
        external_id = whole or fields.get("messageId", "")
        if not external_id:
            return None
        part, of = part_of(*rest.partition("/")[::2])
        code = fields.get("err-code", "")
        known = RECEIPT_REASONS.get(code, "refused by Vonage")
        detail = f"{known} (Vonage error {clean_text(code)[:8]})" if state is DeliveryState.FAILED else ""
        return StatusReport(external_id=external_id, state=state, detail=detail, part=part, of=of)

    def answer(self, text: str = "") -> web.Response:  # noqa: ARG002
        """Return 204: Vonage sends nothing by the hook's answer."""
        return web.Response(status=HTTPStatus.NO_CONTENT)

    # ---- out
    async def send(self, text: str, *, sender: str, recipient: str, call_back: CallBack, reply_id: UUID) -> str:
        """Send one text; Vonage splits it into parts and reports on each, under the first part's id."""
        if self._session is None:
            raise TransientError("the connector is not running")
        form = {
            "api_key": self._settings.account_sid,
            "api_secret": self._settings.auth_token.get_secret_value(),
            "from": sender.removeprefix("+"),
            "to": recipient.removeprefix("+"),
            "text": text,
            "type": "unicode" if measure(text).encoding == "ucs2" else "text",
            "status-report-req": "1",
            "callback": call_back.url,
            "client-ref": f"{call_back.whole}/{call_back.part}/{call_back.of}",
        }
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        try:
            async with self._session.post(
                f"{self._api_url}/sms/json", data=form, timeout=timeout, allow_redirects=False
            ) as response:
                check_outcome(response.status, response.headers, what="Vonage")
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise TransientError(f"Vonage out of reach: {type(error).__name__}") from error
        return self._sent(answer, reply_id)

    def _sent(self, answer: Any, reply_id: UUID) -> str:
        """Return the first part's id. Raises for the first part that was refused."""
        try:
            parts = [(str(part["status"]), str(part.get("message-id", ""))) for part in answer["messages"]]
            first = parts[0][1]
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise TransientError("Vonage's answer cannot be read") from error
        refused = next((status for status, _ in parts if status != "0"), None)
        if refused is None and first:
            return first
        logger.warning("connector.send_refused", reply_id=str(reply_id), vonage_status=refused)
        if refused is None or refused in TRANSIENT_STATUSES:
            raise TransientError(f"Vonage cannot take it just now (status {refused})")
        if refused in CREDENTIAL_STATUSES:
            raise TransientError(f"Vonage refuses our credentials (status {refused})")
        raise PermanentError(f"{SEND_REASONS.get(refused, 'refused by Vonage')} (Vonage status {refused})")


def sign(fields: Mapping[str, str], secret: str) -> str:
    """Return the signature of a post: SHA-256 HMAC over its sorted fields, `&` and `=` in values replaced."""
    text = "".join(f"&{key}={re.sub('[&=]', '_', value)}" for key, value in sorted(fields.items()) if key != "sig")
    return hmac.new(secret.encode(), text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()


def _fields(body: bytes) -> dict[str, str]:
    """Read JSON or a form. Raises DecodeError."""
    try:
        if body.lstrip()[:1] == b"{":
            return {key: str(value) for key, value in json.loads(body).items()}
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except (ValueError, RecursionError) as error:
        raise DecodeError("the body is neither JSON nor a form", data=body) from error


def _number(value: str) -> float:
    return float(value) if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS else 0.0


def _moment(value: str) -> datetime | None:
    try:
        return datetime.strptime(value, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _part(fields: Mapping[str, str]) -> tuple[int, int] | None:
    if fields.get("concat") != "true":
        return None
    at, total = int(_number(fields.get("concat-part", ""))), int(_number(fields.get("concat-total", "")))
    return (at, total) if 0 < at <= total <= MAX_PARTS else None
