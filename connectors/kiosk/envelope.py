"""From a kiosk's submission to the appeal envelope."""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import phonenumbers

from appeals.envelope import (
    AppealEnvelope,
    AuthenticityResult,
    BlobRef,
    Channel,
    ContactPoint,
    ContactPointKind,
    Location,
    ThreadReferences,
)
from appeals.errors import DecodeError
from appeals.registration import Contents
from config.settings import KioskDevice
from connectors.kiosk.submission import KioskAttachment, KioskCitizen, KioskSubmission
from connectors.media import describe_attachment

_FINGERPRINT_BITS = (1 << 62) - 1  # rand_b of a UUIDv7
_EMAIL = re.compile(r"[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedSubmission:
    """A submission ready to be registered."""

    envelope: AppealEnvelope
    contents: Contents


def build_envelope(
    submission: KioskSubmission,
    body: bytes,
    *,
    device: KioskDevice,
    connector: str,
    received_at: datetime,
    renamed: bool = False,
) -> DecodedSubmission:
    """Return the envelope and its bytes. `body` is what the kiosk posted, kept as the original.

    The sender is the form at the kiosk, "<kiosk id>/<form id>": nobody has proved that the email or phone typed in is
    theirs. An answer goes there all the same, so the first usable one is `reply_to`; both stay in `fields`.
    `renamed` adds the content's fingerprint to the form's id: for a second form under one id, see `is_same_form`.
    Raises DecodeError if an attachment is not Base64.
    """
    contents = {(raw := BlobRef.of(body, "application/json")).sha256: body}
    attachments = []
    for part in submission.attachments:
        content = _content_of(part, body)
        attachment = describe_attachment(
            part.name, part.media_type, content, inline=part.media_type.startswith("image/")
        )
        contents[attachment.sha256] = content
        attachments.append(attachment)
    fingerprint = _fingerprint(submission)
    origin = f"{device.id}/{submission.id}" + (f"#{fingerprint:016x}" if renamed else "")
    text = submission.text or _text_of_fields(submission)
    envelope = AppealEnvelope(
        id=_fingerprinted_id(fingerprint, at=received_at),
        channel=Channel.KIOSK,
        connector=connector,
        external_id=origin,
        received_at=received_at,
        sent_at=submission.created_at,
        sender=ContactPoint(kind=ContactPointKind.KIOSK, value=origin, name=submission.citizen.name),
        recipients=(ContactPoint(kind=ContactPointKind.KIOSK, value=device.id, name=device.name),),
        reply_to=contact_of(submission.citizen),
        subject=" ".join((submission.subject or submission.form).split()),
        text=text,
        clean_text=text,
        language=submission.language,
        attachments=tuple(attachments),
        threading=ThreadReferences(message_id=origin),  # comes back in `in_reply_to` of our answers: see `send`
        authenticity=(AuthenticityResult(method="webhook_signature", result="pass", detail=device.id),),
        location=submission.location or (Location(address=device.address) if device.address else None),
        fields=_fields_of(submission),
        raw=raw,
    )
    return DecodedSubmission(envelope=envelope, contents=contents)


def _fingerprint(submission: KioskSubmission) -> int:
    """Return 62 bits that follow from the form's content, however its JSON is written."""
    canonical = json.dumps(submission.model_dump(mode="json"), sort_keys=True)
    return int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:8], "big") & _FINGERPRINT_BITS


def _fingerprinted_id(fingerprint: int, *, at: datetime) -> UUID:
    """Return a UUIDv7 (RFC 9562 §5.7) that ends in the fingerprint."""
    milliseconds = int(at.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | fingerprint)


def is_same_form(first: UUID, second: UUID) -> bool:
    """Tell by the envelopes' ids whether two deliveries under one form id brought the same form.

    A kiosk set up anew may count its forms from one again: the second form must not vanish as a redelivery.
    """
    return first.int & _FINGERPRINT_BITS == second.int & _FINGERPRINT_BITS


def contact_of(citizen: KioskCitizen) -> ContactPoint | None:
    """Return the email address or, without one, the international phone number the citizen typed in; else None."""
    email = citizen.email.strip()
    if _EMAIL.fullmatch(email):
        local, _, domain = email.rpartition("@")
        return ContactPoint(kind=ContactPointKind.EMAIL, value=f"{local}@{domain.lower()}", name=citizen.name)
    try:
        phone = phonenumbers.parse(citizen.phone, None)
    except phonenumbers.NumberParseException:  # a national number: guessing its country could reach a stranger
        return None
    if not phonenumbers.is_valid_number(phone):
        return None
    value = phonenumbers.format_number(phone, phonenumbers.PhoneNumberFormat.E164)
    return ContactPoint(kind=ContactPointKind.PHONE, value=value, name=citizen.name)


def _content_of(part: KioskAttachment, body: bytes) -> bytes:
    try:
        return part.content()
    except ValueError as error:
        raise DecodeError(str(error), data=body) from error


def _text_of_fields(submission: KioskSubmission) -> str:
    return "\n".join(f"{name}: {value}" for name, value in submission.field_texts().items() if value)


def _fields_of(submission: KioskSubmission) -> dict[str, str]:
    citizen = submission.citizen
    known = {"form": submission.form, "name": citizen.name, "phone": citizen.phone, "email": citizen.email}
    return {name: value for name, value in known.items() if value} | submission.field_texts()
