"""The Telegram connector: a bot that polls or is posted to, and answers."""

import asyncio
import hmac
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import structlog
from aiohttp import web

from appeals.envelope import Attachment, Channel
from appeals.errors import ConfigurationError, OknoError, PermanentError, TransientError
from appeals.registration import Registration
from config.settings import MIB, TelegramSettings
from connectors.base import Connector, ConnectorHealth, ConnectorPorts, HealthState, OutboundMessage, Receipt
from connectors.in_hand import InHand
from connectors.parts import SentParts, split_text
from connectors.problem import answering_problems, problem, read_body
from connectors.telegram.bot_client import BotClient
from connectors.telegram.polling import FIRST_BACK_OFF_S, MAX_BACK_OFF_S, Poller
from connectors.telegram.receiver import UpdateReceiver
from connectors.telegram.updates import RawUpdate

logger = structlog.get_logger(__name__)

HOOK_PATH = "/hooks/telegram/{secret}"
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header's name
MAX_UPDATE_BYTES = MIB  # a message has at most 4,096 characters; the rest is structure
MAX_TEXT_UNITS = 4_096  # UTF-16; https://core.telegram.org/bots/api#sendmessage
MAX_DOCUMENT_BYTES = 50 * MIB  # https://core.telegram.org/bots/api#sending-files

_TOKEN = re.compile(r"(?P<bot_id>\d{1,20}):[A-Za-z0-9_-]{1,128}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")  # https://core.telegram.org/bots/api#setwebhook


