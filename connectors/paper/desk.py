"""The letter desk: registers letters and visits, prints slips and answers. The console is handed it."""

import asyncio
import re
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import phonenumbers
import structlog

from appeals.appeal import Appeal
from appeals.envelope import ContactPoint, ContactPointKind
from appeals.errors import DecodeError
from appeals.letter import AnswerBy, Letter, LetterRefusedError, LetterScan
from appeals.registration import Registration
from appeals.reply import Reply
from config.channel_settings import PaperSettings
from connectors.base import ConnectorPorts
from connectors.media import clean_file_name, clean_text, detect_media_type
from connectors.pages.renderer import PageRenderer
from connectors.paper.envelope import DecodedLetter, ReadScan, build_envelope
from connectors.paper.printed_letter import PrintedLetter, print_letter
from connectors.paper.slip import Slip, print_slip

NOON = time(12)  # of a day that has passed: nobody wrote down the hour
PAGES_OF = frozenset({"application/pdf", "image/tiff"})  # opened and counted
PICTURES = frozenset({"image/jpeg", "image/png"})
MAX_LINE_CHARS = 200
MAX_ADDRESS_CHARS = 300
MAX_TEXT_CHARS = 200_000
PRINTED_LANGUAGES = ("ru", "en")

_LETTER_ID = re.compile(r"[0-9a-f]{32}")
_EMAIL = re.compile(r"[^\s@<>,;]+@[^\s@<>,;.]+(\.[^\s@<>,;.]+)+")

logger = structlog.get_logger(__name__)


