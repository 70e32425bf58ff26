"""The consumer of stream `recognise`: pages become text after the registration, so that nobody waits for it."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

from appeals.envelope import AppealEnvelope, Attachment
from appeals.errors import DecodeError
from config.channel_settings import RecognitionSettings
from connectors.pages.records import PAGE_MEDIA_TYPES, PDF, TIFF
from connectors.pages.renderer import PageRenderer
from connectors.recognition.reading import PageReading, judge_page, total_confidence, unread_page
from connectors.recognition.tesseract import PageUnreadError, Tesseract, TesseractMissingError
from queues.port import WorkItem

logger = structlog.get_logger(__name__)

MAX_DETAIL_CHARS = 400
RECHECK_S = 60.0  # between looks for a Tesseract that was not there: it may be installed any time


class Pending(Protocol):
    """A transcript to be made; `appeals.transcripts.PendingTranscript` is one."""

    @property
    def envelope(self) -> AppealEnvelope:
        """The message whose words are in pictures."""
        ...


class TranscriptStore(Protocol):
    """Where transcripts are kept; `appeals.transcripts.Transcripts` is the real one."""

    async def open(self, ids: Sequence[UUID]) -> Sequence[Pending]:
        """Return those of the envelopes `ids` that still wait for recognition."""
        ...

    async def recognised(
        self, envelope_id: UUID, *, text: str, confidence: float | None, accepted: bool, detail: str = ""
    ) -> None:
        """Commit what was read. Idempotent."""
        ...


ReadBlob = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Page:
    content: bytes
    number: int  # from 1


class RecognitionWorker:
    """Reads documents. Run it in `queues.worker.WorkerLoop` with a small batch: a page takes seconds.

    What cannot be read is handed on as not accepted, for a person to type in; no document fails the stream.
    """

    def __init__(
        self,
        transcripts: TranscriptStore,
        read_blob: ReadBlob,
        settings: RecognitionSettings,
        *,
        renderer: PageRenderer,
    ) -> None:
        self._transcripts = transcripts
        self._read_blob = read_blob
        self._settings = settings
        self._renderer = renderer
        self._tesseract = make_tesseract(settings)
        self._at_once = asyncio.Semaphore(settings.processes or os.cpu_count() or 1)
        self._missing = ""
        self._look_again_at = 0.0

    async def handle(self, items: list[WorkItem]) -> None:
        """Make the transcripts of `items`. Idempotent. Raises TransientError if a store is out of reach."""
        ids = [UUID(item.fields["envelope_id"]) for item in items]
        for pending in await self._transcripts.open(ids):
            await self._recognise(pending.envelope)

    async def _recognise(self, envelope: AppealEnvelope) -> None:
        began = time.monotonic()
        missing = await self._why_not()
        if missing:
            await self._transcripts.recognised(envelope.id, text="", confidence=None, accepted=False, detail=missing)
            return
        try:
            pages = await self._read_document(envelope)
        except TesseractMissingError as error:  # taken away since
            await self._transcripts.recognised(envelope.id, text="", confidence=None, accepted=False, detail=str(error))
            return
        confidence = total_confidence(pages)
        text = "\n\n".join(page.text for page in pages if page.text)
        accepted = bool(text) and confidence >= self._settings.min_confidence
        await self._transcripts.recognised(
            envelope.id, text=text, confidence=confidence, accepted=accepted, detail=_describe(pages)
        )
        logger.info(
            "recognition.read",
            envelope_id=str(envelope.id),
            pages=len(pages),
            characters=len(text),
            confidence=round(confidence, 3),
            accepted=accepted,
            seconds=round(time.monotonic() - began, 1),
        )

    async def _why_not(self) -> str:
        """Return why nothing can be read here; "" if it can."""
        if not self._settings.enabled:
            return "text recognition is switched off"
        now = time.monotonic()
        if self._missing and now < self._look_again_at:
            return self._missing
        try:
            await self._tesseract.status()
        except TesseractMissingError as error:
            if not self._missing:
                logger.warning("recognition.unavailable", reason=str(error))
            self._missing, self._look_again_at = str(error), now + RECHECK_S
        else:
            self._missing = ""
        return self._missing

    async def _read_document(self, envelope: AppealEnvelope) -> list[PageReading]:
        pages: list[_Page | PageReading] = []
        for attachment in page_attachments(envelope):
            pages += await self._pages_of(attachment, room=self._settings.max_pages - len(pages))
        async with asyncio.TaskGroup() as group:
            readings = [group.create_task(self._read_page(page)) for page in pages]
        return [reading.result() for reading in readings]

    async def _pages_of(self, attachment: Attachment, *, room: int) -> list[_Page | PageReading]:
        if room <= 0:
            return []
        content = await self._read_blob(attachment.sha256)
        try:
            count = await self._renderer.page_count(content)
        except DecodeError as error:
            return [unread_page(str(error))]
        pages: list[_Page | PageReading] = [
            _Page(content=content, number=number) for number in range(1, min(count, room) + 1)
        ]
        if count > room:
            pages += [unread_page("it is beyond recognition.max_pages")] * (count - room)
        return pages

    async def _read_page(self, page: _Page | PageReading) -> PageReading:
        if isinstance(page, PageReading):
            return page
        async with self._at_once:
            try:
                prepared = await self._renderer.prepare_page(page.content, page.number)
                words = await self._tesseract.read(prepared.png, dpi=prepared.dpi)
            except (DecodeError, PageUnreadError) as error:
                logger.warning("recognition.page_unread", page=page.number, reason=str(error))
                return unread_page(str(error))
        return judge_page(words, prepared)


def make_tesseract(settings: RecognitionSettings) -> Tesseract:
    """Return the program that the settings name; nothing is started."""
    return Tesseract(command=settings.command, languages=settings.languages, page_timeout_s=settings.page_timeout_s)


async def describe_tesseract(settings: RecognitionSettings) -> tuple[bool, str]:
    """Tell for `okno doctor` whether text recognition works here, and what is installed or missing."""
    if not settings.enabled:
        return True, "switched off: faxes and scans are typed in by agents"
    tesseract = make_tesseract(settings)
    try:
        status = await tesseract.status()
        missing = await tesseract.missing_languages()
    except TesseractMissingError as error:
        return False, f"{error}; until then faxes and scans are typed in by agents"
    if missing:
        return False, f"Tesseract {status.version} has no data for {', '.join(missing)}: install them"
    return True, f"Tesseract {status.version}, {', '.join(settings.languages)}"


def page_attachments(envelope: AppealEnvelope) -> list[Attachment]:
    """Return the attachments that are pages, in order, without the viewing copies that we made ourselves."""
    copies = {f"{item.name}.pdf" for item in envelope.attachments if item.detected_media_type == TIFF}
    return [
        item
        for item in envelope.attachments
        if item.detected_media_type in PAGE_MEDIA_TYPES
        and not (item.inline and item.detected_media_type == PDF and item.name in copies)
    ]


def _describe(pages: Sequence[PageReading]) -> str:
    """Say how each page was read, for the agent."""
    if not pages:
        return "there is no page to read"
    said = (
        f"{number}: {page.trouble}" if page.trouble else f"{number}: {page.confidence:.2f}"
        for number, page in enumerate(pages, start=1)
    )
    return ("; ".join(said))[:MAX_DETAIL_CHARS]
