"""The life of one SMTP or LMTP connection over aiosmtpd: counting, pace, replies, TLS."""

import asyncio
import ssl
from collections import defaultdict
from typing import Any, NoReturn, cast

import structlog
from aiosmtpd.smtp import SMTP

from connectors.email.smtp import smtp_replies
from connectors.email.smtp.smtp_hub import SmtpHub

logger = structlog.get_logger(__name__)

READ_LIMIT_BYTES = 64 * 1024  # of one read, and the longest command line that is read before it is refused
COMMAND_LIMIT_BYTES = 2048  # RFC 5321 §4.5.3.1.4 asks for 512 and more with extensions; tokens and SMTPUTF8 need room
SLOW_FACTOR = 10  # one command line may take so many times `command_timeout_s`


class SmtpConnection(SMTP):
    """Whom we let in, how long we wait, what we say, when we hang up. Commands are in `MailSmtp`."""

    line_length_limit = READ_LIMIT_BYTES
    command_size_limit = COMMAND_LIMIT_BYTES
    protocol_name = "smtp"

    def __init__(self, hub: SmtpHub, handler: object, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        # aiosmtpd keeps these in one dict for all connections and clears it with each new one.
        self.command_size_limits = defaultdict(lambda: COMMAND_LIMIT_BYTES)
        super().__init__(
            handler,
            data_size_limit=hub.settings.max_message_bytes,
            enable_SMTPUTF8=True,
            hostname=hub.settings.hostname,
            ident="Okno",
            timeout=hub.settings.command_timeout_s,
            tls_context=hub.service.certificate.context if hub.service.certificate else None,
            loop=loop,
            **options,
        )
        self._hub = hub
        self.is_busy = False  # in DATA: not to be cut off at shut-down
        self.is_trusted = False  # the machine at the other end is a front MTA of ours
        self._counted_as: str | None = None
        self._is_registering = False  # waiting for us, not for the client
        self._errors = self._idle_commands = 0
        self._active_at = self._command_at = loop.time()
        self._data_at: float | None = None  # when DATA began
        self._data_bytes = 0

    # -- coming and going

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection in."""
        self._hub.connections.add(self)
        if self._hub.service.certificate is not None:
            self._hub.service.certificate.refresh()
        super().connection_made(transport)
        if self.session is not None:
            self.is_trusted = self.peer_address in self._hub.service.trusted
            if transport.get_extra_info("sslcontext") is not None:
                self._note_tls()

    def connection_lost(self, error: Exception | None) -> None:
        """Count the connection out. Idempotent: a handshake that fails ends it here, and perhaps asyncio does too."""
        if self not in self._hub.connections:
            return
        self._hub.connections.discard(self)
        if self._counted_as is not None:
            self._hub.service.guests.leave(self._counted_as)
            self._counted_as = None
        if self._hub.is_closing and not self._hub.connections:
            self._hub.drained.set()
        super().connection_lost(error)

    @property
    def peer_address(self) -> str:
        """The IP address of the machine at the other end; empty if there is none."""
        peer: object = self.session.peer if self.session is not None else None
        return str(peer[0]) if isinstance(peer, tuple) else ""

    def eof_received(self) -> bool | None:
        """Keep a half-closed connection: what the client has sent before is still answered. TLS has no half-close."""
        asyncio.StreamReaderProtocol.eof_received(self)
        return self.session is None or self.session.ssl is None

    def data_received(self, data: bytes) -> None:
        """Note that the client is alive."""
        self._active_at = self.loop.time()
        self._data_bytes += len(data)
        super().data_received(data)

    async def _handle_client(self) -> None:
        refusal = self._refusal()
        if refusal is None:
            try:
                await super()._handle_client()
            except (ConnectionError, EOFError):  # the client has gone; what it was not answered it will send again
                logger.debug("smtp.client_gone")
                if self.transport is not None:
                    self.transport.close()
            return
        logger.warning("smtp.connection_refused", reply=refusal[:9], connections=len(self._hub.connections))
        await self.close(refusal)

    def _refusal(self) -> str | None:
        if self._hub.is_closing:
            return smtp_replies.SHUTTING_DOWN
        if len(self._hub.connections) > self._hub.settings.max_connections:
            return smtp_replies.TOO_MANY_CONNECTIONS
        if not self.is_trusted and not self._admit(self.peer_address):
            return smtp_replies.TOO_MANY_FROM_ADDRESS
        return None

    def _admit(self, address: str) -> bool:
        """Count a connection from outside; False if its host has too many."""
        self._counted_as = self._hub.service.guests.enter(address)
        return self._counted_as is not None

    async def close(self, reply: str) -> None:
        """Say why and hang up."""
        try:
            await self._say(reply)
        except ConnectionError:
            return  # gone already
        finally:
            if self.transport is not None:
                self.transport.close()

    async def hang_up(self, reply: str) -> NoReturn:
        """Say why, hang up, and end the dialogue: what the client has sent along is not looked at any more."""
        await self.close(reply)
        raise asyncio.CancelledError

    def abort(self) -> None:
        """Cut the connection off at once."""
        if self.transport is not None:
            cast("asyncio.Transport", self.transport).abort()  # uvloop's are no subclasses of it

    # -- pace

    def _reset_timeout(self, duration: float | None = None) -> None:
        self._active_at = self._command_at = self.loop.time()
        super()._reset_timeout(duration)

    def _begin_data(self) -> None:
        """Begin to measure the pace of a mail."""
        settings = self._hub.settings
        self._reset_timeout(min(settings.command_timeout_s, settings.data_timeout_s))
        self._data_at, self._data_bytes = self.loop.time(), 0

    def _timeout_cb(self) -> None:
        """Hang up on a client that has been silent too long, or feeds a command or a mail too slowly."""
        remaining_s = self._timeout_duration if self._is_registering else self._patience_s()
        if remaining_s > 0:
            self._timeout_handle = self.loop.call_later(max(remaining_s, 0.01), self._timeout_cb)
        elif self.transport is not None:
            logger.info("smtp.client_too_slow", in_data=self._data_at is not None, size_bytes=self._data_bytes)
            self._writer.write(smtp_replies.TOO_SLOW.encode() + b"\r\n")
            self.transport.close()

    def _patience_s(self) -> float:
        """Return for how many seconds the client may go on as it does; 0 or less: no more."""
        now, limit = self.loop.time(), self._timeout_duration
        idle_s = limit - (now - self._active_at)
        if self._data_at is None:
            return min(idle_s, limit * SLOW_FACTOR - (now - self._command_at))
        data_s = now - self._data_at
        if data_s >= limit and self._data_bytes < data_s * self._hub.settings.data_min_bytes_per_s:
            return 0
        return min(idle_s, self._hub.settings.data_timeout_s - data_s)

    # -- replies

    async def push(self, status: Any) -> None:
        """Send one reply, with an enhanced status code; the greeting is written by aiosmtpd and has none.

        A client that does nothing but err, or nothing but keep us busy, is told so and hung up on.
        """
        reply = status if isinstance(status, str) else bytes(status).decode("utf-8", "replace")
        if reply.startswith("5") and not self.is_trusted:
            self._errors += 1
            if self._errors > self._hub.settings.max_errors:
                logger.warning("smtp.too_many_errors")
                await self.hang_up(smtp_replies.TOO_MANY_ERRORS)
        await self._say(reply)

    async def _say(self, reply: str) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        is_greeting = reply.startswith("220 ") and self.session is not None and self.session.host_name is None
        await super().push(reply if is_greeting else smtp_replies.enhanced(reply))

    async def count_idle_command(self) -> None:
        """Count a command that brings no mail; hangs up if it was one too many."""
        self._idle_commands += 1
        if not self.is_trusted and self._idle_commands > self._hub.settings.max_idle_commands:
            logger.warning("smtp.too_many_idle_commands")
            await self.hang_up(smtp_replies.TOO_MANY_COMMANDS)

    async def handle_exception(self, error: Exception) -> str:
        """End quietly when the client is done; anything else is ours, and its text stays inside."""
        if isinstance(error, EOFError):
            if self.transport is not None:
                self.transport.close()
            raise asyncio.CancelledError
        logger.error("smtp.session_failed", exc_info=error)
        return smtp_replies.TRY_LATER

    # -- TLS

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Answer STARTTLS and go over to TLS (RFC 3207). What was sent in the clear is forgotten.

        Commands sent along with STARTTLS end the session: somebody in between may have put them there (CVE-2011-0411).
        """
        transport = cast("asyncio.Transport", self.transport)
        transport.pause_reading()  # the client's first words of TLS are not ours to read
        if self._reader._buffer:  # type: ignore[attr-defined]  # noqa: SLF001 - aiosmtpd clears it in the same way
            await self.hang_up(smtp_replies.NOTHING_AFTER_STARTTLS)
        await self._say("220 2.0.0 Ready to start TLS")
        try:
            secure = await self.loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=self._timeout_duration
            )
        except OSError as error:  # ssl.SSLError, ConnectionError and TimeoutError are
            logger.info("smtp.tls_failed", error=type(error).__name__)
            secure = None
        if secure is None or secure.is_closing():  # asyncio gives no error if we have hung up meanwhile
            transport.abort()
            self.connection_lost(None)
            raise asyncio.CancelledError
        self.transport = secure
        self._reader._transport = self._writer._transport = secure  # type: ignore[attr-defined]  # noqa: SLF001
        self._set_rset_state()  # type: ignore[no-untyped-call]
        if self.session is not None:
            self.session.host_name = None
            self.session.extended_smtp = False
        self._note_tls()

    def _note_tls(self) -> None:
        """Note that the connection is secure."""
        self._tls_protocol = True  # type: ignore[assignment]  # aiosmtpd asks only whether there is one
        if self.session is not None:
            self.session.ssl = {"protocol": "TLS"}
