"""A local SMTP relay that keeps what it is given: stands in for the office's relay in the demo and in tests.

It speaks real SMTP on a real port, with STARTTLS, log-in and delivery reports (RFC 3461) where asked for, and can be
told to refuse, to hang up, or to be down.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

DEFAULT_KEEP = 1000  # mails; the oldest are forgotten
WAIT_S = 10.0
CLOSE_S = 0.5
_DSN_PARAMETER = re.compile(r" (?:RET|ENVID|NOTIFY|ORCPT)=[^ ]+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayedMail:
    """One mail the relay took."""

    mail_from: str  # "" for the null sender
    rcpt_to: tuple[str, ...]
    content: bytes
    received_at: datetime
    dsn: tuple[str, ...] = ()  # parameters of MAIL and RCPT that ask for delivery reports, as they came
    by_tls: bool = False

    def parsed(self) -> EmailMessage:
        """Return the mail as the standard library reads it."""
        return message_from_bytes(self.content, policy=policy.default)


class SmtpRelay:
    """The relay. `async with SmtpRelay() as relay:` listens on a free port, `relay.port`."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keep: int = DEFAULT_KEEP,
        dsn: bool = True,
        tls: ssl.SSLContext | None = None,
        password: str = "",
    ) -> None:
        """`tls`: offer STARTTLS; `password`: take mail only after a log-in with it, of any user."""
        self.host = host
        self.dsn = dsn
        self.tls = tls
        self.password = password
        self.on_mail: Callable[[RelayedMail], Awaitable[None]] | None = None  # told of each mail after it was taken
        self.port = port
        self.messages: list[RelayedMail] = []
        self.connections_made = 0
        self._keep = keep
        self._refusals: list[str] = []
        self._always: str | None = None
        self._refused_recipients: dict[str, str] = {}
        self._drops = 0
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._connections: set[SMTP] = set()
        self._idle = asyncio.Event()  # no connection is left

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after `stop`, on the same port again."""
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _RelayProtocol(self, loop=loop), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be down: refuse connections and cut those there are. What was taken stays in `messages`."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        self.drop_connections()
        await server.wait_closed()
        if self._connections:
            self._idle.clear()
            with suppress(TimeoutError):  # a TLS handshake that failed tells nobody of its end
                async with asyncio.timeout(CLOSE_S):
                    await self._idle.wait()
            self._connections.clear()

    def drop_connections(self) -> None:
        """Hang up on every client, as relays do with idle ones."""
        for connection in tuple(self._connections):
            if connection.transport is not None:
                connection.transport.close()

    def refuse_next(self, reply: str = "451 4.3.0 try again later", *, times: int = 1) -> None:
        """Answer the next `times` mails with `reply` instead of taking them."""
        self._refusals.extend([reply] * times)

    def refuse_all(self, reply: str | None) -> None:
        """Answer every mail with `reply` from now on; None: take them again."""
        self._always = reply

    def refuse_recipient(self, address: str, reply: str | None) -> None:
        """Answer RCPT for `address` with `reply` from now on; None: accept it again."""
        if reply is None:
            self._refused_recipients.pop(address, None)
        else:
            self._refused_recipients[address] = reply

    def drop_next(self, *, times: int = 1) -> None:
        """Take the next `times` mails and hang up before saying so."""
        self._drops += times

    def refusal_of(self, address: str) -> str | None:
        """Return how RCPT for `address` is refused; None if it is not."""
        return self._refused_recipients.get(address)

    async def wait_for(self, count: int, *, timeout_s: float = WAIT_S) -> list[RelayedMail]:
        """Return all mails once there are `count`. Raises TimeoutError after `timeout_s`."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.messages) >= count)
        return list(self.messages)

    async def take(self, envelope: Envelope, *, by_tls: bool = False) -> str | None:
        """Keep one mail, or refuse it as told, and return the SMTP reply; None: hang up."""
        refusal = self._always or (self._refusals.pop(0) if self._refusals else None)
        if refusal is not None:
            return refusal
        mail = RelayedMail(
            mail_from="" if envelope.mail_from == "<>" else envelope.mail_from or "",
            rcpt_to=tuple(envelope.rcpt_tos),
            content=envelope.original_content or b"",
            received_at=datetime.now(UTC),
            dsn=tuple(getattr(envelope, "dsn", ())),
            by_tls=by_tls,
        )
        async with self._changed:
            self.messages.append(mail)
            del self.messages[: -self._keep]
            self._changed.notify_all()
        if self.on_mail is not None:
            await self.on_mail(mail)
        if self._drops:
            self._drops -= 1
            return None
        return f"250 2.0.0 taken as {len(self.messages)}"

    def note_connected(self, connection: SMTP) -> None:
        """Count a connection."""
        self.connections_made += 1
        self._connections.add(connection)

    def note_disconnected(self, connection: SMTP) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if not self._connections:
            self._idle.set()


class _Hooks:
    def __init__(self, relay: SmtpRelay) -> None:
        self._relay = relay

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        reply = await self._relay.take(envelope, by_tls=session.ssl is not None)
        if reply is None and server.transport is not None:
            server.transport.close()
        return reply or "421 4.3.2 never sent"

    async def handle_EHLO(  # noqa: N802
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-DSN", responses[-1]] if self._relay.dsn else responses

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        refusal = self._relay.refusal_of(address)
        if refusal is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return refusal or "250 2.1.5 OK"


class _RelayProtocol(SMTP):
    def __init__(self, relay: SmtpRelay, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            _Hooks(relay),
            enable_SMTPUTF8=True,
            hostname="relay.localhost",
            loop=loop,
            tls_context=relay.tls,
            auth_required=bool(relay.password),
            authenticator=self._log_in,
        )
        self._relay = relay

    def _log_in(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: object
    ) -> AuthResult:
        known = isinstance(given, LoginPassword) and given.password == self._relay.password.encode()
        return AuthResult(success=known, handled=False)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        """Take the sender; parameters of RFC 3461, which aiosmtpd refuses, are kept aside."""
        plain, asked = self._without_dsn(arg)
        await super().smtp_MAIL(plain)
        if self.envelope is not None:
            self.envelope.dsn = asked  # type: ignore[attr-defined]

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        """Take a recipient, likewise."""
        plain, asked = self._without_dsn(arg)
        await super().smtp_RCPT(plain)
        if self.envelope is not None:
            self.envelope.dsn = [*getattr(self.envelope, "dsn", []), *asked]  # type: ignore[attr-defined]

    def _without_dsn(self, arg: str | None) -> tuple[str | None, list[str]]:
        if arg is None or not self._relay.dsn:
            return arg, []
        return _DSN_PARAMETER.sub("", arg), [item.strip() for item in _DSN_PARAMETER.findall(arg)]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the relay."""
        self._relay.note_connected(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the relay."""
        self._relay.note_disconnected(self)
        super().connection_lost(error)
