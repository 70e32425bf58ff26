"""uuencode (POSIX.1-2017, `uuencode`): files that old mailers put into the text."""

import binascii
import re
from dataclasses import dataclass

MAX_FILES = 100  # in one text

_BLOCK = re.compile(
    r"^begin(?:-base64)? [0-7]{3,4} ([^\n]{1,255})\n((?:[\x20-\x60]{1,90}\n)*?)(?:[ `]?\n)?end[ \t]*(?:\n|\Z)",
    re.MULTILINE,
)
_BEGIN = "\nbegin "


@dataclass(frozen=True, kw_only=True, slots=True)
class UuFile:
    """One file found in a text."""

    name: str  # as it stands there
    content: bytes


def decode_uu(body: bytes) -> bytes | None:
    """Return the content of a whole uuencoded body; None if there is no `begin` line."""
    lines = body.replace(b"\r\n", b"\n").split(b"\n")
    start = next((index for index, line in enumerate(lines) if re.match(rb"begin [0-7]{3,4} ", line)), None)
    return None if start is None else _decode_lines(lines[start + 1 :])


def take_out_files(text: str) -> tuple[str, tuple[UuFile, ...]]:
    r"""Return `text` (with `\n` line ends) without its uuencoded files, and the files."""
    if _BEGIN not in text and not text.startswith(_BEGIN[1:]):
        return text, ()
    files: list[UuFile] = []
    pieces: list[str] = []
    end = 0
    for match in _BLOCK.finditer(text):
        if len(files) == MAX_FILES:
            break
        content = _decode_lines(match[2].encode("ascii").split(b"\n"))
        if content:
            files.append(UuFile(name=match[1].strip(), content=content))
            pieces.append(text[end : match.start()])
            end = match.end()
    return "".join([*pieces, text[end:]]), tuple(files)


def _decode_lines(lines: list[bytes]) -> bytes:
    """Decode data lines up to `end`; a damaged line gives what it says it holds."""
    decoded: list[bytes] = []
    for line in lines:
        if line.strip() == b"end":
            break
        if line.strip(b" `\r") == b"":
            continue
        try:
            decoded.append(binascii.a2b_uu(line))
        except binascii.Error:
            count = (((line[0] - 32) & 63) * 4 + 5) // 3  # as uu.py did: broken encoders write too much
            try:
                decoded.append(binascii.a2b_uu(line[:count]))
            except binascii.Error:
                continue
    return b"".join(decoded)
