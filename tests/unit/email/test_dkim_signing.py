"""DKIM signatures, verified by dkimpy against a public key as the DNS would give it."""

import base64
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from appeals.errors import ConfigurationError
from config.channel_settings import DkimKey
from connectors.email.sending.dkim_signing import DkimSigner

MAIL = (
    b"From: =?utf-8?b?0J7RhNC40YE=?= <appeals@okno.example>\r\nTo: ivan@example.org\r\nSubject: Re: x\r\n"
    b"Date: Mon, 03 Mar 2025 10:00:00 +0000\r\nMessage-ID: <1@okno.example>\r\nContent-Type: text/plain\r\n\r\nHello\r\n"
)
PKCS8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _rsa(folder: Path) -> tuple[Path, str]:
    """Write an RSA key; return its file and the TXT record of its public half."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = folder / "rsa.pem"
    file.write_bytes(key.private_bytes(*PKCS8))
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return file, f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


def _ed25519(folder: Path, *, form: str = "pem") -> tuple[Path, str]:
    key = ed25519.Ed25519PrivateKey.generate()
    file = folder / f"ed25519.{form}"
    raw = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    file.write_bytes(key.private_bytes(*PKCS8) if form == "pem" else base64.b64encode(raw) + b"\n")
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return file, f"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"


def _verifies(content: bytes, records: dict[str, str], *, index: int = 0) -> bool:
    def dns(name: bytes, timeout: int = 5) -> bytes:
        return records[name.decode()].encode()

    try:
        return bool(dkim.DKIM(content).verify(idx=index, dnsfunc=dns))
    except dkim.ValidationError:
        return False


async def test_rsa_and_ed25519_side_by_side(tmp_path: Path):
    """Both signatures verify; one changed letter, or a second From, breaks them."""
    rsa_file, rsa_record = _rsa(tmp_path)
    ed_file, ed_record = _ed25519(tmp_path)
    keys = [DkimKey(selector="r1", key_file=rsa_file), DkimKey(selector="e1", key_file=ed_file, domain="okno.example")]
    records = {"r1._domainkey.okno.example.": rsa_record, "e1._domainkey.okno.example.": ed_record}
    signed = await DkimSigner(keys, sender_domain="okno.example").sign(MAIL)
    assert signed.endswith(MAIL)
    assert signed.count(b"DKIM-Signature:") == 2
    for index in (0, 1):
        assert _verifies(signed, records, index=index)
        assert not _verifies(signed.replace(b"Hello", b"Hullo"), records, index=index)
        assert not _verifies(signed.replace(b"Subject: Re: x", b"Subject: Re: y"), records, index=index)
        assert not _verifies(signed.replace(b"To: ivan", b"From: evil@example.net\r\nTo: ivan"), records, index=index)
        # What relays do on the way: fold fields anew, add trace fields, spaces at line ends.
        assert _verifies(
            b"Received: from x\r\n" + signed.replace(b"Subject: Re: x", b"Subject:  Re:\r\n x"), records, index=index
        )


async def test_the_base64_form_of_dknewkey(tmp_path: Path):
    """A bare base64 Ed25519 key, as dkimpy's own tool writes it, is read as well."""
    file, record = _ed25519(tmp_path, form="key")
    signer = DkimSigner([DkimKey(selector="e", key_file=file)], sender_domain="okno.example")
    assert _verifies(await signer.sign(MAIL), {"e._domainkey.okno.example.": record})


async def test_without_keys_nothing_changes():
    """No key, no signature."""
    assert await DkimSigner([], sender_domain="okno.example").sign(MAIL) == MAIL


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"\xff\x00" * 40]
)
def test_a_file_without_a_key(tmp_path: Path, content: bytes):
    """A file that holds no usable key is refused at the start, by the setting's name."""
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"email\.dkim\.0\.key_file"):
        DkimSigner([DkimKey(selector="s", key_file=file)], sender_domain="okno.example")


def test_a_missing_file(tmp_path: Path):
    """A file that cannot be read is named."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        DkimSigner([DkimKey(selector="s", key_file=tmp_path / "none.pem")], sender_domain="okno.example")
