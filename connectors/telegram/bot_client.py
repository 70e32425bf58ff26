"""The Bot API through python-telegram-bot, with its errors translated and the raw bytes kept."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import httpx
from telegram import (
    Bot,
    BotCommand,
    InlineKeyboardMarkup,
    InputFile,
    LinkPreviewOptions,
    Message,
    ReplyParameters,
    WebhookInfo,
)
from telegram.error import BadRequest, ChatMigrated, Conflict, Forbidden, InvalidToken, NetworkError, TelegramError
from telegram.request import HTTPXRequest

from appeals.errors import ConfigurationError, OknoError, PermanentError, TransientError
from connectors.loopback import is_loopback_http
from connectors.telegram.pacing import Pacer
from connectors.telegram.updates import UPDATE_KINDS

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0  # on top of the long poll's own time
POOL_TIMEOUT_S = 30.0
MAX_CONNECTIONS = 32
MAX_REASON_CHARS = 200  # of what the server says, for the operator
MIN_POLL_S = 1  # the Bot API counts whole seconds; 0 would ask without a pause

Result = TypeVar("Result")


class FloodControlError(TelegramError):
    """429: wait `retry_after_s`. The library's own RetryAfter warns of a deprecation whenever it is made."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"flood control: wait {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class PollConflictError(TransientError):
    """409: somebody else takes the bot's updates."""


class ChatMovedError(PermanentError):
    """The group has become a supergroup with another id."""

    def __init__(self, chat_id: int) -> None:
        super().__init__(f"the group has moved to chat {chat_id}")
        self.chat_id = chat_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """How one message is put into a chat."""

    answers: int | None = None  # id of the citizen's message it is shown under
    keyboard: InlineKeyboardMarkup | None = None
    business_connection_id: str = ""  # in whose name, if the citizen wrote to a connected account

    def options(self) -> dict[str, Any]:
        """Return the arguments for the library."""
        quoted = ReplyParameters(self.answers, allow_sending_without_reply=True) if self.answers else None
        return {
            "reply_parameters": quoted,
            "reply_markup": self.keyboard,
            "business_connection_id": self.business_connection_id or None,
        }


