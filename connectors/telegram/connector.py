"""The Telegram connector: a bot that polls or is posted to, and answers."""

import asyncio
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus

import structlog
from aiohttp import web
from telegram import WebhookInfo

from appeals.envelope import Channel
from appeals.errors import ConfigurationError, OknoError, TransientError
from appeals.registration import Registration
from config.channel_settings import TelegramSettings
from config.section import MIB
from connectors.base import Connector, ConnectorHealth, ConnectorPorts, HealthState, OutboundMessage, Receipt
from connectors.in_hand import InHand
from connectors.problem import answering_problems, problem, read_body
from connectors.telegram.bot_client import BotClient
from connectors.telegram.phrases import COMMANDS
from connectors.telegram.polling import FIRST_BACK_OFF_S, MAX_BACK_OFF_S, Poller
from connectors.telegram.receiver import UpdateReceiver
from connectors.telegram.sending import ReplySender
from connectors.telegram.updates import raw_update

logger = structlog.get_logger(__name__)

HOOK_PATH = "/hooks/telegram/{secret}"
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header's name
MAX_UPDATE_BYTES = MIB  # a message has at most 4,096 characters; the rest is structure
WATCH_INTERVAL_S = 60.0  # between looks at what Telegram says of our webhook
RECENT_FAILURE_S = 300.0  # a failed delivery of the last minutes is trouble; an older one has passed

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
        self._now = ports.now
        self._language = ports.office.language
        self._receiver = UpdateReceiver(self._client, ports, connector=self.name, bot_id=bot_id, settings=settings)
        self._sender = ReplySender(
            self._client,
            self._receiver.chats,
            self._receiver.buttons,
            settings=settings,
            language=ports.office.language,
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
            await self._log_in()
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
        """Poll, or see to it that Telegram knows our webhook, and register albums when they are whole; until `stop`."""
        try:
            async with self._in_hand.hold(), asyncio.TaskGroup() as group:
                group.create_task(self._receiver.albums.run(self._stopping))
                group.create_task(self._introduce())
                group.create_task(self._poller.run() if self._polls else self._watch_webhook())
        except TransientError:  # stopped before it began
            return

    async def stop(self) -> None:
        """Break off the wait for updates, refuse new hooks with 503, finish what is in hand, close the client."""
        self._stopping.set()
        self._poller.stop()
        await self._in_hand.finish()
        await self._receiver.albums.settle_all()
        await self._client.close()
        self._state = HealthState.STOPPED

    async def _log_in(self) -> None:
        self._username = await self._client.log_in()
        self._receiver.know_username(self._username)

    async def _introduce(self) -> None:
        """Learn the bot's name if the start could not, and show its commands; both until they succeed."""
        back_off_s = FIRST_BACK_OFF_S
        while not self._stopping.is_set():
            try:
                if not self._username:
                    await self._log_in()
                await self._client.describe_commands(COMMANDS, default=self._language)
            except OknoError as error:
                logger.warning("connector.commands_not_set", connector=self.name, reason=str(error))
                await self._pause(max(back_off_s, getattr(error, "retry_after_s", None) or 0.0))
                back_off_s = min(back_off_s * 2, MAX_BACK_OFF_S)
            else:
                return

    async def _watch_webhook(self) -> None:
        """Set the webhook, and again if somebody else changes it; health shows what Telegram says of it."""
        url = f"{self._public_url}{HOOK_PATH.format(secret=self._secret)}"
        await self._until_set(url)
        while not self._stopping.is_set():
            await self._pause(WATCH_INTERVAL_S)
            if self._stopping.is_set():
                return
            try:
                info = await self._client.webhook_info()
            except OknoError as error:
                self._trouble = str(error)
                continue
            if info.url != url:
                logger.warning("connector.webhook_changed_by_others", connector=self.name)
                await self._until_set(url)
                continue
            self._trouble = _webhook_trouble(info, now=self._now())

    async def _until_set(self, url: str) -> None:
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
            await self._receiver.receive(raw_update(body), method="secret_token")
            return web.Response(status=HTTPStatus.OK)

    async def retry(self, content: bytes, context: Mapping[str, str]) -> Registration:
        """Process a quarantined update again. Raises DecodeError or PermanentError if it is still no good."""
        async with self._in_hand.hold():
            return await self._receiver.register(content, method=context.get("method", "network"))

    # ---- out
    async def send(self, message: OutboundMessage) -> Receipt:
        """Send one reply; see `ReplySender.send`."""
        async with self._in_hand.hold():
            return await self._sender.send(message)


def _webhook_trouble(info: WebhookInfo, *, now: datetime) -> str:
    """Return why updates do not come in, or ""."""
    if not info.pending_update_count or info.last_error_date is None:
        return ""
    if (now - info.last_error_date).total_seconds() > RECENT_FAILURE_S:
        return ""
    return f"Telegram cannot deliver {info.pending_update_count} updates to our webhook: {info.last_error_message}"


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


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
