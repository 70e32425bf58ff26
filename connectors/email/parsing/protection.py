"""Signed and encrypted mail: which it is, and the text of what is only signed (S/MIME: RFC 8551, PGP/MIME: RFC 3156).

Nothing is verified or decrypted here: the marks tell people what came, the parts are kept as files.
"""

import re

from connectors.email.parsing.mime import MimePart

SMIME_SIGNED, SMIME_ENCRYPTED = "smime_signed", "smime_encrypted"
PGP_SIGNED, PGP_ENCRYPTED = "pgp_signed", "pgp_encrypted"
MAX_NESTING = 12  # of the structures in a signed message, down to its content

SMIME_TYPES = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_SMIME_SIGNATURES = frozenset({"application/pkcs7-signature", "application/x-pkcs7-signature"})
_OIDS = {  # DER of id-signedData, id-envelopedData, id-ct-authEnvelopedData (RFC 5652 §5.1, §6.1; RFC 5083 §2)
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02": SMIME_SIGNED,
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03": SMIME_ENCRYPTED,
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17": SMIME_ENCRYPTED,
}
_DATA_OID = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"  # id-data: what is signed is a MIME part
_OID_HEAD_BYTES = 64  # the OID stands among the first bytes
_ARMOUR = "-----BEGIN PGP "
_SIGNED_BEGIN = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE_BEGIN, _SIGNATURE_END = "\n-----BEGIN PGP SIGNATURE-----", "\n-----END PGP SIGNATURE-----"
_DASH_ESCAPE = re.compile(r"^- ", re.MULTILINE)


def protection_of(part: MimePart) -> str | None:
    """Return the mark of a part that signs or encrypts what is in or beside it; None for any other."""
    kind = part.media_type
    if kind == "multipart/signed":
        return PGP_SIGNED if "pgp" in (part.parameters.get("protocol") or "").lower() else SMIME_SIGNED
    if kind == "multipart/encrypted":
        return PGP_ENCRYPTED
    if kind == "application/pgp-encrypted":
        return PGP_ENCRYPTED
    if kind == "application/pgp-signature":
        return PGP_SIGNED
    if kind in _SMIME_SIGNATURES:
        return SMIME_SIGNED
    if kind in SMIME_TYPES:
        return _smime_kind(part)
    return None


def _smime_kind(part: MimePart) -> str | None:
    """Return what a PKCS #7 part is: by its bytes, else by what it says of itself."""
    head = part.content[:_OID_HEAD_BYTES]
    for oid, mark in _OIDS.items():
        if oid in head:
            return mark
    declared = (part.parameters.get("smime-type") or "").lower()
    if "signed" in declared:
        return SMIME_SIGNED
    return SMIME_ENCRYPTED if "enveloped" in declared or (part.filename or "").lower().endswith(".p7m") else None


def signed_content(content: bytes) -> bytes | None:
    """Return the MIME part that is signed within a PKCS #7 message; None if it cannot be found (RFC 5652 §5.2).

    Total. Follows DER and BER with indefinite lengths, as OpenSSL writes them; the signature is not looked at.
    """
    found = content.find(_DATA_OID, 0, 512)
    if found < 0:
        return None
    position = found + len(_DATA_OID)
    if content[position : position + 1] != b"\xa0":  # [0] EXPLICIT: the content is optional
        return None
    _, start, end = _element(content, position, len(content))
    pieces: list[bytes] = []
    _octets(content, start, end, pieces, depth=0)
    return b"".join(pieces) or None


def _element(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Return an element's tag, where its content begins, and where it ends: at `end` if its length is indefinite."""
    if position + 2 > end:
        return 0, end, end
    tag, length = data[position], data[position + 1]
    start = position + 2
    if length == 0x80:  # noqa: PLR2004 - X.690 §8.1.3.6: indefinite
        return tag, start, end
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    return tag, start, min(start + length, end)


def _octets(data: bytes, position: int, end: int, pieces: list[bytes], *, depth: int) -> None:
    """Collect the octet strings between `position` and `end`, up to the end-of-contents mark (X.690 §8.1.5)."""
    while position + 2 <= end and data[position : position + 2] != b"\0\0" and depth <= MAX_NESTING:
        tag, start, stop = _element(data, position, end)
        if tag == 0x04:  # noqa: PLR2004 - OCTET STRING, primitive
            pieces.append(data[start:stop])
        elif tag == 0x24:  # noqa: PLR2004 - OCTET STRING, constructed
            _octets(data, start, stop, pieces, depth=depth + 1)
            if data[position + 1] == 0x80:  # noqa: PLR2004 - of indefinite length: it is the last that we need
                return
        else:
            return
        position = stop


def read_armour(text: str) -> tuple[str, str | None]:
    """Return `text` without the armour of PGP in it, and the mark; unchanged and None without one (RFC 9580 §7)."""
    if _ARMOUR not in text:
        return text, None
    if f"{_ARMOUR}MESSAGE-----" in text:
        return text, PGP_ENCRYPTED
    begin = text.find(_SIGNED_BEGIN)
    start = text.find("\n\n", begin)  # after the armour's headers
    if begin < 0 or start < 0:
        return text, None
    end = text.find(_SIGNATURE_BEGIN, start)
    signed = _DASH_ESCAPE.sub("", text[start + 2 : end if end >= 0 else len(text)])
    close = text.find(_SIGNATURE_END, end) if end >= 0 else -1
    rest = text[close + len(_SIGNATURE_END) :] if close >= 0 else ""
    return f"{text[:begin]}{signed}{rest}".strip("\n"), PGP_SIGNED
