"""A local stand-in for the Telegram Bot API: polling, webhook, messages and files.

Follows https://core.telegram.org/bots/api as far as a contact centre's bot meets it: updates are kept until they are
confirmed by a greater offset or a webhook's 2xx; getUpdates is refused with 409 while a webhook is set, and a second
getUpdates ends the first.
"""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from okno.outside.bot_messages import Failure, IncomingFile, SentMessage, refused, result
from okno.outside.bot_updates import PollConflictError, UpdateQueue, Webhook
from okno.outside.mailbox import Mailbox

MAX_TEXT_UNITS = 4_096
MAX_CAPTION_UNITS = 1_024
MAX_UPDATES = 100
MAX_DOWNLOAD_BYTES = 20 * 1024 * 1024
MAX_UPLOAD_BYTES = 50 * 1024 * 1024


__all__ = ["BotApi", "IncomingFile", "SentMessage"]


class BotApi:
    """The stand-in: an aiohttp server with a Python API for the demo and the tests.

    `sent` are the bot's messages, oldest first. `blocked` are chats whose citizen has blocked the bot, `moved` groups
    that have become supergroups (old id: new id). `calls` counts calls by method; `commands` are the bot's, by language
    code; `press_answers` the texts shown to whoever pressed a button; `keyboards` what was last put under a message.
    """

    def __init__(
        self,
        *,
        token: str = "100200300:local-bot-token",  # noqa: S107 - a stand-in's
        username: str = "okno_local_bot",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.token = token
        self.username = username
        self.blocked: set[int] = set()
        self.moved: dict[int, int] = {}
        self.commands: dict[str, list[dict[str, str]]] = {}
        self.press_answers: dict[str, str] = {}  # by callback query id
        self.keyboards: dict[tuple[int, int], list[list[dict[str, str]]]] = {}  # by chat and message id
        self.calls: dict[str, int] = {}
        self.url = ""  # set by start()
        self._address = (host, port)
        self._mailbox: Mailbox[SentMessage] = Mailbox()
        self.updates = UpdateQueue()
        self._next_message_id = 1
        self._files: dict[str, IncomingFile] = {}
        self._failures: dict[str, deque[Failure]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None

    @property
    def bot_id(self) -> int:
        """The bot's user id: the first part of its token."""
        return int(self.token.partition(":")[0])

    @property
    def sent(self) -> Sequence[SentMessage]:
        """Messages of the bot so far, oldest first."""
        return self._mailbox.messages

    # ---- life
    async def start(self) -> None:
        """Listen; `url` is then the value for `telegram.api_url`."""
        app = web.Application(client_max_size=MAX_UPLOAD_BYTES + 1024 * 1024)
        app.add_routes(
            [
                web.route("*", "/bot{token}/{method}", self._dispatch),
                web.get("/file/bot{token}/{path:.+}", self._download),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._address).start()
        self.url = f"http://{self._runner.addresses[0][0]}:{self._runner.addresses[0][1]}"
        self._address = self._runner.addresses[0][:2]  # a restart listens where it did
        self._tasks = [asyncio.create_task(self.updates.post_to_webhook())]

    async def stop(self) -> None:
        """Stop listening; what is not confirmed stays, `start()` goes on with it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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
    def inject_message(
        self,
        text: str = "",
        *,
        chat_id: int = 700_001,
        first_name: str = "Анна",
        last_name: str = "",
        language_code: str = "ru",
        edited: bool = False,
        photo: IncomingFile | None = None,
        document: IncomingFile | None = None,
        voice: IncomingFile | None = None,
        **fields: Any,
    ) -> int:
        """Let a citizen write to the bot; return the update's id. With a file, `text` is its caption.

        `fields` are further fields of the Bot API's Message (location, contact, reply_to_message …).
        """
        self._next_message_id += 1
        person = {"id": chat_id, "first_name": first_name} | ({"last_name": last_name} if last_name else {})
        message: dict[str, Any] = {
            "message_id": self._next_message_id,
            "from": {**person, "is_bot": False, "language_code": language_code},
            "chat": {**person, "type": "private"},
            "date": int(datetime.now(UTC).timestamp()),
        }
        if photo:
            sizes = ((90, 67), (320, 240), (1280, 960))
            message["photo"] = [self._file(photo) | {"width": width, "height": height} for width, height in sizes]
        if document:
            message["document"] = self._file(document)
        if voice:
            message["voice"] = self._file(voice) | {"duration": 3}
        if text:
            message["caption" if photo or document or voice else "text"] = text
        if edited:
            message["edit_date"] = message["date"]
        return self.inject_update({"edited_message" if edited else "message": message | fields})

    def inject_album(self, *photos: bytes, caption: str = "", chat_id: int = 700_001, group: str = "") -> list[int]:
        """Let a citizen send several photos at once, the caption under the first; return the updates' ids."""
        group = group or str(13_000_000_000_000_000 + secrets.randbelow(10**15))
        return [
            self.inject_message(
                caption if at == 0 else "", chat_id=chat_id, photo=IncomingFile(content=photo), media_group_id=group
            )
            for at, photo in enumerate(photos)
        ]

    def inject_press(
        self, under: SentMessage, data: str, *, person: int | None = None, chat_id: int | None = None
    ) -> str:
        """Let somebody press a button under a message of the bot's; return the query's id."""
        query_id = secrets.token_hex(9)
        person = under.chat_id if person is None else person
        query = {
            "id": query_id,
            "from": {"id": person, "is_bot": False, "first_name": "Анна", "language_code": "ru"},
            "chat_instance": "1",
            "data": data,
            "message": self._message(under) | {"chat": {"id": chat_id or under.chat_id, "type": "private"}},
        }
        self.inject_update({"callback_query": query})
        return query_id

    def inject_update(self, update: dict[str, Any]) -> int:
        """Queue any update; it is given the next id unless it has one."""
        update_id = update.setdefault("update_id", self.updates.next_id)
        return self.inject_raw(json.dumps(update, ensure_ascii=False).encode(), update_id=update_id)

    def inject_raw(self, content: bytes, *, update_id: int | None = None) -> int:
        """Queue an update byte for byte (it must be one JSON value)."""
        return self.updates.add(content, update_id=update_id)

    def fail_next(
        self, method: str, status: int, *, times: int = 1, retry_after_s: int | None = None, description: str = "Failed"
    ) -> None:
        """Let the next calls of a method ("file": downloads) fail with an HTTP status; 429 with `retry_after_s`."""
        parameters = {} if retry_after_s is None else {"retry_after": retry_after_s}
        failures = self._failures.setdefault(method.lower(), deque())
        failures.extend(Failure(status=status, description=description, parameters=parameters) for _ in range(times))

    async def wait_for_sent(
        self, wanted: Callable[[SentMessage], bool] = lambda _: True, *, count: int = 1, timeout_s: float = 30.0
    ) -> list[SentMessage]:
        """Return the first `count` messages that `wanted` takes, once they are there. Raises TimeoutError."""
        return await self._mailbox.wait_for(wanted, count=count, timeout_s=timeout_s)

    async def wait_until_confirmed(self, *, timeout_s: float = 30.0) -> None:
        """Return once every update is confirmed. Raises TimeoutError."""
        await self.updates.wait_until_confirmed(timeout_s=timeout_s)

    # ---- the server
    async def _dispatch(self, request: web.Request) -> web.Response:
        method = request.match_info["method"].lower()  # the real one does not mind the case either
        self.calls[method] = self.calls.get(method, 0) + 1
        if not secrets.compare_digest(request.match_info["token"], self.token):
            return refused(401, "Unauthorized")
        if failures := self._failures.get(method):
            failure = failures.popleft()
            return refused(failure.status, failure.description, parameters=failure.parameters)
        handler = {
            "getme": self._get_me,
            "getupdates": self._get_updates,
            "setwebhook": self._set_webhook,
            "deletewebhook": self._delete_webhook,
            "getwebhookinfo": self._get_webhook_info,
            "sendmessage": self._send_message,
            "senddocument": self._send_file,
            "sendphoto": self._send_file,
            "getfile": self._get_file,
            "setmycommands": self._set_commands,
            "answercallbackquery": self._answer_press,
            "editmessagereplymarkup": self._edit_keyboard,
        }.get(method)
        if handler is None:
            return refused(404, "Not Found")
        parameters = {**request.query, **await request.post()}
        return await handler(method, parameters)

    async def _get_me(self, _method: str, _parameters: dict[str, Any]) -> web.Response:
        return result(self._me())

    def _me(self) -> dict[str, Any]:
        return {"id": self.bot_id, "is_bot": True, "first_name": "Окно", "username": self.username}

    # ---- updates
    async def _get_updates(self, _method: str, parameters: dict[str, Any]) -> web.Response:
        if self.updates.webhook:
            return refused(409, "Conflict: can't use getUpdates method while webhook is active")
        try:
            chosen = await self.updates.poll(
                offset=int(parameters.get("offset", 0) or 0),
                limit=min(int(parameters.get("limit", MAX_UPDATES)), MAX_UPDATES),
                timeout_s=float(parameters.get("timeout", 0)),
            )
        except PollConflictError:
            return refused(409, "Conflict: terminated by other getUpdates request")
        body = b'{"ok":true,"result":[' + b",".join(chosen) + b"]}"
        return web.Response(body=body, content_type="application/json")

    async def _set_webhook(self, _method: str, parameters: dict[str, Any]) -> web.Response:
        url = str(parameters.get("url", ""))
        secret = str(parameters.get("secret_token", ""))
        self.updates.set_webhook(Webhook(url=url, secret=secret) if url else None)
        return result(value=True)

    async def _delete_webhook(self, _method: str, parameters: dict[str, Any]) -> web.Response:
        drop = str(parameters.get("drop_pending_updates", "false")).lower() == "true"
        self.updates.set_webhook(None, drop_pending=drop)
        return result(value=True)

    async def _get_webhook_info(self, _method: str, _parameters: dict[str, Any]) -> web.Response:
        info: dict[str, Any] = {
            "url": self.updates.webhook.url if self.updates.webhook else "",
            "has_custom_certificate": False,
            "pending_update_count": len(self.updates.ids),
        }
        if failed := [status for status in self.updates.webhook_statuses[-1:] if status >= HTTPStatus.BAD_REQUEST]:
            now = int(datetime.now(UTC).timestamp())
            error = f"Wrong response from the webhook: {failed[0]}"
            info |= {"last_error_date": now, "last_error_message": error}
        return result(info)

    # ---- messages
    async def _send_message(self, method: str, parameters: dict[str, Any]) -> web.Response:
        text = str(parameters.get("text", "")).strip()
        if not text:
            return refused(400, "Bad Request: message text is empty")
        if len(text.encode("utf-16-le")) // 2 > MAX_TEXT_UNITS:
            return refused(400, "Bad Request: message is too long")
        return self._take(method, parameters, text=text)

    async def _send_file(self, method: str, parameters: dict[str, Any]) -> web.Response:
        upload = next((value for value in parameters.values() if isinstance(value, web.FileField)), None)
        if upload is None:
            return refused(400, "Bad Request: there is no document in the request")
        content = upload.file.read()
        if len(content) > MAX_UPLOAD_BYTES:
            return refused(413, "Request Entity Too Large")
        caption = str(parameters.get("caption", ""))
        if len(caption.encode("utf-16-le")) // 2 > MAX_CAPTION_UNITS:
            return refused(400, "Bad Request: message caption is too long")
        return self._take(method, parameters, text=caption, file_name=upload.filename, content=content)

    def _take(
        self, method: str, parameters: dict[str, Any], *, text: str, file_name: str = "", content: bytes = b""
    ) -> web.Response:
        try:
            chat_id = int(str(parameters.get("chat_id", "")))
        except ValueError:
            return refused(400, "Bad Request: chat not found")
        if chat_id in self.blocked:
            return refused(403, "Forbidden: bot was blocked by the user")
        if chat_id in self.moved:
            description = "Bad Request: group chat was upgraded to a supergroup chat"
            return refused(400, description, parameters={"migrate_to_chat_id": self.moved[chat_id]})
        self._next_message_id += 1
        name = {"sendmessage": "sendMessage", "senddocument": "sendDocument", "sendphoto": "sendPhoto"}[method]
        sent = SentMessage(
            method=name,
            chat_id=chat_id,
            message_id=self._next_message_id,
            text=text,
            file_name=file_name,
            content=content,
            keyboard=tuple(
                tuple(row) for row in json.loads(parameters.get("reply_markup", "{}")).get("inline_keyboard", ())
            ),
            answers=json.loads(parameters.get("reply_parameters", "{}")).get("message_id"),
            business_connection_id=str(parameters.get("business_connection_id", "")),
        )
        self._mailbox.put(sent)
        return result(self._message(sent))

    def _message(self, sent: SentMessage) -> dict[str, Any]:
        message: dict[str, Any] = {
            "message_id": sent.message_id,
            "from": self._me(),
            "chat": {"id": sent.chat_id, "type": "private"},
            "date": int(datetime.now(UTC).timestamp()),
        }
        if sent.method == "sendMessage":
            return message | {"text": sent.text}
        return message | {"document": self._file(IncomingFile(content=sent.content, name=sent.file_name))}

    # ---- buttons and commands
    async def _set_commands(self, _method: str, parameters: dict[str, Any]) -> web.Response:
        self.commands[str(parameters.get("language_code", ""))] = json.loads(parameters["commands"])
        return result(value=True)

    async def _answer_press(self, _method: str, parameters: dict[str, Any]) -> web.Response:
        self.press_answers[str(parameters["callback_query_id"])] = str(parameters.get("text", ""))
        return result(value=True)

    async def _edit_keyboard(self, _method: str, parameters: dict[str, Any]) -> web.Response:
        chat_id, message_id = int(parameters["chat_id"]), int(parameters["message_id"])
        keyboard = json.loads(parameters.get("reply_markup", "{}")).get("inline_keyboard", [])
        if self.keyboards.get((chat_id, message_id)) == keyboard:
            return refused(400, "Bad Request: message is not modified: specified new message content is the same")
        self.keyboards[chat_id, message_id] = keyboard
        return result(
            {
                "message_id": message_id,
                "chat": {"id": chat_id, "type": "private"},
                "date": int(datetime.now(UTC).timestamp()),
                "from": self._me(),
                "text": "…",
            }
        )

    # ---- files
    def _file(self, file: IncomingFile) -> dict[str, Any]:
        file_id = secrets.token_urlsafe(24)
        self._files[file_id] = file
        reference = {"file_id": file_id, "file_unique_id": file_id[:12], "file_size": len(file.content)}
        named = {"file_name": file.name, "mime_type": file.media_type}
        return reference | {key: value for key, value in named.items() if value}

    async def _get_file(self, _method: str, parameters: dict[str, Any]) -> web.Response:
        file_id = str(parameters.get("file_id", ""))
        file = self._files.get(file_id)
        if file is None:
            return refused(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        if len(file.content) > MAX_DOWNLOAD_BYTES:
            return refused(400, "Bad Request: file is too big")
        return result(
            {
                "file_id": file_id,
                "file_unique_id": file_id[:12],
                "file_size": len(file.content),
                "file_path": f"documents/{file_id}",
            }
        )

    async def _download(self, request: web.Request) -> web.Response:
        if failures := self._failures.get("file"):
            return web.Response(status=failures.popleft().status)
        file = self._files.get(request.match_info["path"].removeprefix("documents/"))
        if file is None or request.match_info["token"] != self.token:
            return refused(404, "Not Found")
        return web.Response(body=file.content)
