"""Signatures of kiosks: Standard Webhooks (https://www.standardwebhooks.com), HMAC-SHA256, symmetric keys.

The library signs; checking is done here, because the library's check takes text only (a form with scans is multipart,
which is no UTF-8), wants all of it at once (a batch is a file of hundreds of megabytes) and does not tell which key
fitted, nor a wrong clock from a wrong key.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import SecretStr
from standardwebhooks import Webhook

from appeals.errors import ConfigurationError, OknoError

TOLERANCE_S = 300.0  # the specification's example and its libraries' value
SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix alone
SECRET_BYTES = 32  # the specification asks for 24 to 64

_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class SignatureRefusedError(OknoError):
    """The request is not signed by a key we know."""


class ClockRefusedError(SignatureRefusedError):
    """The signature is right and its time is not: a wrong clock, or a replay. `skew_s`: kiosk's clock minus ours."""

    def __init__(self, key_id: str, *, skew_s: float) -> None:
        super().__init__(f"signed {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'before'} our clock")
        self.key_id = key_id
        self.skew_s = skew_s


@dataclass(frozen=True, kw_only=True, slots=True)
class KioskKey:
    """One key of a kiosk."""

    id: str  # for logs and lists: says nothing of the secret
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> "KioskKey":
        """Return the key, named by the beginning of its secret's hash."""
        return cls(id=hashlib.sha256(secret).hexdigest()[:8], secret=secret)

    @property
    def text(self) -> str:
        """The secret as people and other software hold it: `whsec_…`."""
        return SECRET_PREFIX + base64.b64encode(self.secret).decode("ascii")


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """Who signed a request."""

    key_id: str
    message_id: str  # `webhook-id`
    skew_s: float  # the kiosk's clock minus ours, with the way of the request


class SignatureCheck:
    """The check of one request: feed it the body with `update`, then `finish`."""

    def __init__(self, keys: Sequence[KioskKey], headers: Mapping[str, str], *, now: datetime) -> None:
        """Raise SignatureRefusedError if a header is missing or malformed. `headers`: names in any case."""
        lowered = {name.lower(): value for name, value in headers.items()}
        self._message_id = lowered.get("webhook-id", "")
        stamp = lowered.get("webhook-timestamp", "")
        self._signatures = _signatures(lowered.get("webhook-signature", ""))
        if not self._message_id or not _TIMESTAMP.fullmatch(stamp) or not self._signatures:
            raise SignatureRefusedError("missing or malformed headers")
        self._skew_s = float(stamp) - now.astimezone(UTC).timestamp()
        start = f"{self._message_id}.{stamp}.".encode("utf-8", "surrogateescape")
        self._macs = [(key.id, hmac.new(key.secret, start, "sha256")) for key in keys]

    def update(self, chunk: bytes) -> None:
        """Take the next piece of the body."""
        for _, mac in self._macs:
            mac.update(chunk)

    def finish(self) -> Signed:
        """Return who signed. Raises SignatureRefusedError; ClockRefusedError if TOLERANCE_S is passed."""
        for key_id, mac in self._macs:
            digest = mac.digest()
            if any(hmac.compare_digest(digest, signature) for signature in self._signatures):
                if abs(self._skew_s) > TOLERANCE_S:
                    raise ClockRefusedError(key_id, skew_s=self._skew_s)
                return Signed(key_id=key_id, message_id=self._message_id, skew_s=self._skew_s)
        raise SignatureRefusedError("no key fits")


def check_signature(keys: Sequence[KioskKey], headers: Mapping[str, str], body: bytes, *, now: datetime) -> Signed:
    """Return who signed `body`; see SignatureCheck."""
    check = SignatureCheck(keys, headers, now=now)
    check.update(body)
    return check.finish()


def sign(keys: Sequence[KioskKey], body: str, *, message_id: str, at: datetime) -> dict[str, str]:
    """Return the three headers for `body`; one signature a key, so that either end may rotate first."""
    signatures = [Webhook(key.secret).sign(message_id, at, body) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def parse_secret(secret: SecretStr, *, where: str) -> KioskKey:
    """Return the key of a `whsec_…` text. Raises ConfigurationError naming `where`; it never holds the secret."""
    text = secret.get_secret_value().removeprefix(SECRET_PREFIX)
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded:
        raise ConfigurationError(f"{where}: not a Standard Webhooks secret (whsec_ and Base64)")
    return KioskKey.of(decoded)


def _signatures(header: str) -> list[bytes]:
    """Return the signatures of version v1 that are Base64; other versions and rubbish are passed over."""
    found = []
    for token in header.split(" "):
        version, _, text = token.partition(",")
        if version == "v1":
            try:
                found.append(base64.b64decode(text, validate=True))
            except (binascii.Error, ValueError):
                continue
    return found
