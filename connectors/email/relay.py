"""The relay: outbound mails over SMTP, on a few connections that are kept open while there is traffic."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosmtplib
import structlog

from appeals.errors import PermanentError, TransientError
from config.settings import EmailSettings
from connectors.email.composer import OutboundMail

logger = structlog.get_logger(__name__)

MAX_CONNECTIONS = 4  # relays commonly allow a client 10–50
IDLE_S = 15.0  # a connection unused for so long is not used again: relays hang up after 60–300 s
TIMEOUT_S = 60.0  # of one command; RFC 5321 §4.5.3.2 allows more, a worker must not wait so long
PERMANENT_CODE = 500  # RFC 5321 §4.2.1: 5yz will not succeed as it is
MAX_REPLY_CHARS = 200  # of what the relay said, as far as it is kept


class Relay:
    """Hands mails to the configured relay."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[tuple[aiosmtplib.SMTP, float]] = []
        self.trouble = ""  # why the relay could not be used last time; empty: it could

    async def deliver(self, mail: OutboundMail) -> str:
        """Give one mail to the relay and return what it said.

        At least once. Raises TransientError (4xx, connection trouble) or PermanentError (5xx, SMTPUTF8 not supported).
        """
        async with self._slots, self._errors_translated():
            reply = await self._send(mail)
        self.trouble = ""
        return reply[:MAX_REPLY_CHARS]

    async def _send(self, mail: OutboundMail) -> str:
        client, is_reused = await self._client()
        try:
            return await self._transact(client, mail)
        except (aiosmtplib.SMTPServerDisconnected, ConnectionError):
            if not is_reused:
                raise
        # The relay had hung up on an idle connection: that says nothing about the mail.
        return await self._transact(await self._connect(), mail)

    async def _transact(self, client: aiosmtplib.SMTP, mail: OutboundMail) -> str:
        """Send over `client`, which is kept for the next mail if all went well, else closed."""
        options = ["SMTPUTF8"] if mail.needs_smtputf8 else []
        try:
            _, reply = await client.sendmail(mail.mail_from, [mail.rcpt_to], mail.content, mail_options=options)
        except BaseException:
            client.close()
            raise
        self._idle.append((client, asyncio.get_running_loop().time()))
        return reply

    async def _client(self) -> tuple[aiosmtplib.SMTP, bool]:
        """Return a connection and whether it has been used before."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            client, used_at = self._idle.pop()
            if client.is_connected and now - used_at < IDLE_S:
                return client, True
            client.close()
        return await self._connect(), False

    async def _connect(self) -> aiosmtplib.SMTP:
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.relay_host,
            port=settings.relay_port,
            username=settings.relay_username or None,
            password=settings.relay_password.get_secret_value() or None,
            local_hostname=settings.hostname,
            timeout=TIMEOUT_S,
            use_tls=settings.relay_tls == "tls",
            start_tls=settings.relay_tls == "starttls",
        )
        await client.connect()
        return client

    @asynccontextmanager
    async def _errors_translated(self) -> AsyncIterator[None]:
        try:
            yield
        except aiosmtplib.SMTPRecipientsRefused as error:
            refusal = error.recipients[0]
            raise _refusal(refusal.code, refusal.message) from error
        except (
            aiosmtplib.SMTPAuthenticationError,
            aiosmtplib.SMTPConnectResponseError,
            aiosmtplib.SMTPHeloError,
        ) as error:
            # Said to us, not about this mail: it goes out when the operator or the relay has put it right.
            self.trouble = f"the relay refuses us: {error.code}"
            raise TransientError(self.trouble) from error
        except aiosmtplib.SMTPResponseException as error:
            raise _refusal(error.code, error.message) from error
        except aiosmtplib.SMTPNotSupported as error:
            raise PermanentError("the relay does not support international addresses (SMTPUTF8)") from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            self.trouble = f"the relay cannot be reached: {type(error).__name__}"
            raise TransientError(self.trouble) from error
        except ValueError as error:  # aiosmtplib on an address that it cannot send safely
            raise PermanentError("the address cannot be sent to") from error

    async def close(self) -> None:
        """Say goodbye on all idle connections."""
        idle, self._idle = self._idle, []
        for client, _ in idle:
            try:
                await client.quit(timeout=1.0)
            except (aiosmtplib.SMTPException, OSError, TimeoutError):
                logger.debug("email.relay_gone_before_quit")
            client.close()


def _refusal(code: int, message: str) -> TransientError | PermanentError:
    text = f"the relay answered {code} {message}"[:MAX_REPLY_CHARS]
    return PermanentError(text) if code >= PERMANENT_CODE else TransientError(text)
