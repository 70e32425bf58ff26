"""Mails of mail-to-fax gateways: which of them are faxes, and of whom."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from appeals.envelope import (
    AppealEnvelope,
    Attachment,
    AuthenticityResult,
    BlobRef,
    Channel,
    ContactPoint,
    ContactPointKind,
    ThreadReferences,
)
from config.channel_settings import FaxMailGateway
from connectors.fax.mail_gateway import MailFaxGateways

GATEWAYS = MailFaxGateways(
    [
        FaxMailGateway(sender="*@fax.example"),
        FaxMailGateway(sender="robot@city.example", number=r"Факс с номера (?P<number>[\d ()-]+)"),
    ]
)


def mail(sender: str = "Noreply@Fax.Example", *, subject: str = "", text: str = "", **more: object) -> AppealEnvelope:
    page = Attachment(
        name="fax.pdf",
        declared_media_type="application/pdf",
        detected_media_type="application/pdf",
        sha256="0" * 64,
        size_bytes=10,
    )
    fields = {
        "channel": Channel.EMAIL,
        "connector": "email",
        "external_id": "m1",
        "received_at": datetime.now(UTC),
        "sender": ContactPoint(kind=ContactPointKind.EMAIL, value=sender),
        "subject": subject,
        "text": text,
        "automatic": True,
        "threading": ThreadReferences(message_id="m1@fax.example"),
        "attachments": (page,),
        "raw": BlobRef.of(b"mail"),
    }
    return AppealEnvelope.model_validate({**fields, **more})


def test_a_gateways_mail_is_a_fax():
    """Channel, sender and recognition are a fax's; connector and external id stay, so that a redelivery is the same."""
    fax = GATEWAYS.convert(mail(subject="New fax from +7 (812) 123-45-67, 2 pages"))
    assert (fax.channel, fax.connector, fax.external_id) == (Channel.FAX, "email", "m1")
    assert fax.sender == ContactPoint(kind=ContactPointKind.FAX, value="+78121234567")
    assert (fax.recognise, fax.automatic, fax.threading.message_id) == (True, False, None)
    assert fax.attachments == mail().attachments
    assert "от +78121234567" in fax.clean_text
    AppealEnvelope.model_validate_json(fax.model_dump_json())


@pytest.mark.parametrize(
    ("subject", "text", "number"),
    [
        ("Факс с номера 8 (812) 123-45-67", "", "+78121234567"),
        ("", "Добрый день!\nФакс с номера 8121234567\n", "+78121234567"),
        ("Факс с номера неизвестен", "", ""),
    ],
)
def test_the_number_is_found_by_the_operators_pattern(subject: str, text: str, number: str):
    """In the subject or the text, read as a number of the region; none found: a fax of nobody known."""
    fax = GATEWAYS.convert(mail("robot@city.example", subject=subject, text=text))
    assert (fax.sender.value if fax.sender else "") == number


def test_other_mails_stay_mails():
    """Another sender, no pages, a failed DMARC check, another channel."""
    forged = (AuthenticityResult(method="dmarc", result="fail"),)
    assert GATEWAYS.convert(mail("citizen@example.org", subject="+78121234567")) is None
    assert GATEWAYS.convert(mail(attachments=())) is None
    assert GATEWAYS.convert(mail(authenticity=forged)) is None
    assert GATEWAYS.convert(mail(channel=Channel.WEB)) is None
    assert GATEWAYS.convert(mail(sender="x@fax.example.evil.org")) is None
    assert MailFaxGateways([]).convert(mail()) is None


def test_passed_checks_make_no_difference():
    """DMARC that passes, or says nothing, is no hindrance."""
    for result in ("pass", "none", "temperror"):
        checked = (AuthenticityResult(method="dmarc", result=result),)
        assert GATEWAYS.convert(mail(authenticity=checked)) is not None


@pytest.mark.parametrize("pattern", ["(", r"\d+", r"(?P<phone>\d+)"])
def test_a_pattern_that_finds_no_number_is_refused(pattern: str):
    """Not a regular expression, or without the group `number`: the setting is no good."""
    with pytest.raises(ValidationError):
        FaxMailGateway(sender="*@fax.example", number=pattern)


@given(subject=st.text(max_size=60), text=st.text(max_size=100))
@settings(max_examples=100)
def test_any_text_yields_a_number_or_none(subject: str, text: str):
    """Whatever the mail says, a fax comes out, and its sender is E.164 or nobody."""
    fax = GATEWAYS.convert(mail(subject=subject, text=text))
    assert fax.sender is None or fax.sender.value.startswith("+")
