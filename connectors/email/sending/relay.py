"""The relays: outbound mails over SMTP, to the first relay that can be used."""

import asyncio

import structlog

from appeals.errors import OknoError, TransientError
from config.channel_settings import EmailSettings, RelayServer
from connectors.email.sending.composer import OutboundMail
from connectors.email.sending.relay_server import RelayConnections, RelayUnusableError

logger = structlog.get_logger(__name__)

REST_S = 60.0  # a relay that could not be used is asked last for so long, so that mails do not wait for it one by one


class Relay:
    """Hands mails to the configured relays, in order: to the next one only if those before took nothing of it."""

    def __init__(self, settings: EmailSettings) -> None:
        """Read the relays' settings. Raises ConfigurationError if a file of certificates is none."""
        first = RelayServer(
            host=settings.relay_host,
            port=settings.relay_port,
            tls=settings.relay_tls,
            ca_file=settings.relay_ca_file,
            username=settings.relay_username,
            password=settings.relay_password,
        )
        keys = ["email.relay_ca_file"]
        keys += [f"email.relay_fallbacks.{position}.ca_file" for position in range(len(settings.relay_fallbacks))]
        self._relays = [
            RelayConnections(server, key=key, local_hostname=settings.hostname, dsn=settings.dsn)
            for server, key in zip((first, *settings.relay_fallbacks), keys, strict=True)
        ]
        self._rests_until: dict[str, float] = {}
        self._troubles: dict[str, str] = {}

    @property
    def trouble(self) -> str:
        """Why relays could not be used last time; empty: all could."""
        return "; ".join(self._troubles[relay.name] for relay in self._relays if relay.name in self._troubles)

    async def deliver(self, mail: OutboundMail) -> str:
        """Give one mail to a relay and return what it said.

        At least once. Raises TransientError (4xx, connection trouble) or PermanentError (5xx, SMTPUTF8 not supported).
        """
        for relay in self._in_order():
            try:
                reply = await relay.deliver(mail)
            except RelayUnusableError as error:
                self._note_trouble(relay, str(error))
            except OknoError:  # it said something about this mail, so it works
                self._troubles.pop(relay.name, None)
                raise
            else:
                self._troubles.pop(relay.name, None)
                self._rests_until.pop(relay.name, None)
                return reply
        raise TransientError(f"relay_unusable: no relay can be used now ({self.trouble})")

    def _in_order(self) -> list[RelayConnections]:
        """Return the relays as configured, those that rest after the others."""
        now = asyncio.get_running_loop().time()
        return sorted(self._relays, key=lambda relay: self._rests_until.get(relay.name, 0.0) > now)

    def _note_trouble(self, relay: RelayConnections, trouble: str) -> None:
        if relay.name not in self._troubles:
            logger.warning("email.relay_unusable", relay=relay.name, reason=trouble)
        self._troubles[relay.name] = trouble
        self._rests_until[relay.name] = asyncio.get_running_loop().time() + REST_S

    async def close(self) -> None:
        """Say goodbye on all idle connections."""
        for relay in self._relays:
            await relay.close()
