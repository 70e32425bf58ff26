"""The gateway Sinch, Fax API v3 (https://developers.sinch.com/docs/fax/api-reference/fax): HTTP Basic both ways."""

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp

from appeals.errors import PermanentError, TransientError
from config.channel_settings import FaxSettings
from connectors.fax.gateway import GatewayCall, OutgoingFax, ReceivedFax
from connectors.fax.media_download import fetch_document
from connectors.fax.sinch_event import LABEL, parse_event
from connectors.http_outcome import basic_authorization, check_outcome

API_TIMEOUT_S = 60.0
MAX_HEADER_CHARS = 50  # of `headerText`
WHAT = "the fax gateway"

# `fileType` of the API by media type: what may be faxed.
FILE_TYPES = {
    "application/pdf": "PDF",
    "image/tiff": "TIF",
    "image/jpeg": "JPG",
    "image/png": "PNG",
    "text/plain": "TXT",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "DOCX",
    "application/msword": "DOC",
    "application/vnd.oasis.opendocument.text": "ODT",
}


class SinchGateway:
    """One Sinch project."""

    name = "sinch"
    challenge = 'Basic realm="fax", charset="UTF-8"'  # RFC 7617 §2

    def __init__(self, settings: FaxSettings, *, public_url: str) -> None:
        self._settings = settings
        self._faxes_url = f"{settings.api_url.rstrip('/')}/v3/projects/{quote(settings.project_id, safe='')}/faxes"
        self._callback_url = _callback_url(settings, public_url)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def receives(self) -> bool:
        """Whether user name and password for our hook are set."""
        return bool(self._settings.webhook_username and self._settings.webhook_password.get_secret_value())

    def may_call(self, headers: Mapping[str, str]) -> bool:
        """Tell in constant time whether the call carries the user name and password set for our hook."""
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        username, password = self._settings.webhook_username, self._settings.webhook_password.get_secret_value()
        if scheme.lower() != "basic" or not password:
            return False
        wanted = basic_authorization(username, password).partition(" ")[2]
        return hmac.compare_digest(given.strip().encode("utf-8", "replace"), wanted.encode())

    def authenticated(self, headers: Mapping[str, str], body: bytes) -> bool:  # noqa: ARG002 - signs no body
        """Tell the same as `may_call`."""
        return self.may_call(headers)

    async def parse(self, content_type: str, body: bytes) -> GatewayCall:
        """Read a call to our hook; raises DecodeError or PermanentError."""
        return await parse_event(content_type, body)

    async def download(self, fax: ReceivedFax) -> bytes:
        """Fetch a received fax as PDF: GET /faxes/{id}/file.pdf."""
        url = f"{self._faxes_url}/{quote(fax.fax_id, safe='')}/file.pdf"
        return await fetch_document(self._open_session(), url, max_bytes=self._settings.max_body_bytes, what=WHAT)

    async def incoming_since(self, moment: datetime) -> Sequence[bytes]:  # noqa: ARG002
        """Return nothing: its calls are repeated for three days."""
        return ()

    async def send(self, fax: OutgoingFax) -> str:
        """Hand a fax over: POST /faxes as JSON. The API knows no idempotency key: a repeated call is a second fax."""
        try:
            async with self._open_session().post(
                self._faxes_url, json=self._request(fax), allow_redirects=False
            ) as response:
                check_outcome(response.status, response.headers, what=WHAT)
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"{WHAT}: {type(error).__name__}") from error
        except ValueError as error:
            raise PermanentError(
                f"{WHAT} took the fax, but its answer is not JSON: look there before sending again"
            ) from error
        return _fax_id(answer)

    def _request(self, fax: OutgoingFax) -> dict[str, object]:
        return {
            "to": fax.to,
            **({"from": self._settings.number} if self._settings.number else {}),  # else the service's own
            "files": [
                {"file": base64.b64encode(part.content).decode("ascii"), "fileType": _file_type(part.media_type)}
                for part in fax.parts
            ],
            "headerText": fax.header[:MAX_HEADER_CHARS],
            "imageConversionMethod": "MONOCHROME",  # letters stay sharp; HALFTONE is for photographs
            "callbackUrl": self._callback_url,
            "callbackUrlContentType": "application/json",
            "labels": {LABEL: fax.label},
        }

    def _open_session(self) -> aiohttp.ClientSession:
        if not (self._settings.project_id and self._settings.key_id):
            raise PermanentError("fax.project_id and fax.key_id are not set: no fax can be sent or fetched")
        if self._closed:
            raise TransientError("the connector is stopping")
        if self._session is None:
            secret = self._settings.key_secret.get_secret_value()
            self._session = aiohttp.ClientSession(
                headers={"Authorization": basic_authorization(self._settings.key_id, secret)},
                timeout=aiohttp.ClientTimeout(total=API_TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        """Close the HTTP session for good. Idempotent."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None


def _file_type(media_type: str) -> str:
    if media_type not in FILE_TYPES:
        raise PermanentError(f"a file of type {media_type} cannot be faxed: attach it as PDF")
    return FILE_TYPES[media_type]


def _fax_id(answer: object) -> str:
    first = answer[0] if isinstance(answer, list) and answer else answer  # several recipients give a list
    fax_id = first.get("id") if isinstance(first, dict) else None
    if not isinstance(fax_id, str) or not fax_id:
        raise PermanentError(f"{WHAT} took the fax, but named no id: look there before sending again")
    return fax_id


def _callback_url(settings: FaxSettings, public_url: str) -> str:
    """Return our hook's URL with the credentials in it: it is the only way to have the gateway sign in."""
    url = urlsplit(f"{public_url}/hooks/fax/sinch")
    username = quote(settings.webhook_username, safe="")
    password = quote(settings.webhook_password.get_secret_value(), safe="")
    return urlunsplit(url._replace(netloc=f"{username}:{password}@{url.netloc}"))
