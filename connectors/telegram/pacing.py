"""Keeping below Telegram's flood limits: https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this.

Some 30 messages a second in all, one a second in a chat with short bursts allowed. What is asked of us by a 429 holds
for the whole bot.
"""

import math
from collections import OrderedDict

PER_SECOND = 30.0
PER_CHAT_SECOND = 1.0
BURST = 20.0  # of all chats together
CHAT_BURST = 5.0
MAX_CHATS_REMEMBERED = 10_000


class _Bucket:
    """Room for `burst` at once, refilled at `rate` a second. It may be overdrawn: whoever did waits."""

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        self._rate, self._burst = rate, burst
        self._room, self._at_s = burst, now_s

    def wait_s(self, now_s: float) -> float:
        """Return how many seconds the next place is away."""
        return max(0.0, (1 - self._filled(now_s)) / self._rate)

    def take(self, now_s: float) -> None:
        """Take one place."""
        self._room, self._at_s = self._filled(now_s) - 1, now_s

    def _filled(self, now_s: float) -> float:
        return min(self._burst, self._room + (now_s - self._at_s) * self._rate)


class Pacer:
    """Says how long to wait before the next message. Pure: the caller has the clock (seconds, monotonic)."""

    def __init__(self) -> None:
        self._all: _Bucket | None = None
        self._chats: OrderedDict[int, _Bucket] = OrderedDict()
        self._blocked_until_s = 0.0

    def take(self, chat: int, now_s: float, *, patience_s: float = math.inf) -> float | None:
        """Take a place for one message to `chat`; return the seconds to wait before it is sent.

        None: that would be more than `patience_s`; nothing is taken.
        """
        if self._all is None:
            self._all = _Bucket(PER_SECOND, BURST, now_s)
        bucket = self._chats.setdefault(chat, _Bucket(PER_CHAT_SECOND, CHAT_BURST, now_s))
        self._chats.move_to_end(chat)
        if len(self._chats) > MAX_CHATS_REMEMBERED:
            self._chats.popitem(last=False)
        wait_s = max(self._all.wait_s(now_s), bucket.wait_s(now_s))
        if wait_s > patience_s:
            return None
        self._all.take(now_s)
        bucket.take(now_s)
        return wait_s

    def block(self, seconds: float, now_s: float) -> None:
        """Note that Telegram wants nothing for so long."""
        self._blocked_until_s = max(self._blocked_until_s, now_s + seconds)

    def blocked_s(self, now_s: float) -> float:
        """Return for how many seconds Telegram still wants nothing."""
        return max(0.0, self._blocked_until_s - now_s)
