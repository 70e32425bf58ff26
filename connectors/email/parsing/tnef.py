"""winmail.dat: Outlook's own wrapping of text and files (TNEF, [MS-OXTNEF]), unpacked.

Our own reader: tnefparse has had no release since 2021, is LGPL, loses zeros at the end of files, gives up at a file
name that is no UTF-8, and loops four thousand million times where a damaged count tells it to.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from connectors.email.parsing.charsets import clean_block, decode_text
from connectors.email.parsing.rtf import rtf_text

SIGNATURE = b"\x78\x9f\x3e\x22"
MAX_FILES = 200
MAX_DEPTH = 3  # of messages embedded in messages
MAX_PROPERTIES = 2000  # of one list; Outlook writes some dozens
MAX_VALUES = 2000  # of one property

# Attributes: type in the upper half, id in the lower one ([MS-OXTNEF] §2.1.3.2).
_BODY, _MESSAGE_PROPERTIES, _CODE_PAGE = 0x0002800C, 0x00069003, 0x00069007
_NEW_ATTACHMENT, _ATTACHMENT_TITLE, _ATTACHMENT_DATA = 0x00069002, 0x00018010, 0x0006800F
_ATTACHMENT_PROPERTIES = 0x00069005
# Property ids ([MS-OXPROPS]).
_TEXT, _RTF, _HTML, _INTERNET_CODE_PAGE = 0x1000, 0x1009, 0x1013, 0x3FDE
_DATA, _FILE_NAME, _METHOD, _LONG_FILE_NAME = 0x3701, 0x3704, 0x3705, 0x3707
_MEDIA_TYPE, _CONTENT_ID = 0x370E, 0x3712
# Property types.
_STRING, _UNICODE, _OBJECT, _BINARY, _MULTIPLE = 0x001E, 0x001F, 0x000D, 0x0102, 0x1000
_VARIABLE = frozenset({_STRING, _UNICODE, _OBJECT, _BINARY})
_FIXED_BYTES = {2: 4, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 0xA: 4, 0xB: 4, 0x14: 8, 0x40: 8, 0x48: 16}
_NAMED = 0x8000
_IID_BYTES = 16  # before an embedded object: which interface wrote it


@dataclass(kw_only=True, slots=True)
class TnefFile:
    """One file in it."""

    name: str = ""  # as it stands there
    media_type: str = "application/octet-stream"
    content_id: str = ""
    content: bytes = b""


@dataclass(kw_only=True, slots=True)
class TnefMessage:
    """What a winmail.dat holds."""

    text: str = ""
    html: bytes = b""
    html_charset: str | None = None
    files: list[TnefFile] = field(default_factory=list)


class _DamagedError(ValueError):
    """The rest cannot be read."""


def is_tnef(content: bytes) -> bool:
    """Tell whether the bytes begin as TNEF does."""
    return content.startswith(SIGNATURE)


def read_tnef(content: bytes, *, depth: int = 0) -> TnefMessage | None:
    """Return what can be read of a winmail.dat; None if it is none, or nothing can. Total, linear in its length."""
    if not is_tnef(content):
        return None
    message = TnefMessage()
    charset = "cp1252"
    rtf = b""
    files: list[TnefFile] = []
    for attribute, data in _attributes(content):
        if attribute == _CODE_PAGE and len(data) >= 4:  # noqa: PLR2004 - one integer
            charset = _charset(data) or charset
        elif attribute == _BODY:
            message.text = message.text or _string(data, charset)
        elif attribute == _MESSAGE_PROPERTIES:
            rtf = _read_message(message, data, charset) or rtf
        elif attribute == _NEW_ATTACHMENT:
            if len(files) >= MAX_FILES:
                break
            files.append(TnefFile())
        elif files:
            _read_attachment(message, files[-1], attribute, data, charset=charset, depth=depth)
    message.files = [file for file in files if file.content or file.name] + message.files
    if not message.text and not message.html and rtf:
        message.text = rtf_text(rtf)
    return message if message.files or message.text.strip() or message.html else None


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each attribute's id and data; stops at the first that does not fit. Checksums are not looked at."""
    position = 6
    while position + 9 <= len(content):
        attribute, length = struct.unpack_from("<II", content, position + 1)
        start = position + 9
        if start + length > len(content):
            return
        yield attribute, content[start : start + length]
        position = start + length + 2


