"""A mail's bytes to `ParsedMail`: everything the envelope needs, decoded and clean."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from appeals.envelope import MAX_SUBJECT_CHARS
from connectors.email.external_id import external_id
from connectors.email.parsing.calendar_event import is_russian
from connectors.email.parsing.headers import Headers, MailAddress, parse_addresses, parse_date, parse_message_ids
from connectors.email.parsing.mail_body import MailBody, MailFile, read_body
from connectors.email.parsing.mime import read_mime
from connectors.email.parsing.protection import read_armour
from connectors.email.parsing.quotes import clean_text
from connectors.email.reports.automatic import AutomaticKind, automatic_kind
from connectors.email.reports.mail_reports import MailReport, read_report
from connectors.email.reports.own_mail import names_own, own_message_id

__all__ = ["MailFile", "ParsedMail", "parse_mail"]

_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_DELIVERY_FIELDS = ("delivered-to", "x-original-to", "envelope-to")  # where relays note the SMTP recipient


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedMail:
    """One mail, decoded. No string holds NUL, control characters (but line ends in the texts) or lone surrogates."""

    external_id: str
    sender: MailAddress | None
    reply_to: MailAddress | None  # None if answers go to the sender
    recipients: tuple[MailAddress, ...]  # To, then Cc
    delivered_to: tuple[MailAddress, ...]  # what relays noted as SMTP recipients
    subject: str
    sent_at: datetime | None
    message_id: str | None  # without angle brackets, as all ids
    in_reply_to: tuple[str, ...]  # nearest first: In-Reply-To, then References from its end
    text: str  # all of it as sent, HTML laid out
    clean_text: str  # what was typed
    html: str | None  # cleaned, a fragment for a `<body>`; images by `cid:` alone
    files: tuple[MailFile, ...]
    fields: Mapping[str, str]  # of an invitation: event_summary, event_start, event_end, event_location, …
    automatic: bool
    language: str | None  # from Content-Language
    report: MailReport | None = None  # what it says became of a mail of ours
    own_message_id: str | None = None  # it is our own mail coming back, sent under this id
    marks: tuple[str, ...] = ()  # see `AppealEnvelope.marks`


def parse_mail(raw: bytes, *, mail_from: str | None = None, own_domain: str | None = None) -> ParsedMail:
    """Return `raw` decoded.

    `mail_from`: sender of the SMTP envelope, "" for `<>`, None if not known; `own_domain`: of our message ids.
    Total: any bytes are a mail of some sort. What is nested, divided or long beyond reason is read up to the limits
    and marked `truncated`. The same bytes give the same result.
    """
    root = read_mime(raw)
    headers = root.headers
    body = read_body(root)
    sender = next(iter(parse_addresses(headers.get_all("from"))), None)
    reply_to = next(iter(parse_addresses(headers.get_all("reply-to"))), None)
    in_reply_to = _references(headers)
    report = read_report(root, sender=sender, mail_from=mail_from)
    own_id = own_message_id(headers, domain=own_domain)
    subject = headers.text("subject")[:MAX_SUBJECT_CHARS].rstrip()
    texts = _texts(body, subject=subject, is_reply=bool(in_reply_to))
    kind = automatic_kind(
        headers,
        media_type=root.media_type,
        sender=sender.address if sender else None,
        mail_from=mail_from,
        answers_us=names_own(in_reply_to),
    )
    return ParsedMail(
        external_id=external_id(raw, headers),
        sender=sender,
        reply_to=None if reply_to is None or (sender and reply_to.address == sender.address) else reply_to,
        recipients=parse_addresses((*headers.get_all("to"), *headers.get_all("cc"))),
        delivered_to=parse_addresses(value for name in _DELIVERY_FIELDS for value in headers.get_all(name)),
        subject=subject,
        sent_at=parse_date(headers.get("date")),
        message_id=next(iter(parse_message_ids(headers.get("message-id"))), None),
        in_reply_to=in_reply_to,
        text=texts.text,
        clean_text=texts.clean_text,
        html="<hr>\n".join(body.views) or None,
        files=tuple(body.files),
        fields=body.events[0].to_fields() if body.events else {},
        automatic=kind is not None or report is not None or own_id is not None,
        language=_language(headers),
        report=report,
        own_message_id=own_id,
        marks=(*_origin_marks(kind, report, own_id), *texts.marks, *body.marks),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Texts:
    """The text of a mail in its two views."""

    text: str
    clean_text: str
    marks: tuple[str, ...]


def _texts(body: MailBody, *, subject: str, is_reply: bool) -> _Texts:
    """Join the text parts, clean what was typed, and add what an invitation says."""
    text = _joined(body.texts)
    typed, mark = read_armour(text if body.typed == body.texts else _joined(body.typed))
    cleaned = clean_text(typed, subject=subject, is_reply=is_reply) or clean_text(text, subject=subject)
    if body.events:
        russian = is_russian(f"{subject} {text} {body.events[0].summary}")
        block = "\n\n".join(event.to_text(russian=russian) for event in body.events)
        text, cleaned = (f"{part}\n\n{block}" if part else block for part in (text, cleaned))
    marks = () if mark is None or mark in body.marks else (mark,)
    return _Texts(text=text, clean_text=cleaned, marks=marks)


def _joined(texts: list[str]) -> str:
    if len(texts) == 1:
        return texts[0].strip("\n")
    return "\n\n".join(part.strip("\n") for part in texts if part.strip()).strip("\n")


def _origin_marks(kind: AutomaticKind | None, report: MailReport | None, own_id: str | None) -> tuple[str, ...]:
    """Return the one mark that says why no person wrote this; nothing for a person's mail."""
    if own_id is not None:
        return ("own_mail",)
    if report is not None:
        return (report.mark,)
    return (kind.value,) if kind is not None else ()


def _references(headers: Headers) -> tuple[str, ...]:
    nearest = parse_message_ids(headers.get("in-reply-to"))
    if "references" not in headers:
        return nearest
    return tuple(dict.fromkeys((*nearest, *reversed(parse_message_ids(headers.get("references"))))))


def _language(headers: Headers) -> str | None:
    tag = (headers.get("content-language") or "").partition(",")[0].strip()
    return tag if _LANGUAGE_TAG.fullmatch(tag) else None
