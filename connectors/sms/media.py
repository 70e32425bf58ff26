"""Fetching the files of an MMS: only from the provider's hosts, with a limit on size."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
import structlog
from yarl import URL

from appeals.envelope import Attachment
from appeals.errors import PermanentError, TransientError
from connectors.loopback import is_loopback_http
from connectors.media import describe_attachment
from connectors.sms.provider import FetchedFiles, MediaLink

logger = structlog.get_logger(__name__)

MAX_MEDIA_BYTES = 16 * 1024 * 1024  # Twilio takes 5 MB; carriers' own limits are lower
MAX_REDIRECTS = 3  # api.twilio.com sends us on to its CDN once
FETCH_TIMEOUT_S = 4.0  # Twilio waits 15 s for our answer
RETRY_DELAYS_S = (0.2, 1.0)  # tries within one hook call
MAX_MEDIA_ROUNDS = 3  # calls of the hook, or rounds of catching up, for a file that the server cannot give just now
MAX_FILES_REMEMBERED = 1_000

_REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedMedia:
    """The bytes of one file."""

    content: bytes
    media_type: str  # as the server declared it, may be empty
    name: str  # from Content-Disposition or the URL's last part


class MediaFetcher:
    """Fetches MMS files.

    The account's credentials go to the API's own host only, never along a redirect: the CDN's URLs are signed by
    themselves, and other hosts have no business with them. A host that begins with a dot stands for all below it.
    """

    def __init__(
        self, session: aiohttp.ClientSession, *, hosts: tuple[str, ...], api_url: str, authorization: str
    ) -> None:
        self._session = session
        self._hosts = frozenset(host.lower() for host in hosts if not host.startswith("."))
        self._domains = tuple(host.lower() for host in hosts if host.startswith("."))
        self._api = URL(api_url).origin()
        self._plain_http = is_loopback_http(api_url)  # tests and the demo; never a real provider
        self._authorization = authorization

    async def fetch(self, address: str) -> FetchedMedia:
        """Fetch one file, trying a few times.

        Raises PermanentError (foreign host, gone, too large) or TransientError (the server cannot just now).
        """
        for delay_s in RETRY_DELAYS_S:
            try:
                return await self._follow(address)
            except TransientError as error:
                logger.info("connector.media_retried", reason=str(error))
                await asyncio.sleep(delay_s)
        return await self._follow(address)

    async def _follow(self, address: str) -> FetchedMedia:
        url = self._checked(address)
        headers = {"Authorization": self._authorization} if url.origin() == self._api else {}
        for _ in range(MAX_REDIRECTS + 1):
            try:
                async with self._session.get(
                    url,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S),
                ) as response:
                    if response.status not in _REDIRECTS:
                        return await self._read(response)
                    url = self._checked(str(url.join(URL(response.headers.get("Location", "")))))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise TransientError(f"media server out of reach: {type(error).__name__}") from error
            headers = {}
        raise PermanentError("too many redirects")

    def _checked(self, address: str) -> URL:
        try:
            url = URL(address)
        except ValueError as error:
            raise PermanentError("not a URL") from error
        host = (url.host or "").lower()
        if host not in self._hosts and not host.endswith(self._domains or ("\0",)):
            raise PermanentError("not a host of the provider")
        if url.scheme != "https" and not (self._plain_http and is_loopback_http(url)):
            raise PermanentError("not https")
        return url

    @staticmethod
    async def _read(response: aiohttp.ClientResponse) -> FetchedMedia:
        if response.status == HTTPStatus.TOO_MANY_REQUESTS or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise TransientError(f"media server answered {response.status}")
        if response.status != HTTPStatus.OK:
            raise PermanentError(f"media server answered {response.status}")
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > MAX_MEDIA_BYTES:
                raise PermanentError(f"larger than {MAX_MEDIA_BYTES} bytes")
        disposition = response.content_disposition
        name = (disposition.filename if disposition else None) or response.url.name
        return FetchedMedia(content=bytes(content), media_type=response.headers.get("Content-Type", ""), name=name)


class MessageFiles:
    """Turns a message's media into attachments."""

    def __init__(self, fetcher: MediaFetcher, *, connector: str) -> None:
        self._fetcher = fetcher
        self._connector = connector
        self._failed_rounds: Counter[str] = Counter()  # by URL

    async def fetch(self, links: Sequence[MediaLink]) -> FetchedFiles:
        """Fetch all files.

        One that can never be had does not hold the text back; it stays at Twilio under the URL in the raw form.
        Raises TransientError for one that cannot be had just now: Twilio posts again, or the catch-up brings it.
        """
        fetched = await asyncio.gather(*(self._fetch(link) for link in links))
        attachments: list[Attachment] = []
        contents: dict[str, bytes] = {}
        notes: list[str] = []
        for at, item in enumerate(fetched, start=1):
            if isinstance(item, str):
                notes.append(f"[файл {at} не получен / file {at} not received: {item}]")
                continue
            attachment, content = item
            attachments.append(attachment)
            contents[attachment.sha256] = content
        return FetchedFiles(attachments=tuple(attachments), contents=contents, notes=tuple(notes))

    async def _fetch(self, link: MediaLink) -> tuple[Attachment, bytes] | str:
        """Return the file, or why it will never come."""
        try:
            media = await self._fetcher.fetch(link.url)
        except TransientError as error:
            if not self._give_up(link.url):
                raise
            reason = str(error)
        except PermanentError as error:
            reason = str(error)
        else:
            declared = link.media_type or media.media_type
            return describe_attachment(media.name, declared, media.content), media.content
        logger.warning("connector.media_missing", connector=self._connector, reason=reason)
        return reason

    def _give_up(self, url: str) -> bool:
        """Count a failed round; True if it was the last: one file must not hold a message back for ever (P4)."""
        if len(self._failed_rounds) >= MAX_FILES_REMEMBERED:
            self._failed_rounds.clear()
        self._failed_rounds[url] += 1
        return self._failed_rounds[url] >= MAX_MEDIA_ROUNDS