def _read_message(message: TnefMessage, data: bytes, charset: str) -> bytes:
    """Take text and HTML out of the message's properties; returns its RTF, as compressed as it is."""
    rtf = b""
    internet: str | None = None
    for name, kind, value in _properties(data):
        if name == _TEXT:
            message.text = _string(value, "utf-16-le" if kind == _UNICODE else charset)
        elif name == _HTML:
            message.html = (
                value.rstrip(b"\0") if kind != _UNICODE else _string(value, "utf-16-le").encode("utf-8", "replace")
            )
        elif name == _RTF:
            rtf = value
        elif name == _INTERNET_CODE_PAGE:
            internet = _charset(value)
    message.html_charset = internet
    return rtf


def _read_attachment(
    message: TnefMessage, file: TnefFile, attribute: int, data: bytes, *, charset: str, depth: int
) -> None:
    if attribute == _ATTACHMENT_TITLE:
        file.name = file.name or _string(data, charset)
    elif attribute == _ATTACHMENT_DATA:
        file.content = data
    elif attribute == _ATTACHMENT_PROPERTIES:
        for name, kind, value in _properties(data):
            if name == _DATA:
                _read_data(message, file, value, is_object=kind == _OBJECT, depth=depth)
            elif kind in {_STRING, _UNICODE}:
                _read_string(file, name, _string(value, "utf-16-le" if kind == _UNICODE else charset))


def _read_string(file: TnefFile, name: int, text: str) -> None:
    if name == _LONG_FILE_NAME and text:
        file.name = text
    elif name == _FILE_NAME:
        file.name = file.name or text
    elif name == _MEDIA_TYPE and text:
        file.media_type = text
    elif name == _CONTENT_ID:
        file.content_id = text


def _read_data(message: TnefMessage, file: TnefFile, value: bytes, *, is_object: bool, depth: int) -> None:
    """Keep a file's bytes; of a message embedded in this one, its text and files."""
    inner = value[_IID_BYTES:] if is_object else value
    embedded = read_tnef(inner, depth=depth + 1) if is_object and depth < MAX_DEPTH and is_tnef(inner) else None
    if embedded is None:
        file.content = inner
        return
    file.media_type = "text/html" if embedded.html else "text/plain"
    file.content = embedded.html or embedded.text.encode("utf-8")
    message.files += embedded.files[: MAX_FILES - len(message.files)]


def _properties(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield id, type and first value of each property; stops at the first that does not fit ([MS-OXTNEF] §2.1.3.4)."""
    try:
        count = _integer(data, 0)
        position = 4
        for _ in range(min(count, MAX_PROPERTIES)):
            kind, name = struct.unpack_from("<HH", data, position)
            position += 4
            if name >= _NAMED:
                position = _after_name(data, position)
            value, position = _value(data, position, kind)
            yield name, kind & ~_MULTIPLE, value
    except (struct.error, _DamagedError):
        return


def _after_name(data: bytes, position: int) -> int:
    """Return where a named property's value begins: after its GUID, and its number or name."""
    kind = _integer(data, position + 16)
    if kind == 0:
        return position + 24
    return position + 24 + _padded(_integer(data, position + 20))


def _value(data: bytes, position: int, kind: int) -> tuple[bytes, int]:
    """Return the first value of a property, and where the next property begins."""
    base = kind & ~_MULTIPLE
    count = 1
    if kind & _MULTIPLE or base in _VARIABLE:
        count = _integer(data, position)
        position += 4
    if count > MAX_VALUES:
        raise _DamagedError
    first = b""
    for index in range(count):
        length = _FIXED_BYTES.get(base, -1)
        if base in _VARIABLE:
            length = _integer(data, position)
            position += 4
        if length < 0 or position + length > len(data):
            raise _DamagedError
        if index == 0:
            first = data[position : position + length]
        position += _padded(length)
    return first, position


def _integer(data: bytes, position: int) -> int:
    number: int = struct.unpack_from("<I", data, position)[0]
    return number


def _padded(length: int) -> int:
    return (length + 3) & ~3


def _charset(data: bytes) -> str | None:
    """Return the charset of a Windows code page number; None if there is none."""
    if len(data) < 4:  # noqa: PLR2004 - one integer
        return None
    page = _integer(data, 0)
    known = {65001: "utf-8", 20127: "ascii", 20866: "koi8-r", 21866: "koi8-u", 28591: "iso-8859-1", 28595: "iso-8859-5"}
    return known.get(page) or (f"cp{page}" if 0 < page <= 1361 else None)  # noqa: PLR2004 - Johab, the last that Python has


def _string(data: bytes, charset: str) -> str:
    if charset == "utf-16-le":
        return clean_block(data.decode("utf-16-le", "replace").rstrip("\0"))
    return clean_block(decode_text(data.rstrip(b"\0"), charset))
