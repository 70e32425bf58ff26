"""Our own mail coming back: which message ids are of our form, and which mail carries one as its own.

An id of ours is a reply's UUID (version 7) before the "@". Only the mail's recipients and the relays on its way see
it, and 32 of its bits are random even to one who was written to in the same millisecond (70 to all others). So whoever
names it has had the mail: that is proof enough for a report, and no signature is needed.
"""

import re
from collections.abc import Iterable

from connectors.email.parsing.headers import Headers, parse_message_ids

MARKER_HEADER = "X-Okno-Message-ID"  # repeats our Message-ID: some relays (Amazon SES, old Exchange) replace that one

_OWN_FORM = r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}"
_OWN_ID = re.compile(_OWN_FORM + r"@[^\s<>@\"]{1,255}", re.IGNORECASE)
_OWN_ID_IN_TEXT = re.compile(
    r"(?<![\w.+-])" + _OWN_FORM + r"@[A-Za-z0-9][A-Za-z0-9.-]{0,253}[A-Za-z0-9]", re.IGNORECASE
)
_RETURN_TOKEN = re.compile(r"b-(" + _OWN_FORM + r")", re.IGNORECASE)


def is_own_form(message_id: str) -> bool:
    """Tell whether a message id (no angle brackets) may be one of ours; only the registry knows whether it is."""
    return _OWN_ID.fullmatch(message_id) is not None


def names_own(message_ids: Iterable[str]) -> bool:
    """Tell whether any of the ids may be ours."""
    return any(is_own_form(item) for item in message_ids)


def find_own_ids(text: str) -> tuple[str, ...]:
    """Return ids of our form in running text, each once, in order."""
    return tuple(dict.fromkeys(_OWN_ID_IN_TEXT.findall(text)))


def own_message_id(headers: Headers, *, domain: str | None = None) -> str | None:
    """Return the id under which we sent this very mail; None if it is not ours coming back.

    `domain`: that of our message ids; others make ids of this form, too. None: any. Our own header needs no domain: an
    answer to a mail of ours has an id of its own, and no mail program copies our header into it.
    """
    for message_id in parse_message_ids(headers.get(MARKER_HEADER.lower())):
        if is_own_form(message_id):
            return message_id
    for message_id in parse_message_ids(headers.get("message-id")):
        if is_own_form(message_id) and (domain is None or message_id.lower().endswith(f"@{domain.lower()}")):
            return message_id
    return None


def return_token(message_id: str) -> str:
    """Return what the plus-part of a return path says about the mail; "" if the id is not of our form."""
    return f"b-{message_id.partition('@')[0]}" if is_own_form(message_id) else ""


def read_return_token(token: str | None, *, hostname: str) -> str | None:
    """Return the message id that a plus-part of `return_token` stands for, or None."""
    match = _RETURN_TOKEN.fullmatch(token or "")
    return f"{match[1].lower()}@{hostname}" if match else None
