"""A mail's bytes to `ParsedMail`: everything the envelope needs, decoded and clean."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime

from appeals.envelope import MAX_SUBJECT_CHARS
from connectors.email.attachments import clean_media_type, clean_name, default_name, detect_media_type
from connectors.email.automatic import AutomaticKind, automatic_kind
from connectors.email.body_text import part_text
from connectors.email.external_id import external_id
from connectors.email.headers import Headers, MailAddress, parse_addresses, parse_date, parse_message_ids
from connectors.email.mime import MimePart, read_mime
from connectors.email.own_mail import names_own, own_message_id
from connectors.email.quotes import clean_text
from connectors.email.reports import MailReport, read_report

_BODY_TYPES = frozenset({"text/plain", "text/html"})
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_DELIVERY_FIELDS = ("delivered-to", "x-original-to", "envelope-to")  # where relays note the SMTP recipient


@dataclass(frozen=True, kw_only=True, slots=True)
class MailFile:
    """A file that came with a mail."""

    name: str
    declared_media_type: str
    detected_media_type: str
    inline: bool
    content: bytes


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
    text: str
    clean_text: str
    files: tuple[MailFile, ...]
    automatic: bool
    language: str | None  # from Content-Language
    report: MailReport | None = None  # what it says became of a mail of ours
    own_message_id: str | None = None  # it is our own mail coming back, sent under this id
    marks: tuple[str, ...] = ()  # see `AppealEnvelope.marks`


@dataclass(slots=True)
class _Body:
    """What a part and all below it give: texts in order and files."""

    texts: list[str] = field(default_factory=list)
    files: list[MailFile] = field(default_factory=list)
    has_html: bool = False

    @property
    def is_blank(self) -> bool:
        return not any(text.strip() for text in self.texts)

    def add(self, other: "_Body") -> None:
        self.texts += other.texts
        self.files += other.files
        self.has_html = self.has_html or other.has_html


def parse_mail(raw: bytes, *, mail_from: str | None = None) -> ParsedMail:
    """Return `raw` decoded. `mail_from`: sender of the SMTP envelope, "" for `<>`, None if not known.

    Anything that is remotely a mail can be parsed; raises DecodeError for what is nested or divided beyond reason.
    """
    root = read_mime(raw)
    headers = root.headers
    body = _read_part(root, is_root=True)
    text = (
        body.texts[0] if len(body.texts) == 1 else "\n\n".join(part.strip("\n") for part in body.texts if part.strip())
    )
    text = text.strip("\n")
    sender = next(iter(parse_addresses(headers.get_all("from"))), None)
    reply_to = next(iter(parse_addresses(headers.get_all("reply-to"))), None)
    in_reply_to = _references(headers)
    report = read_report(root, sender=sender, mail_from=mail_from)
    own_id = own_message_id(headers)
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
        subject=headers.text("subject")[:MAX_SUBJECT_CHARS].rstrip(),
        sent_at=parse_date(headers.get("date")),
        message_id=next(iter(parse_message_ids(headers.get("message-id"))), None),
        in_reply_to=in_reply_to,
        text=text,
        clean_text=clean_text(text),
        files=_numbered(body.files),
        automatic=kind is not None or report is not None or own_id is not None,
        language=_language(headers),
        report=report,
        own_message_id=own_id,
        marks=_origin_marks(kind, report, own_id),
    )


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


def _read_part(part: MimePart, *, is_root: bool = False) -> _Body:
    """Read a part and all below it."""
    if part.children:
        bodies = [_read_part(child) for child in part.children]
        if part.media_type == "multipart/alternative":
            return _choose(bodies)
        whole = _Body()
        for body in bodies:
            whole.add(body)
        return whole
    body = _Body()
    is_container = part.media_type.startswith("multipart/")  # declared, but without its parts: what is there is text
    if is_container or (part.media_type in _BODY_TYPES and _is_body(part, is_root=is_root)):
        body.texts.append(part_text(part))
        body.has_html = part.media_type == "text/html"
    else:
        body.files.append(_file(part))
    return body


def _is_body(part: MimePart, *, is_root: bool) -> bool:
    return part.disposition != "attachment" and (part.filename is None or is_root)


def _choose(bodies: list[_Body]) -> _Body:
    """Choose among alternatives (RFC 2046 §5.1.4): plain text if it says anything, else HTML. Files of all are kept."""
    chosen = next((body for body in bodies if not body.is_blank and not body.has_html), None)
    chosen = chosen or next((body for body in reversed(bodies) if not body.is_blank), _Body())
    files = [item for body in bodies for item in body.files]
    return _Body(texts=chosen.texts, files=files, has_html=chosen.has_html)


def _file(part: MimePart) -> MailFile:
    declared = clean_media_type(part.media_type)
    is_embedded = part.disposition is None and "content-id" in part.headers
    return MailFile(
        name=clean_name(part.filename),
        declared_media_type=declared,
        detected_media_type=detect_media_type(part.content),
        inline=part.disposition == "inline" or is_embedded,
        content=part.content,
    )


def _numbered(files: list[MailFile]) -> tuple[MailFile, ...]:
    """Give the files without a name one that says which they are."""
    return tuple(
        item if item.name else replace(item, name=default_name(item.declared_media_type, index=index))
        for index, item in enumerate(files, start=1)
    )
