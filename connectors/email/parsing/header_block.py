"""Where a header ends, and its fields: strictly for well-formed ones, line by line for the rest (RFC 5322 §2.2)."""

import re
from dataclasses import dataclass

from connectors.email.parsing.headers import Headers

MAX_HEADER_BYTES = 256 * 1024  # relays commonly refuse more than 100 KiB; what is beyond is not read
MAX_FIELDS = 5000  # of one header

# Name, colon, printable or 8-bit text; folded lines begin with a space. CR and LF only as a pair, or LF alone (mail
# taken from a file). NUL and other control characters make it a case for the tolerant reader. Possessive, so that a
# header that fails to match fails at once.
_FIELD = rb"[!-9;-~]++:[\t\x20-\x7e\x80-\xff]*+(?:\r?\n[\t ][\t\x20-\x7e\x80-\xff]*+)*+\r?\n"
_STRICT_HEADER = re.compile(rb"(?:" + _FIELD + rb")+\r?\n")
_STRICT_FIELD = re.compile(r"([!-9;-~]+):[ \t]*([^\r\n]*(?:\r?\n[\t ][^\r\n]*)*)\r?\n")
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_FIELD_LINE = re.compile(rb"[!-9;-~]*[ \t]*:")
# After a broken line the header goes on only with one of these: else the text has begun without a blank line.
_KNOWN_FIELD = re.compile(
    rb"(?:from|to|cc|subject|date|message-id|mime-version|received|"
    rb"content-(?:type|transfer-encoding|disposition))[ \t]*:",
    re.IGNORECASE,
)
_MBOX_LINES = (b"From ", b">From ")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeaderBlock:
    """The fields of a message or part, and where its body begins."""

    headers: Headers
    body_start: int
    truncated: bool = False  # longer than we read: some fields are missing


def read_strict(raw: bytes, start: int, end: int) -> HeaderBlock | None:
    """Read a well-formed header; None if it is anything else."""
    block = _STRICT_HEADER.match(raw, start, min(end, start + MAX_HEADER_BYTES))
    if block is None:
        return None
    values: dict[str, list[str]] = {}
    for name, value in _STRICT_FIELD.findall(block.group().decode("ascii", "surrogateescape")):
        values.setdefault(name.lower(), []).append(value)
    return HeaderBlock(headers=Headers(values), body_start=block.end())


def read_tolerant(raw: bytes, start: int, end: int) -> HeaderBlock:
    """Read any header: mbox lines, lone CRs, lines without a colon, a missing blank line. Total."""
    limit = min(end, start + MAX_HEADER_BYTES)
    values: dict[str, list[str]] = {}
    last: list[str] | None = None
    count = 0
    position = start
    while position < limit:
        match = _LINE.match(raw, position, limit)
        line = match[1] if match else b""
        after = match.end() if match else limit
        if after == limit < end:  # the line may go on
            break
        if not line:
            return HeaderBlock(headers=Headers(values), body_start=after)
        if line[:1] in b" \t":
            if last is not None:
                last[-1] += "\n" + _text(line)
            elif not line.strip():  # a blank line that is not quite empty, and no field before it
                return HeaderBlock(headers=Headers(values), body_start=after)
        elif _FIELD_LINE.match(line):
            name, _, value = line.partition(b":")
            last = None
            if name.strip() and count < MAX_FIELDS:
                count += 1
                last = values.setdefault(name.strip().decode("ascii").lower(), [])
                last.append(_text(value.lstrip(b" \t")))
        elif not (position == start and line.startswith(_MBOX_LINES)) and not _goes_on(raw, after, limit):
            return HeaderBlock(headers=Headers(values), body_start=position)
        position = after
    return _cut_off(raw, Headers(values), limit=limit, end=end)


def _text(line: bytes) -> str:
    return line.decode("ascii", "surrogateescape")


def _goes_on(raw: bytes, position: int, limit: int) -> bool:
    """Tell whether the next line after a broken one is a field that only headers have."""
    return _KNOWN_FIELD.match(raw, position, limit) is not None


def _cut_off(raw: bytes, headers: Headers, *, limit: int, end: int) -> HeaderBlock:
    """Return a header that has no end within the limit: its body begins after the next blank line, if there is one."""
    if limit == end:
        return HeaderBlock(headers=headers, body_start=end)
    found = [
        index + len(mark)
        for mark in (b"\r\n\r\n", b"\n\n", b"\r\r")
        if (index := raw.find(mark, limit - len(mark), end)) >= 0
    ]
    return HeaderBlock(headers=headers, body_start=min(found, default=end), truncated=True)
