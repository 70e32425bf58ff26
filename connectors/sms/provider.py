"""The port of SMS providers: all that differs from one to the next. Twilio is `twilio.py`, Vonage `vonage.py`.

A new one is one module with a class of this port, and one line in `connectors/sms/__init__.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import aiohttp
from aiohttp import web

from appeals.envelope import Attachment
from appeals.errors import PermanentError
from appeals.reply import DeliveryState

MAX_BODY_BYTES = 256 * 1024  # of a hook: a form of one message with at most ten URLs


class OptOut(StrEnum):
    """What a keyword alone in a message asks for."""

    STOP = "STOP"
    START = "START"
    HELP = "HELP"


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaLink:
    """One MMS file as the post names it."""

    url: str
    media_type: str  # as declared


@dataclass(frozen=True, kw_only=True, slots=True)
class IncomingSms:
    """One incoming message, read from what the provider posted."""

    sid: str  # the provider's id of it: the same in every repetition
    sender: str  # E.164, a short code, or a name of letters
    sender_is_phone: bool  # False: a short code or a name, which no answer can reach
    recipient: str
    text: str
    sent_at: datetime | None = None
    media: tuple[MediaLink, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    opt_out: OptOut | None = None  # as the provider names it; it has answered the citizen itself
    part: tuple[int, int] | None = None  # (which, of how many), where the provider does not join them


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedFiles:
    """What became of a message's media."""

    attachments: tuple[Attachment, ...] = ()
    contents: Mapping[str, bytes] = field(default_factory=dict)  # by SHA-256
    notes: tuple[str, ...] = ()  # for the text: one for each file that can never be had


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusReport:
    """What a call-back says of a message of ours."""

    external_id: str  # of the whole reply: its first part's
    state: DeliveryState | None  # None: nothing new to us (queued, sending)
    detail: str = ""  # of a failure, in the agent's words
    part: int = 1  # which of the reply's parts it is about
    of: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CallBack:
    """Where the state of one part of a reply is reported, and of which whole it is a part."""

    url: str  # without a query
    whole: str = ""  # the first part's id; "" for the first part itself
    part: int = 1
    of: int = 1


class OptedOutError(PermanentError):
    """The provider knows that the recipient wrote STOP."""


class SmsProvider(ABC):
    """One provider's account. Built by settings, opened once, closed by whoever owns the HTTP session."""

    name: str
    title: str  # for people
    incoming_path: str
    status_path: str
    methods: tuple[str, ...] = ("POST",)  # of both hooks
    media_type: str  # of what `take` returns
    max_body_units: int  # UTF-16 code units that one call to send takes
    answers_in_hook: bool  # a short text may go out as the hook's answer

    @abstractmethod
    def open(self, session: aiohttp.ClientSession) -> None:
        """Make ready to call the API. Idempotent."""

    @abstractmethod
    async def take(self, request: web.Request) -> bytes | None:
        """Return what was posted to a hook, as it is kept; None if the provider did not sign it.

        Raises DecodeError or an aiohttp refusal if it is nothing that the provider posts.
        """

    @abstractmethod
    def read(self, body: bytes) -> IncomingSms:
        """Read an incoming message out of what `take` returned. Raises DecodeError."""

    @abstractmethod
    def read_status(self, body: bytes, query: Mapping[str, str]) -> StatusReport | None:
        """Read a call-back out of what `take` returned; None if it is about nothing of ours. Raises DecodeError."""

    @abstractmethod
    def answer(self, text: str = "") -> web.Response:
        """Return the hook's answer after the commit; `text` goes to the citizen, if `answers_in_hook`."""

    @abstractmethod
    async def send(self, text: str, *, sender: str, recipient: str, call_back: CallBack, reply_id: UUID) -> str:
        """Send one message of at most `max_body_units`; return its id.

        Raises TransientError, OptedOutError or PermanentError (its text is meant for the agent).
        """

    def answers_itself(self, keyword: str) -> bool:  # noqa: ARG002
        """Tell whether the provider answers this keyword (upper case) by itself, so that we must not."""
        return False

    def extra_keywords(self) -> Mapping[str, OptOut]:
        """Return further keywords, in upper case, that the provider acts on."""
        return {}

    async def fetch_files(self, links: Sequence[MediaLink]) -> FetchedFiles:  # noqa: ARG002
        """Fetch the files of an MMS. Raises TransientError for one that cannot be had just now."""
        return FetchedFiles()

    async def incoming_since(self, since: datetime, *, number: str) -> Sequence[bytes] | None:  # noqa: ARG002
        """Return messages taken in since then as `take` would have, oldest first; None if the provider keeps none.

        Raises TransientError or PermanentError.
        """
        return None
