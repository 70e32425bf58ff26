"""Buttons under our messages: what they say when they are pressed, and that nobody else can say it.

A client may send any callback data it likes (https://core.telegram.org/bots/api#callbackquery), so each button's data
is signed for the one chat it was sent to, and expires before its appeal could no longer be joined.
"""

import base64
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from telegram import InlineKeyboardButton, InlineKeyboardMarkup

from appeals.numbering import normalise_number
from config.taxonomy import UNKNOWN, Taxonomy
from connectors.telegram.phrases import LANGUAGE_NAMES, phrase

MAX_DATA_BYTES = 64  # https://core.telegram.org/bots/api#inlinekeyboardbutton
MAX_TOPICS = 60  # of the 100 buttons that a message may have; more are no choice any more
VALID_FOR = timedelta(days=29)  # a closed appeal is joined for 30 days
SIGNATURE_CHARS = 11  # 66 bits
RATINGS = ("1", "2", "3", "4", "5")
CHOSEN = "✓ "
_EPOCH = datetime.fromisoformat("2020-01-01T00:00:00+00:00")


class Action(StrEnum):
    """What a button does; the first part of its data."""

    SHOW_TOPICS = "o"
    TOPIC = "t"
    RATE = "r"
    LANGUAGE = "l"
    CONSENT = "c"


@dataclass(frozen=True, kw_only=True, slots=True)
class Button:
    """What a pressed button says."""

    action: Action
    value: str  # topic code, rating, language, yes or no
    about: str  # the digits of the appeal's number, the id of the consent's text, or ""

    @property
    def number(self) -> str:
        """The number of the appeal that the button belongs to; "" if it belongs to none."""
        return normalise_number(self.about) or ""


class Buttons:
    """Makes keyboards and reads what is pressed on them."""

    def __init__(self, signing_key: bytes, *, taxonomy: Taxonomy, now: Callable[[], datetime]) -> None:
        self._key = hmac.digest(signing_key, b"telegram buttons\x00", "sha256")
        self._taxonomy = taxonomy
        self._now = now
        codes = [code for code in taxonomy.topics if code != UNKNOWN]
        areas = [code for code in codes if "." not in code]  # a taxonomy with areas of their own offers those
        self._topics = tuple(areas or codes)[:MAX_TOPICS]

    def read(self, data: str, chat: int) -> Button | None:
        """Return what was pressed in `chat`; None if we never signed that for it, or too long ago."""
        payload, _, signature = data.rpartition(":")
        if not hmac.compare_digest(signature.encode(), self._sign(payload, chat).encode()):
            return None
        action, value, about, day = payload.split(":")
        if self._now() - (_EPOCH + timedelta(days=int(day))) > VALID_FOR:
            return None
        return Button(action=Action(action), value=value, about=about)

    def topic_title(self, code: str, language: str) -> str:
        """Return what a topic is called."""
        return self._taxonomy.title(code, language)

    # ---- keyboards
    def topics_closed(self, chat: int, number: str, language: str) -> InlineKeyboardMarkup:
        """Return the one button that opens the list of topics."""
        data = self._data(Action.SHOW_TOPICS, "", chat, about=number)
        return InlineKeyboardMarkup([[InlineKeyboardButton(phrase("topics", language), callback_data=data)]])

    def topics(self, chat: int, number: str, language: str, *, chosen: str = "") -> InlineKeyboardMarkup:
        """Return the list of topics, two in a row."""
        labels = ((code, self.topic_title(code, language)) for code in self._topics)
        return self._choice(Action.TOPIC, labels, chat, about=number, chosen=chosen, columns=2)

    def ratings(self, chat: int, number: str, *, chosen: str = "") -> InlineKeyboardMarkup:
        """Return the row of ratings."""
        labels = ((rating, rating) for rating in RATINGS)
        return self._choice(Action.RATE, labels, chat, about=number, chosen=chosen, columns=len(RATINGS))

    def languages(self, chat: int, *, chosen: str = "") -> InlineKeyboardMarkup:
        """Return the choice of languages."""
        return self._choice(Action.LANGUAGE, LANGUAGE_NAMES.items(), chat, about="", chosen=chosen, columns=2)

    def consent(self, chat: int, text_id: str, language: str, *, chosen: str = "") -> InlineKeyboardMarkup:
        """Return yes and no."""
        labels = ((answer, phrase(f"consent_{answer}", language)) for answer in ("yes", "no"))
        return self._choice(Action.CONSENT, labels, chat, about=text_id, chosen=chosen, columns=2)

    def _choice(
        self, action: Action, labels: Iterable[tuple[str, str]], chat: int, *, about: str, chosen: str, columns: int
    ) -> InlineKeyboardMarkup:
        buttons = [
            InlineKeyboardButton(f"{CHOSEN if value == chosen else ''}{label}", callback_data=data)
            for value, label in labels
            if len(data := self._data(action, value, chat, about=about)) <= MAX_DATA_BYTES
        ]
        return InlineKeyboardMarkup(list(_rows(buttons, columns)))

    # ---- data
    def _data(self, action: Action, value: str, chat: int, *, about: str) -> str:
        day = (self._now() - _EPOCH).days
        payload = f"{action}:{value}:{about.replace('-', '')}:{day}"
        return f"{payload}:{self._sign(payload, chat)}"

    def _sign(self, payload: str, chat: int) -> str:
        mac = hmac.digest(self._key, f"{chat}\x00{payload}".encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(mac).decode("ascii")[:SIGNATURE_CHARS]


def _rows(buttons: list[InlineKeyboardButton], columns: int) -> Iterable[list[InlineKeyboardButton]]:
    return (buttons[at : at + columns] for at in range(0, len(buttons), columns))
