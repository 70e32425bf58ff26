"""The SMTP and LMTP listeners on the daemon's own loop."""

import asyncio
import logging
import ssl

import structlog

from appeals.errors import ConfigurationError
from config.channel_settings import EmailSettings
from connectors.email.mailboxes import Mailboxes
from connectors.email.smtp import smtp_replies
from connectors.email.smtp.networks import TrustedNetworks
from connectors.email.smtp.smtp_hub import Deliver, Guests, SmtpHub, SmtpService
from connectors.email.smtp.smtp_lmtp import MailLmtp
from connectors.email.smtp.smtp_protocol import MailSmtp
from connectors.email.smtp.smtp_tls import TlsCertificate

logger = structlog.get_logger(__name__)

STOP_GRACE_S = 15.0  # a mail in DATA at shut-down may take so long; the client keeps what we cut off
BACKLOG = 512  # connections the system may hold for us while the loop is busy


class SmtpListener:
    """Listens on one port for one protocol."""

    def __init__(
        self, service: SmtpService, *, protocol: type[MailSmtp], port: int, context: ssl.SSLContext | None = None
    ) -> None:
        """`context`: TLS from the first byte."""
        self._settings = service.settings
        self._protocol = protocol
        self._port = port
        self._context = context
        self._name = "smtps" if context is not None else protocol.protocol_name
        self._hub = SmtpHub(service)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises ConfigurationError if the address cannot be had."""
        # aiosmtpd's own log lines hold addresses and commands as they came in.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: self._protocol(self._hub, loop=loop),
                self._settings.host,
                self._port,
                backlog=BACKLOG,
                ssl=self._context,
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen for {self._name} on {self._settings.host}:{self._port}: {error.strerror or error}",
            ) from error
        logger.info("smtp.listening", protocol=self._name, port=self.port)

    @property
    def port(self) -> int:
        """The real port, also where 0 was asked for."""
        if self._server is not None and self._server.sockets:
            self._port = self._server.sockets[0].getsockname()[1]
        return self._port

    @property
    def is_listening(self) -> bool:
        """Whether connections are accepted now."""
        return self._server is not None and self._server.is_serving()

    @property
    def address(self) -> str:
        """Where it listens, for people."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"{self._name}://{host}:{self.port}"

    async def stop(self) -> None:
        """Accept nothing more, let connections in DATA finish for STOP_GRACE_S, and close the rest. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        self._hub.is_closing = True
        server.close()
        idle = [connection for connection in self._hub.connections if not connection.is_busy]
        await asyncio.gather(*(connection.close(smtp_replies.SHUTTING_DOWN) for connection in idle))
        try:
            async with asyncio.timeout(STOP_GRACE_S if self._hub.connections else 0):
                await self._hub.drained.wait()
        except TimeoutError:
            for connection in tuple(self._hub.connections):
                logger.warning("smtp.connection_cut", is_busy=connection.is_busy)
                connection.abort()
        await server.wait_closed()


def build_listeners(
    settings: EmailSettings, *, mailboxes: Mailboxes, deliver: Deliver, certificate: TlsCertificate | None
) -> tuple[SmtpListener, ...]:
    """Return the listeners that the settings ask for, not started. Raises ConfigurationError."""
    if settings.smtps_port is not None and settings.client_address == "proxy":
        raise ConfigurationError("email.smtps_port: the PROXY protocol (email.client_address) works without it alone")
    service = SmtpService(
        settings=settings,
        mailboxes=mailboxes,
        deliver=deliver,
        trusted=TrustedNetworks(settings.trusted_networks),
        certificate=certificate,
        guests=Guests(limit=settings.max_connections_per_address),
    )
    listeners = [SmtpListener(service, protocol=MailSmtp, port=settings.smtp_port)]
    if settings.lmtp_port is not None:
        listeners.append(SmtpListener(service, protocol=MailLmtp, port=settings.lmtp_port))
    if settings.smtps_port is not None and certificate is not None:
        context = certificate.context
        listeners.append(SmtpListener(service, protocol=MailSmtp, port=settings.smtps_port, context=context))
    return tuple(listeners)
