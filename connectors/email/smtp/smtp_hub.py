"""What the connections of the listeners share: settings, counts, the certificate, the way in."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.channel_settings import EmailSettings
from connectors.email.envelope_builder import SmtpEnvelope
from connectors.email.mailboxes import Mailboxes
from connectors.email.smtp.networks import TrustedNetworks, host_key
from connectors.email.smtp.smtp_tls import TlsCertificate

if TYPE_CHECKING:
    from connectors.email.smtp.smtp_connection import SmtpConnection

Deliver = Callable[[bytes, SmtpEnvelope], Awaitable[str]]  # a mail in; the SMTP reply out, once it is safe


class Guests:
    """Connections of all listeners together, counted by the host they come from."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[str] = Counter()

    def enter(self, address: str) -> str | None:
        """Count a connection in; returns what to `leave` with, None if the host has too many already."""
        key = host_key(address)
        if self._counts[key] >= self._limit:
            return None
        self._counts[key] += 1
        return key

    def leave(self, key: str) -> None:
        """Count a connection out."""
        self._counts[key] -= 1
        if self._counts[key] <= 0:
            del self._counts[key]


@dataclass(frozen=True, kw_only=True, slots=True)
class SmtpService:
    """What all listeners share."""

    settings: EmailSettings
    mailboxes: Mailboxes
    deliver: Deliver
    trusted: TrustedNetworks
    certificate: TlsCertificate | None
    guests: Guests


@dataclass(slots=True)
class SmtpHub:
    """What the connections of one listener share."""

    service: SmtpService
    is_closing: bool = False
    connections: set["SmtpConnection"] = field(default_factory=set)
    drained: asyncio.Event = field(default_factory=asyncio.Event)  # closing, and the last connection has gone

    @property
    def settings(self) -> EmailSettings:
        """The section `email`."""
        return self.service.settings
