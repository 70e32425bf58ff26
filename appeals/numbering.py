"""Appeal numbers for people, secret codes for the citizen's page, and signed reply tokens.

A number is nine random digits and a Damm check digit (every single wrong digit and every swap of neighbours is
noticed): it can be read over a telephone in any language, and says nothing about how many appeals there are.
Codes and tokens are HMAC-SHA256 over the appeal's id: nothing to store, nothing to leak with a copy of the registry.
"""

import base64
import hmac
import re
import secrets
from uuid import UUID

from stdnum import damm

RANDOM_DIGITS = 9
NUMBER_DIGITS = RANDOM_DIGITS + 1
CODE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U; eight of them, 40 bits
TOKEN_MAC_BYTES = 8

_NUMBER = re.compile(r"(?<!\d)(?<!\+)(\d{3})([- \u00a0]?)(\d{3})\2(\d{4})(?!\d)")
_CODE = re.compile(rf"\b[{CODE_ALPHABET}]{{4}}-[{CODE_ALPHABET}]{{4}}\b")
_NOT_DIGITS = re.compile(r"[\s\u00a0\u2010-\u2015№#-]+")
_LOOKALIKES = str.maketrans({"O": "0", "I": "1", "L": "1", "О": "0", "-": None, " ": None})


def new_number() -> str:
    """Return a fresh random number such as `482-719-3561`. Uniqueness is the registry's to check."""
    digits = str(secrets.randbelow(9 * 10 ** (RANDOM_DIGITS - 1)) + 10 ** (RANDOM_DIGITS - 1))
    return format_number(digits + damm.calc_check_digit(digits))


def format_number(digits: str) -> str:
    """Group ten digits for people."""
    return f"{digits[:3]}-{digits[3:6]}-{digits[6:]}"


def normalise_number(text: str) -> str | None:
    """Return the number as the registry writes it, or None if `text` is no number or its check digit is wrong."""
    digits = _NOT_DIGITS.sub("", text)
    if len(digits) != NUMBER_DIGITS or not (digits.isascii() and digits.isdigit()) or not damm.is_valid(digits):
        return None
    return format_number(digits)


def find_number(text: str) -> str | None:
    """Return the first well-formed appeal number in `text`, or None.

    A telephone number may look like one: whoever uses the result checks that the sender belongs to that appeal.
    """
    for match in _NUMBER.finditer(text):
        number = normalise_number(match.group(0))
        if number:
            return number
    return None


def _mac(key: bytes, purpose: bytes, appeal_id: UUID) -> bytes:
    return hmac.digest(key, purpose + b"\x00" + appeal_id.bytes, "sha256")


def secret_code(key: bytes, appeal_id: UUID) -> str:
    """Return the citizen's secret code, such as `K7QM-2XRD`: with the number it opens the citizen's page."""
    bits = int.from_bytes(_mac(key, b"code", appeal_id)[:5], "big")
    code = "".join(CODE_ALPHABET[(bits >> shift) & 31] for shift in range(35, -1, -5))
    return f"{code[:4]}-{code[4:]}"


def check_secret_code(key: bytes, appeal_id: UUID, code: str) -> bool:
    """Tell in constant time whether `code` is the appeal's; case, dashes and look-alike letters do not matter."""
    given = code.strip().upper().translate(_LOOKALIKES)
    wanted = secret_code(key, appeal_id).replace("-", "")
    return hmac.compare_digest(given.encode(), wanted.encode())


def mask_secret_codes(text: str) -> str:
    """Return `text` with dots for every secret code: it is the citizen's, not the agents'."""
    return _CODE.sub("••••-••••", text)


def reply_token(key: bytes, appeal_id: UUID) -> str:
    """Return the signed token that an answer carries in its Reply-To: letters a-z and digits, 39 characters."""
    mac = _mac(key, b"reply", appeal_id)[:TOKEN_MAC_BYTES]
    return base64.b32encode(appeal_id.bytes + mac).decode().rstrip("=").lower()


def read_reply_token(key: bytes, token: str) -> UUID | None:
    """Return the appeal a token is for, or None if it was not signed with `key`."""
    padded = token.upper() + "=" * (-len(token) % 8)
    try:
        content = base64.b32decode(padded.encode("ascii"))
    except ValueError:
        return None
    if len(content) != len(UUID(int=0).bytes) + TOKEN_MAC_BYTES:
        return None
    appeal_id = UUID(bytes=content[:16])
    # Compared as text: base 32 has bits to spare at the end, and a token has one spelling only.
    if not hmac.compare_digest(token.lower().encode(), reply_token(key, appeal_id).encode()):
        return None
    return appeal_id
