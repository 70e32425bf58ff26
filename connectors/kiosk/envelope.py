"""From a kiosk's submission to the appeal envelope."""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import phonenumbers

from appeals.envelope import (
    AppealEnvelope,
    Attachment,
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
from connectors.kiosk.arrival import Arrival
from connectors.kiosk.devices import CONNECTOR, Kiosk
from connectors.kiosk.form_answers import fill_from_form, form_fields, plain_fields
from connectors.kiosk.form_check import FieldError, FormChecks
from connectors.kiosk.multipart import FormParts, RawForm, split_form
from connectors.kiosk.submission import KioskCitizen, KioskSubmission, parse_submission
from connectors.media import clean_media_type, describe_attachment

INCOMPLETE = "incomplete"  # mark: a stored form that its own description would have refused at the kiosk
_FINGERPRINT_BITS = (1 << 62) - 1  # rand_b of a UUIDv7
_EMAIL = re.compile(r"[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedSubmission:
    """A submission ready to be registered."""

    submission: KioskSubmission
    envelope: AppealEnvelope
    contents: Contents
    arrival: Arrival
    errors: tuple[FieldError, ...] = ()  # what its form says is wrong with it


def decode_form(
    raw: RawForm, *, kiosk: Kiosk, forms: FormChecks, judge: Callable[[datetime | None], Arrival], renamed: bool = False
) -> DecodedSubmission:
    """Return the form ready to be registered. `raw.body` is kept as the original.

    The sender is the form at the kiosk, "<kiosk id>/<form id>": nobody has proved that the email or phone typed in is
    theirs. An answer goes there all the same, so the first usable one is `reply_to`; both stay in `fields`.
    `renamed` adds the content's fingerprint to the form's id: for a second form under one id, see `is_same_form`.
    Raises DecodeError if it cannot be read or an attachment is not there.
    """
    parts = split_form(raw)
    given = parse_submission(parts.submission)
    contents = {(original := BlobRef.of(raw.body, clean_media_type(raw.content_type))).sha256: raw.body}
    attachments, by_field = _read_attachments(given, parts, raw, contents)
    form, errors, marks = forms.check(given, by_field)
    arrival = judge(given.created_at)
    if errors:
        marks = (*marks, INCOMPLETE)
    fingerprint = _fingerprint(given, attachments)
    envelope = _envelope(
        given if form is None else fill_from_form(form, given),
        kiosk=kiosk,
        origin=f"{kiosk.id}/{given.id}" + (f"#{fingerprint:016x}" if renamed else ""),
        id=_fingerprinted_id(fingerprint, at=arrival.received_at),
        received_at=arrival.received_at,
        marks=(*arrival.marks, *marks),
        attachments=attachments,
        fields=plain_fields(given) if form is None else form_fields(form, given),
        raw=original,
    )
    return DecodedSubmission(submission=given, envelope=envelope, contents=contents, arrival=arrival, errors=errors)


def _envelope(submission: KioskSubmission, *, kiosk: Kiosk, origin: str, **given: Any) -> AppealEnvelope:
    text = submission.text or "\n".join(f"{name}: {value}" for name, value in submission.field_texts().items() if value)
    return AppealEnvelope(
        channel=Channel.KIOSK,
        connector=CONNECTOR,
        external_id=origin,
        sent_at=submission.created_at,
        sender=ContactPoint(kind=ContactPointKind.KIOSK, value=origin, name=submission.citizen.name),
        recipients=(ContactPoint(kind=ContactPointKind.KIOSK, value=kiosk.id, name=kiosk.name),),
        reply_to=contact_of(submission.citizen),
        subject=" ".join(submission.subject.split()),
        text=text,
        clean_text=text,
        language=submission.language,
        threading=ThreadReferences(message_id=origin),  # comes back in `in_reply_to` of our answers: see `send`
        authenticity=(AuthenticityResult(method="webhook_signature", result="pass", detail=kiosk.id),),
        location=submission.location or (Location(address=kiosk.address) if kiosk.address else None),
        **given,
    )


def _read_attachments(
    submission: KioskSubmission, parts: FormParts, raw: RawForm, contents: dict[str, bytes]
) -> tuple[tuple[Attachment, ...], dict[str, list[Attachment]]]:
    """Return the attachments, all and by field; puts their bytes into `contents`."""
    attachments = []
    by_field: dict[str, list[Attachment]] = {}
    for part in submission.attachments:
        try:
            content = part.content(parts.files)
        except ValueError as error:
            raise DecodeError(str(error), data=raw.body) from error
        attachment = describe_attachment(
            part.name, part.media_type, content, inline=part.media_type.startswith("image/")
        )
        contents[attachment.sha256] = content
        attachments.append(attachment)
        by_field.setdefault(part.field, []).append(attachment)
    return tuple(attachments), by_field


def _fingerprint(submission: KioskSubmission, attachments: Sequence[Attachment]) -> int:
    """Return 62 bits that follow from the form's content, however its JSON is written and its files are carried."""
    document = submission.model_dump(mode="json", exclude={"attachments": {"__all__": {"content_base64", "part"}}})
    files = [attachment.sha256 for attachment in attachments]
    canonical = json.dumps([document, files], sort_keys=True)
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
