"""Signatures of kiosks: Standard Webhooks (https://www.standardwebhooks.com), HMAC-SHA256, symmetric keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from appeals.errors import ConfigurationError, OknoError


class SignatureRefusedError(OknoError):
    """The request is not signed by a key we know, or was signed more than five minutes ago (a replay)."""


class KioskKeys:
    """The keys of one kiosk. More than one while a key is rotated: any of them opens, all of them sign."""

    def __init__(self, kiosk_id: str, secrets: Sequence[SecretStr]) -> None:
        """Raise ConfigurationError if a secret is not `whsec_` and Base64; the error never holds the secret."""
        self._webhooks = tuple(_webhook(kiosk_id, index, secret) for index, secret in enumerate(secrets))

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Return if one of the keys signed `body` within the last five minutes; raises SignatureRefusedError."""
        lowered = {name.lower(): value for name, value in headers.items()}
        reason = "no key"
        for webhook in self._webhooks:
            try:
                webhook.verify(body, lowered, json_parse=False)
            except WebhookVerificationError as error:
                reason = str(error)
            except ValueError:  # the library lets through: not UTF-8, a signature without version, not Base64
                reason = "malformed body or signature"
            else:
                return
        raise SignatureRefusedError(reason)

    def sign(self, body: str, *, message_id: str, at: datetime) -> dict[str, str]:
        """Return the three headers for `body`; one signature a key, so that either end may rotate first."""
        signatures = [webhook.sign(message_id, at, body) for webhook in self._webhooks]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


def _webhook(kiosk_id: str, index: int, secret: SecretStr) -> Webhook:
    try:
        return Webhook(secret.get_secret_value())
    except Exception as error:  # the library raises binascii.Error and classes of its own with no common root
        raise ConfigurationError(
            f"kiosk.devices[{kiosk_id}].secrets[{index}]: not a Standard Webhooks secret (whsec_ and Base64)"
        ) from error
