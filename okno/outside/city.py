"""The world around one office: a relay, Twilio, Telegram, a fax gateway and a kiosk, all on loopback.

The demo and the acceptance tests run a daemon against it. Everything goes through the real protocols and the real
client libraries; only the other side of each wire is ours.
"""

import secrets
import smtplib
from asyncio import to_thread
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import aiohttp

from okno.outside.bot_api import BotApi
from okno.outside.fax_document import make_fax_document
from okno.outside.fax_gateway import FaxGatewayServer
from okno.outside.kiosk import AnswerReceiver, KioskClient, make_submission
from okno.outside.smtp_relay import SmtpRelay
from okno.outside.twilio_api import TwilioApi

KIOSK_ID = "hall-1"
MAILBOX = "appeals@okno.localhost"
FAX_NUMBER = "+78125550100"
SMTP_TIMEOUT_S = 30.0


@dataclass(kw_only=True)
class City:
    """Use as an async context manager; hand `settings()` to a daemon, say `daemon_is_at`, then send."""

    relay: SmtpRelay = field(default_factory=SmtpRelay)
    twilio: TwilioApi = field(default_factory=TwilioApi)
    bot: BotApi = field(default_factory=BotApi)
    fax: FaxGatewayServer = field(
        default_factory=lambda: FaxGatewayServer(
            project_id="demo-project",
            key_id="demo-key",
            key_secret=secrets.token_hex(8),
            webhook_username="gateway",
            webhook_password=secrets.token_hex(8),
        )
    )
    kiosk_secret: str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - a stand-in's
    kiosk_answers: AnswerReceiver = field(init=False)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _session: aiohttp.ClientSession | None = None
    _url: str = ""
    _smtp_port: int = 0

    def __post_init__(self) -> None:
        self.kiosk_answers = AnswerReceiver(secret=self.kiosk_secret)

    async def __aenter__(self) -> Self:
        for server in (self.relay, self.twilio, self.bot, self.fax, self.kiosk_answers):
            await self._stack.enter_async_context(server)
        self._session = await self._stack.enter_async_context(aiohttp.ClientSession())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def settings(self, *, spool_dir: Path, smtp_port: int = 0) -> dict[str, Any]:
        """Return the settings of an office in this city, as `okno.yaml` has them."""
        return {
            "email": {
                "smtp_port": smtp_port,
                "mailboxes": [MAILBOX],
                "sender": MAILBOX,
                "relay_host": "127.0.0.1",
                "relay_port": self.relay.port,
            },
            "sms": {
                "enabled": True,
                "account_sid": self.twilio.account_sid,
                "auth_token": self.twilio.auth_token,
                "number": self.twilio.number,
                "api_url": self.twilio.url,
                "media_hosts": ["127.0.0.1"],
            },
            "telegram": {
                "enabled": True,
                "token": self.bot.token,
                "mode": "polling",
                "webhook_secret": "demo-webhook-secret",
                "api_url": self.bot.url,
            },
            "kiosk": {
                "enabled": True,
                "devices": [{"id": KIOSK_ID, "name": "Entrance hall", "secrets": [self.kiosk_secret]}],
                "answer_url": self.kiosk_answers.url,
            },
            "fax": {
                "enabled": True,
                "api_url": self.fax.url,
                "project_id": self.fax.project_id,
                "key_id": self.fax.key_id,
                "key_secret": self.fax.key_secret,
                "webhook_username": self.fax.webhook_username,
                "webhook_password": self.fax.webhook_password,
                "number": FAX_NUMBER,
                "spool_dir": str(spool_dir),
            },
        }

    def daemon_is_at(self, url: str, *, smtp_port: int) -> None:
        """Tell everybody where the office is."""
        self._url, self._smtp_port = url, smtp_port
        self.fax.webhook_url = f"{url}/hooks/fax/sinch"

    # ---- citizens write
    async def write_email(
        self,
        *,
        sender: str,
        subject: str,
        text: str,
        name: str = "",
        files: Mapping[str, bytes] | None = None,
        **headers: str,
    ) -> str:
        """Send a mail over SMTP; returns its Message-ID. `headers`: In_Reply_To=… sets In-Reply-To."""
        message = EmailMessage()
        message["From"] = f"{name} <{sender}>" if name else sender
        message["To"] = headers.pop("To", MAILBOX)
        message["Subject"] = subject
        message["Message-ID"] = f"<{uuid4().hex}@citizens.example>"
        for key, value in headers.items():
            message[key.replace("_", "-")] = value
        message.set_content(text)
        for file_name, content in (files or {}).items():
            message.add_attachment(content, maintype="application", subtype="octet-stream", filename=file_name)
        await to_thread(self._smtp_send, message)
        return str(message["Message-ID"])

    def _smtp_send(self, message: EmailMessage) -> None:
        with smtplib.SMTP("127.0.0.1", self._smtp_port, timeout=SMTP_TIMEOUT_S) as client:
            client.send_message(message)

    async def deliver_report(self, content: bytes) -> None:
        """Send a report of a mail system (a bounce, a receipt) to the address in its To, with the null sender."""
        await to_thread(self._smtp_send_raw, content)

    def _smtp_send_raw(self, content: bytes) -> None:
        recipient = message_from_bytes(content)["To"]
        with smtplib.SMTP("127.0.0.1", self._smtp_port, timeout=SMTP_TIMEOUT_S) as client:
            client.sendmail("<>", [recipient], content)

    async def write_sms(self, *, sender: str, text: str) -> int:
        """Post a message as Twilio does, signed; returns the hook's HTTP status."""
        answer = await self.twilio.post_incoming(f"{self._url}/hooks/twilio/sms", sender=sender, body=text)
        return answer.status

    def write_telegram(self, *, chat_id: int, text: str, name: str, language: str = "ru") -> None:
        """Write to the bot; the daemon fetches it."""
        self.bot.inject_message(text, chat_id=chat_id, first_name=name, language_code=language)

    async def write_at_kiosk(
        self, *, subject: str, text: str, name: str, language: str = "ru"
    ) -> tuple[int, Mapping[str, Any]]:
        """Fill in a form at the kiosk; returns the hook's HTTP status and answer."""
        if self._session is None:
            raise RuntimeError("enter the city first")
        client = KioskClient(
            hook_url=f"{self._url}/hooks/kiosk/{KIOSK_ID}", secret=self.kiosk_secret, session=self._session
        )
        form = make_submission(text, subject=subject, language=language, citizen={"name": name})
        return await client.deliver(form)

    async def write_fax(self, *, sender: str, pages: list[str], as_tiff: bool = False) -> int:
        """Fax some pages through the gateway; returns the hook's HTTP status."""
        document = await to_thread(make_fax_document, pages, "tiff" if as_tiff else "pdf")
        return await self.fax.send_incoming(document, sender=sender, recipient=FAX_NUMBER, pages=len(pages))
