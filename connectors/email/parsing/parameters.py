"""Content-Type and Content-Disposition to a value and its parameters (RFC 2045 §5.1, RFC 2231), however broken.

Our own: the standard library's parser takes a third of the time of reading a mail, cuts names at a raw 8-bit letter,
and gives up on continuations that are out of order or mixed with encoded words.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from connectors.email.parsing.charsets import codec_name, decode_text

MAX_VALUE_CHARS = 16 * 1024  # of one field; a file name of some sections is a few hundred
MAX_SECTIONS = 200  # RFC 2231 continuations of one parameter

_VALUE = re.compile(r"\s*([^\s;]*)")
# A name begins where a word begins, else a long text without "=" would be tried from each of its letters.
_PARAMETER = re.compile(r'(?<![^\s;="])([^\s;="]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^;]*+))', re.DOTALL)
_FOLD = re.compile(r"[\r\n]+")
_ESCAPE = re.compile(r'\\(["\\])')
_SECTION = re.compile(r"(.+?)\*(\d{1,4})?(\*)?")  # name*, name*0, name*0*
_EXTENDED = re.compile(r"([\w.:+-]*)'([\w-]*)'(.*)", re.DOTALL)
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldValue:
    """A structured field: its value in lower case and its parameters, RFC 2231 undone, encoded words not."""

    value: str
    parameters: dict[str, str]

    def token(self, name: str) -> str | None:
        """Return a parameter that is a word of some protocol: trimmed, in lower case; None if it is not there."""
        text = self.parameters.get(name)
        return text.strip().lower() or None if text is not None else None


@lru_cache(maxsize=512)  # most mails of a day say the same few things; the rest cost a dictionary each
def parse_field(raw: str) -> FieldValue:
    """Return a field's value (8-bit bytes as surrogates) taken apart. Total: nonsense gives an empty value."""
    text = _FOLD.sub("", raw[:MAX_VALUE_CHARS]) if "\n" in raw or "\r" in raw else raw[:MAX_VALUE_CHARS]
    match = _VALUE.match(text)
    value = match[1] if match else ""
    rest = text[match.end() :] if match else ""
    if "=" in value:  # "boundary=x" alone: the value itself is missing
        value, rest = "", text
    pairs: list[tuple[str, str]] = []
    for found in _PARAMETER.finditer(rest) if "=" in rest else ():
        quoted = found[2]
        content = _ESCAPE.sub(r"\1", quoted) if quoted is not None else found[3].strip().strip('"')
        pairs.append((found[1].lower(), content))
    return FieldValue(value=value.lower(), parameters=_joined(pairs))


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return plain parameters as they are and join the sections of extended ones, which win over plain ones."""
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for name, content in pairs:
        match = _SECTION.fullmatch(name) if "*" in name else None
        if match is None:
            plain.setdefault(name, content)
        elif len(sections.setdefault(match[1], {})) < MAX_SECTIONS:
            is_extended = match[3] is not None or match[2] is None
            sections[match[1]].setdefault(int(match[2] or 0), (content, is_extended))
    extended = {name: _join(parts) for name, parts in sections.items()}
    return plain | {name: text for name, text in extended.items() if text or name not in plain}


def _join(parts: dict[int, tuple[str, bool]]) -> str:
    """Join the sections of one parameter in their order: bytes first, so that no letter is cut in two."""
    charset = ""
    content = b""
    is_coded = False
    for index, (_, (text, is_extended)) in enumerate(sorted(parts.items())):
        piece = text
        if is_extended and index == 0:
            named = _EXTENDED.fullmatch(piece)
            if named:
                charset, piece = named[1], named[3]
        if is_extended:
            is_coded = True
            content += unquote_to_bytes(_bytes(piece))
        else:
            content += _bytes(piece)
    if not is_coded and content.isascii():
        return content.decode("ascii")
    return decode_text(content, charset if codec_name(charset) else None)


def _bytes(text: str) -> bytes:
    """Return the bytes that a raw value stands for: surrogates (PEP 383) are bytes, what is decoded is UTF-8."""
    try:
        return text.encode("ascii", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def percent_decoded(name: str) -> str:
    """Return a file name that was percent-encoded without RFC 2231 saying so; unchanged if it is not UTF-8 then."""
    if "%" not in name or len(_PERCENT.findall(name)) < 2 or not name.isascii():  # noqa: PLR2004 - "100%20" may be meant
        return name
    try:
        text = unquote_to_bytes(name).decode("utf-8")
    except UnicodeDecodeError:
        return name
    return name if text.isascii() else text
