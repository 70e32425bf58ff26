"""When a form counts as handed in: kiosks without a network deliver late, and their clocks may be wrong."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from connectors.kiosk.signature import TOLERANCE_S

CLOCK_TOLERANCE = timedelta(seconds=TOLERANCE_S)
OFFLINE = "offline"  # mark: delivered later than handed in
CLOCK_IN_DOUBT = "clock_in_doubt"  # mark: the kiosk's time cannot be right, that of delivery counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """What is held of a form's time."""

    received_at: datetime  # aware: what age and deadline are counted from
    stored: bool  # nobody waits at the kiosk any more
    marks: tuple[str, ...] = ()


def judge_arrival(created_at: datetime | None, *, now: datetime, max_offline: timedelta, in_batch: bool) -> Arrival:
    """Decide what time counts.

    The citizen handed it in when they pressed "send", so that is it, as long as it can be true: not in the future, and
    not longer ago than `max_offline`. Up to CLOCK_TOLERANCE it is a live delivery, unless it came in a batch.
    """
    if created_at is None:
        return Arrival(received_at=now, stored=in_batch, marks=(OFFLINE,) if in_batch else ())
    age = now - created_at
    if age < -CLOCK_TOLERANCE:
        return Arrival(received_at=now, stored=in_batch, marks=(CLOCK_IN_DOUBT,))
    if age > max_offline:
        return Arrival(received_at=now, stored=True, marks=(OFFLINE, CLOCK_IN_DOUBT))
    if age > CLOCK_TOLERANCE:
        return Arrival(received_at=created_at, stored=True, marks=(OFFLINE,))
    return Arrival(received_at=min(created_at, now) if in_batch else now, stored=in_batch)
