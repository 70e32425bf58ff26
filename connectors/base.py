"""The port of the connectors: how one starts, registers, sends, reports its health and stops."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from aiohttp import web

from appeals.citizen_desk import AppealStatus
from appeals.envelope import AppealEnvelope, Attachment, Channel, ContactPoint
from appeals.errors import PermanentError
from appeals.registration import Contents, QuarantineItem, Registration
from appeals.reply import DeliveryState, ReplyKind
from config.settings import OfficeSettings
from config.taxonomy import Taxonomy, load_taxonomy
from connectors.pages.renderer import PageRenderer


class Intake(Protocol):
    """Where connectors hand over messages. `appeals.intake.Intake` is the real one."""

    async def register(self, envelope: AppealEnvelope, contents: Contents) -> Registration:
        """Commit the message and its bytes; only then may the channel be acknowledged (P1).

        `contents` must hold the bytes of `envelope.raw` and of every attachment. Idempotent by (connector,
        external_id).
        Raises TransientError if nothing was kept (answer 451 or 503), PermanentError if the message can never be
        registered (call `quarantine`).
        """
        ...

    async def quarantine(self, item: QuarantineItem, content: bytes) -> UUID:
        """Keep bytes that cannot be processed, with the reason; returns the entry's id once it is committed (P4).

        Idempotent by (connector, SHA-256 of content) while the entry is held. Raises TransientError if nothing was
        kept.
        """
        ...


class Cursors(Protocol):
    """Durable positions of a connector (Telegram offset, IMAP UIDs, a spool's mark)."""

    async def get(self, connector: str, name: str) -> str | None:
        """Return the value committed last."""
        ...

    async def put(self, connector: str, name: str, value: str) -> None:
        """Commit the value. Call it only after what it stands for is registered (P1)."""
        ...

    async def replace(self, connector: str, name: str, value: str, *, expected: str | None) -> bool:
        """Commit the value if the one kept is still `expected` (None: there is none); tell whether it was."""
        ...

    async def items(self, connector: str, prefix: str) -> dict[str, str]:
        """Return all values whose name begins with `prefix`, by name."""
        ...

    async def drop(self, connector: str, name: str) -> None:
        """Forget a value; one that is not there is fine."""
        ...


class DeliveryReports(Protocol):
    """Where connectors report what became of a reply after `send` (call-backs, bounces)."""

    async def report(self, connector: str, *, external_id: str, state: DeliveryState, detail: str = "") -> bool:
        """Note the state; False if no reply with that external id is known. Late and repeated reports are harmless."""
        ...


class CitizenDesk(Protocol):
    """What citizens may ask about their own appeals over a channel; `appeals.citizen_desk.RegistryDesk` answers."""

    async def status(self, number: str, asker: ContactPoint) -> AppealStatus | None:
        """Return where the appeal is; None if there is none of that number, or if it is not the asker's."""
        ...

    async def open_appeals(self, asker: ContactPoint) -> list[AppealStatus]:
        """Return the asker's appeals that are not closed, newest first, at most ten."""
        ...


class ClosedDesk:
    """A desk that knows of no appeal: for connectors that run without a registry."""

    async def status(self, number: str, asker: ContactPoint) -> AppealStatus | None:
        """Return None."""

    async def open_appeals(self, asker: ContactPoint) -> list[AppealStatus]:  # noqa: ARG002
        """Return nothing."""
        return []


def _peer_address(request: web.Request) -> str:
    return request.remote or ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectorPorts:
    """All that a connector is handed. It opens no store and reads no configuration by itself."""

    intake: Intake
    cursors: Cursors
    reports: DeliveryReports
    now: Callable[[], datetime]  # aware UTC
    public_url: str  # how the outside world reaches our HTTP server, no trailing slash: signatures are made over it
    desk: CitizenDesk = field(default_factory=ClosedDesk)
    office: OfficeSettings = field(default_factory=OfficeSettings)
    taxonomy: Taxonomy = field(default_factory=load_taxonomy)
    client_address: Callable[[web.Request], str] = _peer_address  # behind a trusted proxy: what it says
    pages: PageRenderer | None = None  # shared by the process, closed by who made it; None: a connector makes its own
    signing_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))  # one for all processes; derive from it


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboundMessage:
    """One reply as a connector gets it to send."""

    reply_id: UUID
    kind: ReplyKind
    appeal_number: str
    recipient: ContactPoint
    subject: str
    text: str
    language: str
    message_id: str  # ours, without angle brackets
    in_reply_to: tuple[str, ...] = ()  # oldest first, without angle brackets
    reply_token: str = ""  # signed: put where the citizen's answer will carry it back (Reply-To plus-address)
    attachments: tuple[Attachment, ...] = ()
    read_blob: Callable[[str], Awaitable[bytes]]  # SHA-256 -> bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What the channel's first hop said when it took the message."""

    external_id: str  # what later reports will call it
    state: DeliveryState = DeliveryState.SENT
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryEstimate:
    """What sending a text would take: shown to the agent before it is sent."""

    parts: int  # messages it is split into, and paid for
    encoding: str  # gsm7, ucs2
    units: int  # septets or UTF-16 code units, the whole text
    units_per_part: int
    price: Decimal | None  # of all parts; None: not known
    currency: str  # ISO 4217; "" without a price
    costly: tuple[str, ...] = ()  # the letters that force the dearer encoding, each once


