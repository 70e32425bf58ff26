"""MIME structure: bytes to a tree of parts with their transfer encoding undone.

Two readers build the same tree: a short one for the plain single-part mails that make up most of the traffic, and the
standard library's for everything else. The short one gives up (returns None) at the first thing that is not plain and
well-formed; that both agree is tested over whole corpora.
"""

import binascii
import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Any

from appeals.errors import DecodeError
from connectors.email.headers import Headers, decode_raw

MAX_PARTS = 1000  # a mail of more is an attack on the parser, not a letter
MAX_BOUNDARY_LINES = 10 * MAX_PARTS  # lines that begin with "--": the standard library makes a part of each at worst
MAX_HEADER_BYTES = 256 * 1024  # relays commonly refuse more than 100 KiB
MAX_DEPTH = 50  # nesting of multiparts and forwarded mails

# RFC 5322 §2.2: name, colon, printable or 8-bit text; folded lines begin with a space. CR and LF only as a pair, or
# LF alone (mail taken from a file). NUL and other control characters make it a case for the standard library.
_FIELD = rb"[!-9;-~]+:[\t\x20-\x7e\x80-\xff]*(?:\r?\n[\t ][\t\x20-\x7e\x80-\xff]*)*\r?\n"
_HEADER_BLOCK = re.compile(rb"(?:" + _FIELD + rb")+\r?\n")
_HEADER_END = re.compile(rb"\n\r?\n|\A\r?\n")
_FIELD_SPLIT = re.compile(r"([!-9;-~]+):[ \t]*([^\r\n]*(?:\r?\n[\t ][^\r\n]*)*)\r?\n")
_PLAIN_TYPE = re.compile(
    r"\s*(text/(?:plain|html))\s*((?:;\s*(?:charset|format|delsp|reply-type)=(?:\"[\w.:-]+\"|[\w.:-]+)\s*)*);?\s*",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r"([a-z-]+)=\"?([\w.:-]+)\"?", re.IGNORECASE)
_IDENTITY_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})
_UTF8_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, slots=True)
class MimePart:
    """One part: a leaf with `content`, or a container with `children`."""

    headers: Headers
    media_type: str  # as declared, lower case; text/plain if there is none
    charset: str | None = None
    filename: str | None = None  # raw: RFC 2231 undone, encoded words not decoded
    disposition: str | None = None  # attachment, inline, or None
    flowed: bool = False  # RFC 3676: format=flowed
    delsp: bool = False  # RFC 3676 §4.1: the trailing space is no part of the text
    content: bytes = b""
    children: tuple["MimePart", ...] = ()


def read_mime(raw: bytes) -> MimePart:
    """Return the message as a tree. Raises DecodeError if its header, its parts or their nesting are beyond reason."""
    if len(raw) > MAX_HEADER_BYTES and _HEADER_END.search(raw, 0, MAX_HEADER_BYTES) is None:
        raise DecodeError(f"the header is longer than {MAX_HEADER_BYTES} bytes", data=raw)
    return read_plain(raw) or read_any(raw)


def read_plain(raw: bytes) -> MimePart | None:
    """Read a well-formed single-part text mail; None if this is not one."""
    block = _HEADER_BLOCK.match(raw)
    if block is None:
        return None
    values: dict[str, list[str]] = {}
    for name, value in _FIELD_SPLIT.findall(raw[: block.end()].decode("ascii", "surrogateescape")):
        values.setdefault(name.lower(), []).append(value)
    if "content-disposition" in values or len(values.get("content-transfer-encoding", ())) > 1:
        return None
    types = values.get("content-type", ["text/plain"])
    declared = _PLAIN_TYPE.fullmatch(types[0])
    if declared is None or len(types) > 1:
        return None
    encoding = values.get("content-transfer-encoding", [""])[0].strip().lower()
    content = _decode_transfer(raw[block.end() :], encoding)
    if content is None:
        return None
    parameters = {name.lower(): value.lower() for name, value in reversed(_PARAMETER.findall(declared[2]))}
    return MimePart(
        headers=Headers(values),
        media_type=declared[1].lower(),
        charset=parameters.get("charset"),
        flowed=parameters.get("format") == "flowed",
        delsp=parameters.get("delsp") == "yes",
        content=content,
    )