class LetterDesk:
    """What agents do with paper. Safe for any number of callers; `close` when the process ends."""

    def __init__(self, settings: PaperSettings, ports: ConnectorPorts, *, connector: str) -> None:
        self.settings = settings
        self._ports = ports
        self._connector = connector
        self._pages = ports.pages or PageRenderer()
        self._timezone = ZoneInfo(ports.office.timezone)

    async def close(self) -> None:
        """End the processes that read scans, unless others use them, too. Idempotent."""
        if self._pages is not self._ports.pages:
            await self._pages.close()

    @property
    def today(self) -> date:
        """The office's local day."""
        return self._ports.now().astimezone(self._timezone).date()

    async def register(self, letter: Letter) -> Registration:
        """Register a letter or a visit with its scans; committed when it returns. Idempotent by the letter's content.

        Raises LetterRefusedError, whose code says what to mend, and TransientError: then nothing was kept.
        """
        cleaned = _cleaned(letter)
        self._check(cleaned)
        email, phone = self._email(cleaned), self._phone(cleaned)
        scans = [await self._read(scan) for scan in cleaned.scans]
        if sum(scan.pages for scan in scans) > self.settings.max_pages:
            raise LetterRefusedError("letter_too_many_pages", f"at most {self.settings.max_pages}")
        decoded = await asyncio.to_thread(self._build, cleaned, scans, email, phone)
        registration = await self._ports.intake.register(decoded.envelope, decoded.contents)
        logger.info(
            "connector.message_registered",
            connector=self._connector,
            channel=letter.channel.value,
            appeal_id=str(registration.appeal_id),
            duplicate=registration.duplicate,
        )
        return registration

    async def slip(self, appeal: Appeal, *, secret_code: str) -> bytes:
        """Return the slip for the visitor as PDF: number, code, deadline, and how to see where the appeal is."""
        slip = Slip(
            office=self._ports.office.name,
            letterhead=self.settings.letterhead,
            language=self._printed_language(appeal.language),
            number=appeal.number,
            secret_code=secret_code,
            status_url=f"{self._ports.public_url}/status",
            received_on=appeal.received_at.astimezone(self._timezone).date(),
            answer_by=appeal.deadline_at.astimezone(self._timezone).date(),
            printed_at=appeal.registered_at,
        )
        return await asyncio.to_thread(print_slip, slip)

    async def letter(self, appeal: Appeal, reply: Reply) -> bytes:
        """Return the answer as a letter in PDF, its address where the envelope's window is."""
        printed = PrintedLetter(
            office=self._ports.office.name,
            letterhead=self.settings.letterhead,
            language=self._printed_language(reply.language),
            window=self.settings.address_window,
            recipient=reply.recipient,
            number=appeal.number,
            incoming_number=str(appeal.attributes.get("incoming_number", "")),
            received_on=appeal.received_at.astimezone(self._timezone).date(),
            subject=appeal.subject,
            text=reply.text,
            enclosures=tuple(attachment.name for attachment in reply.attachments),
            written_at=reply.created_at.astimezone(self._timezone),
        )
        return await asyncio.to_thread(print_letter, printed)

    def _printed_language(self, language: str) -> str:
        return language if language in PRINTED_LANGUAGES else self._ports.office.language

    def _check(self, letter: Letter) -> None:
        if not _LETTER_ID.fullmatch(letter.id):
            raise LetterRefusedError("letter_incomplete", "id: 32 hexadecimal digits")
        if not letter.name:
            raise LetterRefusedError("letter_incomplete", "name")
        if not letter.text and not letter.scans:
            raise LetterRefusedError("letter_empty")
        if not letter.address and letter.answer_by is AnswerBy.POST:
            raise LetterRefusedError("letter_incomplete", "address")
        oldest = self.today - timedelta(days=self.settings.max_days_back)
        if not oldest <= letter.received_on <= self.today:
            raise LetterRefusedError("letter_date", f"from {oldest} to {self.today}")
        if max(len(letter.name), len(letter.incoming_number), len(letter.subject)) > MAX_LINE_CHARS:
            raise LetterRefusedError("letter_too_long", f"a line has at most {MAX_LINE_CHARS} characters")
        if len(letter.address) > MAX_ADDRESS_CHARS or len(letter.text) > MAX_TEXT_CHARS:
            raise LetterRefusedError("letter_too_long")
        sizes = [len(scan.content) for scan in letter.scans]
        if len(sizes) > self.settings.max_scans:
            raise LetterRefusedError("letter_too_many_scans", f"at most {self.settings.max_scans}")
        if max(sizes, default=0) > self.settings.max_scan_bytes or sum(sizes) > self.settings.max_total_bytes:
            raise LetterRefusedError("letter_scan_too_large")

    def _email(self, letter: Letter) -> ContactPoint | None:
        if _EMAIL.fullmatch(letter.email):
            local, _, domain = letter.email.rpartition("@")
            return ContactPoint(kind=ContactPointKind.EMAIL, value=f"{local}@{domain.lower()}", name=letter.name)
        if letter.email or letter.answer_by is AnswerBy.EMAIL:
            raise LetterRefusedError("letter_contact", "email")
        return None

    def _phone(self, letter: Letter) -> ContactPoint | None:
        if not letter.phone and letter.answer_by is not AnswerBy.PHONE:
            return None
        try:
            phone = phonenumbers.parse(letter.phone, self.settings.default_region)
        except phonenumbers.NumberParseException:
            phone = None
        if phone is None or not phonenumbers.is_valid_number(phone):
            raise LetterRefusedError("letter_contact", "phone")
        value = phonenumbers.format_number(phone, phonenumbers.PhoneNumberFormat.E164)
        return ContactPoint(kind=ContactPointKind.PHONE, value=value, name=letter.name)

    async def _read(self, scan: LetterScan) -> ReadScan:
        """Open a scan and count its pages, so that the agent scans a broken one anew while the paper is at hand."""
        detected = detect_media_type(scan.content)
        if detected not in PAGES_OF | PICTURES:
            raise LetterRefusedError("letter_scan_type", scan.name)
        pages, viewing_pdf = 1, None
        try:
            if detected in PAGES_OF:
                document = await self._pages.read_document(scan.content, max_pages=self.settings.max_pages)
                pages, viewing_pdf = document.pages, document.viewing_pdf
            else:
                await self._pages.page_count(scan.content)
        except DecodeError as error:
            raise LetterRefusedError("letter_scan_unreadable", scan.name) from error
        return ReadScan(
            name=scan.name,
            media_type=detected,
            declared_media_type=scan.media_type,
            content=scan.content,
            pages=pages,
            viewing_pdf=viewing_pdf,
        )

    def _build(
        self, letter: Letter, scans: list[ReadScan], email: ContactPoint | None, phone: ContactPoint | None
    ) -> DecodedLetter:
        return build_envelope(
            letter,
            scans,
            connector=self._connector,
            received_at=self._received_at(letter.received_on),
            email=email,
            phone=phone,
        )

    def _received_at(self, day: date) -> datetime:
        if day == self.today:
            return self._ports.now()
        return datetime.combine(day, NOON, self._timezone).astimezone(UTC)


def _cleaned(letter: Letter) -> Letter:
    """Return the letter with nothing in it that a registry refuses, and one-line texts in one line."""
    return replace(
        letter,
        name=_one_line(letter.name),
        incoming_number=_one_line(letter.incoming_number),
        address=_one_line(letter.address),
        email=_one_line(letter.email),
        phone=_one_line(letter.phone),
        subject=_one_line(letter.subject),
        text=clean_text(letter.text).replace("\r\n", "\n").strip(),
        scans=tuple(replace(scan, name=clean_file_name(scan.name)) for scan in letter.scans),
    )


def _one_line(text: str) -> str:
    return " ".join(clean_text(text).split())
