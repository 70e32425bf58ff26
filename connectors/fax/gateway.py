"""The port of fax gateways: what one provider's module does for the fax connector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from appeals.errors import PermanentError, TransientError
from appeals.reply import DeliveryState


class PagesAwaitedError(TransientError):
    """The pages cannot be had yet; the fax is noted, and they are asked for again."""


class PagesGoneError(PermanentError):
    """The gateway has a received fax's pages no more, or will never hand them out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedFax:
    """A fax that came in. `document` None: the gateway sent none with the call, see `FaxGateway.download`."""

    fax_id: str
    sender_number: str  # as the gateway wrote it
    our_number: str
    received_at: datetime | None  # by the gateway's clock, aware UTC
    document: bytes | None
    declared_media_type: str
    media_url: str = ""  # where the gateway says the document is; it may expire
    failure: str = ""  # what went wrong on the line, if the transmission broke off
    fields: Mapping[str, str] = field(default_factory=dict)  # what else the gateway said, by its own names


@dataclass(frozen=True, kw_only=True, slots=True)
class FaxOutcome:
    """How far a fax we sent has got."""

    fax_id: str
    state: DeliveryState
    detail: str
    ours: bool  # it carries our label: a report nobody knows has then only come too early


@dataclass(frozen=True, kw_only=True, slots=True)
class IgnoredCall:
    """A call that tells nothing we keep: a fax is on its way in."""

    reason: str


GatewayCall = ReceivedFax | FaxOutcome | IgnoredCall


@dataclass(frozen=True, kw_only=True, slots=True)
class FaxPart:
    """One document of an outgoing fax."""

    content: bytes
    media_type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OutgoingFax:
    """A fax to send. `to` is E.164; parts go out in order, each beginning on a new page."""

    to: str
    parts: Sequence[FaxPart]
    label: str  # the reply's id: comes back with the outcome
    header: str  # at the top of each page


class FaxGateway(Protocol):
    """One provider. Stateless but for its HTTP session."""

    name: str  # the {gateway} of /hooks/fax/{gateway}
    challenge: str  # value of WWW-Authenticate in our refusals (RFC 9110 §11.6.1)

    @property
    def receives(self) -> bool:
        """Whether its hook is set up."""
        ...

    def may_call(self, headers: Mapping[str, str]) -> bool:
        """Tell by the headers alone whether the call's body is worth reading."""
        ...

    def authenticated(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Tell in constant time whether the call to our hook comes from the gateway."""
        ...

    async def parse(self, content_type: str, body: bytes) -> GatewayCall:
        """Read a call to our hook.

        Raises DecodeError if it is not this gateway's protocol at all, PermanentError if it is, but cannot be
        understood: then a citizen's fax may be in it.
        """
        ...

    async def download(self, fax: ReceivedFax) -> bytes:
        """Fetch a received fax's document. Raises TransientError or PagesGoneError."""
        ...

    async def incoming_since(self, moment: datetime) -> Sequence[bytes]:
        """Return the faxes received since `moment` as calls that `parse` reads; none if its calls are never lost.

        Raises TransientError or PermanentError.
        """
        ...

    async def send(self, fax: OutgoingFax) -> str:
        """Hand a fax to the gateway and return its id there. Raises TransientError or PermanentError."""
        ...

    async def close(self) -> None:
        """Close the HTTP session. Idempotent."""
        ...
