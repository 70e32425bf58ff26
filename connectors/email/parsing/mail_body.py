"""The parts of a mail sorted: what is text, what is a file, which HTML is shown, and what must be said about them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from connectors.email.parsing.attachments import clean_media_type, clean_name, default_name, detect_media_type
from connectors.email.parsing.body_text import BodyText, html_view, read_text
from connectors.email.parsing.calendar_event import MEDIA_TYPES as CALENDAR_TYPES
from connectors.email.parsing.calendar_event import CalendarEvent, read_calendar
from connectors.email.parsing.headers import Headers, parse_message_ids
from connectors.email.parsing.html_view import DataImage
from connectors.email.parsing.mime import MimePart, read_mime
from connectors.email.parsing.protection import SMIME_SIGNED, SMIME_TYPES, protection_of, signed_content
from connectors.email.parsing.tnef import TnefMessage, is_tnef, read_tnef

CALENDAR, WINMAIL, TRUNCATED = "calendar", "winmail", "truncated"
MAX_FILES = 1000  # of one mail, those unpacked included
MAX_SIGNED_DEPTH = 3  # of opaquely signed messages in one another

_TNEF_TYPES = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
_OTHER_VIEWS = frozenset({"text/x-amp-html", "text/watch-html"})  # the same text again, for machines we are not
_READ_IF_ALONE = frozenset({"text/plain", "text/html"})  # named, but shown within the mail
_TEXT_FILES = frozenset(  # text/*, but not to be read as the letter
    {
    "text/calendar", "text/vcard", "text/x-vcard", "text/directory", "text/csv", "text/xml", "text/css",
    "text/javascript", "text/rtf", "text/rfc822-headers", "text/tab-separated-values",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class MailFile:
    """A file that came with a mail."""

    name: str
    declared_media_type: str
    detected_media_type: str
    inline: bool
    content: bytes
    content_id: str | None = None  # what `cid:` in the HTML calls it, without angle brackets


@dataclass(slots=True)
class MailBody:
    """What a part and all below it give."""

    texts: list[str] = field(default_factory=list)  # all of it, in order
    typed: list[str] = field(default_factory=list)  # the same without signatures that its mailer marks
    views: list[str] = field(default_factory=list)  # cleaned HTML
    files: list[MailFile] = field(default_factory=list)
    marks: dict[str, None] = field(default_factory=dict)  # a set that keeps its order
    events: list[CalendarEvent] = field(default_factory=list)
    reserve: list[BodyText] = field(default_factory=list)  # of a winmail.dat or a named part: if nothing else is said
    has_html_text: bool = False  # the texts were made from HTML
    truncated: bool = False

    @property
    def is_blank(self) -> bool:
        """Tell whether it says nothing."""
        return not any(text.strip() for text in self.texts)

    def add(self, other: "MailBody", *, with_text: bool = True) -> None:
        """Add what another part gave. `with_text`: its texts as well, not only its files and marks."""
        if with_text:
            self.texts += other.texts
            self.typed += other.typed
            self.has_html_text = self.has_html_text or other.has_html_text
        self.views += other.views
        self.files += other.files[: MAX_FILES - len(self.files)]
        self.marks.update(other.marks)
        self.reserve += other.reserve
        self.events += other.events
        self.truncated = self.truncated or other.truncated

    def add_view(self, html: str | None, images: Iterable[DataImage]) -> None:
        """Add HTML that is shown, and the images that stood in it."""
        self.views += [html] if html else []
        self.files += [_data_image(item) for item in images]

    def add_text(self, read: BodyText) -> None:
        """Add a text part, and what stood in it."""
        self.texts.append(read.text)
        self.typed.append(read.typed)
        self.add_view(read.html, read.images)
        self.files += [_unpacked(item.name, item.content) for item in read.files]
        self.truncated = self.truncated or read.truncated


def read_body(root: MimePart) -> MailBody:
    """Sort the parts of a mail. Total; files have names, text is clean."""
    body = _read(root, is_root=True)
    for read in body.reserve:
        if body.is_blank:
            body.add_text(read)
        elif read.html and not body.views:
            body.add_view(read.html, read.images)
    if root.truncated or body.truncated or len(body.files) > MAX_FILES:
        body.marks[TRUNCATED] = None
    body.files = _numbered(body.files[:MAX_FILES])
    return body


def _read(part: MimePart, *, is_root: bool = False, needs_text: bool = True, depth: int = 0) -> MailBody:
    """Read a part and all below it. `needs_text`: False if its text is known from an alternative."""
    if part.children:
        if part.media_type == "multipart/alternative":
            body = _read_alternatives(part, needs_text=needs_text, depth=depth)
        else:
            body = MailBody()
            for child in part.children:
                body.add(_read(child, needs_text=needs_text, depth=depth))
    else:
        body = _read_leaf(part, is_root=is_root, needs_text=needs_text, depth=depth)
    mark = protection_of(part) if "/" in part.media_type and part.media_type[:5] != "text/" else None
    if mark:
        body.marks[mark] = None
    return body


def _read_alternatives(part: MimePart, *, needs_text: bool, depth: int) -> MailBody:
    """Choose among alternatives (RFC 2046 §5.1.4): plain text if it says anything, else HTML; that is always shown.

    Files and marks of all are kept: mailers put attachments into either.
    """
    bodies: list[MailBody] = []
    has_plain = False
    for child in part.children:
        if child.media_type in _OTHER_VIEWS:
            continue
        body = _read(child, needs_text=needs_text and not has_plain, depth=depth)
        has_plain = has_plain or not (body.is_blank or body.has_html_text)
        bodies.append(body)
    chosen = next((body for body in bodies if not body.is_blank and not body.has_html_text), None)
    chosen = chosen or next((body for body in reversed(bodies) if not body.is_blank), None)
    whole = MailBody()
    for body in bodies:
        whole.add(body, with_text=body is chosen)
    return whole


def _read_leaf(part: MimePart, *, is_root: bool, needs_text: bool, depth: int) -> MailBody:
    body = MailBody()
    kind = part.media_type
    if _is_text(part, is_root=is_root):
        if kind == "text/html" and not needs_text:
            body.add_view(*html_view(part))
        else:
            body.add_text(read_text(part))
            body.has_html_text = kind == "text/html"
        return body
    if kind in _TNEF_TYPES or is_tnef(part.content):
        return _read_winmail(part)
    if kind in CALENDAR_TYPES or (part.filename or "").lower().endswith(".ics"):
        body.events += read_calendar(part.content, part.charset)
        body.marks[CALENDAR] = None
    elif kind in SMIME_TYPES and depth < MAX_SIGNED_DEPTH and protection_of(part) == SMIME_SIGNED:
        signed = signed_content(part.content)
        if signed:
            body = _read(read_mime(signed), is_root=True, depth=depth + 1)
    elif kind in _READ_IF_ALONE and part.disposition != "attachment":
        body.reserve.append(read_text(part))
    body.files.append(_file(part))
    return body


def _is_text(part: MimePart, *, is_root: bool) -> bool:
    """Tell whether a leaf is part of the letter, not a file beside it."""
    kind = part.media_type
    if kind.startswith("multipart/"):  # declared, but without its parts: what is there is text
        return True
    if not kind.startswith("text/") or kind in _TEXT_FILES or part.disposition == "attachment":
        return False
    return is_root or part.filename is None


def _file(part: MimePart) -> MailFile:
    content_id = _content_id(part.headers)
    return MailFile(
        name=clean_name(part.filename),
        declared_media_type=clean_media_type(part.media_type),
        detected_media_type=detect_media_type(part.content),
        inline=part.disposition == "inline" or (part.disposition is None and content_id is not None),
        content=part.content,
        content_id=content_id,
    )


def _content_id(headers: Headers) -> str | None:
    return next(iter(parse_message_ids(headers.get("content-id"))), None) if "content-id" in headers else None


def _data_image(item: DataImage) -> MailFile:
    return _unpacked("", item.content, declared=item.media_type, content_id=item.content_id)


def _unpacked(
    name: str, content: bytes, *, declared: str = "application/octet-stream", content_id: str | None = None
) -> MailFile:
    return MailFile(
        name=clean_name(name),
        declared_media_type=clean_media_type(declared),
        detected_media_type=detect_media_type(content),
        inline=content_id is not None,
        content=content,
        content_id=content_id,
    )


def _read_winmail(part: MimePart) -> MailBody:
    """Unpack a winmail.dat; one that cannot be read is kept as the file it is."""
    body = MailBody()
    body.marks[WINMAIL] = None
    message = read_tnef(part.content)
    if message is None:
        body.files.append(_file(part))
        return body
    for item in message.files:
        content_id = next(iter(parse_message_ids(item.content_id)), None)
        body.files.append(_unpacked(item.name, item.content, declared=item.media_type, content_id=content_id))
    body.reserve += _winmail_text(part, message)
    return body


def _winmail_text(part: MimePart, message: TnefMessage) -> Iterator[BodyText]:
    text = message.text
    if message.html:
        page = replace(part, media_type="text/html", content=message.html, charset=message.html_charset, flowed=False)
        read = read_text(page)
        yield replace(read, text=text, typed=text) if text.strip() else read
    elif text.strip():
        yield BodyText(text=text, typed=text)


def _numbered(files: Iterable[MailFile]) -> list[MailFile]:
    """Give the files without a name one that says which they are."""
    return [
        item if item.name else replace(item, name=default_name(item.declared_media_type, index=index))
        for index, item in enumerate(files, start=1)
    ]
