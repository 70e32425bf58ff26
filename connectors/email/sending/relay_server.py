"""One relay: its connections, and one mail's transaction over one of them."""

import asyncio
import re
import ssl
from contextlib import suppress

import aiosmtplib

from appeals.errors import ConfigurationError, OknoError, PermanentError, TransientError
from config.channel_settings import RelayServer
from connectors.email.reports.failure_reason import describe_failure
from connectors.email.sending.composer import OutboundMail

MAX_CONNECTIONS = 4  # relays commonly allow a client 10–50
IDLE_S = 15.0  # a connection unused for so long is not used again: relays hang up after 60–300 s
CONNECT_TIMEOUT_S = 20.0
TIMEOUT_S = 60.0  # of one command; RFC 5321 §4.5.3.2 allows more, a worker must not wait so long
DATA_TIMEOUT_S = 95.0  # for the answer to a whole mail: given up too early, it would arrive twice (RFC 5321 §6.1)
PERMANENT_CODE = 500  # RFC 5321 §4.2.1: 5yz will not succeed as it is
MAX_REPLY_CHARS = 200  # of what the relay said, as far as it is kept
MAX_ENVID_CHARS = 100  # RFC 3461 §4.4

_CLOSING = 421  # RFC 5321 §3.8: it hangs up whatever was asked
_WANTS_LOG_IN = frozenset({454, 530, 534, 535, 538})  # RFC 4954 §6
_ABOUT_US = re.compile(
    r"\b5\.(?:1\.[78]|7\.(?:0|8|9|11|13|14))\b|unable to relay|"
    r"relay(?:ing)?[\w ]{0,20}(?:denied|prohibited|not permitted|not allowed)|"
    r"authentication required|sender address rejected",
    re.IGNORECASE,
)
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")  # RFC 3461 §4


class RelayUnusableError(OknoError):
    """This relay cannot be used now, for this mail or any other; nothing of the mail was taken."""


