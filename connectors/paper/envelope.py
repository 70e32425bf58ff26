"""From a letter or a visit to the appeal envelope."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from appeals.envelope import (
    AppealEnvelope,
    Attachment,
    BlobRef,
    Channel,
    ContactPoint,
    ContactPointKind,
    Location,
    ThreadReferences,
)
from appeals.letter import AnswerBy, Letter
from appeals.registration import Contents
from connectors.media import describe_attachment

RAW_MEDIA_TYPE = "application/json"
MAX_POST_CHARS = 512  # of a contact point


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadScan:
    """A scan that was opened and counted. `viewing_pdf` shows the same pages where a browser cannot (TIFF)."""

    name: str
    media_type: str  # detected
    declared_media_type: str
    content: bytes
    pages: int
    viewing_pdf: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedLetter:
    """A letter ready to be registered."""

    envelope: AppealEnvelope
    contents: Contents


def build_envelope(
    letter: Letter,
    scans: Sequence[ReadScan],
    *,
    connector: str,
    received_at: datetime,
    email: ContactPoint | None,
    phone: ContactPoint | None,
) -> DecodedLetter:
    """Return the envelope and its bytes. The original is what was typed in, as JSON, with the hashes of the scans.

    Another content under the same id, from an agent who changed something after a try whose answer was lost, is a
    further message of the same appeal. Without a typed text the words are in the scans: `recognise`.
    """
    raw = _record(letter, scans)
    contents = {(raw_ref := BlobRef.of(raw, RAW_MEDIA_TYPE)).sha256: raw}
    attachments: list[Attachment] = []
    for scan in scans:
        attachments += _attachments(scan, contents)
    sender, reply_to = _contacts(letter, email=email, phone=phone)
    envelope = AppealEnvelope(
        channel=letter.channel,
        connector=connector,
        external_id=f"{letter.id}/{hashlib.sha256(raw).hexdigest()[:16]}",
        received_at=received_at,
        sender=sender,
        reply_to=reply_to,
        subject=letter.subject or _subject(letter),
        text=letter.text,
        clean_text=letter.text,
        language=letter.language,
        attachments=tuple(attachments),
        threading=ThreadReferences(conversation=f"{connector}/{letter.id}"),
        location=Location(address=letter.address) if letter.address else None,
        recognise=bool(scans) and not letter.text,
        fields=_fields(letter, pages=sum(scan.pages for scan in scans)),
        raw=raw_ref,
    )
    return DecodedLetter(envelope=envelope, contents=contents)


def post_point(name: str, address: str) -> ContactPoint:
    """Return the postal contact point. Its value begins with the name: a family shares an address, not its appeals."""
    return ContactPoint(kind=ContactPointKind.POST, value=f"{name}, {address}"[:MAX_POST_CHARS], name=name)


def address_of(point: ContactPoint) -> str:
    """Return the address alone of a postal contact point."""
    return point.value.removeprefix(f"{point.name}, ")


def _record(letter: Letter, scans: Sequence[ReadScan]) -> bytes:
    record = {
        "schema": "okno.letter/1",
        "id": letter.id,
        "channel": letter.channel.value,
        "registered_by": letter.registered_by,
        "received_on": letter.received_on.isoformat(),
        "incoming_number": letter.incoming_number,
        "name": letter.name,
        "answer_by": letter.answer_by.value,
        "address": letter.address,
        "email": letter.email,
        "phone": letter.phone,
        "subject": letter.subject,
        "text": letter.text,
        "language": letter.language,
        "scans": [{"name": scan.name, "sha256": hashlib.sha256(scan.content).hexdigest()} for scan in scans],
    }
    return json.dumps(record, ensure_ascii=False, indent=1).encode()


def _attachments(scan: ReadScan, contents: dict[str, bytes]) -> list[Attachment]:
    original = describe_attachment(scan.name, scan.declared_media_type, scan.content, inline=scan.viewing_pdf is None)
    contents[original.sha256] = scan.content
    if scan.viewing_pdf is None:
        return [original]
    viewing = describe_attachment(f"{original.name}.pdf", "application/pdf", scan.viewing_pdf, inline=True)
    contents[viewing.sha256] = scan.viewing_pdf
    return [original, viewing]


def _contacts(
    letter: Letter, *, email: ContactPoint | None, phone: ContactPoint | None
) -> tuple[ContactPoint, ContactPoint | None]:
    """Return who wrote, and where the answer goes if not there."""
    post = post_point(letter.name, letter.address) if letter.address else None
    page = ContactPoint(kind=ContactPointKind.WEB, value=f"letter/{letter.id}", name=letter.name)
    sender = post or email or phone or page
    wanted = {AnswerBy.POST: post, AnswerBy.EMAIL: email, AnswerBy.PHONE: phone, AnswerBy.PAGE: page}[letter.answer_by]
    return sender, None if wanted == sender else wanted


def _subject(letter: Letter) -> str:
    if letter.text:
        return ""  # its first words stand for it
    words = {
        (Channel.PAPER, "ru"): "Письмо",
        (Channel.PAPER, "en"): "Letter",
        (Channel.IN_PERSON, "ru"): "Личный приём",
        (Channel.IN_PERSON, "en"): "Visit",
    }
    return f"{words[letter.channel, 'ru' if letter.language == 'ru' else 'en']}: {letter.name}"


def _fields(letter: Letter, *, pages: int) -> dict[str, str]:
    known = {
        "registered_by": letter.registered_by,
        "received_on": letter.received_on.isoformat(),
        "incoming_number": letter.incoming_number,
        "subject": letter.subject,
        "name": letter.name,
        "address": letter.address,
        "email": letter.email,
        "phone": letter.phone,
        "answer_by": letter.answer_by.value,
        "pages": str(pages) if pages else "",
    }
    return {name: value for name, value in known.items() if value}
