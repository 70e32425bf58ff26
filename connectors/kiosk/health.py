"""How the kiosks are: what each last reported, when it was last seen, what troubles it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from appeals.errors import DecodeError
from connectors.base import Cursors
from connectors.kiosk.devices import CONNECTOR, Kiosk

SEEN_EVERY = timedelta(seconds=60)  # deliveries are noted no more often: each note is a commit
SKEW_WARNING_S = 120.0  # of the 300 s at which signatures are refused
BATTERY_WARNING_PERCENT = 15
MAX_SHOWN = 5


class KioskReport(BaseModel):
    """What a kiosk says of itself: the body of a heartbeat, `okno.kiosk-health/1`. All of it may be left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_: Literal["okno.kiosk-health/1"] = Field(default="okno.kiosk-health/1", alias="schema")
    version: str = Field(default="", max_length=64)  # of the kiosk's software
    stored_forms: int | None = Field(default=None, ge=0)  # that wait for their delivery
    oldest_stored_at: AwareDatetime | None = None
    battery_percent: int | None = Field(default=None, ge=0, le=100)
    charging: bool | None = None
    paper: Literal["ok", "low", "out"] | None = None
    trouble: str = Field(default="", max_length=200)  # in words, for the operator


class KioskHealth(BaseModel):
    """What is kept of a kiosk's health."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    seen_at: AwareDatetime | None = None
    reported_at: AwareDatetime | None = None
    key_id: str = ""  # the key it signed with last
    skew_s: float = 0.0  # its clock minus ours
    clock_refused_at: AwareDatetime | None = None  # refused for its clock, and not heard rightly since
    report: KioskReport = KioskReport()


@dataclass(frozen=True, kw_only=True, slots=True)
class KioskView:
    """One kiosk for people: `okno kiosk list`, the console."""

    id: str
    name: str
    address: str
    state: str  # new | up | silent | revoked
    enrolled: bool
    in_settings: bool
    keys: tuple[str, ...]  # their ids, never the secrets
    last_key: str
    seen_at: datetime | None
    skew_s: float
    stored_forms: int | None
    oldest_stored_at: datetime | None
    version: str
    battery_percent: int | None
    paper: str | None
    troubles: tuple[str, ...]  # in words
    cut_off: bool  # citizens there cannot get through: it is silent, or refused because of its clock


def parse_report(body: bytes) -> KioskReport:
    """Return the heartbeat in `body`; an empty body is one that says nothing. Raises DecodeError."""
    if not body.strip():
        return KioskReport()
    try:
        return KioskReport.model_validate_json(body)
    except ValidationError as error:
        raise DecodeError("the body is no okno.kiosk-health/1", data=body) from error


class KioskHealthBook:
    """Keeps health in the connector's cursors, for all processes, and the whole fleet's in memory, for `health()`."""

    def __init__(self, cursors: Cursors, *, silent_after: timedelta) -> None:
        self._cursors = cursors
        self._silent_after = silent_after
        self._known: dict[str, KioskHealth] = {}
        self.fleet: tuple[KioskView, ...] = ()

    async def note_report(
        self, kiosk: Kiosk, report: KioskReport, *, key_id: str, skew_s: float, now: datetime
    ) -> None:
        """Keep a heartbeat. Raises TransientError."""
        health = KioskHealth(seen_at=now, reported_at=now, key_id=key_id, skew_s=round(skew_s, 1), report=report)
        await self._put(kiosk.id, health)

    async def note_seen(self, kiosk: Kiosk, *, key_id: str, skew_s: float, now: datetime) -> None:
        """Keep that the kiosk delivered. At most once in SEEN_EVERY, unless the key is another one."""
        known = self._known.get(kiosk.id) or await self.read(kiosk.id)
        fresh = known.seen_at is not None and now - known.seen_at < SEEN_EVERY
        if fresh and known.key_id == key_id and known.clock_refused_at is None:
            return
        known = await self.read(kiosk.id)  # another process may have taken a heartbeat since
        update = {"seen_at": now, "key_id": key_id, "skew_s": round(skew_s, 1), "clock_refused_at": None}
        await self._put(kiosk.id, known.model_copy(update=update))

    async def note_clock_refused(self, kiosk: Kiosk, *, skew_s: float, now: datetime) -> None:
        """Keep that the kiosk signs with a wrong time: nothing it sends gets in until its clock is set."""
        known = await self.read(kiosk.id)
        if known.clock_refused_at is None or now - known.clock_refused_at >= SEEN_EVERY:
            update = {"clock_refused_at": now, "skew_s": round(skew_s, 1)}
            await self._put(kiosk.id, known.model_copy(update=update))

    async def read(self, kiosk_id: str) -> KioskHealth:
        """Return what is kept of a kiosk."""
        text = await self._cursors.get(CONNECTOR, f"health/{kiosk_id}")
        health = KioskHealth.model_validate_json(text) if text else KioskHealth()
        self._known[kiosk_id] = health
        return health

    async def view(self, kiosks: Sequence[Kiosk], *, now: datetime) -> tuple[KioskView, ...]:
        """Return how all of them are, and remember it for `health()`."""
        self.fleet = tuple([self._view(kiosk, await self.read(kiosk.id), now=now) for kiosk in kiosks])
        return self.fleet

    async def _put(self, kiosk_id: str, health: KioskHealth) -> None:
        await self._cursors.put(CONNECTOR, f"health/{kiosk_id}", health.model_dump_json(by_alias=True))
        self._known[kiosk_id] = health

    def _view(self, kiosk: Kiosk, health: KioskHealth, *, now: datetime) -> KioskView:
        report = health.report
        silent = health.reported_at is not None and now - (health.seen_at or now) > self._silent_after
        known = "up" if health.seen_at is not None else "new"
        return KioskView(
            id=kiosk.id,
            name=kiosk.name,
            address=kiosk.address,
            state="revoked" if kiosk.revoked else "silent" if silent else known,
            enrolled=kiosk.enrolled,
            in_settings=kiosk.in_settings,
            keys=tuple(key.id for key in kiosk.keys),
            last_key=health.key_id,
            seen_at=health.seen_at,
            skew_s=health.skew_s,
            stored_forms=report.stored_forms,
            oldest_stored_at=report.oldest_stored_at,
            version=report.version,
            battery_percent=report.battery_percent,
            paper=report.paper,
            troubles=() if kiosk.revoked else tuple(_troubles(health, silent=silent)),
            cut_off=not kiosk.revoked and (silent or health.clock_refused_at is not None),
        )


def _troubles(health: KioskHealth, *, silent: bool) -> list[str]:
    report = health.report
    troubles = []
    if silent and health.seen_at is not None:
        troubles.append(f"not seen since {health.seen_at:%Y-%m-%d %H:%M} UTC")
    if health.clock_refused_at is not None:
        troubles.append(f"refused: its clock is {health.skew_s:+.0f} s off, set it")
    elif abs(health.skew_s) > SKEW_WARNING_S:
        troubles.append(f"its clock is {health.skew_s:+.0f} s off")
    if report.paper in {"low", "out"}:
        troubles.append(f"paper {report.paper}")
    low = report.battery_percent is not None and report.battery_percent < BATTERY_WARNING_PERCENT
    if low and not report.charging:
        troubles.append(f"battery {report.battery_percent} %")
    if report.stored_forms and silent:
        troubles.append(f"{report.stored_forms} forms stored there")
    return [*troubles, report.trouble] if report.trouble else troubles


def summarise(fleet: Sequence[KioskView]) -> tuple[str, bool]:
    """Return (one line for /readyz, whether citizens cannot get through somewhere: silence, or a refused clock)."""
    revoked = sum(view.state == "revoked" for view in fleet)
    troubled = [f"{view.id}: {', '.join(view.troubles)}" for view in fleet if view.troubles]
    shown = troubled[:MAX_SHOWN] + ([f"and {len(troubled) - MAX_SHOWN} more"] if len(troubled) > MAX_SHOWN else [])
    return "; ".join((f"{len(fleet) - revoked} kiosks, {revoked} revoked", *shown)), any(view.cut_off for view in fleet)
