"""Invitations (iCalendar, RFC 5545; in mail, RFC 6047): what, when, where and who, as fields and as a block to read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import structlog

from connectors.email.parsing.charsets import clean_line, decode_text

logger = structlog.get_logger(__name__)

MEDIA_TYPES = frozenset({"text/calendar", "application/ics"})
MAX_BYTES = 256 * 1024
MAX_EVENTS = 10  # that are shown
MAX_FIELD_CHARS = 500

_CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)
_LABELS = {
    True: ("Событие", "Событие отменено", "Начало", "Конец", "Место", "Организатор"),
    False: ("Event", "Event cancelled", "Start", "End", "Place", "Organiser"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CalendarEvent:
    """One event. Times are ISO 8601: a date, local time, or time with its offset."""

    summary: str = ""
    start: str = ""
    end: str = ""
    location: str = ""
    organizer: str = ""
    method: str = ""  # of the whole calendar: request, cancel, reply, publish (RFC 5546)
    zone: str = ""  # the zone as it is named

    def to_fields(self) -> dict[str, str]:
        """Return it as an envelope's fields, those that are known."""
        named = {
            "event_summary": self.summary,
            "event_start": self.start,
            "event_end": self.end,
            "event_location": self.location,
            "event_organizer": self.organizer,
            "event_method": self.method,
        }
        return {name: value for name, value in named.items() if value}

    def to_text(self, *, russian: bool) -> str:
        """Return it as a block for the reader."""
        event, cancelled, start, end, place, organizer = _LABELS[russian]
        zone = f" ({self.zone})" if self.zone else ""
        rows = (
            (cancelled if self.method == "cancel" else event, self.summary or "—"),
            (start, self.start.replace("T", " ") + zone if self.start else ""),
            (end, self.end.replace("T", " ") + zone if self.end else ""),
            (place, self.location),
            (organizer, self.organizer),
        )
        return "\n".join(f"{label}: {value}" for label, value in rows if value)


def read_calendar(content: bytes, charset: str | None = None) -> tuple[CalendarEvent, ...]:
    """Return the first events of a calendar; none if it is damaged or too large. Total."""
    if len(content) > MAX_BYTES or b"BEGIN:VEVENT" not in content.upper():
        return ()
    from icalendar import Calendar  # noqa: PLC0415 - a tenth of a second that most processes never need

    try:
        calendars = Calendar.from_ical(decode_text(content, charset), multiple=True)
        return tuple(
            _event(component, _text(calendar, "METHOD").lower())
            for calendar in calendars
            for component in calendar.walk("VEVENT")[:MAX_EVENTS]
        )[:MAX_EVENTS]
    except Exception as error:  # noqa: BLE001 - its parsers of values raise whatever their input makes of them
        logger.info("email.calendar_unreadable", error=type(error).__name__)
        return ()


def is_russian(text: str) -> bool:
    """Tell whether the block should be in Russian: if there is Cyrillic in what stands around it."""
    return _CYRILLIC.search(text) is not None


def _event(component: Mapping[str, Any], method: str) -> CalendarEvent:
    start, end, duration = (_value(component, name) for name in ("DTSTART", "DTEND", "DURATION"))
    if end is None and isinstance(duration, timedelta) and isinstance(start, date):
        end = start + duration
    return CalendarEvent(
        summary=_text(component, "SUMMARY"),
        start=_moment(start),
        end=_moment(end),
        location=_text(component, "LOCATION"),
        organizer=_organizer(component),
        method=method,
        zone=clean_line(str(getattr(component.get("DTSTART"), "params", {}).get("TZID", "")))[:64],
    )


def _value(component: Mapping[str, Any], name: str) -> object:
    """Return a property's value as a Python object; None if it is not there or broken."""
    found = component.get(name)
    try:
        return getattr(found, "dt", None)
    except Exception:  # noqa: BLE001 - a broken value raises on access, by design of the library
        return None


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="minutes")
    return value.isoformat() if isinstance(value, date) else ""


def _text(component: Mapping[str, Any], name: str) -> str:
    value = component.get(name)
    if isinstance(value, list):
        value = value[0] if value else None
    return "" if value is None else clean_line(" ".join(str(value).split()))[:MAX_FIELD_CHARS]


def _organizer(component: Mapping[str, Any]) -> str:
    value = component.get("ORGANIZER")
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None:
        return ""
    address = re.sub(r"^mailto:", "", str(value).strip(), flags=re.IGNORECASE)
    name = clean_line(str(getattr(value, "params", {}).get("CN", ""))).strip('"')
    return clean_line(f"{name} <{address}>" if name and name != address else address)[:MAX_FIELD_CHARS]