def _decode_transfer(body: bytes, encoding: str) -> bytes | None:
    """Undo a transfer encoding (RFC 2045 §6); None if it is unknown or the bytes break its rules."""
    if encoding in _IDENTITY_ENCODINGS:
        return body
    if encoding == "quoted-printable":
        return binascii.a2b_qp(body)
    if encoding == "base64":
        try:
            return binascii.a2b_base64(b"".join(body.splitlines()), strict_mode=True)
        except binascii.Error:
            return None
    return None


def read_any(raw: bytes) -> MimePart:
    """Read any message with the standard library (compat32: it keeps what newer policies refuse)."""
    if raw.count(b"\n--") > MAX_BOUNDARY_LINES:
        raise DecodeError(f"more than {MAX_BOUNDARY_LINES} lines that may begin a part", data=raw)
    try:
        message = message_from_bytes(raw.removeprefix(_UTF8_BOM), policy=policy.compat32)
        return _Tree(raw).part(message, depth=0)
    except RecursionError as error:
        raise DecodeError("the message is nested too deeply", data=raw) from error


class _Tree:
    """Turns the standard library's messages into parts, and counts them."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._count = 0

    def part(self, message: Message, *, depth: int) -> MimePart:
        self._count += 1
        if self._count > MAX_PARTS or depth > MAX_DEPTH:
            raise DecodeError(f"more than {MAX_PARTS} parts or {MAX_DEPTH} levels", data=self._raw)
        headers = _headers(message)
        _decode_parameters(message)
        payload: Any = message.get_payload()
        media_type = message.get_content_type()
        children: tuple[MimePart, ...] = ()
        content = b""
        if isinstance(payload, list) and media_type.startswith("multipart/"):
            children = tuple(self.part(child, depth=depth + 1) for child in payload)
        elif isinstance(payload, list):  # message/*: kept whole, as a file
            content = b"".join(child.as_bytes(unixfrom=False) for child in payload)
        else:
            decoded = message.get_payload(decode=True)
            content = decoded if isinstance(decoded, bytes) else b""
        return MimePart(
            headers=headers,
            media_type=media_type,
            charset=_parameter(message, "charset"),
            filename=_filename(message),
            disposition=_disposition(message),
            flowed=_parameter(message, "format") == "flowed",
            delsp=_parameter(message, "delsp") == "yes",
            content=content,
            children=children,
        )


def _headers(message: Message) -> Headers:
    values: dict[str, list[str]] = {}
    for name, value in message.raw_items():
        values.setdefault(name.lower(), []).append(str(value))
    return Headers(values)


def _decode_parameters(message: Message) -> None:
    """Decode raw 8-bit parameters, such as file names: the standard library would make U+FFFD of them."""
    for name in ("content-type", "content-disposition"):
        value = next((str(value) for field, value in message.raw_items() if field.lower() == name), "")
        if not value.isascii():
            del message[name]
            message[name] = decode_raw(value)


def _parameter(message: Message, name: str) -> str | None:
    try:
        value = message.get_param(name)
        text = collapse_rfc2231_value(value) if value is not None else None
    except (ValueError, LookupError, TypeError):
        return None
    return str(text).strip().lower() or None if text is not None else None


def _filename(message: Message) -> str | None:
    try:
        return message.get_filename()
    except (ValueError, LookupError, TypeError):
        return None


def _disposition(message: Message) -> str | None:
    try:
        value = message.get_content_disposition()
    except (ValueError, LookupError, TypeError):
        return None
    if value is None:
        return None
    return "inline" if value == "inline" else "attachment"  # RFC 2183 §2.8: unknown is treated as attachment
