"""Header fields: raw values to text, addresses, dates, message ids. Broken input gives less, never an error."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email import utils
from email.utils import getaddresses, parsedate_to_datetime
from functools import lru_cache
from typing import Any

from connectors.email.parsing.charsets import clean_line, decode_text

MAX_HEADER_CHARS = 64 * 1024  # of one field we look at; real ones are far below
MAX_MESSAGE_IDS = 100  # of one References field: the newest are what threading needs
MAX_MESSAGE_ID_CHARS = 998  # RFC 5322 §2.1.1: a line holds no more
MAX_ADDRESSES = 200  # of one field
MAX_ADDRESS_CHARS = 320  # RFC 5321 §4.5.3.1: 64 of local part, "@", 255 of domain
MAX_NAME_CHARS = 255
EARLIEST_YEAR, LATEST_YEAR = 1970, 2200  # a date outside is a broken clock, not a date

# RFC 2047 §2, made tolerant: spaces within, no charset, no closing "?=" at the end, "?=" of a question mark before an
# escape ("why?=3D"), a language suffix (RFC 2231 §5).
_ENCODED_WORD = re.compile(
    r"=\?\s*([\w.:+-]*)(?:\*[\w-]*)?\s*\?\s*([bBqQ])\s*\?(.*?)(?:\?=(?![0-9A-F]{2}(?![^\s?=]*\s))|\Z)", re.DOTALL
)
_FOLD = re.compile(r"[\r\n]+")
_SIMPLE_ADDRESS = re.compile(
    r"""\s*(?:"([^"\\]*)"\s*|([^"(),:;<>@\[\\\]]*?)\s*)<\s*([^\s<>()",;:\\]+@[^\s<>()",;:\\@]+)\s*>\s*"""
)
# One address in angle brackets behind anything: a name with "@", with unpaired quotes, or with a comma nobody quoted.
_ONE_ANGLE = re.compile(r"""\s*([^<>]*?)\s*<\s*([^\s<>()",;:\\]+@[^\s<>()",;:\\@]+)\s*>?\s*""")
_BARE_ADDRESS = re.compile(r"""\s*([^\s<>()",;:\\]+@[^\s<>()",;:\\@]+)\s*""")
_BEYOND_ESCAPED = re.compile("[^\x00-\x7f\udc80-\udcff]")
_ESCAPED = re.compile(r'\\(["\\])')
_STRUCTURE = re.compile(r"[<>(),;:\"]|=\?")
_MASK = re.compile("\ue000(\\d+)\ue001")
# Newer versions of Python refuse a whole field for one odd address (CVE-2023-27043); we check each address ourselves.
_LENIENT: dict[str, Any] = {"strict": False} if getattr(utils, "supports_strict_parsing", False) else {}
_BRACKETED_ID = re.compile(r"<\s*([^<>]+?)\s*>")
_BAD_IN_ADDRESS = re.compile(r"[\x00-\x20\x7f-\xa0<>,;\ud800-\udfff\ufffe\uffff\u2028\u2029\u200b-\u200f\u202a-\u202e]")


@dataclass(frozen=True, kw_only=True, slots=True)
class MailAddress:
    """One address of a From, To, Cc or Reply-To field."""

    address: str  # domain in lower case
    name: str = ""  # decoded display name


class Headers:
    """The fields of one header, by lower-case name, each with all its values in order.

    Values are as in the message: folded, 8-bit bytes as surrogates (PEP 383), encoded words not decoded.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, list[str]]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]  # compared in tests, never a key

    def get(self, name: str) -> str | None:
        """Return the first value, unfolded, or None."""
        values = self._values.get(name)
        return _unfold(values[0]) if values else None

    def get_all(self, name: str) -> list[str]:
        """Return all values, unfolded."""
        values = self._values.get(name)
        return [_unfold(value) for value in values] if values else []

    def items(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each lower-case name with all its values, unfolded, in order of first appearance."""
        for name in self._values:
            yield name, self.get_all(name)

    def text(self, name: str) -> str:
        """Return the first value decoded, on one line; empty if there is none."""
        value = self.get(name)
        return "" if value is None else decode_header_text(value)


def _unfold(value: str) -> str:
    if "\n" in value or "\r" in value:
        value = _FOLD.sub("", value)
    return value[:MAX_HEADER_CHARS].strip()


def decode_header_text(value: str) -> str:
    """Return an unstructured header value as one clean line: encoded words (RFC 2047) and raw 8-bit text decoded.

    Neighbouring words of one charset are joined before decoding: mailers cut multi-byte letters in two. Words that were
    encoded twice are decoded twice.
    """
    if "=?" not in value:
        return clean_line(value if value.isascii() else decode_raw(value))
    text = _decode_words(value)
    if "=?" in text and "?=" in text and text != value:
        text = _decode_words(text)
    return clean_line(text)


def _decode_words(value: str) -> str:
    pieces: list[str] = []
    pending: list[tuple[str, str]] = []  # encoding and text of neighbouring words of one charset
    pending_charset = ""
    end = 0
    for match in _ENCODED_WORD.finditer(value):
        between = value[end : match.start()]
        is_apart = bool(between.strip())
        charset = match[1].lower()
        if pending and (is_apart or charset != pending_charset):
            pieces.append(decode_text(_words_bytes(pending), pending_charset))
            pending = []
        if is_apart or (between and end == 0):
            pieces.append(decode_raw(between))
        pending.append((match[2].upper(), match[3]))
        pending_charset, end = charset, match.end()
    if pending:
        pieces.append(decode_text(_words_bytes(pending), pending_charset))
    pieces.append(decode_raw(value[end:]))
    return "".join(pieces)


def decode_raw(value: str) -> str:
    """Return a value with its raw 8-bit bytes (surrogates, PEP 383) decoded as `decode_text` does."""
    if value.isascii():
        return value
    try:
        return decode_text(value.encode("ascii", "surrogateescape"))
    except UnicodeEncodeError:  # already text
        return value


def _words_bytes(words: list[tuple[str, str]]) -> bytes:
    """Return the bytes of neighbouring words. Base64 that was cut anywhere is joined first: some mailers cut it so."""
    encoding, encoded = words[0]
    if len(words) == 1 and encoding == "B" and encoded.isascii():  # as nearly all are
        try:
            return binascii.a2b_base64(encoded, strict_mode=True)
        except binascii.Error:
            pass
    content: list[bytes] = []
    run = b""
    for encoding, encoded in words:
        payload = (
            encoded.encode("ascii", "surrogateescape")
            if _is_escaped_ascii(encoded)
            else encoded.encode("utf-8", "replace")
        )
        if encoding == "B":
            run += re.sub(rb"[^A-Za-z0-9+/=]", b"", payload)
            if run.endswith(b"=") or len(run) % 4 == 0:
                content.append(_base64_bytes(run))
                run = b""
            continue
        content += [_base64_bytes(run), binascii.a2b_qp(payload.replace(b" ", b"_"), header=True)]
        run = b""
    return b"".join([*content, _base64_bytes(run)])


def _base64_bytes(encoded: bytes) -> bytes:
    """Return the bytes of base64, also of several padded runs; a broken one gives what can be read of it."""
    if b"=" not in encoded.rstrip(b"="):
        return _base64_run(encoded.rstrip(b"="))
    return b"".join(_base64_run(run) for run in encoded.split(b"="))


def _base64_run(letters: bytes) -> bytes:
    if len(letters) % 4 == 1:  # one letter of base64 is no byte
        letters = letters[:-1]
    return base64.b64decode(letters + b"=" * (-len(letters) % 4))


def _is_escaped_ascii(text: str) -> bool:
    return text.isascii() or _BEYOND_ESCAPED.search(text) is None


def parse_addresses(values: Iterable[str]) -> tuple[MailAddress, ...]:
    """Return the usable addresses of address fields, in order, without repetition.

    Groups (RFC 5322 §3.4) are flattened; what has no "@", or holds spaces or control characters, is left out.
    """
    found: dict[str, MailAddress] = {}
    for value in values:
        for name, address in _split_addresses(value):
            normal = normalise_address(address)
            if normal and normal.lower() not in found and len(found) < MAX_ADDRESSES:
                found[normal.lower()] = MailAddress(address=normal, name=decode_header_text(name)[:MAX_NAME_CHARS])
    return tuple(found.values())


def _split_addresses(value: str) -> list[tuple[str, str]]:
    """Split one field into (raw name, raw address): a simple one by pattern, the rest by the standard library."""
    match = _SIMPLE_ADDRESS.fullmatch(value)
    if match:
        return [(match[1] or match[2] or "", match[3])]
    match = _BARE_ADDRESS.fullmatch(value)
    if match:
        return [("", match[1])]
    match = _ONE_ANGLE.fullmatch(value)
    if match and not ("@" in match[1] and ("," in match[1] or ";" in match[1])):
        return [(_ESCAPED.sub(r"\1", match[1].strip('"')), match[2])]
    if not _STRUCTURE.search(value):  # "Ivan ivan@example.org", "a@example.org b@example.org"
        bare = [word for word in value.split() if _BARE_ADDRESS.fullmatch(word)]
        name = value.replace(bare[0], "").strip() if len(bare) == 1 else ""
        return [("" if "@" in name else name, address) for address in bare]
    if "=?" in value:
        return _split_encoded(value)
    return _split_plainly(value)


def _split_encoded(value: str) -> list[tuple[str, str]]:
    """Split a field whose encoded words may hold commas and brackets, or the whole address."""
    words = [match.group() for match in _ENCODED_WORD.finditer(value)]
    masked = value
    for index, word in enumerate(words):
        masked = masked.replace(word, f"\ue000{index}\ue001", 1)
    if "@" not in masked:  # some mailers encode the address with the name
        decoded = decode_header_text(value)
        return _split_plainly(decoded) if "=?" not in decoded else []

    def unmask(text: str) -> str:
        return _MASK.sub(lambda match: words[int(match[1])] if int(match[1]) < len(words) else "", text)

    return [(unmask(name), unmask(address)) for name, address in _split_plainly(masked)]


def _split_plainly(value: str) -> list[tuple[str, str]]:
    try:
        return getaddresses([value], **_LENIENT)
    except (ValueError, IndexError, RecursionError):  # its parser has known holes
        return [("", address) for address in re.findall(r"[^\s<>()\",;:]+@[^\s<>()\",;:@]+", value)]


@lru_cache(maxsize=4096)  # ours are in every mail, and each address of a mail is asked for several times
def normalise_address(address: str) -> str | None:
    """Return an address with its domain in lower case, or None if it is not usable as one."""
    text = address.strip()
    if not text.isascii():
        text = decode_raw(text)
    local, at, domain = text.rpartition("@")
    if not (at and local and domain) or len(text) > MAX_ADDRESS_CHARS or _BAD_IN_ADDRESS.search(text):
        return None
    if not domain.strip(".") or ("@" in local and not local.startswith('"')):
        return None
    return f"{local}@{domain.rstrip('.').lower()}"


def parse_date(value: str | None) -> datetime | None:
    """Return a Date field as aware UTC; without a zone it is taken as UTC (RFC 5322 §4.3: -0000). None if unusable."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return moment if EARLIEST_YEAR <= moment.year <= LATEST_YEAR else None


def parse_message_ids(value: str | None) -> tuple[str, ...]:
    """Return the message ids of a field, in order, without angle brackets; ids without brackets are taken by spaces."""
    if not value:
        return ()
    found = _BRACKETED_ID.findall(value) or value.split()
    ids = (clean_line(decode_raw(item)).replace(" ", "") for item in found[-MAX_MESSAGE_IDS:])
    return tuple(dict.fromkeys(item for item in ids if item and len(item) <= MAX_MESSAGE_ID_CHARS))
