"""Signatures of kiosks agree with the Standard Webhooks library."""

import base64
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook

from appeals.errors import ConfigurationError
from connectors.kiosk.signature import (
    ClockRefusedError,
    KioskKey,
    SignatureCheck,
    SignatureRefusedError,
    check_signature,
    parse_secret,
    sign,
)

KEY, OTHER = KioskKey.of(b"k" * 32), KioskKey.of(b"o" * 32)
NOW = datetime.now(UTC).replace(microsecond=0)
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@given(body=st.text(), message_id=PRINTABLE, secret=st.binary(min_size=1, max_size=64))
def test_what_the_library_signs_is_taken(body: str, message_id: str, secret: bytes):
    """For any secret, id and text the library's signature is right, among others too, and names the key."""
    key = KioskKey.of(secret)
    headers = {
        "Webhook-Id": message_id,
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": "v1a,AAAA v1,!! " + Webhook(secret).sign(message_id, NOW, body),
    }
    signed = check_signature([OTHER, key], headers, body.encode(), now=NOW)
    assert (signed.key_id, signed.message_id) == (key.id, message_id)


@given(body=st.text())
def test_what_we_sign_the_library_takes(body: str):
    """An answer signed by two keys is right for whoever holds either."""
    headers = sign([KEY, OTHER], body, message_id="m", at=datetime.now(UTC))
    for key in (KEY, OTHER):
        Webhook(key.text).verify(body, headers, json_parse=False)


@given(body=st.binary(min_size=1, max_size=200), cut=st.integers(0, 200))
def test_a_body_in_pieces_is_the_same_body(body: bytes, cut: int):
    """Any bytes, also such as are no text, however they are cut; one byte more or less is refused."""
    stamp = str(int(NOW.timestamp()))
    digest = hmac.digest(KEY.secret, f"m.{stamp}.".encode() + body, "sha256")
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    check = SignatureCheck([KEY], headers, now=NOW)
    check.update(body[:cut])
    check.update(body[cut:])
    assert check.finish().key_id == KEY.id
    for changed in (body[:-1], body + b"\0"):
        with pytest.raises(SignatureRefusedError):
            check_signature([KEY], headers, changed, now=NOW)


@pytest.mark.parametrize("skew_s", [-400, 400])
def test_a_wrong_clock_is_told_from_a_wrong_key(skew_s: int):
    """A right signature at a wrong time names the skew; a wrong signature is just refused."""
    at = NOW + timedelta(seconds=skew_s)
    headers = sign([KEY], "body", message_id="m", at=at)
    with pytest.raises(ClockRefusedError) as caught:
        check_signature([KEY], headers, b"body", now=NOW)
    assert caught.value.skew_s == skew_s
    with pytest.raises(SignatureRefusedError) as refused:
        check_signature([OTHER], headers, b"body", now=NOW)
    assert not isinstance(refused.value, ClockRefusedError)


@given(
    headers=st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text(st.characters(), max_size=30)
    )
)
def test_any_headers_are_refused_and_nothing_else(headers: dict[str, str]):
    """No header makes the check raise anything but a refusal."""
    with pytest.raises(SignatureRefusedError):
        check_signature([KEY], headers, b"body", now=NOW)


def test_secrets_are_hidden_and_checked():
    """A key's secret is not in its repr; a text that is no secret is refused without being repeated."""
    assert KEY.text not in repr(KEY)
    assert parse_secret(SecretStr(KEY.text), where="here") == KEY
    with pytest.raises(ConfigurationError, match="here") as caught:
        parse_secret(SecretStr("whsec_секрет"), where="here")
    assert "секрет" not in str(caught.value)
