"""A local SMTP relay that keeps what it is given: stands in for the office's relay in the demo and in tests.

It speaks real SMTP on a real port, and can be told to refuse, to hang up, or to be down.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Self

from aiosmtpd.smtp import SMTP, Envelope, Session

DEFAULT_KEEP = 1000  # mails; the oldest are forgotten
WAIT_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayedMail:
    """One mail the relay took."""

    mail_from: str  # "" for the null sender
    rcpt_to: tuple[str, ...]
    content: bytes
    received_at: datetime

    def parsed(self) -> EmailMessage:
        """Return the mail as the standard library reads it."""
        return message_from_bytes(self.content, policy=policy.default)


class SmtpRelay:
    """The relay. `async with SmtpRelay() as relay:` listens on a free port, `relay.port`."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, keep: int = DEFAULT_KEEP) -> None:
        self.host = host
        self.port = port
        self.messages: list[RelayedMail] = []
        self.connections_made = 0
        self._keep = keep
        self._refusals: list[str] = []
        self._always: str | None = None
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
            await self._idle.wait()

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

    async def wait_for(self, count: int, *, timeout_s: float = WAIT_S) -> list[RelayedMail]:
        """Return all mails once there are `count`. Raises TimeoutError after `timeout_s`."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.messages) >= count)
        return list(self.messages)

    async def take(self, envelope: Envelope) -> str:
        """Keep one mail, or refuse it as told, and return the SMTP reply."""
        refusal = self._always or (self._refusals.pop(0) if self._refusals else None)
        if refusal is not None:
            return refusal
        mail = RelayedMail(
            mail_from="" if envelope.mail_from == "<>" else envelope.mail_from or "",
            rcpt_to=tuple(envelope.rcpt_tos),
            content=envelope.original_content or b"",
            received_at=datetime.now(UTC),
        )
        async with self._changed:
            self.messages.append(mail)
            del self.messages[: -self._keep]
            self._changed.notify_all()
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

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        return await self._relay.take(envelope)


class _RelayProtocol(SMTP):
    def __init__(self, relay: SmtpRelay, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_Hooks(relay), enable_SMTPUTF8=True, hostname="relay.localhost", loop=loop)
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the relay."""
        self._relay.note_connected(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the relay."""
        self._relay.note_disconnected(self)
        super().connection_lost(error)
