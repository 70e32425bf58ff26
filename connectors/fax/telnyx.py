"""The gateway Telnyx, Programmable Fax: signed calls to us, a Bearer key to it.

Source: https://developers.telnyx.com/docs/programmable-fax and the API reference of /faxes and /media.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import aiohttp
import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from appeals.errors import ConfigurationError, PermanentError, TransientError
from config.channel_settings import FaxSettings
from connectors.fax.gateway import GatewayCall, OutgoingFax, PagesGoneError, ReceivedFax
from connectors.fax.media_download import fetch_document
from connectors.fax.telnyx_event import as_received_event, make_client_state, parse_event
from connectors.http_outcome import check_outcome

logger = structlog.get_logger(__name__)

API_TIMEOUT_S = 60.0
SIGNATURE_HEADER = "telnyx-signature-ed25519"
TIMESTAMP_HEADER = "telnyx-timestamp"
MEDIA_TTL_S = 2 * 24 * 3600  # the upload is needed until the fax is sent
RECEIVED_STATUS = "received"
LIST_PAGE = 100
MAX_LIST_PAGES = 50
PDF = "application/pdf"
WHAT = "the fax gateway"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
_ASKED_IN_VAIN = frozenset({404, 410})  # of the API: it knows the fax no more


class TelnyxGateway:
    """One Telnyx account and fax application."""

    name = "telnyx"
    challenge = "Signature"

    def __init__(self, settings: FaxSettings, *, public_url: str, now: Callable[[], datetime]) -> None:
        """`now` returns aware UTC. Raises ConfigurationError if the public key is none."""
        self._settings = settings
        self._own = settings.telnyx
        self._api_url = f"{settings.telnyx.api_url.rstrip('/')}/v2"
        self._webhook_url = f"{public_url}/hooks/fax/telnyx"
        self._now = now
        self._key = _load_key(settings.telnyx.public_key)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def receives(self) -> bool:
        """Whether calls can be checked."""
        return self._key is not None

    def may_call(self, headers: Mapping[str, str]) -> bool:
        """Tell whether there are a signature and a time."""
        sent = headers.get(TIMESTAMP_HEADER, "")
        return bool(headers.get(SIGNATURE_HEADER)) and sent.isascii() and sent.isdecimal()

    def authenticated(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Check the Ed25519 signature over `timestamp|body`, and that it is fresh: no recorded call is played again."""
        if self._key is None or not self.may_call(headers):
            return False
        try:
            signature = base64.b64decode(headers[SIGNATURE_HEADER], validate=True)
            self._key.verify(signature, headers[TIMESTAMP_HEADER].encode() + b"|" + body)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        age_s = self._now().timestamp() - int(headers[TIMESTAMP_HEADER])
        if abs(age_s) > self._own.tolerance_s:
            logger.warning("connector.hook_stale", gateway=self.name, age_s=round(age_s), advice="is our clock right?")
            return False
        return True

    async def parse(self, content_type: str, body: bytes) -> GatewayCall:  # noqa: ARG002 - it is always JSON
        """Read a call to our hook; raises DecodeError or PermanentError."""
        return parse_event(body)

    async def download(self, fax: ReceivedFax) -> bytes:
        """Fetch the pages from their address; if that has expired, from the fresh one that the API gives."""
        if fax.media_url:
            try:
                return await self._fetch(fax.media_url)
            except PagesGoneError:
                if not self._own.api_key.get_secret_value():
                    raise
        fresh_url = await self._refresh(fax.fax_id)
        try:
            return await self._fetch(fresh_url)
        except PagesGoneError as error:
            # The API knows the fax, so its pages may be there in a moment; the connector knows how long to hope.
            raise TransientError(f"{WHAT} has the fax, but its pages cannot be had yet: {error}") from error

    async def _fetch(self, url: str) -> bytes:
        self._check_host(url)
        return await fetch_document(
            self._media_session(), url, max_bytes=self._settings.max_body_bytes, what="the fax gateway's store"
        )

    def _check_host(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").lower()
        except ValueError as error:
            raise PagesGoneError("the address of the pages is none") from error
        plain = parts.scheme == "http" and host in LOOPBACK_HOSTS
        if parts.scheme != "https" and not plain:
            raise PagesGoneError("the address of the pages is not https")
        if not any(fnmatchcase(host, pattern.lower()) for pattern in self._own.media_hosts):
            # Transient: the operator reads it in /readyz and adds the host, then the fax is fetched after all.
            raise TransientError(f"fax.telnyx.media_hosts does not name {host}, where the gateway keeps the pages")

    async def _refresh(self, fax_id: str) -> str:
        """Have the address of a received fax's pages made anew: POST …/actions/refresh, GET /faxes/{id}."""
        path = f"/faxes/{quote(fax_id, safe='')}"
        await self._call("POST", f"{path}/actions/refresh", gone=True)
        fax = await self._call("GET", path, gone=True)
        url = fax.get("media_url") or fax.get("stored_media_url")
        if not isinstance(url, str) or not url:
            raise TransientError(f"{WHAT} names no address of the pages")
        return url

    async def incoming_since(self, moment: datetime) -> Sequence[bytes]:
        """Ask for received faxes of our application or number: GET /faxes. Its calls are repeated for a short time."""
        if not self._own.api_key.get_secret_value() or not (self._own.connection_id or self._our_number):
            return ()
        calls: list[bytes] = []
        for page in range(1, MAX_LIST_PAGES + 1):
            query = {
                "filter[direction][eq]": "inbound",
                "filter[created_at][gte]": moment.isoformat(),
                "page[size]": str(LIST_PAGE),
                "page[number]": str(page),
            }
            listed = (await self._ask("GET", "/faxes", params=query)).get("data")
            faxes = [fax for fax in listed if isinstance(fax, dict)] if isinstance(listed, list) else []
            calls += [
                as_received_event(fax) for fax in faxes if fax.get("status") == RECEIVED_STATUS and self._is_ours(fax)
            ]
            if len(faxes) < LIST_PAGE:
                break
        return calls

    @property
    def _our_number(self) -> str:
        return self._own.number or self._settings.number

    def _is_ours(self, fax: Mapping[str, Any]) -> bool:
        if self._own.connection_id:
            return fax.get("connection_id") == self._own.connection_id
        return fax.get("to") == self._our_number

    async def send(self, fax: OutgoingFax) -> str:
        """Upload the pages (POST /media) and have them sent (POST /faxes)."""
        if len(fax.parts) != 1 or fax.parts[0].media_type != PDF:
            raise PermanentError("this gateway sends PDF alone: attach the files as PDF or pictures")
        if not self._own.connection_id or not self._our_number:
            raise PermanentError("fax.telnyx.connection_id and fax.telnyx.number are needed to send")
        media_name = f"okno-{fax.label}-{uuid4().hex[:8]}"  # an upload that failed half-way leaves its name behind
        form = aiohttp.FormData()
        form.add_field("media_name", media_name)
        form.add_field("ttl_secs", str(MEDIA_TTL_S))
        form.add_field("media", fax.parts[0].content, filename=f"{media_name}.pdf", content_type=PDF)
        uploaded = await self._call("POST", "/media", data=form)
        request = {
            "connection_id": self._own.connection_id,
            "to": fax.to,
            "from": self._our_number,
            "media_name": uploaded.get("media_name") or media_name,
            "quality": "high",
            "monochrome": True,
            "client_state": make_client_state(fax.label),
            "webhook_url": self._webhook_url,
        }
        answer = await self._call("POST", "/faxes", json=request)
        fax_id = answer.get("id")
        if not isinstance(fax_id, str) or not fax_id:
            raise PermanentError(f"{WHAT} took the fax, but named no id: look there before sending again")
        return fax_id

    async def _call(self, method: str, path: str, *, gone: bool = False, **content: Any) -> dict[str, Any]:
        """Call the API and return the object in `data` of its answer. `gone`: 404 means that the pages are."""
        data = (await self._ask(method, path, gone=gone, **content)).get("data")
        return data if isinstance(data, dict) else {}

    async def _ask(self, method: str, path: str, *, gone: bool = False, **content: Any) -> dict[str, Any]:
        key = self._own.api_key.get_secret_value()
        if not key:
            raise PermanentError("fax.telnyx.api_key is not set: no fax can be sent")
        headers = {"Authorization": f"Bearer {key}"}
        try:
            async with self._media_session().request(
                method, f"{self._api_url}{path}", headers=headers, allow_redirects=False, **content
            ) as response:
                if gone and response.status in _ASKED_IN_VAIN:
                    raise PagesGoneError(f"{WHAT} has the fax no more ({response.status})")
                if gone and response.status in {401, 403}:
                    raise TransientError(f"{WHAT} refuses fax.telnyx.api_key ({response.status})")
                check_outcome(response.status, response.headers, what=WHAT)
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"{WHAT}: {type(error).__name__}") from error
        except ValueError as error:
            if gone:
                raise TransientError(f"{WHAT} answered no JSON") from error
            raise PermanentError(
                f"{WHAT} took it, but its answer is not JSON: look there before sending again"
            ) from error
        return answer if isinstance(answer, dict) else {}

    def _media_session(self) -> aiohttp.ClientSession:
        """Return the session; it has no key of its own, because pages lie on other hosts."""
        if self._closed:
            raise TransientError("the connector is stopping")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=API_TIMEOUT_S), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    async def close(self) -> None:
        """Close the HTTP session for good. Idempotent."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None


def _load_key(encoded: str) -> Ed25519PublicKey | None:
    """Return the key; None if none is set. Raises ConfigurationError."""
    if not encoded:
        return None
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError("fax.telnyx.public_key: not a Base64 Ed25519 key; the portal shows it") from error
