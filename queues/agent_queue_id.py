"""Ids of agent queue entries: an epoch, which changes whenever a queue begins anew, and a place within it."""

import re
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

FROM_OLDEST = "0"  # read from the oldest entry that is kept
FROM_NOW = "$"  # read only what comes from now on

AGENT_QUEUE_KEEPS = 1000  # entries; a console that is further behind reloads everything

_ID = re.compile(r"([0-9a-f]{8})\.(\d{1,20})-(\d{1,20})", re.ASCII)
_MAX_PART = 2**64 - 1  # of a Redis stream id


def new_epoch() -> str:
    """Return a name for a queue's new life, different from all before."""
    return uuid4().hex[:8]


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentQueueId:
    """A parsed entry id, `epoch.milliseconds-sequence`."""

    epoch: str
    place: tuple[int, int]

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the id in `text`; None if it is none. Consoles send these ids back, so anything may stand there."""
        found = _ID.fullmatch(text)
        if found is None:
            return None
        place = (int(found[2]), int(found[3]))
        return cls(epoch=found[1], place=place) if max(place) <= _MAX_PART else None

    def __str__(self) -> str:
        return f"{self.epoch}.{self.place[0]}-{self.place[1]}"


START = (0, 0)  # the place before the first entry


def has_gap(after_id: str, *, epoch: str, oldest: tuple[int, int] | None, trimmed: bool) -> bool:
    """Tell whether entries after `after_id` may be gone from a queue of this epoch.

    `oldest`: place of its oldest entry, None if it is empty. `trimmed`: it dropped entries for being too many.
    """
    if after_id == FROM_NOW:
        return False
    seen = AgentQueueId(epoch=epoch, place=START) if after_id == FROM_OLDEST else AgentQueueId.parse(after_id)
    if seen is None or seen.epoch != epoch:
        return True
    if seen.place == START:
        return trimmed
    return oldest is None or oldest > seen.place
