"""Deadlines by law, and how each was computed. Defaults follow Federal Law 59-FZ, articles 8 and 12."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays

SATURDAY = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadlineComputation:
    """A deadline and the way to it, to be shown to whoever asks."""

    due_at: datetime  # aware UTC: the end of the last day, local time
    counted_from: date  # local day of registration
    days: int  # calendar days
    last_day: date  # before moving
    moved_to: date  # the working day before, if the last day is none
    reason: str  # for people


@lru_cache(maxsize=64)
def _calendar(region: str) -> holidays.HolidayBase:
    country, _, subdivision = region.partition("-")
    try:
        return holidays.country_holidays(country, subdiv=subdivision or None)
    except NotImplementedError:  # the library knows the country but not the region, or neither
        try:
            return holidays.country_holidays(country)
        except NotImplementedError:
            return holidays.HolidayBase()


def is_working_day(day: date, region: str) -> bool:
    """Tell whether offices in `region` (ISO 3166-2) work on that day: Monday to Friday, no public holiday."""
    return day.weekday() < SATURDAY and day not in _calendar(region)


@lru_cache(maxsize=4096)
def _compute(counted_from: date, *, days: int, timezone: str, region: str) -> DeadlineComputation:
    last_day = counted_from + timedelta(days=days)
    moved_to = last_day
    while not is_working_day(moved_to, region):
        moved_to -= timedelta(days=1)  # the citizen must not wait longer because the office rests
    reason = f"{days} calendar days from {counted_from}"
    if moved_to != last_day:
        reason += f"; {last_day} is no working day in {region}, so the working day before it"
    return DeadlineComputation(
        due_at=datetime.combine(moved_to, time(23, 59, 59), ZoneInfo(timezone)).astimezone(UTC),
        counted_from=counted_from,
        days=days,
        last_day=last_day,
        moved_to=moved_to,
        reason=reason,
    )


def answer_deadline(registered_at: datetime, *, days: int, timezone: str, region: str) -> DeadlineComputation:
    """Return when an appeal registered at `registered_at` (aware) must be answered."""
    return _compute(registered_at.astimezone(ZoneInfo(timezone)).date(), days=days, timezone=timezone, region=region)