class RelayConnections:
    """The connections to one relay: a few, kept open while there is traffic."""

    def __init__(self, server: RelayServer, *, key: str, local_hostname: str, dsn: tuple[str, ...]) -> None:
        """`key` names the setting in errors. Raises ConfigurationError if `ca_file` is no file of certificates."""
        self.server = server
        self.name = f"{server.host}:{server.port}"
        self._local_hostname = local_hostname
        self._dsn = dsn
        self._tls = _tls_context(server, key=key) if server.tls != "none" else None
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[tuple[aiosmtplib.SMTP, float]] = []

    async def deliver(self, mail: OutboundMail) -> str:
        """Give one mail to the relay and return what it said.

        Raises RelayUnusableError as long as no part of the mail was given away, TransientError (4xx, or nobody knows
        whether it was taken) or PermanentError (5xx).
        """
        async with self._slots:
            client, is_reused = await self._client()
            try:
                return await self._transact(client, mail)
            except RelayUnusableError:
                if not is_reused:
                    raise
            # It had hung up on an idle connection: that says nothing about the relay.
            return await self._transact(await self._connect(), mail)

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
        server = self.server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username or None,
            password=server.password.get_secret_value() or None,
            local_hostname=self._local_hostname,
            timeout=TIMEOUT_S,
            use_tls=server.tls == "tls",
            start_tls=server.tls == "starttls",
            tls_context=self._tls,
        )
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await client.connect()
                await _greet(client)
        except aiosmtplib.SMTPResponseException as error:
            client.close()
            raise RelayUnusableError(f"{self.name} refuses us: {error.code}") from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            client.close()
            raise RelayUnusableError(f"{self.name} cannot be reached: {_cause(error)}") from error
        return client

    async def _transact(self, client: aiosmtplib.SMTP, mail: OutboundMail) -> str:
        """Send over `client`, which is kept for the next mail unless it broke."""
        try:
            await self._announce(client, mail)
            reply = await self._give(client, mail)
        except (TransientError, PermanentError):
            await _start_over(client)
            self._keep(client)
            raise
        except BaseException:
            client.close()
            raise
        self._keep(client)
        return reply

    def _keep(self, client: aiosmtplib.SMTP) -> None:
        if client.is_connected:
            self._idle.append((client, asyncio.get_running_loop().time()))

    async def _announce(self, client: aiosmtplib.SMTP, mail: OutboundMail) -> None:
        """Name sender and recipient: nothing is taken yet, so whatever fails here can be tried elsewhere at once."""
        mail_options, rcpt_options = self._options(client, mail)
        encoding = "utf-8" if mail.needs_smtputf8 else "ascii"
        try:
            await client.mail(mail.mail_from, options=mail_options, encoding=encoding)
            await client.rcpt(mail.rcpt_to, options=rcpt_options, encoding=encoding)
        except aiosmtplib.SMTPResponseException as error:
            if _is_about_us(error):
                raise RelayUnusableError(f"{self.name} refuses us: {_said(error)}") from error
            raise _refusal(error) from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise RelayUnusableError(f"{self.name} hung up: {_cause(error)}") from error
        except ValueError as error:  # aiosmtplib on an address that it cannot send safely
            raise PermanentError("address_malformed: the address cannot be sent to") from error

    async def _give(self, client: aiosmtplib.SMTP, mail: OutboundMail) -> str:
        """Give the mail itself. If the connection breaks now, nobody knows whether it was taken."""
        try:
            return (await client.data(mail.content, timeout=DATA_TIMEOUT_S)).message[:MAX_REPLY_CHARS]
        except aiosmtplib.SMTPResponseException as error:
            raise _refusal(error) from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            client.close()
            raise TransientError(f"{self.name} hung up before it had answered: {_cause(error)}") from error

    def _options(self, client: aiosmtplib.SMTP, mail: OutboundMail) -> tuple[list[str], list[str]]:
        """Return the parameters of MAIL and RCPT that the relay understands (RFC 1870, 3461, 6531)."""
        mail_options, rcpt_options = [], []
        if mail.needs_smtputf8:
            if not client.supports_extension("smtputf8"):
                raise PermanentError("the relay does not support international addresses (SMTPUTF8)")
            mail_options += ["SMTPUTF8", "BODY=8BITMIME"]
        if client.supports_extension("size"):
            mail_options.append(f"SIZE={len(mail.content)}")
        if client.supports_extension("dsn"):
            mail_options.append("RET=HDRS")
            if 0 < len(mail.message_id) <= MAX_ENVID_CHARS and mail.message_id.isascii():
                mail_options.append(f"ENVID={_xtext(mail.message_id)}")
            rcpt_options.append(f"NOTIFY={','.join(self._dsn).upper() or 'NEVER'}")
            if mail.rcpt_to.isascii():
                rcpt_options.append(f"ORCPT=rfc822;{_xtext(mail.rcpt_to)}")
        return mail_options, rcpt_options

    async def close(self) -> None:
        """Say goodbye on all idle connections."""
        idle, self._idle = self._idle, []
        for client, _ in idle:
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await client.quit(timeout=1.0)
            client.close()


async def _greet(client: aiosmtplib.SMTP) -> None:
    """Ask what the relay knows, unless STARTTLS or the log-in has done so; an old one is greeted the old way."""
    if not client.is_ehlo_or_helo_needed:
        return
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        await client.helo()


async def _start_over(client: aiosmtplib.SMTP) -> None:
    """Make a connection fit for the next mail after a refusal; close it if it is not."""
    try:
        await client.rset(timeout=5.0)
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        client.close()


def _is_about_us(error: aiosmtplib.SMTPResponseException) -> bool:
    """Tell whether a refusal is about us and not about this mail: it goes out when somebody has put that right."""
    if error.code == _CLOSING or error.code in _WANTS_LOG_IN:
        return True
    is_sender = isinstance(error, aiosmtplib.SMTPSenderRefused)
    if is_sender and error.code < PERMANENT_CODE:
        return True
    return error.code >= PERMANENT_CODE and _ABOUT_US.search(error.message) is not None


def _refusal(error: aiosmtplib.SMTPResponseException) -> TransientError | PermanentError:
    words = describe_failure("", _said(error))
    return PermanentError(words) if error.code >= PERMANENT_CODE else TransientError(words)


def _said(error: aiosmtplib.SMTPResponseException) -> str:
    return " ".join(f"{error.code} {error.message}".split())[:MAX_REPLY_CHARS]


def _cause(error: BaseException) -> str:
    """Return what went wrong, for the operator: a wrong certificate must not look like a relay that is down."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({root.verify_message})"
    return type(root).__name__


def _xtext(text: str) -> str:
    """Encode a parameter's value (RFC 3461 §4)."""
    return _NOT_XTEXT.sub(lambda match: f"+{ord(match[0]):02X}", text)


def _tls_context(server: RelayServer, *, key: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(server.ca_file) if server.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{key}: {server.ca_file} holds no certificates in PEM form") from error