class HealthState(StrEnum):
    """How a connector is."""

    STARTING = "starting"
    UP = "up"
    DEGRADED = "degraded"  # works in part: says which part in `detail`
    DOWN = "down"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectorHealth:
    """A connector's report on itself, for /readyz, metrics and `okno doctor`."""

    state: HealthState
    detail: str = ""
    addresses: tuple[str, ...] = ()  # where it listens, for people: "smtp://127.0.0.1:8025"
    last_message_at: datetime | None = None


class Connector(ABC):
    """Code that speaks one channel's protocol.

    Life: the composition root builds it, mounts `routes()`, calls `start()` (listen, log in; raises
    ConfigurationError or TransientError), runs `work()` in its task group until shut-down, then calls `stop()`,
    which accepts nothing more and returns when what is in hand is finished. A process that only sends calls `open()`
    instead of `start()`. An exception out of `work()` is a bug: one bad message never ends it (P4), a lost server is
    retried with back-off and shown in `health()`.
    """

    name: str  # unique among the running connectors; the registry's `connector`
    channel: Channel

    def routes(self) -> Sequence[web.RouteDef]:
        """HTTP routes that the daemon serves for this connector; none by default."""
        return ()

    async def open(self) -> None:  # noqa: B027 - an optional part of the port
        """Make ready to send (`send`, `retry`) without accepting messages; nothing to do by default. Idempotent.

        A process that only delivers calls this instead of `start`, and `stop` at its end.
        """

    @abstractmethod
    async def start(self) -> None:
        """Begin to accept messages; opens what `open` opens."""

    async def work(self) -> None:  # noqa: B027 - an optional part of the port
        """Run the connector's own loop (polling, watching a folder); returns at once if it has none."""

    @abstractmethod
    async def stop(self) -> None:
        """Accept nothing more and finish what is in hand."""

    @abstractmethod
    async def send(self, message: OutboundMessage) -> Receipt:
        """Hand one reply to the channel's first hop.

        At least once: it may be called again with the same `message_id` after a crash. Raises TransientError
        (tried again with back-off; honours `retry_after_s`) or PermanentError (shown to the agent, not tried again).
        """

    def estimate(self, text: str) -> DeliveryEstimate | None:  # noqa: ARG002
        """Tell what sending `text` would take; None where a channel has no such limits. No I/O."""
        return None

    async def retry(self, content: bytes, context: Mapping[str, str]) -> Registration:  # noqa: ARG002
        """Process bytes from quarantine again, as if they had come in now; `context` is the quarantine item's.

        Raises DecodeError or PermanentError if they are still no good.
        """
        raise PermanentError(f"connector {self.name} cannot retry quarantined bytes")

    @abstractmethod
    def health(self) -> ConnectorHealth:
        """Report now, from memory: no I/O."""


ConnectorFactory = Callable[[Any, ConnectorPorts], Connector]
"""What an entry point of group `okno.connectors` names: (its settings section, ports) -> a connector."""
