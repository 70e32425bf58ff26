"""A letter or a visit as an agent registers it by hand."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Literal

from appeals.envelope import Channel
from appeals.errors import PermanentError

BY_HAND = frozenset({Channel.PAPER, Channel.IN_PERSON})
"""Channels of which agents do the registering."""


class AnswerBy(StrEnum):
    """How the citizen wants the answer."""

    POST = "post"
    EMAIL = "email"
    PHONE = "phone"
    PAGE = "page"  # on the citizen's page, by number and secret code


@dataclass(frozen=True, kw_only=True, slots=True)
class LetterScan:
    """One scanned file, as the agent's browser described it."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """What the agent typed in and scanned. Texts are as typed; the desk cleans and checks them."""

    id: str  # drawn by the browser: the same for every try of one letter
    channel: Literal[Channel.PAPER, Channel.IN_PERSON]
    registered_by: str  # the agent
    received_on: date  # office's local day
    name: str
    answer_by: AnswerBy
    incoming_number: str = ""  # the office's own
    address: str = ""  # postal
    email: str = ""
    phone: str = ""
    subject: str = ""
    text: str = ""
    language: str = "ru"
    scans: tuple[LetterScan, ...] = ()


class LetterRefusedError(PermanentError):
    """The letter cannot be registered as it is: the agent mends it. `code` is stable; nothing was kept."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code} {detail}".rstrip())
        self.code = code
        self.detail = detail
