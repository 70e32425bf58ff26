"""Answers to kiosks: kept for pick-up, or posted signed to the kiosks' operator."""

import base64
from uuid import uuid4

import pytest

from appeals.envelope import ContactPoint, ContactPointKind
from appeals.errors import ConfigurationError, PermanentError, TransientError
from appeals.reply import DeliveryState, ReplyKind
from config.channel_settings import KioskDevice, KioskSettings
from connectors.base import OutboundMessage
from connectors.kiosk import build
from connectors.media import describe_attachment
from okno.outside.kiosk import AnswerReceiver
from tests.integration.kiosk.recording_intake import RecordingIntake, make_ports

OLD_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW_SECRET = "whsec_" + base64.b64encode(b"n" * 32).decode()
PLAN = b"%PDF-1.4 plan"


def make_message(recipient: ContactPoint, *, in_reply_to: tuple[str, ...] = ("hall-1/f-1",)) -> OutboundMessage:
    async def read_blob(sha256: str) -> bytes:
        assert sha256 == describe_attachment("план.pdf", "", PLAN).sha256
        return PLAN

    return OutboundMessage(
        reply_id=uuid4(),
        kind=ReplyKind.ANSWER,
        appeal_number="482-719-3561",
        recipient=recipient,
        subject="Ответ",
        text="Свет починили.",
        language="ru",
        message_id="m1@okno",
        in_reply_to=in_reply_to,
        attachments=(describe_attachment("план.pdf", "", PLAN),),
        read_blob=read_blob,
    )


AT_KIOSK = ContactPoint(kind=ContactPointKind.KIOSK, value="hall-1/f-1")
BY_EMAIL = ContactPoint(kind=ContactPointKind.EMAIL, value="anna@example.org")


def make_connector(answer_url: str):
    device = KioskDevice(id="hall-1", secrets=(NEW_SECRET, OLD_SECRET))
    return build(KioskSettings(devices=(device,), answer_url=answer_url), make_ports(RecordingIntake()))


@pytest.mark.parametrize("secret", [OLD_SECRET, NEW_SECRET])
@pytest.mark.parametrize("recipient", [AT_KIOSK, BY_EMAIL])
async def test_posts_a_signed_answer(secret: str, recipient: ContactPoint):
    """A receiver that knows either key while they are rotated verifies it, and learns kiosk, form, number and text."""
    async with AnswerReceiver(secret=secret) as receiver:
        connector = make_connector(receiver.url)
        await connector.start()
        message = make_message(recipient)
        receipt = await connector.send(message)
        await connector.send(message)  # the crash after the post: the receiver knows the webhook-id
        await connector.stop()
    (answer,) = receiver.answers
    assert (receipt.state, receipt.external_id) == (DeliveryState.SENT, str(message.reply_id))
    assert (answer["kiosk_id"], answer["submission_id"], answer["number"]) == ("hall-1", "f-1", "482-719-3561")
    assert (answer["text"], answer["language"], answer["kind"]) == ("Свет починили.", "ru", "answer")
    assert answer["contact"] == (None if recipient is AT_KIOSK else {"kind": "email", "value": "anna@example.org"})
    assert base64.b64decode(answer["attachments"][0]["content_base64"]) == PLAN


async def test_without_an_address_it_is_kept_for_pick_up():
    """The citizen reads it at the kiosk or on the status page: that is as far as this channel goes."""
    receipt = await make_connector("").send(make_message(AT_KIOSK))
    assert receipt.state is DeliveryState.SENT
    assert "pick-up" in receipt.detail


@pytest.mark.parametrize(
    ("status", "error"), [(503, TransientError), (429, TransientError), (400, PermanentError), (302, PermanentError)]
)
async def test_refusals_of_the_receiver(status: int, error: type[Exception]):
    """5xx and 429 are tried again after Retry-After, anything else is shown to the agent; health follows."""
    async with AnswerReceiver(secret=NEW_SECRET, refusals=[status]) as receiver:
        connector = make_connector(receiver.url)
        await connector.start()
        with pytest.raises(error) as caught:
            await connector.send(make_message(AT_KIOSK))
        if error is TransientError:
            assert caught.value.retry_after_s == 7
            assert connector.health().state == "degraded"
        await connector.send(make_message(AT_KIOSK))
        assert connector.health().state == "up"
        await connector.stop()


async def test_receiver_out_of_reach_is_transient():
    """A refused connection is tried again."""
    connector = make_connector("http://127.0.0.1:1/answers")
    await connector.start()
    with pytest.raises(TransientError):
        await connector.send(make_message(AT_KIOSK))
    await connector.stop()


async def test_answer_for_a_kiosk_that_is_gone_is_permanent():
    """Without its key nothing can be signed for it."""
    async with AnswerReceiver(secret=NEW_SECRET) as receiver:
        connector = make_connector(receiver.url)
        await connector.start()
        with pytest.raises(PermanentError, match="gone"):
            await connector.send(make_message(ContactPoint(kind=ContactPointKind.KIOSK, value="gone/f-1")))
        with pytest.raises(PermanentError):
            await connector.send(make_message(BY_EMAIL, in_reply_to=()))
        await connector.stop()


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_не-base64", "whsec_a"])
def test_wrong_secret_is_a_configuration_error_that_does_not_show_it(secret: str):
    """The error names the kiosk and which of its secrets."""
    settings = KioskSettings(devices=(KioskDevice(id="hall-1", secrets=(NEW_SECRET, secret)),))
    with pytest.raises(ConfigurationError, match=r"devices\[hall-1\]\.secrets\[1\]") as caught:
        build(settings, make_ports(RecordingIntake()))
    assert "не-base64" not in str(caught.value)


def test_two_kiosks_of_one_id_are_a_configuration_error():
    """Their forms could not be told apart."""
    device = KioskDevice(id="hall-1", secrets=(NEW_SECRET,))
    with pytest.raises(ConfigurationError, match="same id"):
        build(KioskSettings(devices=(device, device)), make_ports(RecordingIntake()))
