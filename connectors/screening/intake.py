"""The intake that looks into attached files before it registers a message; it wraps the real one."""

import asyncio
from types import TracebackType
from typing import Self
from uuid import UUID

import structlog

from appeals import findings
from appeals.envelope import AppealEnvelope, Attachment
from appeals.registration import Contents, QuarantineItem, Registration
from config.channel_settings import AttachmentSettings
from connectors.base import Intake
from connectors.screening.clamav import ClamAv
from connectors.screening.inspection import Limits, inspect, is_quick
from connectors.screening.process import ScreeningProcess

PROCESSES = 2  # one hostile file after the other in the first leaves the second to everybody else
GRACE_S = 2.0  # beyond the budget: a process that is just started
MAIL_MEDIA_TYPE = "message/rfc822"  # raw bytes of this type hold the files too

logger = structlog.get_logger(__name__)


class ScreeningIntake:
    """Fills `Attachment.findings`. Refuses nothing, loses nothing; a message without files costs nothing.

    Use as an async context manager: leaving it ends the process that looks into files.
    """

    def __init__(self, intake: Intake, settings: AttachmentSettings) -> None:
        self._intake = intake
        self._settings = settings
        self._limits = Limits(
            max_file_bytes=settings.max_file_bytes,
            max_pages=settings.max_pages,
            max_pixels=settings.max_pixels,
            max_unpacked_bytes=settings.max_unpacked_bytes,
            max_entries=settings.max_entries,
            max_nesting=settings.max_nesting,
            budget_s=settings.budget_s,
        )
        self._processes = [ScreeningProcess(self._limits) for _ in range(PROCESSES)]
        self._patience_s = GRACE_S + max(settings.budget_s, settings.clamav_timeout_s if settings.clamav else 0.0)
        self._clamav = ClamAv(settings.clamav, timeout_s=settings.clamav_timeout_s) if settings.clamav else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(process.close() for process in self._processes))

    @property
    def trouble(self) -> str:
        """What does not work, for health; empty if all is well."""
        return self._clamav.trouble if self._clamav is not None else ""

    async def register(self, envelope: AppealEnvelope, contents: Contents) -> Registration:
        """Look into the files and register; see `connectors.base.Intake`."""
        if envelope.attachments:
            envelope, contents = await self._screened(envelope, contents)
        return await self._intake.register(envelope, contents)

    async def quarantine(self, item: QuarantineItem, content: bytes) -> UUID:
        """Keep bytes that cannot be processed; see `connectors.base.Intake`."""
        return await self._intake.quarantine(item, content)

    async def rescan(self, content: bytes, *, name: str = "") -> tuple[str, ...]:
        """Return the findings on a file as they are today: the limits or the scanner's base may have changed."""
        inside, viruses = await asyncio.gather(self._inspect(content, name), self._scan(content))
        return tuple(sorted({*inside, *viruses}))

    # ---- one message
    async def _screened(self, envelope: AppealEnvelope, contents: Contents) -> tuple[AppealEnvelope, Contents]:
        """Return the message with findings; what our look itself breaks on stays unchecked."""
        files = envelope.attachments
        if len(files) > self._settings.max_count and envelope.raw.media_type == MAIL_MEDIA_TYPE:
            envelope, contents = _truncated(envelope, contents, max_count=self._settings.max_count)
            files = envelope.attachments
        unchecked: tuple[str, ...] = (findings.UNCHECKED,)
        by_file: dict[tuple[str, str], tuple[str, ...]] = dict.fromkeys(
            ((item.sha256, item.name) for item in files), unchecked
        )
        try:
            async with asyncio.timeout(self._patience_s):
                for sha256, name in by_file:
                    by_file[sha256, name] = await self.rescan(contents[sha256], name=name)
        except TimeoutError:
            logger.warning("screening.out_of_time", files=len(files))
        except Exception:  # a bug of ours: the message is registered all the same, and people are told
            logger.exception("screening.failed", files=len(files))
        marked = tuple(_with_findings(item, by_file[item.sha256, item.name]) for item in files)
        return envelope.model_copy(update={"attachments": marked}), contents

    async def _inspect(self, content: bytes, name: str) -> tuple[str, ...]:
        if is_quick(content):
            return inspect(content, name, self._limits)
        process = min(self._processes, key=lambda process: process.waiting)
        return await process.inspect(content, name)

    async def _scan(self, content: bytes) -> tuple[str, ...]:
        return await self._clamav.scan(content) if self._clamav is not None else ()


def _with_findings(item: Attachment, found: tuple[str, ...]) -> Attachment:
    return item.model_copy(update={"findings": tuple(sorted({*item.findings, *found}))})


def _truncated(envelope: AppealEnvelope, contents: Contents, *, max_count: int) -> tuple[AppealEnvelope, Contents]:
    """Return a mail with its first files; the others are in the original alone, from which they can be had."""
    kept = envelope.attachments[:max_count]
    dropped = {item.sha256 for item in envelope.attachments[max_count:]} - {item.sha256 for item in kept}
    needed = {envelope.raw.sha256} | ({envelope.html.sha256} if envelope.html else set())
    marks = (*(mark for mark in envelope.marks if mark != findings.TRUNCATED), findings.TRUNCATED)
    return (
        envelope.model_copy(update={"attachments": kept, "marks": marks}),
        {sha256: content for sha256, content in contents.items() if sha256 in needed or sha256 not in dropped},
    )