class TelegramConnector(Connector):
    """One bot. Polling: `work()` asks for updates. Webhook: Telegram posts them to /hooks/telegram/{secret}."""

    name = "telegram"
    channel = Channel.TELEGRAM

    def __init__(self, settings: TelegramSettings, ports: ConnectorPorts) -> None:
        bot_id = _check(settings)
        self._polls = settings.mode == "polling"
        self._secret = settings.webhook_secret.get_secret_value()
        self._public_url = ports.public_url
        self._client = BotClient(settings.token.get_secret_value(), api_url=settings.api_url)
        self._receiver = UpdateReceiver(
            self._client, ports, connector=self.name, bot_id=bot_id, max_file_bytes=settings.max_file_bytes
        )
        self._poller = Poller(
            self._client,
            self._receiver,
            ports.cursors,
            connector=self.name,
            bot_id=bot_id,
            poll_timeout_s=settings.poll_timeout_s,
            now=ports.now,
        )
        self._in_hand = InHand()
        self._sent_parts = SentParts()
        self._stopping = asyncio.Event()
        self._state = HealthState.STARTING
        self._username = ""
        self._trouble = ""  # of the webhook's registration

    # ---- life
    def routes(self) -> Sequence[web.RouteDef]:
        """Return the hook; none when polling, so that there is nothing to guess at."""
        return () if self._polls else (web.post(HOOK_PATH, answering_problems(self._receive)),)

    async def start(self) -> None:
        """Log in. A refused token raises ConfigurationError; a server out of reach is waited for in `work`."""
        await self.open()
        self._state = HealthState.UP
        try:
            self._username = await self._client.log_in()
        except TransientError as error:
            self._trouble = str(error)
            logger.warning("connector.log_in_postponed", connector=self.name, reason=str(error))
        except ConfigurationError:
            await self._client.close()
            raise

    async def open(self) -> None:
        """Open the HTTP client of the Bot API."""
        await self._client.open()

    async def work(self) -> None:
        """Poll until `stop`; or see to it that Telegram knows our webhook, and return."""
        try:
            async with self._in_hand.hold():
                await (self._poller.run() if self._polls else self._announce_webhook())
        except TransientError:  # stopped before it began
            return

    async def stop(self) -> None:
        """Break off the wait for updates, refuse new hooks with 503, finish what is in hand, close the client."""
        self._stopping.set()
        self._poller.stop()
        await self._in_hand.finish()
        await self._client.close()
        self._state = HealthState.STOPPED

    async def _announce_webhook(self) -> None:
        url = f"{self._public_url}{HOOK_PATH.format(secret=self._secret)}"
        back_off_s = FIRST_BACK_OFF_S
        while not self._stopping.is_set():
            try:
                await self._client.begin_webhook(url, secret=self._secret)
            except OknoError as error:  # a refusal too: the operator may repair the public address meanwhile
                self._trouble = str(error)
                wanted_s = error.retry_after_s if isinstance(error, TransientError) else None
                logger.warning("connector.webhook_not_set", connector=self.name, reason=str(error))
                await self._pause(max(back_off_s, wanted_s or 0.0))
                back_off_s = min(back_off_s * 2, MAX_BACK_OFF_S)
            else:
                self._trouble = ""
                return

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def health(self) -> ConnectorHealth:
        """Report now: down while updates cannot come in."""
        trouble = self._poller.trouble if self._polls else self._trouble
        address = f"https://t.me/{self._username}" if self._username else "https://t.me/"
        return ConnectorHealth(
            state=HealthState.DOWN if self._state is HealthState.UP and trouble else self._state,
            detail=trouble,
            addresses=(address,),
            last_message_at=self._receiver.last_message_at,
        )

    # ---- in
    async def _receive(self, request: web.Request) -> web.StreamResponse:
        if not _same(request.match_info["secret"], self._secret):
            return problem(HTTPStatus.NOT_FOUND)
        if not _same(request.headers.get(SECRET_HEADER, ""), self._secret):
            return problem(HTTPStatus.FORBIDDEN, detail="The secret token is missing or wrong.")
        async with self._in_hand.hold():
            body = await read_body(request, max_bytes=MAX_UPDATE_BYTES)
            update = RawUpdate(content=body, update_id=None, chat="")
            await self._receiver.receive(update, method="secret_token")
            return web.Response(status=HTTPStatus.OK)

    async def retry(self, content: bytes, context: Mapping[str, str]) -> Registration:
        """Process a quarantined update again. Raises DecodeError or PermanentError if it is still no good."""
        async with self._in_hand.hold():
            return await self._receiver.register(content, method=context.get("method", "network"))

    # ---- out
    async def send(self, message: OutboundMessage) -> Receipt:
        """Send the text, split if it is long, then each file; the first one's id names the whole."""
        chat_id = _chat_id(message.recipient.value)
        texts = split_text(message.text, limit=MAX_TEXT_UNITS)
        if not texts and not message.attachments:
            raise PermanentError("the answer is empty")
        for attachment in message.attachments:
            if attachment.size_bytes > MAX_DOCUMENT_BYTES:
                raise PermanentError(f"{attachment.name}: Telegram takes files of up to {MAX_DOCUMENT_BYTES} bytes")
        async with self._in_hand.hold():
            try:
                await self._send_parts(chat_id, (*texts, *message.attachments), message=message)
            except PermanentError:
                self._sent_parts.finish(message.message_id)
                raise
        ids = self._sent_parts.of(message.message_id)
        self._sent_parts.finish(message.message_id)
        return Receipt(external_id=ids[0], detail=", ".join(ids))

    async def _send_parts(self, chat_id: int, parts: Sequence[str | Attachment], *, message: OutboundMessage) -> None:
        taken = len(self._sent_parts.of(message.message_id))
        for part in parts[taken:]:
            if isinstance(part, str):
                sent = await self._client.send_text(chat_id, part)
            else:
                content = await message.read_blob(part.sha256)
                sent = await self._client.send_document(chat_id, content, name=part.name)
            self._sent_parts.add(message.message_id, f"{sent.chat_id}:{sent.message_id}")


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


def _chat_id(value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise PermanentError("the recipient is not a Telegram chat") from error


def _check(settings: TelegramSettings) -> int:
    """Return the bot's id. Raises ConfigurationError with all faults; never repeats the token."""
    faults = []
    token = _TOKEN.fullmatch(settings.token.get_secret_value())
    if token is None:
        faults.append("telegram.token: must look like 123456:ABC…, as @BotFather gives it")
    if settings.mode == "webhook" and not _SECRET.fullmatch(settings.webhook_secret.get_secret_value()):
        faults.append("telegram.webhook_secret: 1 to 256 characters of A-Z, a-z, 0-9, _ and -")
    if token is None or faults:
        raise ConfigurationError("the Telegram connector cannot work with these settings", faults=tuple(faults))
    return int(token["bot_id"])