class _Request(HTTPXRequest):
    """Turns 429 and 413 into errors that can be told apart; logs no payloads."""

    async def do_request(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        code, payload = await super().do_request(*args, **kwargs)
        if code == HTTPStatus.TOO_MANY_REQUESTS:
            raise FloodControlError(_retry_after_s(payload))
        if code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise BadRequest("Request Entity Too Large")
        return code, payload

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """Parse an answer without writing it to the log when it is no JSON."""
        try:
            parsed = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise TelegramError("the server's answer is not JSON") from error
        if not isinstance(parsed, dict):
            raise TelegramError("the server's answer is not an object")
        return parsed


class _UpdatesRequest(_Request):
    """Puts the body of getUpdates aside as it came (P6).

    The library gets an empty list in its place: it would parse all updates at once, so that one bad update would
    cost the others, and it does not keep the bytes.
    """

    body = b""

    async def do_request(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        code, payload = await super().do_request(*args, **kwargs)
        if code != HTTPStatus.OK:
            return code, payload
        self.body = payload
        return code, b'{"ok":true,"result":[]}'


class BotClient:
    """One bot at one Bot API server. All calls raise TransientError or PermanentError, nothing of the library's."""

    def __init__(self, token: str, *, api_url: str) -> None:
        # They log URLs, which carry the token, at INFO and DEBUG, and messages at DEBUG.
        for name in ("httpx", "httpcore", "telegram"):
            logging.getLogger(name).setLevel(logging.WARNING)
        base = api_url.rstrip("/")
        options: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "write_timeout": READ_TIMEOUT_S,
            "media_write_timeout": READ_TIMEOUT_S * 2,
            "pool_timeout": POOL_TIMEOUT_S,
            "httpx_kwargs": {
                "verify": httpx.create_ssl_context(),  # one for both pools: it reads a large file
                "trust_env": not is_loopback_http(api_url),
            },
        }
        self._updates = _UpdatesRequest(connection_pool_size=1, **options)
        self._request = _Request(connection_pool_size=MAX_CONNECTIONS, **options)
        self.bot = Bot(
            token,
            base_url=f"{base}/bot",
            base_file_url=f"{base}/file/bot",
            request=self._request,
            get_updates_request=self._updates,
        )
        self._pacer = Pacer()
        self._is_open = False
        self._resources = AsyncExitStack()

    async def open(self) -> None:
        """Open the connection pools. Idempotent."""
        if self._is_open:
            return
        self._is_open = True
        for request in (self._updates, self._request):
            await self._resources.enter_async_context(request)

    async def close(self) -> None:
        """Close the connection pools."""
        await self._resources.aclose()

    async def log_in(self) -> str:
        """Check the token; return the bot's user name. Raises ConfigurationError if the token is refused."""
        try:
            return (await self.bot.get_me()).username or ""
        except InvalidToken:
            # Not chained: the library's text repeats the token.
            raise ConfigurationError("telegram.token: refused by the Bot API server") from None
        except TelegramError as error:
            raise _translated(error) from error

    async def begin_polling(self) -> None:
        """Remove a webhook, so that getUpdates is allowed; waiting updates stay."""
        await _call(self.bot.delete_webhook(drop_pending_updates=False))

    async def begin_webhook(self, url: str, *, secret: str) -> None:
        """Ask for updates to be posted to `url` with `secret` in the header. Raises PermanentError if refused."""
        await _call(self.bot.set_webhook(url, secret_token=secret, allowed_updates=UPDATE_KINDS))

    async def webhook_info(self) -> WebhookInfo:
        """Return what Telegram says of the webhook: its URL, what waits, the last failure."""
        return await _call(self.bot.get_webhook_info())

    async def describe_commands(self, commands: Mapping[str, Mapping[str, str]], *, default: str) -> None:
        """Show the bot's commands beside the input field: by language, and in the `default` one for all others."""
        for language, names in commands.items():
            entries = [BotCommand(name, text) for name, text in names.items()]
            await _call(self.bot.set_my_commands(entries, language_code=language))
            if language == default:
                await _call(self.bot.set_my_commands(entries))

    async def next_updates(self, offset: int | None, *, timeout_s: float) -> bytes:
        """Return the raw answer of getUpdates after a wait of up to `timeout_s`, at least a second. One call at a time.

        `offset` confirms all updates before it: pass nothing greater than what is registered.
        """
        self._updates.body = b""
        await _call(
            self.bot.get_updates(offset, timeout=max(MIN_POLL_S, round(timeout_s)), allowed_updates=UPDATE_KINDS)
        )
        return self._updates.body

    async def download(self, file_id: str, *, max_bytes: int) -> bytes:
        """Return a file's bytes. Raises PermanentError if it is gone, too large or refused."""
        file = await _call(self.bot.get_file(file_id))
        if file.file_size is not None and file.file_size > max_bytes:
            raise PermanentError(f"larger than {max_bytes} bytes")
        try:
            content = bytes(await file.download_as_bytearray())
        except InvalidToken as error:  # the library's word for 404, here of the file itself
            raise PermanentError("the file is gone") from error
        except (TelegramError, ValueError) as error:
            raise _translated(error) from error
        if len(content) > max_bytes:
            raise PermanentError(f"larger than {max_bytes} bytes")
        return content

    async def send_text(
        self, chat_id: int, text: str, placement: Placement = Placement(), *, patience_s: float = math.inf
    ) -> Message:
        """Send plain text, at most 4,096 UTF-16 units; it may wait for its turn, up to `patience_s`.

        Raises TransientError, PermanentError or ChatMovedError.
        """
        no_preview = LinkPreviewOptions(is_disabled=True)  # fetching a link we send is nobody's business
        await self._wait_for_place(chat_id, patience_s)
        call = self.bot.send_message(chat_id, text, link_preview_options=no_preview, **placement.options())
        return await self._sent(call)

    async def send_document(
        self,
        chat_id: int,
        content: bytes,
        *,
        name: str,
        caption: str = "",
        placement: Placement = Placement(),
    ) -> Message:
        """Send one file under its name, with a caption of at most 1,024 UTF-16 units."""
        await self._wait_for_place(chat_id)
        file = InputFile(content, filename=name)
        return await self._sent(self.bot.send_document(chat_id, file, caption=caption or None, **placement.options()))

    async def answer_press(self, query_id: str, text: str = "") -> None:
        """End the waiting of a pressed button, with a short text shown over the chat."""
        await _call(self.bot.answer_callback_query(query_id, text or None))

    async def change_keyboard(self, chat_id: int, message_id: int, keyboard: InlineKeyboardMarkup) -> None:
        """Show other buttons under a message of ours. One that has them already is no error."""
        try:
            await self.bot.edit_message_reply_markup(chat_id=chat_id, message_id=message_id, reply_markup=keyboard)
        except BadRequest as error:
            if "not modified" not in str(error):
                raise _translated(error) from error
        except TelegramError as error:
            raise _translated(error) from error

    async def _wait_for_place(self, chat_id: int, patience_s: float = math.inf) -> None:
        now_s = time.monotonic()
        if blocked_s := self._pacer.blocked_s(now_s):
            raise TransientError("Telegram asked us to wait (flood control)", retry_after_s=blocked_s)
        wait_s = self._pacer.take(chat_id, now_s, patience_s=patience_s)
        if wait_s is None:
            raise TransientError("too many messages to this chat at once")
        await asyncio.sleep(wait_s)

    async def _sent(self, call: Awaitable[Result]) -> Result:
        try:
            return await call
        except FloodControlError as error:
            self._pacer.block(error.retry_after_s, time.monotonic())
            raise _translated(error) from error
        except TelegramError as error:
            raise _translated(error) from error


async def _call(call: Awaitable[Result]) -> Result:
    try:
        return await call
    except TelegramError as error:
        raise _translated(error) from error


def _translated(error: Exception) -> OknoError:
    """Say whether a later try may succeed. The order matters: BadRequest is a NetworkError to the library."""
    match error:
        case FloodControlError():
            return TransientError(str(error), retry_after_s=error.retry_after_s)
        case Conflict():
            return PollConflictError(
                "somebody else takes this bot's updates (409): a second process polls it, or a webhook was set; "
                "let one process alone use the token"
            )
        case ChatMigrated():
            return ChatMovedError(error.new_chat_id)
        case Forbidden():
            return PermanentError(
                "the citizen has blocked the bot, deleted their account, or never opened a chat with the bot"
            )
        case BadRequest() if "chat not found" in str(error).lower():
            return PermanentError("Telegram knows no such chat: the citizen never wrote to this bot")
        case BadRequest():
            return PermanentError(f"refused by Telegram: {str(error)[:MAX_REASON_CHARS]}")
        case InvalidToken():
            return TransientError("Telegram refuses the bot's token")
        case NetworkError():
            return TransientError(f"Telegram out of reach: {str(error)[:MAX_REASON_CHARS]}")
        case _:
            return TransientError(f"Telegram: {str(error)[:MAX_REASON_CHARS]}")


def _retry_after_s(payload: bytes) -> float:
    """Read `parameters.retry_after`; one second if the server does not say."""
    try:
        return float(json.loads(payload)["parameters"]["retry_after"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return 1.0
