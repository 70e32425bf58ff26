"""Transfer encodings undone (RFC 2045 §6), also where the label lies or the encoded text is damaged."""

import binascii
import re

from connectors.email.parsing.uuencode import decode_uu

BASE64, QUOTED_PRINTABLE, UUENCODE, IDENTITY = "base64", "quoted-printable", "uuencode", ""
MIN_HIDDEN_BASE64 = 60  # characters: a shorter text of letters and digits may be a word
MAX_FOREIGN_SHARE = 0.05  # of a base64 body: more than that is not base64 at all
HIDDEN_SAMPLE_BYTES = 64 * 1024

_NAMES = {
    "base64": BASE64,
    "b64": BASE64,
    "base-64": BASE64,
    "quoted-printable": QUOTED_PRINTABLE,
    "quotedprintable": QUOTED_PRINTABLE,
    "quoted": QUOTED_PRINTABLE,  # "quoted printable"
    "qp": QUOTED_PRINTABLE,
    "x-uuencode": UUENCODE,
    "x-uue": UUENCODE,
    "uuencode": UUENCODE,
    "uue": UUENCODE,
}
_NAME = re.compile(r"[\w-]+")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\s]+|(?<=\w) +(?=\w)")
_BASE64_ALONE = re.compile(rb"\s*(?:[A-Za-z0-9+/]{20,}[\r\n]+)*[A-Za-z0-9+/]{4,}={0,2}\s*")
_ESCAPED_RUN = re.compile(rb"(?:=[0-9A-F]{2}){6}")  # three Cyrillic letters of UTF-8
_FOOTER = re.compile(rb"[A-Za-z0-9+/]={1,2}\s*\n(?=[^A-Za-z0-9+/\s])")  # what a mailing list put behind the padding


def transfer_encoding(declared: str) -> str:
    """Return the encoding a Content-Transfer-Encoding names; IDENTITY for what is unknown (RFC 2045 §6.4)."""
    match = _NAME.search(declared)
    return _NAMES.get(match.group().lower(), IDENTITY) if match else IDENTITY


def undo_transfer(body: bytes, encoding: str, *, is_text: bool) -> bytes:
    """Return the content of `body`. Total: damaged encodings give what can be read of them.

    `is_text`: it is declared as text, so an encoding that nobody declared may be recognised.
    """
    if encoding == BASE64:
        return _base64(body)
    if encoding == QUOTED_PRINTABLE:
        return binascii.a2b_qp(body)
    if encoding == UUENCODE:
        decoded = decode_uu(body)
        return decoded or body
    return _undeclared(body) if is_text else body


def _base64(body: bytes) -> bytes:
    """Decode base64; bytes that are plainly something else stay as they are."""
    try:
        return binascii.a2b_base64(body.translate(None, b"\r\n"), strict_mode=True)
    except binascii.Error:
        pass
    footer = _FOOTER.search(body)
    if footer:
        body = body[: footer.end()]
    foreign = sum(len(run) for run in _NOT_BASE64.findall(body))
    if foreign > max(1, MAX_FOREIGN_SHARE * len(body)) or not body.strip():
        return body
    return _damaged_base64(body)


def _damaged_base64(body: bytes) -> bytes:
    """Decode base64 of several padded runs, with strange characters or a cut end."""
    letters = re.sub(rb"[^A-Za-z0-9+/=]+", b"", body)
    pieces: list[bytes] = []
    for run in re.split(rb"=+", letters):
        whole = run[:-1] if len(run) % 4 == 1 else run  # one letter of base64 is no byte
        pieces.append(binascii.a2b_base64(whole + b"=" * (-len(whole) % 4)))
    return b"".join(pieces)


def _undeclared(body: bytes) -> bytes:
    """Undo an encoding that nobody declared: whole lines of escaped letters, or nothing but base64 of readable text."""
    if b"=" in body and body.isascii() and _ESCAPED_RUN.search(body):
        return binascii.a2b_qp(body)
    if len(body) < MIN_HIDDEN_BASE64 or b" " in body[:MIN_HIDDEN_BASE64] or not _BASE64_ALONE.fullmatch(body):
        return body
    letters = body.translate(None, b"\r\n \t")
    if len(letters) % 4 or len(letters) < MIN_HIDDEN_BASE64:
        return body
    decoded = binascii.a2b_base64(letters)
    try:
        text = decoded[:HIDDEN_SAMPLE_BYTES].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < HIDDEN_SAMPLE_BYTES - 3:
            return body
        text = decoded[: error.start].decode("utf-8")
    return decoded if all(char.isprintable() or char in "\r\n\t" for char in text) else body
