"""From a fax document to the appeal envelope."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import phonenumbers

from appeals.envelope import (
    AppealEnvelope,
    Attachment,
    AuthenticityResult,
    BlobRef,
    Channel,
    ContactPoint,
    ContactPointKind,
)
from appeals.registration import Contents
from connectors.media import describe_attachment
from connectors.pages.records import PDF, PagedDocument

MIN_NUMBER_DIGITS = 7
MAX_NUMBER_DIGITS = 15  # ITU-T E.164


@dataclass(frozen=True, kw_only=True, slots=True)
class FaxOrigin:
    """Where a document came from."""

    external_id: str
    number: str  # the sender's, E.164; "" if unknown
    our_number: str  # E.164; "" if unknown
    name: str  # of the file
    declared_media_type: str
    received_at: datetime
    sent_at: datetime | None = None
    failure: str = ""  # what broke off the transmission
    revises: str | None = None  # the notice that its pages were missing
    fields: Mapping[str, str] | None = None
    authenticity: tuple[AuthenticityResult, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedFax:
    """A fax ready to be registered."""

    envelope: AppealEnvelope
    contents: Contents


def build_envelope(
    document: PagedDocument, content: bytes, *, origin: FaxOrigin, raw: bytes, raw_media_type: str, connector: str
) -> DecodedFax:
    """Return the envelope and its bytes. `content` is the document, `raw` what came over the wire or lay in the spool.

    The text says in Russian and English what it is: nobody has read the pages yet; recognition does so later. A PDF is
    shown inline; a TIFF is kept as it came and shown by its `viewing_pdf`.
    """
    original = describe_attachment(
        _with_suffix(origin.name, document.media_type),
        origin.declared_media_type,
        content,
        inline=document.media_type == PDF,
    )
    contents = {original.sha256: content}
    attachments: tuple[Attachment, ...] = (original,)
    if document.viewing_pdf is not None:
        viewing = describe_attachment(f"{original.name}.pdf", PDF, document.viewing_pdf, inline=True)
        contents[viewing.sha256] = document.viewing_pdf
        attachments = (original, viewing)
    marks = document.marks + (("truncated",) if origin.failure and "truncated" not in document.marks else ())
    envelope = _envelope(
        origin,
        describe_fax(document.pages, origin.number, failure=origin.failure),
        raw=BlobRef.of(raw, raw_media_type),
        connector=connector,
    )
    envelope = envelope.model_copy(
        update={
            "subject": _subject(document.pages, origin.number),
            "attachments": attachments,
            "marks": marks,
            "recognise": True,
            "fields": {**envelope.fields, "pages": str(document.pages)},
        }
    )
    return DecodedFax(envelope=envelope, contents={**contents, envelope.raw.sha256: raw})


def build_notice(
    reason: str, content: bytes | None, *, origin: FaxOrigin, raw: bytes, raw_media_type: str, connector: str
) -> DecodedFax:
    """Return the envelope of a fax whose pages cannot be seen: an agent can call its sender.

    `content` is what came instead of pages, kept as a file; None: nothing came. Marked pages_unreadable or
    pages_missing.
    """
    envelope = _envelope(
        origin, describe_missing_pages(origin, reason), raw=BlobRef.of(raw, raw_media_type), connector=connector
    )
    contents = {envelope.raw.sha256: raw}
    attachments: tuple[Attachment, ...] = ()
    if content is not None:
        file = describe_attachment(origin.name, origin.declared_media_type, content)
        attachments, contents[file.sha256] = (file,), content
    whom = f" от {origin.number}" if origin.number else ""
    envelope = envelope.model_copy(
        update={
            "subject": f"Факс{whom} без страниц",
            "attachments": attachments,
            "marks": ("pages_missing" if content is None else "pages_unreadable",),
        }
    )
    return DecodedFax(envelope=envelope, contents=contents)


def _envelope(origin: FaxOrigin, text: str, *, raw: BlobRef, connector: str) -> AppealEnvelope:
    return AppealEnvelope(
        channel=Channel.FAX,
        connector=connector,
        external_id=origin.external_id,
        received_at=origin.received_at,
        sent_at=origin.sent_at,
        sender=_contact(origin.number),
        recipients=tuple(filter(None, (_contact(origin.our_number),))),
        text=text,
        clean_text=text,
        authenticity=origin.authenticity,
        revises=origin.revises,
        fields=dict(origin.fields or {}),
        raw=raw,
    )


def _with_suffix(name: str, media_type: str) -> str:
    suffixes = (".pdf",) if media_type == PDF else (".tif", ".tiff")
    return name if name.lower().endswith(suffixes) else name + suffixes[0]


def describe_fax(pages: int | None, number: str, *, failure: str = "") -> str:
    """Say in Russian and English that this is a fax, of how many pages (None: not counted) and from whom."""
    count_ru, count_en = (f", страниц: {pages},", f", pages: {pages},") if pages is not None else ("", "")
    lines = [
        f"Факс{count_ru} от {number or 'неизвестного номера'}. Текст на приложенных страницах.",
        f"Fax{count_en} from {number or 'an unknown number'}. The text is on the attached pages.",
    ]
    if failure:
        lines.append(f"Передача прервалась, страниц может не хватать: {failure}.")
        lines.append(f"The transmission broke off, pages may be missing: {failure}.")
    return "\n".join(lines)


def describe_missing_pages(origin: FaxOrigin, reason: str) -> str:
    """Say in Russian and English that a fax came whose pages nobody can see, and why."""
    moment = (origin.sent_at or origin.received_at).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"Факс {origin.external_id} от {origin.number or 'неизвестного номера'}, {moment}: страницы получить не "
        f"удалось ({reason}). Позвоните отправителю и попросите прислать ещё раз.\n"
        f"Fax {origin.external_id} from {origin.number or 'an unknown number'}, {moment}: its pages could not be "
        f"fetched ({reason}). Call the sender and ask for it again."
    )


def _subject(pages: int, number: str) -> str:
    whom = f" от {number}" if number else ""
    return f"Факс{whom}, страниц: {pages}"


def _contact(number: str) -> ContactPoint | None:
    return ContactPoint(kind=ContactPointKind.FAX, value=number) if number else None


def normalise_number(number: str, *, region: str | None = None) -> str:
    """Return `number` as E.164, or "" if it is no international number (withheld, "anonymous", an extension).

    Gateways write E.164 with or without its plus sign. With `region` (ISO 3166-1) a number without a country code is
    taken for one of that country: machines send what their owner typed in.
    """
    digits = re.sub(r"[\s().-]", "", number)
    bare = digits.removeprefix("+").isdecimal() and digits.isascii() and not digits.startswith("+")
    if bare and region is None:
        digits = f"+{digits}"
    return _as_e164(digits, region) or (_as_e164(f"+{digits}", None) if bare and region is not None else "")


def _as_e164(digits: str, region: str | None) -> str:
    try:
        parsed = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_possible_number(parsed):
        return ""
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def number_in_name(name: str) -> str:
    """Return the sender's number that a file name carries, as E.164, or "".

    The pattern: a plus sign and 7 to 15 digits, anywhere in the name: `+78121234567_20260801-1015.tif`,
    `fax-from-+4930123456.pdf`. Digits without a plus may as well be a date or a counter and are not believed.
    """
    match = re.search(rf"\+(\d{{{MIN_NUMBER_DIGITS},{MAX_NUMBER_DIGITS}}})(?!\d)", name, re.ASCII)
    return normalise_number(match.group(0)) if match else ""
