"""MIME structure: bytes to a tree of parts with their transfer encoding undone (RFC 2045, 2046).

Our own reader, for three reasons: an attached mail must stay what it is, byte for byte (the standard library writes it
anew, and breaks its signature); limits must mark a mail, not refuse it; and the standard library's
`email.policy.default` takes several times as long. That what it reads right is read the same here is tested over whole
corpora.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from connectors.email.parsing.header_block import HeaderBlock, read_strict, read_tolerant
from connectors.email.parsing.headers import Headers
from connectors.email.parsing.parameters import FieldValue, parse_field, percent_decoded
from connectors.email.parsing.transfer import IDENTITY, transfer_encoding, undo_transfer

MAX_PARTS = 1000  # a mail of more is an attack on the parser, not a letter: the rest stays undivided
MAX_DEPTH = 50  # nesting of multiparts; deeper ones are kept as files
MAX_DELIMITERS = 10 * MAX_PARTS  # lines looked at that may divide one part

_UTF8_BOM = b"\xef\xbb\xbf"
_TEXT = FieldValue(value="text/plain", parameters={})
_LINE_ENDS = frozenset(b"\r\n")
_DELIMITER_SPACE = b" \t"
_MAJOR_TYPES = frozenset({"text", "multipart", "message", "image", "audio", "video", "application", "model", "font"})


@dataclass(frozen=True, kw_only=True, slots=True)
class MimePart:
    """One part: a leaf with `content`, or a container with `children`."""

    headers: Headers
    media_type: str  # as declared, lower case; text/plain if there is none
    parameters: dict[str, str] = field(default_factory=dict)  # of Content-Type, RFC 2231 undone
    charset: str | None = None
    filename: str | None = None  # raw: RFC 2231 undone, encoded words not decoded
    disposition: str | None = None  # attachment, inline, or None
    flowed: bool = False  # RFC 3676: format=flowed
    delsp: bool = False  # RFC 3676 §4.1: the trailing space is no part of the text
    content: bytes = b""
    children: tuple["MimePart", ...] = ()
    truncated: bool = False  # of a root: parts, levels or header fields beyond the limits were not looked at


def read_mime(raw: bytes) -> MimePart:
    """Return the message as a tree. Total: any bytes are a message of some sort.

    Beyond MAX_PARTS, MAX_DEPTH and the header's limits nothing is divided further, and the root is marked `truncated`.
    `message/*` parts are leaves that hold their exact bytes.
    """
    return _Tree(_readable(raw)).root()


def _readable(raw: bytes) -> bytes:
    """Return `raw` without a byte order mark and leading blank lines; lone CRs are line ends if there is no LF."""
    if raw[:3] == _UTF8_BOM:
        raw = raw[3:]
    if raw[:1] in (b"\r", b"\n"):
        raw = raw.lstrip(b"\r\n")
    head = raw[:4096]
    if b"\r\r\n" in head:  # text mode twice: every line end became CR CR LF
        return raw.replace(b"\r\r\n", b"\r\n")
    return raw if b"\n" in head or b"\r" not in head else raw.replace(b"\r", b"\n")


class _Tree:
    """Reads the parts of one message, and counts them."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._count = 0
        self._truncated = False

    def root(self) -> MimePart:
        part = self._part(0, len(self._raw), depth=0, default=_TEXT)
        return replace(part, truncated=True) if self._truncated else part

    def _part(self, start: int, end: int, *, depth: int, default: FieldValue) -> MimePart:
        self._count += 1
        raw = self._raw
        block = read_strict(raw, start, end) or read_tolerant(raw, start, end)
        self._truncated = self._truncated or block.truncated
        declared = _content_type(block, default)
        encoding = transfer_encoding(block.headers.get("content-transfer-encoding") or "")
        if declared.value.startswith("multipart/"):
            children = self._children(block.body_start, end, declared=declared, depth=depth)
            if children:
                return _part_of(block, declared, children=children)
        body = raw[block.body_start : end]
        if declared.value.startswith("multipart/") and encoding != IDENTITY:  # RFC 2045 §6.4 forbids it; some do it
            body = undo_transfer(body, encoding, is_text=False)
            inner = _Tree(body)
            children = inner._children(0, len(body), declared=declared, depth=depth + 1)
            self._count += inner._count
            self._truncated = self._truncated or inner._truncated
            if children:
                return _part_of(block, declared, children=children)
        return _part_of(block, declared, content=undo_transfer(body, encoding, is_text=_is_text(declared.value)))

    def _children(self, start: int, end: int, *, declared: FieldValue, depth: int) -> tuple[MimePart, ...]:
        """Return the parts between `start` and `end`; none if they are not to be found, or beyond the limits."""
        if depth >= MAX_DEPTH or self._count >= MAX_PARTS:
            self._truncated = True
            return ()
        default = parse_field("message/rfc822") if declared.value == "multipart/digest" else _TEXT
        boundary = declared.parameters.get("boundary", "").strip().encode("utf-8", "surrogateescape")
        spans = list(self._spans(boundary, start, end)) if boundary else []
        if not spans:
            guessed = self._guess_boundary(start, end)
            spans = list(self._spans(guessed, start, end)) if guessed else []
        children: list[MimePart] = []
        for first, last in spans:
            if self._count >= MAX_PARTS:
                self._truncated = True
                break
            children.append(self._part(first, last, depth=depth + 1, default=default))
        return tuple(children)

    def _spans(self, boundary: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield where each part begins and ends (RFC 2046 §5.1.1); one without a closing delimiter goes to the end."""
        part_start = -1
        for line_start, line_end, is_last in self._delimiters(boundary, start, end):
            if 0 <= part_start < line_start:  # a delimiter that stands there twice makes no part
                yield part_start, max(part_start, _before_line_end(self._raw, line_start, start))
            part_start = -1 if is_last else line_end
            if is_last:
                return
        if part_start >= 0:
            yield part_start, end

    def _delimiters(self, boundary: bytes, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Yield each delimiter line: where it begins, where the next line begins, and whether it closes."""
        raw = self._raw
        mark = b"--" + boundary
        position = start
        for _ in range(MAX_DELIMITERS):
            found = raw.find(mark, position, end)
            if found < 0:
                return
            position = found + len(mark)
            if found > start and raw[found - 1] not in _LINE_ENDS:
                continue
            is_last = raw[position : position + 2] == b"--"
            after = position + 2 * is_last
            while after < end and raw[after] in _DELIMITER_SPACE:
                after += 1
            if after < end and raw[after] not in _LINE_ENDS:
                continue  # a longer boundary that begins like this one
            after += 2 if raw[after : after + 2] == b"\r\n" else 1
            yield found, min(after, end), is_last
        self._truncated = True

    def _guess_boundary(self, start: int, end: int) -> bytes:
        """Return the boundary of parts whose own was missing or wrong: a line "--…" with a Content field below it."""
        raw = self._raw
        position = start
        for _ in range(100):
            found = raw.find(b"--", position, end)
            if found < 0:
                return b""
            line_end = _line_end(raw, found, end)
            position = line_end
            starts_line = found == start or raw[found - 1] in _LINE_ENDS
            following = raw[line_end : line_end + 12].lstrip(b"\r\n").lower()
            if starts_line and following.startswith(b"content-"):
                return raw[found + 2 : line_end].rstrip()
        return b""


def _line_end(raw: bytes, position: int, end: int) -> int:
    found = [index for mark in (b"\r", b"\n") if (index := raw.find(mark, position, min(end, position + 1000))) >= 0]
    return min(found, default=end)


def _before_line_end(raw: bytes, position: int, start: int) -> int:
    """Return where the line before `position` ends: its line end belongs to the delimiter (RFC 2046 §5.1.1)."""
    if position - 2 >= start and raw[position - 2 : position] == b"\r\n":
        return position - 2
    return position - 1 if position - 1 >= start and raw[position - 1] in _LINE_ENDS else position


def _content_type(block: HeaderBlock, default: FieldValue) -> FieldValue:
    values = block.headers.get_all("content-type")
    if not values:
        return default
    declared = parse_field(values[0])
    major, slash, minor = declared.value.partition("/")
    if slash and major and minor and "/" not in minor:
        return declared
    if major in _MAJOR_TYPES and major not in {"multipart", "message", "text"}:  # "image", "application"
        return FieldValue(value=f"{major}/octet-stream", parameters=declared.parameters)
    return FieldValue(value="text/plain", parameters=declared.parameters)  # RFC 2045 §5.2


def _part_of(
    block: HeaderBlock, declared: FieldValue, *, content: bytes = b"", children: tuple[MimePart, ...] = ()
) -> MimePart:
    disposition = parse_field(block.headers.get("content-disposition") or "")
    parameters = declared.parameters
    return MimePart(
        headers=block.headers,
        media_type=declared.value,
        parameters=parameters,
        charset=declared.token("charset") if parameters else None,
        filename=_filename(disposition, declared),
        disposition=_disposition(disposition.value),
        flowed=bool(parameters) and declared.token("format") == "flowed",
        delsp=bool(parameters) and declared.token("delsp") == "yes",
        content=content,
        children=children,
    )


def _filename(disposition: FieldValue, declared: FieldValue) -> str | None:
    for parameters, name in ((disposition.parameters, "filename"), (declared.parameters, "name")):
        text = parameters.get(name, "").strip() if parameters else ""
        if text:
            return percent_decoded(text)
    return None


def _disposition(value: str) -> str | None:
    if not value:
        return None
    return "inline" if value == "inline" else "attachment"  # RFC 2183 §2.8: unknown is treated as attachment


def _is_text(media_type: str) -> bool:
    return media_type in {"text/plain", "text/html"}
