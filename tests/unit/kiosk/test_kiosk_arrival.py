"""When a form counts as handed in."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.kiosk.arrival import judge_arrival

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MONTH = timedelta(days=30)


@pytest.mark.parametrize(
    ("age", "in_batch", "counted_age", "stored", "marks"),
    [
        (timedelta(seconds=3), False, timedelta(0), False, ()),
        (timedelta(seconds=3), True, timedelta(seconds=3), True, ()),
        (timedelta(hours=1), False, timedelta(hours=1), True, ("offline",)),
        (timedelta(days=7), True, timedelta(days=7), True, ("offline",)),
        (timedelta(days=31), True, timedelta(0), True, ("offline", "clock_in_doubt")),
        (-timedelta(minutes=2), False, timedelta(0), False, ()),
        (-timedelta(minutes=2), True, timedelta(0), True, ()),
        (-timedelta(days=2), False, timedelta(0), False, ("clock_in_doubt",)),
        (None, True, timedelta(0), True, ("offline",)),
        (None, False, timedelta(0), False, ()),
    ],
)
def test_the_time_that_counts(
    *, age: timedelta | None, in_batch: bool, counted_age: timedelta, stored: bool, marks: tuple[str, ...]
):
    """The original time counts as long as it can be true; else that of delivery, with a mark."""
    created_at = None if age is None else NOW - age
    arrival = judge_arrival(created_at, now=NOW, max_offline=MONTH, in_batch=in_batch)
    assert (NOW - arrival.received_at, arrival.stored, arrival.marks) == (counted_age, stored, marks)


@given(created_at=st.datetimes(timezones=st.just(UTC)), in_batch=st.booleans())
def test_never_in_the_future_and_never_older_than_allowed(*, created_at: datetime, in_batch: bool):
    """Whatever the kiosk's clock says, the time that counts is within the bounds."""
    arrival = judge_arrival(created_at, now=NOW, max_offline=MONTH, in_batch=in_batch)
    assert NOW - MONTH <= arrival.received_at <= NOW
