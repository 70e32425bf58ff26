"""A reply of several messages: what is said of its parts, in any order, as one state of the whole."""

import asyncio

from pydantic import BaseModel, ConfigDict, Field

from appeals.reply import DeliveryState
from connectors.base import Cursors

MAX_PARTS = 1_000  # a text of a million characters; a greater number is no part of ours

_ORDER = (DeliveryState.SENT, DeliveryState.DELIVERED, DeliveryState.READ)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)

    states: dict[int, DeliveryState] = Field(default_factory=dict)  # by part, the furthest of each


def part_of(part: str, of: str) -> tuple[int, int]:
    """Read which part a call-back is about; (1, 1) if it does not say."""
    if not all(value.isascii() and value.isdigit() and len(value) <= len(str(MAX_PARTS)) for value in (part, of)):
        return 1, 1
    number, total = int(part), int(of)
    return (number, total) if 0 < number <= total <= MAX_PARTS else (1, 1)


class PartStates:
    """Keeps what is said of parts; one row of the connector's cursors a reply of several parts."""

    def __init__(self, cursors: Cursors, *, connector: str) -> None:
        self._cursors = cursors
        self._connector = connector
        self._lock = asyncio.Lock()

    async def combine(self, whole: str, state: DeliveryState, *, part: int, of: int) -> DeliveryState | None:
        """Keep one part's state; return the whole's: failed as soon as one is, else the least of all; None: not yet.

        Raises TransientError. Idempotent; a late word never takes a later one back.
        """
        if of == 1:
            return state
        name = f"parts:{whole[:100]}"
        async with self._lock:
            stored = await self._cursors.get(self._connector, name)
            record = _Record.model_validate_json(stored) if stored else _Record()
            states = {**record.states, part: _further(record.states.get(part), state)}
            if states != record.states:
                await self._cursors.put(self._connector, name, _Record(states=states).model_dump_json())
        if DeliveryState.FAILED in states.values():
            return DeliveryState.FAILED
        return min(states.values(), key=_ORDER.index) if len(states) == of else None


def _further(before: DeliveryState | None, now: DeliveryState) -> DeliveryState:
    """Return the later of two states: what was delivered did not fail, what failed was not merely sent."""
    order = (None, DeliveryState.SENT, DeliveryState.FAILED, DeliveryState.DELIVERED, DeliveryState.READ)
    return max(before, now, key=order.index) if before is not None else now
