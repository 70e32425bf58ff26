"""The kiosks we know: those of the settings and those that `okno kiosk` made, with their keys.

What `okno kiosk` changes is kept as cursors of the connector, which every process reads anew for each request: a
revocation holds at once, without a restart. The command is the only writer of `devices`, `device/…` and `code/…`, the
daemon of `claim/…`. No secret is kept: a key is derived from the office's own key and a random id.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, TypeAdapter

from appeals.errors import ConfigurationError
from config.channel_settings import KioskDevice, KioskSettings
from connectors.base import Cursors
from connectors.kiosk.signature import KioskKey, parse_secret

CONNECTOR = "kiosk"
KIOSK_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

_IDS = TypeAdapter(tuple[str, ...])


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class KeyRecord(_Record):
    """A key that was handed out: what it is derived from, and until when it opens."""

    id: str
    added_at: AwareDatetime
    ends_at: AwareDatetime | None = None


class CodeRecord(_Record):
    """An enrolment code that was made, by what it is found under."""

    id: str
    expires_at: AwareDatetime


class ClaimRecord(_Record):
    """The key that a kiosk took with an enrolment code."""

    key_id: str
    claimed_at: AwareDatetime


class DeviceRecord(_Record):
    """What `okno kiosk` knows of one kiosk: a new one, or changes to one of the settings."""

    id: str
    name: str = ""
    address: str = ""
    keys: tuple[KeyRecord, ...] = ()
    codes: tuple[CodeRecord, ...] = ()
    revoked_at: AwareDatetime | None = None
    settings_keys_end_at: AwareDatetime | None = None  # after a rotation the secrets of the settings end too


@dataclass(frozen=True, kw_only=True, slots=True)
class Kiosk:
    """One kiosk as it stands now."""

    id: str
    name: str
    address: str
    keys: tuple[KioskKey, ...]  # those that open now
    revoked: bool
    enrolled: bool  # has taken a key with a code
    in_settings: bool

    @classmethod
    def of(cls, device: KioskDevice) -> "Kiosk":
        """Return the kiosk of the settings, without what the command changed."""
        return cls(
            id=device.id,
            name=device.name,
            address=device.address,
            keys=settings_keys(device),
            revoked=device.revoked,
            enrolled=False,
            in_settings=True,
        )


def settings_keys(device: KioskDevice) -> tuple[KioskKey, ...]:
    """Return the keys of the settings. Raises ConfigurationError naming the one that is none."""
    return tuple(
        parse_secret(secret, where=f"kiosk.devices[{device.id}].secrets[{index}]")
        for index, secret in enumerate(device.secrets)
    )


def derive_key(signing_key: bytes, *, kiosk_id: str, key_id: str) -> KioskKey:
    """Return the kiosk's key of that id: HMAC-SHA256, so there is nothing to store and nothing to leak."""
    return KioskKey.of(hmac.digest(signing_key, f"kiosk\x00{kiosk_id}\x00{key_id}".encode(), "sha256"))


def code_id(signing_key: bytes, code: str) -> str:
    """Return the name an enrolment code (normalised) is kept under: whoever reads it cannot find the code."""
    return hmac.new(signing_key, f"kiosk code\x00{code}".encode(), hashlib.sha256).hexdigest()[:32]


class KioskDevices:
    """Finds kiosks. Every call reads what the command has committed; raises TransientError if that cannot be."""

    def __init__(self, settings: KioskSettings, cursors: Cursors, *, signing_key: bytes) -> None:
        """Raise ConfigurationError for two kiosks of one id or a secret that is none."""
        self._cursors = cursors
        self._signing_key = signing_key
        self._of_settings = {device.id: Kiosk.of(device) for device in settings.devices}
        if len(self._of_settings) < len(settings.devices):
            raise ConfigurationError("kiosk.devices: two kiosks have the same id")

    async def find(self, kiosk_id: str, *, now: datetime) -> Kiosk | None:
        """Return the kiosk, None if there is none of that id."""
        if not KIOSK_ID.fullmatch(kiosk_id):
            return None
        base = self._of_settings.get(kiosk_id)
        record = await self.record(kiosk_id)
        return base if record is None else await self._merge(base, record, now=now)

    async def all(self, *, now: datetime) -> list[Kiosk]:
        """Return every kiosk, those of the settings first."""
        made = [kiosk_id for kiosk_id in await self.made_ids() if kiosk_id not in self._of_settings]
        found = [await self.find(kiosk_id, now=now) for kiosk_id in (*self._of_settings, *made)]
        return [kiosk for kiosk in found if kiosk is not None]

    async def made_ids(self) -> tuple[str, ...]:
        """Return the ids that the command has a record of."""
        text = await self._cursors.get(CONNECTOR, "devices")
        return _IDS.validate_json(text) if text else ()

    async def record(self, kiosk_id: str) -> DeviceRecord | None:
        """Return what the command keeps of a kiosk."""
        text = await self._cursors.get(CONNECTOR, f"device/{kiosk_id}")
        return DeviceRecord.model_validate_json(text) if text else None

    async def put_record(self, record: DeviceRecord) -> None:
        """Keep a record. For the command alone: two writers at once would lose a change."""
        await self._cursors.put(CONNECTOR, f"device/{record.id}", record.model_dump_json())
        known = await self.made_ids()
        if record.id not in known:
            ids = _IDS.dump_json((*known, record.id)).decode()
            await self._cursors.put(CONNECTOR, "devices", ids)

    async def _merge(self, base: Kiosk | None, record: DeviceRecord, *, now: datetime) -> Kiosk:
        claims = await self._claims(record.codes)
        key_ids = [key.id for key in record.keys if key.ends_at is None or key.ends_at > now]
        ended = record.settings_keys_end_at is not None and record.settings_keys_end_at <= now
        given = base.keys if base is not None and not ended else ()
        derived = [
            derive_key(self._signing_key, kiosk_id=record.id, key_id=key_id)
            for key_id in (*key_ids, *(claim.key_id for claim in claims))
        ]
        return Kiosk(
            id=record.id,
            name=record.name or (base.name if base else ""),
            address=record.address or (base.address if base else ""),
            keys=(*derived, *given),
            revoked=record.revoked_at is not None or (base is not None and base.revoked),
            enrolled=bool(claims),
            in_settings=base is not None,
        )

    async def _claims(self, codes: Sequence[CodeRecord]) -> list[ClaimRecord]:
        texts = [await self._cursors.get(CONNECTOR, f"claim/{code.id}") for code in codes]
        return [ClaimRecord.model_validate_json(text) for text in texts if text]
