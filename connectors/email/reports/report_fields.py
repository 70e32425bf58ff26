"""What reports have in common: blocks of fields, the returned mail's header, and the ids it went out under."""

import re
from collections.abc import Iterator, Sequence

from connectors.email.parsing.charsets import clean_line, decode_text
from connectors.email.parsing.headers import parse_message_ids
from connectors.email.parsing.mime import MimePart
from connectors.email.reports.own_mail import MARKER_HEADER

Fields = dict[str, str]  # lower-case name -> first value, unfolded and clean

MAX_REPORT_BYTES = 256 * 1024  # of one part that is looked at; real reports are a few KiB
MAX_BLOCKS = 200  # recipients of one report
MAX_REPORT_DEPTH = 4  # multiparts around the part we look for: mailing lists and virus scanners wrap once or twice
RETURNED_TYPES = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers"}
)

_BLANK_LINE = re.compile(rb"\n[ \t]*\n")
_FIELD = re.compile(r"^([!-9;-~]+):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]+")


def walk(part: MimePart, *, depth: int = 0) -> Iterator[MimePart]:
    """Yield the leaves; what is inside a returned or forwarded mail is not among them."""
    if not part.children:
        yield part
    elif depth < MAX_REPORT_DEPTH:
        for child in part.children:
            yield from walk(child, depth=depth + 1)


def field_blocks(content: bytes) -> list[Fields]:
    """Return the blocks of fields of a report part (RFC 3464 §2.1, RFC 8098 §3.1): the message's, then one each."""
    content = content[:MAX_REPORT_BYTES].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    blocks = (read_fields(block) for block in _BLANK_LINE.split(content)[:MAX_BLOCKS])
    return [block for block in blocks if block]


def read_fields(content: bytes) -> Fields:
    """Return the fields of one block; lines that are none are passed over."""
    fields: Fields = {}
    for name, value in _FIELD.findall(decode_text(content)):
        fields.setdefault(name.lower(), _printable(clean_line(" ".join(value.split()))))
    return fields


def typed(value: str) -> str:
    """Return a value without its type prefix, as in `rfc822; ivan@example.org` or `smtp; 550 …`."""
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and " " not in kind.strip() else value.strip()


def returned_ids(parts: Sequence[MimePart]) -> tuple[str, ...]:
    """Return the ids that the returned mail went out under, from its header: ours first, then its Message-ID."""
    for part in parts:
        if part.media_type not in RETURNED_TYPES:
            continue
        header = _BLANK_LINE.split(part.content[:MAX_REPORT_BYTES].replace(b"\r\n", b"\n").lstrip(b"\n"), maxsplit=1)[0]
        if ids := ids_of_header(read_fields(header)):
            return ids
    return ()


def ids_of_header(fields: Fields) -> tuple[str, ...]:
    """Return our own mark and the Message-ID of a mail's header."""
    names = (MARKER_HEADER.lower(), "message-id")
    return tuple(dict.fromkeys(item for name in names for item in parse_message_ids(fields.get(name))))


def _printable(text: str) -> str:
    """Return what can be seen: these words are shown to agents in one line."""
    return "".join(letter for letter in text if letter.isprintable())
