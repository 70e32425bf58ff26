"""The way of a spooled file into the registry."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from appeals.envelope import Channel
from appeals.errors import DecodeError, TransientError
from appeals.registration import QuarantineItem, Registration
from config.channel_settings import FaxSettings
from connectors.base import ConnectorPorts
from connectors.fax.envelope import FaxOrigin, number_in_name
from connectors.fax.hylafax import HylafaxLayout, find_caller
from connectors.fax.reception import FaxReceiver
from connectors.fax.spool import PlainLayout, SpooledFile, SpoolVerdict
from connectors.in_hand import InHand
from connectors.media import clean_text, detect_media_type
from connectors.problem import register_or_quarantine

SPOOL = "spool"


class StillGrowingError(TransientError):
    """A spooled file cannot be read, but is so young that somebody may still be writing it."""


class SpoolReceiver:
    """Takes spooled files in, whichever layout their folder has."""

    def __init__(
        self,
        settings: FaxSettings,
        ports: ConnectorPorts,
        *,
        connector: str,
        receiver: FaxReceiver,
        in_hand: InHand,
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._connector = connector
        self._receiver = receiver
        self._in_hand = in_hand
        self._hylafax = HylafaxLayout(settings.hylafax_log) if settings.spool_layout == "hylafax" else None

    @property
    def layout(self) -> HylafaxLayout | PlainLayout:
        """What the folder's owner does with its files."""
        return self._hylafax or PlainLayout()

    async def take(self, file: SpooledFile) -> SpoolVerdict:
        """Register a file, or quarantine it if that can never be. Raises TransientError."""
        async with self._in_hand.hold():
            item = self._item(
                name=clean_text(file.path.name),
                external_id=file.external_id,
                written_at=datetime.fromtimestamp(file.mtime_s, UTC).isoformat(),
            )
            try:
                kept = await register_or_quarantine(
                    self._ports.intake, lambda: self._register_grown(file, item), item=item, content=file.content
                )
            except StillGrowingError:
                return SpoolVerdict.LATER
            return SpoolVerdict.REGISTERED if isinstance(kept, Registration) else SpoolVerdict.QUARANTINED

    async def refuse(self, path: Path, size_bytes: int) -> SpoolVerdict:
        """Leave a trace of a file too large to take: it lies in failed/, the quarantine says so."""
        reason = f"{size_bytes} bytes are more than fax.max_body_bytes: the file lies in the spool's failed folder"
        item = replace(self._item(name=clean_text(path.name)), reason=reason)
        async with self._in_hand.hold():
            await self._ports.intake.quarantine(item, path.name.encode("utf-8", "replace"))
        return SpoolVerdict.QUARANTINED

    async def register(self, content: bytes, context: Mapping[str, str]) -> Registration:
        """Register a file's bytes; `context` is the quarantine item's. Raises DecodeError, TransientError."""
        name = context["name"]
        media_type = detect_media_type(content)
        document = await self._receiver.read(content)
        call = self._hylafax.find_call(name) if self._hylafax is not None else None
        if self._hylafax is None:
            number = number_in_name(name)
        else:
            number = find_caller(document.description, call, region=self._settings.default_region)
        written_at = context.get("written_at")
        origin = FaxOrigin(
            external_id=context.get("external_id", ""),
            number=number,
            our_number=self._settings.number,
            name=name,
            declared_media_type=media_type,
            received_at=self._ports.now(),
            sent_at=datetime.fromisoformat(written_at) if written_at else None,
            failure=call.reason if call is not None else "",
        )
        return await self._receiver.register(document, content, origin, raw=content, raw_media_type=media_type)

    async def _register_grown(self, file: SpooledFile, item: QuarantineItem) -> Registration:
        try:
            return await self.register(file.content, item.context)
        except DecodeError as error:
            if file.aged:
                raise
            raise StillGrowingError("a young file that cannot be read yet") from error

    def _item(self, **context: str) -> QuarantineItem:
        context = {"source": SPOOL, **context}
        return QuarantineItem(
            connector=self._connector, channel=Channel.FAX, stage="receive", reason="", context=context
        )
