"""Twilio: signed form posts in, the Messages API out.

Twilio tries a hook that answers 503 again only if it is told to: configure the number's URL with the fragment
`#rc=5&rp=all` (connection overrides; not part of what is signed) and the same URL as the fallback. What it gave up on
is fetched by the catch-up.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from urllib.parse import urlencode
from uuid import UUID

import aiohttp
from aiohttp import web
from multidict import MultiDict
from twilio.twiml.messaging_response import MessagingResponse  # type: ignore[import-untyped]

from appeals.errors import TransientError
from config.channel_settings import SmsSettings
from connectors.base import ConnectorPorts
from connectors.http_outcome import basic_authorization
from connectors.problem import read_body
from connectors.sms.form import FORM_MEDIA_TYPE, Signature, parse_form, read_message
from connectors.sms.media import MediaFetcher, MessageFiles
from connectors.sms.messages_api import MAX_BODY_UNITS, STATES, MessagesApi, explain
from connectors.sms.part_states import part_of
from connectors.sms.provider import (
    MAX_BODY_BYTES,
    CallBack,
    FetchedFiles,
    IncomingSms,
    MediaLink,
    OptOut,
    SmsProvider,
    StatusReport,
)

API_URL = "https://api.twilio.com"

# Twilio's default handling of long codes: it acts on these and answers them itself, in English.
# https://help.twilio.com/articles/223134027-Twilio-support-for-opt-out-keywords-SMS-STOP-filtering-
_KEYWORDS = MappingProxyType(
    {
        **dict.fromkeys(("STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"), OptOut.STOP),
        "UNSTOP": OptOut.START,
        "INFO": OptOut.HELP,
    }
)
_ANSWERED = frozenset(_KEYWORDS) | {"STOP", "START", "HELP"}


class TwilioProvider(SmsProvider):
    """One number of a Twilio account."""

    name = "twilio"
    title = "Twilio"
    incoming_path = "/hooks/twilio/sms"
    status_path = "/hooks/twilio/status"
    media_type = FORM_MEDIA_TYPE
    max_body_units = MAX_BODY_UNITS
    answers_in_hook = True

    def __init__(self, settings: SmsSettings, ports: ConnectorPorts) -> None:
        self._settings = settings
        self._ports = ports
        self._api_url = settings.api_url or API_URL
        self._token = settings.auth_token.get_secret_value()
        self._signature = Signature(self._token)
        self._api: MessagesApi | None = None
        self._files: MessageFiles | None = None

    def open(self, session: aiohttp.ClientSession) -> None:
        """Build the client and the fetcher of media."""
        if self._api is not None:
            return
        account = self._settings.account_sid
        authorization = basic_authorization(account, self._token)
        fetcher = MediaFetcher(
            session, hosts=self._settings.media_hosts, api_url=self._api_url, authorization=authorization
        )
        self._files = MessageFiles(fetcher, connector="sms")
        self._api = MessagesApi(session, account_sid=account, auth_token=self._token, api_url=self._api_url)

    # ---- in
    async def take(self, request: web.Request) -> bytes | None:
        """Return the form's bytes if Twilio signed it."""
        body = await read_body(request, max_bytes=MAX_BODY_BYTES)
        if request.content_type != FORM_MEDIA_TYPE:
            raise web.HTTPUnsupportedMediaType
        form = parse_form(body)
        signature = request.headers.get("X-Twilio-Signature", "")
        signed = any(self._signature.matches(url, form, signature=signature) for url in self._addresses(request))
        return body if signed else None

    def _addresses(self, request: web.Request) -> Sequence[str]:
        """Return the URLs that Twilio may have signed: the public one, and the one a trusted proxy was asked for."""
        addresses = [f"{self._ports.public_url}{request.raw_path}"]  # `raw_path` has the query as it came
        if self._ports.client_address(request) != request.remote:  # the peer is a proxy whose headers are believed
            scheme = request.headers.get("X-Forwarded-Proto", request.scheme).partition(",")[0].strip()
            host = request.headers.get("X-Forwarded-Host", request.host).partition(",")[0].strip()
            addresses.append(f"{scheme}://{host}{request.raw_path}")
        return addresses

    def read(self, body: bytes) -> IncomingSms:
        """Read a form."""
        return read_message(parse_form(body), default_region=self._settings.default_region, body=body)

    def read_status(self, body: bytes, query: Mapping[str, str]) -> StatusReport | None:
        """Read a call-back; the query is ours, and a part of what is signed."""
        form: MultiDict[str] = parse_form(body)
        state = STATES.get(form.get("MessageStatus") or form.get("SmsStatus") or "")
        external_id = query.get("whole") or form.get("MessageSid") or form.get("SmsSid") or ""
        if not external_id:
            return None
        part, of = part_of(query.get("part", ""), query.get("of", ""))
        return StatusReport(
            external_id=external_id, state=state, detail=explain(form.get("ErrorCode")), part=part, of=of
        )

    def answer(self, text: str = "") -> web.Response:
        """Return TwiML."""
        response = MessagingResponse()
        if text:
            response.message(text)
        return web.Response(text=str(response), content_type="text/xml")

    def answers_itself(self, keyword: str) -> bool:
        """Tell whether Twilio's default opt-out handling answers the keyword."""
        return keyword in _ANSWERED

    def extra_keywords(self) -> Mapping[str, OptOut]:
        """Return the words that Twilio blocks or lifts the block by."""
        return _KEYWORDS

    async def fetch_files(self, links: Sequence[MediaLink]) -> FetchedFiles:
        """Fetch MMS media."""
        if not links:
            return FetchedFiles()
        if self._files is None:
            raise TransientError("the connector is not running")
        return await self._files.fetch(links)

    async def incoming_since(self, since: datetime, *, number: str) -> Sequence[bytes]:
        """Ask the Messages API, which keeps what its hooks could not deliver."""
        if self._api is None:
            raise TransientError("the connector is not running")
        return [urlencode(form).encode() for form in await self._api.incoming_since(since, number=number)]

    # ---- out
    async def send(self, text: str, *, sender: str, recipient: str, call_back: CallBack, reply_id: UUID) -> str:
        """Send through the Messages API, which splits up to 1,600 characters into parts by itself."""
        if self._api is None:
            raise TransientError("the connector is not running")
        return await self._api.send(text, sender=sender, recipient=recipient, call_back=call_back, reply_id=reply_id)
