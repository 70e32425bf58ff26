"""The SMTP and LMTP dialogue over aiosmtpd: our limits, our replies, and DATA read in large pieces."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.errors import MessageError
from typing import Any

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

from config.settings import EmailSettings
from connectors.email import smtp_replies
from connectors.email.envelope_builder import SmtpEnvelope
from connectors.email.mailboxes import Mailboxes
from connectors.email.smtp_data import DataOverrunError, read_data

logger = structlog.get_logger(__name__)

READ_LIMIT_BYTES = 64 * 1024  # of one read, and the longest command line that is read before it is refused
COMMAND_LIMIT_BYTES = 2048  # RFC 5321 §4.5.3.1.4 asks for 512 and more with extensions; tokens and SMTPUTF8 need room
SLOW_FACTOR = 10  # one command with its data may take so many times `command_timeout_s` (RFC 5321 §4.5.3.2.6: 10 min)

_PATH = re.compile(r"<([^\s<>\"\\@,:()\[\];]+@[^\s<>\"\\@,:()\[\];]+)>(?:[ \t]+(.*))?", re.DOTALL)
_BAD_IN_PATH = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")


@dataclass(slots=True)
class SmtpHub:
    """What the connections of one listener share."""

    settings: EmailSettings
    mailboxes: Mailboxes
    deliver: Callable[[bytes, SmtpEnvelope], Awaitable[str]]  # a mail in; the SMTP reply out, once it is safe
    is_closing: bool = False
    connections: set["MailSmtp"] = field(default_factory=set)
    drained: asyncio.Event = field(default_factory=asyncio.Event)  # closing, and the last connection has gone


class _Policy:
    """aiosmtpd's hooks: what we say to MAIL and RCPT."""

    def __init__(self, hub: SmtpHub) -> None:
        self._hub = hub

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address != "<>" and _BAD_IN_PATH.search(address):
            return smtp_replies.BAD_ADDRESS
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return smtp_replies.SENDER_OK

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= self._hub.settings.max_recipients:
            return smtp_replies.TOO_MANY_RECIPIENTS
        if _BAD_IN_PATH.search(address):
            return smtp_replies.BAD_ADDRESS
        if self._hub.mailboxes.find(address) is None:
            return smtp_replies.UNKNOWN_RECIPIENT
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return smtp_replies.RECIPIENT_OK


