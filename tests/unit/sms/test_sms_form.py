"""Twilio's forms and signatures, without a network."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from appeals.envelope import BlobRef
from appeals.errors import DecodeError
from connectors.sms.envelope import build_envelope
from connectors.sms.form import Signature, parse_form, read_message
from connectors.sms.numbers import to_e164
from connectors.sms.provider import FetchedFiles

VECTORS = json.loads((Path(__file__).parents[2] / "data" / "twilio" / "signature_vectors.json").read_bytes())
SIGNATURE = Signature(VECTORS["auth_token"])


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_twilios_own_vectors(case: dict[str, Any]):
    """Signatures published by Twilio are accepted, with and without ports, and not for another form."""
    form = MultiDict(VECTORS["params"])
    assert SIGNATURE.matches(case["uri"], form, signature=case["signature"])
    form["Digits"] = "4321"
    assert not SIGNATURE.matches(case["uri"], form, signature=case["signature"])


def test_repeated_fields_are_signed_each():
    """A form that repeats a key is signed over all its values."""
    vector = VECTORS["duplicate_keys"]
    form = parse_form(vector["form"].encode())
    assert SIGNATURE.matches(VECTORS["uri"], form, signature=vector["signature"])


@given(url=st.text(), pairs=st.dictionaries(st.text(), st.text()), signature=st.text())
def test_signature_check_never_raises(url: str, pairs: dict[str, str], signature: str):
    """Whatever is posted, the check answers no."""
    assert not SIGNATURE.matches(url, MultiDict(pairs), signature=signature)


@given(st.binary())
def test_any_body_is_a_form_or_a_decode_error(body: bytes):
    """Parsing never fails otherwise, and the error carries the bytes."""
    try:
        parse_form(body)
    except DecodeError as error:
        assert error.data == body  # noqa: PT017 - or it must not raise at all


@given(
    st.dictionaries(
        st.sampled_from(["MessageSid", "From", "To", "Body", "NumMedia", "MediaUrl0", "OptOutType", "FromCity"]),
        st.text(st.characters(), max_size=30),
    )
)
def test_any_form_is_an_envelope_or_a_decode_error(pairs: dict[str, str]):
    """What is read makes a valid envelope without NUL or lone surrogates."""
    try:
        message = read_message(MultiDict(pairs), default_region="RU", body=b"x")
    except DecodeError:
        return
    envelope = build_envelope(
        message,
        FetchedFiles(notes=("n",)),
        connector="sms",
        provider="twilio",
        opt_out=message.opt_out,
        raw=BlobRef.of(b"x"),
        received_at=datetime.now(UTC),
    )
    stored = envelope.model_dump_json()
    assert "\\u0000" not in stored
    stored.encode()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+79161234567", "+79161234567"),
        ("89161234567", "+79161234567"),
        ("+15005550006", "+15005550006"),
        ("12345", None),
        ("Beeline", None),
        ("", None),
    ],
)
def test_numbers_become_e164(number: str, expected: str | None):
    """National numbers get the default region's country code; names and short codes are no numbers."""
    assert to_e164(number, default_region="RU") == expected
