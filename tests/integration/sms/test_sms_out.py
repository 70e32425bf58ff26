"""SMS out: Twilio's own client against the local Messages API, and the call-backs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from appeals.envelope import ContactPoint, ContactPointKind
from appeals.errors import ConfigurationError, PermanentError, TransientError
from appeals.reply import DeliveryState, ReplyKind
from config.channel_settings import SmsSettings
from connectors.base import Connector, HealthState, OutboundMessage
from connectors.media import describe_attachment
from connectors.sms import build
from okno.outside.twilio_api import TwilioApi
from tests.integration.sms.recording_intake import RecordingIntake, RecordingReports, make_ports, serving

CITIZEN = "+79161234567"


@pytest.fixture
async def twilio() -> AsyncIterator[TwilioApi]:
    async with TwilioApi() as server:
        yield server


@pytest.fixture
def reports() -> RecordingReports:
    return RecordingReports()


@pytest.fixture
async def connector(twilio: TwilioApi, reports: RecordingReports) -> AsyncIterator[Connector]:
    section = SmsSettings(
        enabled=True,
        account_sid=twilio.account_sid,
        auth_token=twilio.auth_token,
        number=twilio.number,
        api_url=twilio.url,
    )
    async with serving(lambda url: build(section, make_ports(RecordingIntake(), reports=reports, public_url=url))) as (
        connector,
        _,
    ):
        yield connector


async def _no_blob(sha256: str) -> bytes:
    raise AssertionError(sha256)


def outbound(text: str = "Ваш номер 123", **changes: Any) -> OutboundMessage:
    return OutboundMessage(
        **{
            "reply_id": uuid4(),
            "kind": ReplyKind.ANSWER,
            "appeal_number": "482-719-3561",
            "recipient": ContactPoint(kind=ContactPointKind.PHONE, value=CITIZEN),
            "subject": "",
            "text": text,
            "language": "ru",
            "message_id": f"{uuid4()}@okno",
            "read_blob": _no_blob,
            **changes,
        }
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_answer_goes_out_and_its_delivery_comes_back(
    twilio: TwilioApi, connector: Connector, reports: RecordingReports
):
    """A reply is taken by the API; the signed call-backs end in sent, then delivered, for its external id."""
    receipt = await connector.send(outbound("Ответ 🙂"))
    reports.known.add(receipt.external_id)
    (sent,) = twilio.sent
    assert (sent.sid, sent.recipient, sent.sender, sent.body) == (
        receipt.external_id,
        CITIZEN,
        twilio.number,
        "Ответ 🙂",
    )
    await until(lambda: len(reports.states) == 2)
    assert [state for _, state, _ in reports.states] == [DeliveryState.SENT, DeliveryState.DELIVERED]
    assert {external_id for external_id, _, _ in reports.states} == {receipt.external_id}


async def test_undelivered_names_the_reason(twilio: TwilioApi, connector: Connector, reports: RecordingReports):
    """A failed delivery is reported with the error's meaning."""
    twilio.final_status, twilio.final_error_code = "undelivered", "30006"
    receipt = await connector.send(outbound())
    reports.known.add(receipt.external_id)
    await until(lambda: len(reports.states) == 2)
    _, state, detail = reports.states[-1]
    assert state is DeliveryState.FAILED
    assert "land line" in detail


async def test_long_answer_is_split_on_words(twilio: TwilioApi, connector: Connector, reports: RecordingReports):
    """Over 1,600 characters several messages go out; one delivery is reported, under the first one's id."""
    text = "слово " * 700
    message = outbound(text)
    receipt = await connector.send(message)
    reports.known.add(receipt.external_id)
    assert len(twilio.sent) == 3
    assert all(len(sent.body) <= 1600 for sent in twilio.sent)
    assert " ".join(sent.body for sent in twilio.sent) == text.strip()
    assert receipt.external_id == twilio.sent[0].sid
    assert receipt.detail == ", ".join(sent.sid for sent in twilio.sent)
    await until(lambda: any(state is DeliveryState.DELIVERED for _, state, _ in reports.states))
    assert [state for _, state, _ in reports.states].count(DeliveryState.DELIVERED) == 1
    assert {external_id for external_id, _, _ in reports.states} == {receipt.external_id}


