"""Making, enrolling, rotating and revoking kiosks.

`KioskAdministration` is the command's side, `claim_key` the daemon's: a kiosk page is given its key once, for a code
that an administrator made and an installer types in.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from appeals.errors import ConfigurationError, NotFoundError
from appeals.numbering import CODE_ALPHABET
from connectors.base import Cursors
from connectors.kiosk.devices import (
    CONNECTOR,
    KIOSK_ID,
    ClaimRecord,
    CodeRecord,
    DeviceRecord,
    KeyRecord,
    Kiosk,
    KioskDevices,
    code_id,
    derive_key,
)
from connectors.kiosk.signature import KioskKey

CODE_CHARS = 12  # 60 bits
CODE_GROUP = 4
DEFAULT_CODE_LIFE = timedelta(hours=24)
DEFAULT_OVERLAP = timedelta(days=7)  # both keys open for so long: the kiosk may be offline when it is rotated
_LOOKALIKES = str.maketrans({"O": "0", "I": "1", "L": "1", "О": "0", "-": None, " ": None, "\u2010": None})


class _PendingCode(BaseModel):
    model_config = ConfigDict(frozen=True)

    kiosk_id: str
    expires_at: AwareDatetime


@dataclass(frozen=True, kw_only=True, slots=True)
class EnrolmentCode:
    """A code for people, such as `K7QM-2X9P-TT4A`."""

    kiosk_id: str
    code: str
    expires_at: datetime


def normalise_code(text: str) -> str:
    """Return a code as it is kept, however it was typed (lower case, O for 0, without hyphens)."""
    return text.strip().upper().translate(_LOOKALIKES)


def _new_code() -> str:
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_CHARS))


class KioskAdministration:
    """What `okno kiosk` does. One administrator at a time: records are read, changed and written."""

    def __init__(self, devices: KioskDevices, cursors: Cursors, *, signing_key: bytes, now: datetime) -> None:
        self._devices = devices
        self._cursors = cursors
        self._signing_key = signing_key
        self._now = now

    async def add(self, kiosk_id: str, *, name: str = "", address: str = "") -> Kiosk:
        """Make a kiosk, without a key yet. Raises ConfigurationError for a wrong id or one that is there."""
        if not KIOSK_ID.fullmatch(kiosk_id):
            raise ConfigurationError(f"{kiosk_id!r} is no kiosk id: small letters, digits and hyphens, 63 at most")
        if await self._devices.find(kiosk_id, now=self._now) is not None:
            raise ConfigurationError(f"there is a kiosk {kiosk_id!r} already; `okno kiosk list` shows it")
        await self._devices.put_record(DeviceRecord(id=kiosk_id, name=name, address=address))
        return await self._kiosk(kiosk_id)

    async def enrol(
        self, kiosk_id: str, *, life: timedelta = DEFAULT_CODE_LIFE, retire: timedelta | None = None
    ) -> EnrolmentCode:
        """Make a code with which one kiosk page gets a key, once.

        Keys there are stay valid; with `retire` they end after so long: that is how a page's key is rotated.
        """
        record = await self._record(kiosk_id)
        if retire is not None:
            record = await self._with_old_keys_ending(record, self._now + retire)
        code = _new_code()
        identity = code_id(self._signing_key, code)
        expires_at = self._now + life
        pending = _PendingCode(kiosk_id=kiosk_id, expires_at=expires_at)
        await self._cursors.put(CONNECTOR, f"code/{identity}", pending.model_dump_json())
        codes = (*record.codes, CodeRecord(id=identity, expires_at=expires_at))
        await self._devices.put_record(record.model_copy(update={"codes": await self._still_of_use(codes)}))
        groups = (code[start : start + CODE_GROUP] for start in range(0, CODE_CHARS, CODE_GROUP))
        return EnrolmentCode(kiosk_id=kiosk_id, code="-".join(groups), expires_at=expires_at)

    async def rotate(self, kiosk_id: str, *, overlap: timedelta = DEFAULT_OVERLAP) -> KioskKey:
        """Give the kiosk a new key; what opened before opens for `overlap` more. Returns the key, to be shown once."""
        record = await self._with_old_keys_ending(await self._record(kiosk_id), self._now + overlap)
        key_id = secrets.token_hex(8)
        keys = (*record.keys, KeyRecord(id=key_id, added_at=self._now))
        await self._devices.put_record(record.model_copy(update={"keys": keys}))
        return derive_key(self._signing_key, kiosk_id=kiosk_id, key_id=key_id)

    async def revoke(self, kiosk_id: str) -> Kiosk:
        """Refuse the kiosk from now on. What it delivered stays. Idempotent."""
        record = await self._record(kiosk_id)
        if record.revoked_at is None:
            await self._devices.put_record(record.model_copy(update={"revoked_at": self._now}))
        return await self._kiosk(kiosk_id)

    async def reinstate(self, kiosk_id: str) -> Kiosk:
        """Take a revocation back; the keys are those of before. Raises ConfigurationError if the settings revoke it."""
        record = await self._record(kiosk_id)
        await self._devices.put_record(record.model_copy(update={"revoked_at": None}))
        kiosk = await self._kiosk(kiosk_id)
        if kiosk.revoked:
            raise ConfigurationError(f"the settings revoke kiosk {kiosk_id!r}: take `revoked: true` out of them")
        return kiosk

    async def _with_old_keys_ending(self, record: DeviceRecord, ends_at: datetime) -> DeviceRecord:
        """Let every key there is end by `ends_at`, those of the settings and those taken with a code too."""
        texts = [await self._cursors.get(CONNECTOR, f"claim/{code.id}") for code in record.codes]
        claims = [ClaimRecord.model_validate_json(text) for text in texts if text]
        old = (*record.keys, *(KeyRecord(id=claim.key_id, added_at=claim.claimed_at) for claim in claims))
        keys = tuple(
            key.model_copy(update={"ends_at": min(key.ends_at or ends_at, ends_at)})
            for key in old
            if key.ends_at is None or key.ends_at > self._now
        )
        settings_end = min(record.settings_keys_end_at or ends_at, ends_at)
        return record.model_copy(update={"keys": keys, "codes": (), "settings_keys_end_at": settings_end})

    async def _record(self, kiosk_id: str) -> DeviceRecord:
        kiosk = await self._kiosk(kiosk_id)
        return await self._devices.record(kiosk.id) or DeviceRecord(id=kiosk.id)

    async def _kiosk(self, kiosk_id: str) -> Kiosk:
        kiosk = await self._devices.find(kiosk_id, now=self._now)
        if kiosk is None:
            raise NotFoundError(f"there is no kiosk {kiosk_id!r}; `okno kiosk list` shows them")
        return kiosk

    async def _still_of_use(self, codes: tuple[CodeRecord, ...]) -> tuple[CodeRecord, ...]:
        """Drop codes that ran out unused."""
        return tuple(
            [
                code
                for code in codes
                if code.expires_at > self._now or await self._cursors.get(CONNECTOR, f"claim/{code.id}")
            ]
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Enrolled:
    """What a kiosk page gets for its code."""

    kiosk: Kiosk
    key: KioskKey


async def claim_key(
    devices: KioskDevices, cursors: Cursors, code: str, *, signing_key: bytes, now: datetime
) -> Enrolled | None:
    """Return the kiosk and its key for a code, once; None if the code is wrong, used, too old or of a revoked kiosk.

    The key is new with each claim and the last claim wins: should two processes be asked at the same moment, the key
    of one of them opens nothing.
    """
    identity = code_id(signing_key, normalise_code(code))
    text = await cursors.get(CONNECTOR, f"code/{identity}")
    if text is None or await cursors.get(CONNECTOR, f"claim/{identity}"):
        return None
    pending = _PendingCode.model_validate_json(text)
    record = await devices.record(pending.kiosk_id)
    known = record is not None and any(item.id == identity for item in record.codes)
    kiosk = await devices.find(pending.kiosk_id, now=now)
    if kiosk is None or kiosk.revoked or not known or pending.expires_at <= now:
        return None
    claim = ClaimRecord(key_id=secrets.token_hex(8), claimed_at=now)
    await cursors.put(CONNECTOR, f"claim/{identity}", claim.model_dump_json())
    key = derive_key(signing_key, kiosk_id=kiosk.id, key_id=claim.key_id)
    return Enrolled(kiosk=replace(kiosk, keys=(key, *kiosk.keys), enrolled=True), key=key)