class MailSmtp(SMTP):
    """One SMTP connection (RFC 5321; 8BITMIME, SIZE, SMTPUTF8, PIPELINING, ENHANCEDSTATUSCODES)."""

    line_length_limit = READ_LIMIT_BYTES
    command_size_limit = COMMAND_LIMIT_BYTES
    protocol_name = "smtp"

    def __init__(self, hub: SmtpHub, *, loop: asyncio.AbstractEventLoop) -> None:
        # aiosmtpd keeps these in one dict for all connections and clears it with each new one.
        self.command_size_limits = defaultdict(lambda: COMMAND_LIMIT_BYTES)
        super().__init__(
            _Policy(hub),
            data_size_limit=hub.settings.max_message_bytes,
            enable_SMTPUTF8=True,
            hostname=hub.settings.hostname,
            ident="Okno",
            timeout=hub.settings.command_timeout_s,
            loop=loop,
        )
        self._hub = hub
        self.is_busy = False  # in DATA: not to be cut off at shut-down
        self._is_registering = False  # waiting for us, not for the client
        self._active_at = self._command_at = loop.time()

    # -- life of the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection in."""
        self._hub.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Count the connection out."""
        self._hub.connections.discard(self)
        if self._hub.is_closing and not self._hub.connections:
            self._hub.drained.set()
        super().connection_lost(error)

    def eof_received(self) -> bool | None:
        """Keep a half-closed connection: what the client has sent before is still answered."""
        asyncio.StreamReaderProtocol.eof_received(self)
        return self.session is None or self.session.ssl is None

    def data_received(self, data: bytes) -> None:
        """Note that the client is alive."""
        self._active_at = self.loop.time()
        super().data_received(data)

    async def _handle_client(self) -> None:
        refusal = None
        if self._hub.is_closing:
            refusal = smtp_replies.SHUTTING_DOWN
        elif len(self._hub.connections) > self._hub.settings.max_connections:
            refusal = smtp_replies.TOO_MANY_CONNECTIONS
        if refusal is None:
            try:
                await super()._handle_client()
            except ConnectionError:  # the client has gone; what it was not answered it will send again
                logger.debug("smtp.client_gone")
            return
        logger.warning("smtp.connection_refused", reply=refusal[:9], connections=len(self._hub.connections))
        await self.close(refusal)

    async def close(self, reply: str) -> None:
        """Say why and hang up."""
        try:
            await self.push(reply)
        except ConnectionError:
            return  # gone already
        finally:
            if self.transport is not None:
                self.transport.close()

    def abort(self) -> None:
        """Cut the connection off at once."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    def _reset_timeout(self, duration: float | None = None) -> None:
        self._active_at = self._command_at = self.loop.time()
        super()._reset_timeout(duration)

    def _timeout_cb(self) -> None:
        """Hang up on a client that has been silent too long, or feeds one command too slowly."""
        now, limit = self.loop.time(), self._timeout_duration
        idle_s, command_s = now - self._active_at, now - self._command_at
        if self._is_registering or (idle_s < limit and command_s < limit * SLOW_FACTOR):
            remaining_s = limit if self._is_registering else limit - idle_s
            self._timeout_handle = self.loop.call_later(max(remaining_s, 0.01), self._timeout_cb)
            return
        if self.transport is not None:
            self._writer.write(smtp_replies.TOO_SLOW.encode() + b"\r\n")
            self.transport.close()

    async def push(self, status: Any) -> None:
        """Send one reply, with an enhanced status code; the greeting is written by aiosmtpd and has none."""
        if self.transport is None or self.transport.is_closing():
            return
        reply = status if isinstance(status, str) else bytes(status).decode("utf-8", "replace")
        is_greeting = reply.startswith("220 ") and self.session is not None and self.session.host_name is None
        await super().push(reply if is_greeting else smtp_replies.enhanced(reply))

    async def handle_exception(self, error: Exception) -> str:
        """End quietly when the client is done; anything else is ours, and its text stays inside."""
        if isinstance(error, EOFError):
            if self.transport is not None:
                self.transport.close()
            raise asyncio.CancelledError
        logger.error("smtp.session_failed", exc_info=error)
        return smtp_replies.TRY_LATER

    # -- commands

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Read `<address> parameters`: the usual form by pattern, odd ones (quoted, routed) by aiosmtpd."""
        match = _PATH.fullmatch(arg.strip())
        if match:
            return match[1], match[2] or ""
        if arg.strip() == "<>":
            return "<>", ""
        try:
            address, rest = super()._getaddr(arg)
        except (MessageError, IndexError, ValueError, AttributeError, RecursionError):
            return None, None  # known holes of the standard library's address parser
        return address, rest

    @syntax("EHLO hostname")
    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802
        """Name our extensions (RFC 1869), in one write."""
        if not hostname:
            await self.push(smtp_replies.BAD_HELLO)
            return
        self._set_rset_state()  # type: ignore[no-untyped-call]
        self._greet(hostname)
        lines = [self.hostname, f"SIZE {self.data_size_limit}", "8BITMIME", "SMTPUTF8", "PIPELINING"]
        if self.tls_context and not self._tls_protocol:
            lines.append("STARTTLS")
        lines += ["ENHANCEDSTATUSCODES", "HELP"]
        marks = ["-"] * (len(lines) - 1) + [" "]
        self._writer.write("".join(f"250{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=True)).encode())
        await self._writer.drain()

    def _greet(self, hostname: str) -> None:
        if self.session is not None:
            self.session.extended_smtp = True
            self.session.host_name = hostname

    @syntax("HELO hostname")
    async def smtp_HELO(self, hostname: str) -> None:  # noqa: N802
        """Answer with our name alone: RFC 2034 §4 has no enhanced status here."""
        if not hostname:
            await self.push(smtp_replies.BAD_HELLO)
            return
        self._set_rset_state()  # type: ignore[no-untyped-call]
        self._greet(hostname)
        if self.session is not None:
            self.session.extended_smtp = False
        await super().push(f"250 {self.hostname}")

    @syntax("VRFY <address>")
    async def smtp_VRFY(self, _arg: str) -> None:  # noqa: N802
        """Tell nobody who has a mailbox (RFC 5321 §7.3)."""
        await self.push(smtp_replies.CANNOT_VERIFY)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """Take a mail; the reply comes only after it is committed (P1)."""
        if await self.check_helo_needed():
            return
        envelope = self.envelope
        if envelope is None or not envelope.rcpt_tos:
            await self.push(smtp_replies.NEED_RECIPIENT)
            return
        if arg:
            await self.push(smtp_replies.NO_ARGUMENT)
            return
        self.is_busy = True
        try:
            await self.push(smtp_replies.SEND_DATA)
            content = await read_data(self._reader, limit_bytes=self._hub.settings.max_message_bytes)
            reply = smtp_replies.TOO_BIG
            if content is not None:
                self._is_registering = True
                reply = await self._hub.deliver(content, self._smtp_envelope(envelope))
            await self._answer_data(reply, recipients=len(envelope.rcpt_tos))
        except DataOverrunError:
            await self.close(smtp_replies.TOO_BIG)
            raise asyncio.CancelledError from None
        finally:
            self.is_busy = self._is_registering = False
            self._set_post_data_state()  # type: ignore[no-untyped-call]
        self._reset_timeout()
        if self._hub.is_closing:
            await self.close(smtp_replies.SHUTTING_DOWN)

    async def _answer_data(self, reply: str, *, recipients: int) -> None:  # noqa: ARG002 - LMTP needs it
        await self.push(reply)

    def _smtp_envelope(self, envelope: Envelope) -> SmtpEnvelope:
        peer = self.session.peer if self.session is not None else None
        mail_from = envelope.mail_from or ""
        return SmtpEnvelope(
            mail_from="" if mail_from == "<>" else mail_from,
            rcpt_to=tuple(envelope.rcpt_tos),
            peer=str(peer[0]) if isinstance(peer, tuple) else "",
            helo=(self.session.host_name or "") if self.session is not None else "",
            protocol=self.protocol_name,
        )


class MailLmtp(MailSmtp):
    """One LMTP connection (RFC 2033): LHLO, and after DATA one reply for each recipient."""

    protocol_name = "lmtp"

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, hostname: str) -> None:  # noqa: N802
        """Greet as EHLO does."""
        await super().smtp_EHLO(hostname)

    async def smtp_EHLO(self, _hostname: str) -> None:  # noqa: N802
        """Refuse: RFC 2033 §4.1."""
        await self.push(smtp_replies.UNKNOWN_COMMAND)

    async def smtp_HELO(self, _hostname: str) -> None:  # noqa: N802
        """Refuse: RFC 2033 §4.1."""
        await self.push(smtp_replies.UNKNOWN_COMMAND)

    async def _answer_data(self, reply: str, *, recipients: int) -> None:
        for _ in range(recipients):
            await self.push(reply)
