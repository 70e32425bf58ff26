"""What every connector needs to take a stranger's text and files in safely."""

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

import puremagic

from appeals.envelope import Attachment

OCTET_STREAM = "application/octet-stream"
PLAIN_TEXT = "text/plain"
FALLBACK_NAME = "attachment"
MAX_NAME_BYTES = 200  # file systems take 255; this leaves room for a prefix of ours
MAX_SUFFIX_CHARS = 16
SURE_CONFIDENCE = 0.4  # puremagic: four bytes matched; below it a text that begins with "BM" would be a bitmap
TEXT_SAMPLE_BYTES = 64 * 1024

_ZIP_MAGIC = b"PK\x03\x04"
_ZIP_MIMETYPE_OFFSET = 30  # OpenDocument 1.3 part 2 §3.3: an uncompressed first entry "mimetype" without extra field
_ZIP_KINDS = (  # names in a ZIP are never compressed, so one search tells the office formats apart
    (b"word/document.xml", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    (b"xl/workbook.", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    (b"ppt/presentation.xml", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    (b"META-INF/MANIFEST.MF", "application/java-archive"),
)
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")  # RFC 6838 §4.2
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_UNSAFE_IN_NAMES = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]')


def clean_text(text: str) -> str:
    """Return `text` without what PostgreSQL or JSON readers refuse.

    NUL and the other control characters but tab, line feed and carriage return are removed; a lone surrogate becomes
    U+FFFD, so that a reader sees that something was there; a split surrogate pair is joined. Idempotent.
    """
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _CONTROLS.sub("", text)


def clean_file_name(name: str) -> str:
    """Return a base name safe to show and to save under: no folders, control or direction-changing characters.

    NFC, at most MAX_NAME_BYTES of UTF-8 with the extension kept; FALLBACK_NAME if nothing is left. Idempotent.
    """
    base = clean_text(name).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    base = unicodedata.normalize("NFC", _UNSAFE_IN_NAMES.sub("", base))
    return _fit(" ".join(base.split()).strip(" .")) or FALLBACK_NAME


def _fit(base: str) -> str:
    if len(base.encode()) <= MAX_NAME_BYTES:
        return base
    suffix = PurePosixPath(base).suffix
    suffix = suffix if len(suffix) <= MAX_SUFFIX_CHARS else ""
    room = MAX_NAME_BYTES - len(suffix.encode())
    return base.removesuffix(suffix).encode()[:room].decode(errors="ignore").rstrip(" .") + suffix


def clean_media_type(media_type: str) -> str:
    """Return a declared media type in lower case without parameters; OCTET_STREAM if it is none (RFC 6838 §4.2)."""
    bare = media_type.partition(";")[0].strip().lower()
    return bare if _MEDIA_TYPE.fullmatch(bare) else OCTET_STREAM


def detect_media_type(content: bytes) -> str:
    """Return the media type that the bytes themselves show; OCTET_STREAM if they show none. Names are not asked."""
    if content.startswith(_ZIP_MAGIC):
        return _detect_in_zip(content)
    sample = content[:TEXT_SAMPLE_BYTES]
    try:
        best = puremagic.magic_string(content)[0]
    except (puremagic.PureError, ValueError):  # ValueError: no bytes at all
        return PLAIN_TEXT if _is_text(sample) else OCTET_STREAM
    if best.confidence < SURE_CONFIDENCE and _is_text(sample):
        return PLAIN_TEXT
    return clean_media_type(best.mime_type)


def _detect_in_zip(content: bytes) -> str:
    if content[_ZIP_MIMETYPE_OFFSET:].startswith(b"mimetypeapplication/"):
        declared = content[_ZIP_MIMETYPE_OFFSET + 8 :][:120].partition(b"PK")[0]
        return clean_media_type(declared.decode("ascii", "replace"))
    return next((media_type for mark, media_type in _ZIP_KINDS if mark in content), "application/zip")


def _is_text(sample: bytes) -> bool:
    try:
        text = sample.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(sample) - 3:  # else the sample cut a character in two
            return False
        text = sample[: error.start].decode("utf-8")
    return bool(text) and not _CONTROLS.search(text)


def describe_attachment(name: str, declared_media_type: str, content: bytes, *, inline: bool = False) -> Attachment:
    """Return the record of one attached file; hand its bytes to the intake as `{attachment.sha256: content}`.

    `name` and `declared_media_type` are as the sender gave them and are cleaned here; `inline` as in `Attachment`.
    """
    return Attachment(
        name=clean_file_name(name),
        declared_media_type=clean_media_type(declared_media_type),
        detected_media_type=detect_media_type(content),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        inline=inline,
    )
