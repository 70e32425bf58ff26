"""Taking forms in: each is registered, quarantined, or, while its citizen stands there, handed back with its faults."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar, cast
from uuid import UUID

import structlog

from appeals.envelope import Channel
from appeals.errors import PermanentError
from appeals.registration import QuarantineItem, Registration
from config.channel_settings import KioskSettings
from config.kiosk_forms import KioskForms
from connectors.base import ConnectorPorts
from connectors.kiosk.arrival import Arrival, judge_arrival
from connectors.kiosk.devices import CONNECTOR, Kiosk
from connectors.kiosk.envelope import DecodedSubmission, decode_form, is_same_form
from connectors.kiosk.form_check import FieldError, FormChecks
from connectors.kiosk.multipart import RawForm
from connectors.kiosk.slip import make_slip
from connectors.problem import register_or_quarantine

THREAD_THRESHOLD_BYTES = 256 * 1024  # larger bodies are checked and decoded in a thread: they would stop the loop

logger = structlog.get_logger(__name__)
_Result = TypeVar("_Result")


class FormIdUsedError(PermanentError):
    """The kiosk sent another form under this form's id before. Whose answers would be shown to whom needs a person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """A form that is registered."""

    registration: Registration
    form_id: str
    slip: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A form that is in quarantine: kept, for a person to look at."""

    entry_id: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A live form with faults: nothing was kept, the citizen is asked to put them right."""

    errors: tuple[FieldError, ...]


class FormReceiver:
    """Takes forms of known kiosks in. Idempotent by the form's id: a replay gets the same number (P2)."""

    def __init__(self, settings: KioskSettings, ports: ConnectorPorts, forms: KioskForms) -> None:
        self._ports = ports
        self._max_offline = timedelta(days=settings.max_offline_days)
        self._checks = FormChecks(forms)
        self.last_message_at: datetime | None = None

    async def take(self, kiosk: Kiosk, raw: RawForm, *, in_batch: bool) -> Taken | Held | Refused:
        """Register the form or quarantine it: a known kiosk signed it, so it is kept whatever is in it.

        Only a live form is refused for its fields' sake: its citizen can still put them right. Raises TransientError
        if nothing was kept.
        """
        context = {"kiosk_id": kiosk.id} | ({"content_type": raw.content_type} if raw.is_multipart else {})
        item = QuarantineItem(connector=CONNECTOR, channel=Channel.KIOSK, stage="receive", reason="", context=context)
        try:
            decoded = await run_sized(len(raw.body), lambda: self._decode(kiosk, raw, in_batch=in_batch))
        except Exception as error:  # noqa: BLE001 - told apart, logged and quarantined in one place, just below
            return await self._hold(error, item, raw)
        if decoded.errors and not decoded.arrival.stored:
            return Refused(errors=decoded.errors)
        kept = await register_or_quarantine(
            self._ports.intake, lambda: self._register(kiosk, decoded), item=item, content=raw.body
        )
        return self._taken(kept, decoded) if isinstance(kept, Registration) else Held(entry_id=kept)

    async def retry(self, kiosk: Kiosk, raw: RawForm) -> Registration:
        """Take a quarantined form in again; one whose id was used before gets an id of its own.

        Raises DecodeError or PermanentError.
        """
        decoded = await asyncio.to_thread(self._decode, kiosk, raw, in_batch=True)
        try:
            return await self._register(kiosk, decoded)
        except FormIdUsedError:
            decoded = await asyncio.to_thread(self._decode, kiosk, raw, in_batch=True, renamed=True)
            return await self._ports.intake.register(decoded.envelope, decoded.contents)

    async def _hold(self, error: Exception, item: QuarantineItem, raw: RawForm) -> Held:
        async def fail() -> Registration:
            raise error

        entry_id = await register_or_quarantine(self._ports.intake, fail, item=item, content=raw.body)
        return Held(entry_id=cast("UUID", entry_id))  # `fail` never registers

    def _decode(self, kiosk: Kiosk, raw: RawForm, *, in_batch: bool, renamed: bool = False) -> DecodedSubmission:
        now = self._ports.now()

        def judge(created_at: datetime | None) -> Arrival:
            return judge_arrival(created_at, now=now, max_offline=self._max_offline, in_batch=in_batch)

        return decode_form(raw, kiosk=kiosk, forms=self._checks, judge=judge, renamed=renamed)

    async def _register(self, kiosk: Kiosk, decoded: DecodedSubmission) -> Registration:
        registration = await self._ports.intake.register(decoded.envelope, decoded.contents)
        if registration.duplicate and not is_same_form(registration.envelope_id, decoded.envelope.id):
            raise FormIdUsedError("the kiosk gave this form's id to another form before: it must use every id once")
        self.last_message_at = self._ports.now()
        logger.info(
            "connector.message_registered",
            connector=CONNECTOR,
            kiosk=kiosk.id,
            appeal_id=str(registration.appeal_id),
            duplicate=registration.duplicate,
            marks=decoded.envelope.marks,
        )
        return registration

    def _taken(self, registration: Registration, decoded: DecodedSubmission) -> Taken:
        slip = make_slip(
            registration,
            office=self._ports.office,
            received_at=decoded.arrival.received_at,
            language=decoded.submission.language,
            public_url=self._ports.public_url,
        )
        return Taken(registration=registration, form_id=decoded.submission.id, slip=slip)


def taken_answer(taken: Taken) -> dict[str, object]:
    """Return what the kiosk shows or prints: with number and code the citizen can follow the appeal."""
    registration = taken.registration
    return {
        "number": registration.number,
        "code": registration.secret_code,
        "duplicate": registration.duplicate,
        "slip": taken.slip,
    }


async def run_sized(size_bytes: int, work: Callable[[], _Result]) -> _Result:
    """Run `work` here, or in a thread if it has many bytes to go through."""
    return work() if size_bytes < THREAD_THRESHOLD_BYTES else await asyncio.to_thread(work)
