"""A reply that is longer than its channel takes: split into parts, and not sent twice when a later part fails."""

from collections import OrderedDict

from connectors.media import clean_text

MAX_UNFINISHED_REPLIES = 1_000  # remembered at a time; an older one is sent again from its first part

_UTF16 = "utf-16-le"
_BYTES_PER_UNIT = 2


def units_of(text: str) -> int:
    """Return how many UTF-16 code units a text has: what Telegram and SMS providers count."""
    return len(text.encode(_UTF16, "surrogatepass")) // _BYTES_PER_UNIT


def split_text(text: str, *, limit: int) -> list[str]:
    """Split `text` into parts of at most `limit` UTF-16 code units, at line ends or spaces where there are any.

    The text is cleaned first (`media.clean_text`); white space at the cuts is dropped, nothing else is; no part is
    empty; a text of white space alone has no parts.
    A character outside the Basic Multilingual Plane counts as two units and is never cut in two. `limit` is at least 2.
    """
    parts: list[str] = []
    rest = clean_text(text).strip()
    while rest:
        window = _head(rest, limit=limit)
        if len(window) < len(rest) and not rest[len(window)].isspace():
            window = window[: _last_break(window)]
        parts.append(window.rstrip())
        rest = rest[len(window) :].lstrip()
    return parts


def _head(text: str, *, limit: int) -> str:
    """Return the longest beginning of `text` that has at most `limit` units."""
    # Half of a character that the limit cut in two is what "ignore" drops.
    encoded = text[:limit].encode(_UTF16)[: limit * _BYTES_PER_UNIT]
    return encoded.decode(_UTF16, errors="ignore") if len(encoded) == limit * _BYTES_PER_UNIT else text[:limit]


def _last_break(window: str) -> int:
    """Return where to cut: the last line end in the second half, else the last white space, else the very end."""
    line_end = window.rfind("\n")
    if line_end >= len(window) // 2:
        return line_end
    return next((at for at in range(len(window) - 1, 0, -1) if window[at].isspace()), len(window))


class SentParts:
    """Which parts of unfinished replies the channel has taken, by our message id.

    In memory only: it spares the citizen doubled parts when a reply is tried again by the same process; after a
    restart the whole reply is sent again (at least once).
    """

    def __init__(self) -> None:
        self._taken: OrderedDict[str, list[str]] = OrderedDict()

    def of(self, message_id: str) -> tuple[str, ...]:
        """Return what the channel called the parts it took so far, in order."""
        return tuple(self._taken.get(message_id, ()))

    def add(self, message_id: str, external_id: str) -> None:
        """Note that the next part was taken."""
        self._taken.setdefault(message_id, []).append(external_id)
        self._taken.move_to_end(message_id)
        while len(self._taken) > MAX_UNFINISHED_REPLIES:
            self._taken.popitem(last=False)

    def finish(self, message_id: str) -> None:
        """Forget a reply that is sent in full or given up."""
        self._taken.pop(message_id, None)
