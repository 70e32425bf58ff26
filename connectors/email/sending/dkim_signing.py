"""DKIM signatures on what we send (RFC 6376; Ed25519 by RFC 8463)."""

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

import dkim  # type: ignore[import-untyped]

from appeals.errors import ConfigurationError
from config.channel_settings import DkimKey

# RFC 6376 §5.4.1: what a reader sees and threading needs. From, To, Subject and Reply-To once more than they are there:
# nobody can add a second one. Received and Return-Path change on the way.
_SIGNED = (
    b"from",
    b"to",
    b"subject",
    b"date",
    b"message-id",
    b"reply-to",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"content-language",
    b"auto-submitted",
)
_OVERSIGNED = (b"from", b"to", b"subject", b"reply-to")
_RSA, _ED25519 = b"rsa-sha256", b"ed25519-sha256"
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----(.+?)-----END \1-----", re.DOTALL)
_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")  # RFC 8410 §7: then the 32 bytes of the key
_ED25519_BYTES = 32
_TRIAL = b"From: a@example.org\r\n\r\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Key:
    """A key, ready to sign."""

    selector: bytes
    domain: bytes
    algorithm: bytes
    private: bytes  # as dkimpy wants it: PEM for RSA, base64 of the seed for Ed25519


class DkimSigner:
    """Signs mails with each configured key; without keys mails stay as they are."""

    def __init__(self, keys: Sequence[DkimKey], *, sender_domain: str) -> None:
        """Read the keys and try each. Raises ConfigurationError that names the key's file."""
        self._keys = tuple(_read_key(key, position, sender_domain=sender_domain) for position, key in enumerate(keys))

    async def sign(self, content: bytes) -> bytes:
        """Return the mail with its signatures on top. An RSA signature takes some ms of processor time: in a thread."""
        if not self._keys:
            return content
        return await asyncio.to_thread(self._sign, content)

    def _sign(self, content: bytes) -> bytes:
        return b"".join(_signature(content, key) for key in self._keys) + content


def _signature(content: bytes, key: _Key) -> bytes:
    present = {line.partition(b":")[0].lower() for line in content.partition(b"\r\n\r\n")[0].split(b"\r\n")}
    fields = [name for name in _SIGNED if name in present]
    signature: bytes = dkim.sign(
        content,
        key.selector,
        key.domain,
        key.private,
        canonicalize=(b"relaxed", b"relaxed"),
        signature_algorithm=key.algorithm,
        include_headers=[*fields, *_OVERSIGNED],
    )
    return signature


def _read_key(key: DkimKey, position: int, *, sender_domain: str) -> _Key:
    name = f"email.dkim.{position}.key_file"
    try:
        content = key.key_file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{name}: {key.key_file} cannot be read: {error.strerror or error}") from error
    seed = _ed25519_seed(content)
    domain = (key.domain or sender_domain).encode("idna")
    ready = _Key(
        selector=key.selector.encode("ascii"),
        domain=domain,
        algorithm=_ED25519 if seed else _RSA,
        private=base64.b64encode(seed) if seed else content,
    )
    try:
        _signature(_TRIAL, ready)
    except (dkim.DKIMException, ValueError, TypeError, IndexError) as error:
        raise ConfigurationError(
            f"{name}: {key.key_file} holds no usable private key: "
            "it must be PEM, without a passphrase, of RSA (1024 bits or more) or Ed25519"
        ) from error
    return ready


def _ed25519_seed(content: bytes) -> bytes | None:
    """Return the seed of an Ed25519 key, from PEM (PKCS #8, as OpenSSL writes it) or bare base64 (dknewkey's)."""
    pem = _PEM.search(content)
    try:
        der = base64.b64decode(b"".join((pem[2] if pem else content).split()), validate=True)
    except binascii.Error:
        return None
    if pem is None:
        return der if len(der) == _ED25519_BYTES else None
    prefix, seed = der[: len(_PKCS8_ED25519)], der[len(_PKCS8_ED25519) :]
    return seed if prefix == _PKCS8_ED25519 and len(seed) == _ED25519_BYTES else None
