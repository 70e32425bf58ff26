"""Attachments: a name safe to show and to save, and the media type that the content has."""

import re
import unicodedata

from connectors import media
from connectors.email.parsing.charsets import clean_line
from connectors.email.parsing.headers import decode_header_text

MAX_NAME_CHARS = 200  # file systems take 255 bytes; letters of two bytes and an ending must fit
MAX_TYPE_CHARS = 127  # RFC 6838 §4.2: names are of 127 characters at most
SNIFF_BYTES = 64 * 1024
_SIGNATURES = (  # what most files of citizens begin with: puremagic takes a millisecond for its whole table
    (b"%PDF-", "application/pdf"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_TEXT_KINDS = re.compile(rb"\s*(?:[<{%#]|BEGIN:)")  # a text that may be of a kind of its own
_MAIL = re.compile(
    rb"(?:Return-Path|Received|Delivered-To|From|To|Message-ID|MIME-Version|Date|Subject|X-[\w-]+):", re.IGNORECASE
)
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
_DIRECTION_MARKS = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")  # hide or reverse "exe.jpg"
_NOT_IN_NAMES = re.compile(r'[<>:"|?*\x00-\x1f]')
_EXTENSIONS = {
    "message/rfc822": ".eml",
    "text/calendar": ".ics",
    "text/html": ".html",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "image/jpeg": ".jpg",
    "image/jpg": ".jpg",
    "image/gif": ".gif",
    "text/rfc822-headers": ".txt",
    "image/png": ".png",
    "application/pdf": ".pdf",
    "application/pgp-signature": ".asc",
    "message/delivery-status": ".txt",
}


def default_name(media_type: str, *, index: int) -> str:
    """Return the name of a file that came without one."""
    return f"attachment-{index}{_EXTENSIONS.get(media_type, '')}"


def clean_name(raw: str | None) -> str:
    """Return a base name: no folders, no control or direction characters; empty if nothing is left."""
    text = "" if raw is None else decode_header_text(raw)
    text = unicodedata.normalize("NFC", _DIRECTION_MARKS.sub("", clean_line(text)))
    text = _NOT_IN_NAMES.sub("_", text.replace("\\", "/").rpartition("/")[2]).strip(" .")
    if len(text) > MAX_NAME_CHARS:
        stem, dot, ending = text.rpartition(".")
        ending = dot + ending if stem and len(ending) <= 10 else ""  # noqa: PLR2004 - longer is no file ending
        text = text[: MAX_NAME_CHARS - len(ending)] + ending
    return text


def clean_media_type(declared: str) -> str:
    """Return the declared media type, or application/octet-stream if it is none."""
    text = declared.strip().lower()
    return text if len(text) <= MAX_TYPE_CHARS and _MEDIA_TYPE.fullmatch(text) else "application/octet-stream"


def detect_media_type(content: bytes) -> str:
    """Return the media type by content alone; text/plain for what reads as text, else application/octet-stream."""
    for signature, media_type in _SIGNATURES:
        if content.startswith(signature):
            return media_type
    if content and _TEXT_KINDS.match(content) is None and _is_text(content[:SNIFF_BYTES]):
        return "message/rfc822" if _MAIL.match(content) else "text/plain"
    return media.detect_media_type(content)


def _is_text(head: bytes) -> bool:
    """Tell whether bytes read as text: UTF-8 (a letter may be cut at the end) without control characters."""
    if re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", head):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True
