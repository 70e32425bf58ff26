"""Text and header values as they go over the wire: 7-bit, in short lines, and the same again when they are read."""

import binascii
import re
from email.header import Header
from email.mime.nonmultipart import MIMENonMultipart
from email.policy import Compat32

from appeals.errors import PermanentError
from connectors.email.parsing.charsets import clean_block

ENCODED_WORD_CHARS = 64  # RFC 2047 §2 allows 75; the first one shares its line with "Subject: "
MAX_PLAIN_LINE_CHARS = 78  # RFC 5322 §2.1.1; longer lines are broken softly by quoted-printable and join again

_FROM_LINE = re.compile(rb"^From ", re.MULTILINE)  # mailboxes in mbox form would change it, and break signatures
# "From " as above, spaces at an end that relays may cut off, and lines that are too long.
_CHANGED_ON_THE_WAY = re.compile(rf"^From |[ \t]$|^.{{{MAX_PLAIN_LINE_CHARS + 1},}}", re.MULTILINE)


def text_part(text: str, policy: Compat32) -> MIMENonMultipart:
    """Return the text as a part: 7bit where it can be, else whichever of quoted-printable and base64 is shorter.

    Paragraphs stay one line each for the reader's program to wrap: there is no need of format=flowed.
    """
    body = clean_block(text).rstrip("\n") + "\n"
    if body.isascii() and not _CHANGED_ON_THE_WAY.search(body):
        return _part(body, "7bit", charset="us-ascii", policy=policy)
    content = body.replace("\n", "\r\n").encode("utf-8")
    quoted = _FROM_LINE.sub(b"=46rom ", binascii.b2a_qp(content, istext=True))
    based = binascii.b2a_base64(content, newline=False)
    if len(quoted) <= len(based):
        return _part(quoted.decode("ascii"), "quoted-printable", charset="utf-8", policy=policy)
    lines = "\n".join(based[start : start + 76].decode("ascii") for start in range(0, len(based), 76))
    return _part(lines + "\n", "base64", charset="utf-8", policy=policy)


def _part(payload: str, encoding: str, *, charset: str, policy: Compat32) -> MIMENonMultipart:
    part = MIMENonMultipart("text", "plain", policy=policy, charset=charset)
    part["Content-Transfer-Encoding"] = encoding
    part.set_payload(payload)
    return part


def encoded_text(text: str) -> str:
    """Return text as header words (RFC 2047), on one line; the generator folds between them."""
    if text.isascii() and "=?" not in text:
        return text
    return Header(text, "utf-8").encode(maxlinelen=ENCODED_WORD_CHARS).replace("\n ", " ").strip()


def wire_address(address: str) -> str:
    """Return an address with its domain in ASCII (RFC 5890), which every relay understands. Raises PermanentError."""
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError as error:
        raise PermanentError("address_malformed: the address's domain is not a domain name") from error


def header_address(address: str, name: str = "") -> str:
    """Return an address for a header field; one that is not ASCII as the raw UTF-8 of RFC 6532."""
    raw = address if address.isascii() else address.encode("utf-8").decode("ascii", "surrogateescape")
    if not name:
        return raw
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    shown = f'"{quoted}"' if name.isascii() else encoded_text(name)
    return f"{shown} <{raw}>"