async def test_parts_already_taken_are_not_sent_again(twilio: TwilioApi, connector: Connector):
    """When a later part fails, the next try goes on from there."""
    twilio.final_status = None
    message = outbound("слово " * 700)
    first = asyncio.Event()

    async def fail_after_first() -> None:
        await twilio.wait_for_sent()
        twilio.fail_next(20500)
        first.set()

    watcher = asyncio.create_task(fail_after_first())
    with pytest.raises(TransientError):
        await connector.send(message)
    await watcher
    assert first.is_set()
    taken = len(twilio.sent)
    assert 1 <= taken < 3
    await connector.send(message)
    assert len(twilio.sent) == 3


@pytest.mark.parametrize(
    ("code", "retry_after_s", "expected"),
    [(20429, 17, 17.0), (20429, None, None), (20500, None, None), (20003, None, None)],
)
async def test_trouble_that_passes_is_transient(
    twilio: TwilioApi, connector: Connector, code: int, retry_after_s: int | None, expected: float | None
):
    """429, 5xx and refused credentials are tried again; Retry-After is honoured; health shows it until one succeeds."""
    twilio.fail_next(code, retry_after_s=retry_after_s)
    with pytest.raises(TransientError) as caught:
        await connector.send(outbound())
    assert caught.value.retry_after_s == expected
    assert connector.health().state is HealthState.DEGRADED
    await connector.send(outbound())
    assert connector.health().state is HealthState.UP


async def test_opted_out_citizen_is_named_as_such(twilio: TwilioApi, connector: Connector):
    """Error 21610 is permanent and says STOP."""
    twilio.opted_out.add(CITIZEN)
    with pytest.raises(PermanentError, match="STOP"):
        await connector.send(outbound())


async def test_server_out_of_reach_is_transient(twilio: TwilioApi, connector: Connector):
    """A closed port is tried again later."""
    await twilio.stop()
    with pytest.raises(TransientError):
        await connector.send(outbound())


@pytest.mark.parametrize(
    "changes",
    [
        {"text": " \n"},
        {"recipient": ContactPoint(kind=ContactPointKind.PHONE, value="MChS")},
        {"attachments": (describe_attachment("a.txt", "text/plain", b"a"),)},
    ],
)
async def test_what_sms_cannot_do_is_refused_before_sending(
    twilio: TwilioApi, connector: Connector, changes: dict[str, Any]
):
    """No text, no number, files: permanent, and nothing goes out in part."""
    with pytest.raises(PermanentError):
        await connector.send(outbound(**changes))
    assert not twilio.sent


async def test_unsigned_call_back_is_refused(twilio: TwilioApi, connector: Connector, reports: RecordingReports):
    """A forged delivery report is 403 and changes nothing."""
    reports.known.add("SM1")
    base = connector.health().addresses[0].removesuffix("/sms")
    form = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    assert (await twilio.post_form(f"{base}/status", form, signature="bad")).status == 403
    assert (await twilio.post_form(f"{base}/status", form)).status == 204
    assert len(reports.states) == 1


async def test_call_back_that_overtakes_the_receipt(twilio: TwilioApi, connector: Connector, reports: RecordingReports):
    """A call-back that comes before its reply is known is still reported."""
    base = connector.health().addresses[0].removesuffix("/sms")
    form = {"MessageSid": "SM2", "MessageStatus": "delivered"}
    posting = asyncio.create_task(twilio.post_form(f"{base}/status", form))
    await asyncio.sleep(0.05)
    reports.known.add("SM2")
    assert (await posting).status == 204
    assert reports.states == [("SM2", DeliveryState.DELIVERED, "")]


async def test_missing_settings_are_named_all_at_once():
    """Without account, token or number the connector cannot be built."""
    with pytest.raises(ConfigurationError) as caught:
        build(SmsSettings(enabled=True), make_ports(RecordingIntake()))
    assert len(caught.value.faults) == 3
