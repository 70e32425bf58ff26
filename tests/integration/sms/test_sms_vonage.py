"""Vonage as the second provider: the same connector, another module behind the port."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appeals.envelope import ContactPoint, ContactPointKind
from appeals.errors import ConfigurationError, PermanentError, TransientError
from appeals.reply import DeliveryState, ReplyKind
from config.channel_settings import SmsSettings
from connectors.base import Connector, OutboundMessage
from connectors.sms import build
from tests.integration.sms.recording_intake import RecordingIntake, RecordingReports, make_ports, serving
from tests.integration.sms.vonage_api import KEY, SECRET, SIGNATURE_SECRET, VonageApi

CITIZEN = "+79161234567"


@pytest.fixture
async def vonage() -> AsyncIterator[VonageApi]:
    async with VonageApi() as server:
        yield server


@pytest.fixture
def intake() -> RecordingIntake:
    return RecordingIntake()


@pytest.fixture
def reports() -> RecordingReports:
    return RecordingReports()


@pytest.fixture
async def served(
    vonage: VonageApi, intake: RecordingIntake, reports: RecordingReports
) -> AsyncIterator[tuple[Connector, str]]:
    section = SmsSettings(
        provider="vonage",
        account_sid=KEY,
        auth_token=SECRET,
        signature_secret=SIGNATURE_SECRET,
        number="+79990000000",
        api_url=vonage.url,
    )
    async with serving(lambda url: build(section, make_ports(intake, reports=reports, public_url=url))) as served:
        yield served


async def no_blob(sha256: str) -> bytes:
    raise AssertionError(sha256)


def outbound(text: str = "Вода есть") -> OutboundMessage:
    return OutboundMessage(
        reply_id=uuid4(),
        kind=ReplyKind.ANSWER,
        appeal_number="482-719-3566",
        recipient=ContactPoint(kind=ContactPointKind.PHONE, value=CITIZEN),
        subject="",
        text=text,
        language="ru",
        message_id=f"{uuid4()}@okno",
        read_blob=no_blob,
    )


@pytest.mark.parametrize("way", ["json", "form", "get"])
async def test_inbound_message(vonage: VonageApi, served: tuple[Connector, str], intake: RecordingIntake, way: str):
    """However the account is set to post, a message is registered once with its bytes, and answered 204."""
    fields = vonage.inbound("Нет воды & света = беда 🥶")
    for _ in range(2):
        assert await vonage.post(f"{served[1]}/hooks/vonage/sms", fields, way=way) == 204
    envelope = intake.only
    assert envelope.text == "Нет воды & света = беда 🥶"
    assert envelope.external_id == fields["messageId"]
    assert envelope.sender is not None
    assert envelope.sender.value == CITIZEN
    assert envelope.threading.conversation == f"sms:+79990000000:{CITIZEN}"
    assert envelope.authenticity[0].detail == "vonage"
    assert fields["messageId"].encode() in intake.raw_of(envelope)


async def test_parts_are_marked(vonage: VonageApi, served: tuple[Connector, str], intake: RecordingIntake):
    """A part of a long message says which it is, and joins the same talk."""
    fields = vonage.inbound("конец", concat="true", **{"concat-ref": "7", "concat-total": "3", "concat-part": "3"})
    await vonage.post(f"{served[1]}/hooks/vonage/sms", fields)
    assert intake.only.text == "[часть / part 3 из / of 3]\nконец"
    assert intake.only.marks == ("partial",)


@pytest.mark.parametrize("change", [{"sig": ""}, {"sig": "0" * 64}, {"age_s": 3 * 86400.0}, {"sig": "ё"}])
async def test_unsigned_and_old_posts_are_refused(
    vonage: VonageApi, served: tuple[Connector, str], intake: RecordingIntake, change: dict[str, Any]
):
    """A wrong signature or a replay of days ago is 403, and nothing is kept."""
    for path in ("sms", "status"):
        assert await vonage.post(f"{served[1]}/hooks/vonage/{path}", vonage.inbound("x"), **change) == 403
    assert not intake.envelopes
    assert not intake.quarantined


@pytest.mark.parametrize("change", [{"messageId": ""}, {"msisdn": ""}, {"type": "binary", "data": "00"}])
async def test_signed_nonsense_is_quarantined(
    vonage: VonageApi, served: tuple[Connector, str], intake: RecordingIntake, change: dict[str, str]
):
    """What is no text message is kept with its bytes, not answered with a failure."""
    assert await vonage.post(f"{served[1]}/hooks/vonage/sms", vonage.inbound("x") | change) == 204
    assert len(intake.quarantined) == 1


async def test_registry_down_is_503(vonage: VonageApi, served: tuple[Connector, str], intake: RecordingIntake):
    """Vonage posts again for a day."""
    intake.down = TransientError("no store")
    fields = vonage.inbound("Вода")
    assert await vonage.post(f"{served[1]}/hooks/vonage/sms", fields) == 503
    intake.down = None
    assert await vonage.post(f"{served[1]}/hooks/vonage/sms", fields) == 204
    assert intake.only.text == "Вода"


async def test_keyword_is_answered_by_a_message(
    vonage: VonageApi, served: tuple[Connector, str], intake: RecordingIntake
):
    """Vonage answers no keyword and takes no text in the hook's answer: STOP is confirmed by a message, then obeyed."""
    await vonage.post(f"{served[1]}/hooks/vonage/sms", vonage.inbound("STOP"))
    assert [sent.form["to"] for sent in vonage.sent] == ["79161234567"]
    assert intake.only.fields["opt_out"] == "STOP"
    with pytest.raises(PermanentError, match="opted out"):
        await served[0].send(outbound())


async def test_answer_and_its_receipts(vonage: VonageApi, served: tuple[Connector, str], reports: RecordingReports):
    """Russian goes out as unicode; the receipts of the parts end in one state under the first part's id."""
    receipt = await served[0].send(outbound("слово " * 400))
    reports.known.add(receipt.external_id)
    assert [sent.form["type"] for sent in vonage.sent] == ["unicode", "unicode"]
    first, last = vonage.sent
    for sent, status, code in ((first, "delivered", "0"), (last, "accepted", "0"), (last, "delivered", "0")):
        fields = {"messageId": sent.id, "status": status, "err-code": code, "client-ref": sent.form["client-ref"]}
        assert await vonage.post(sent.form["callback"], fields) == 204
    assert reports.states == [(receipt.external_id, DeliveryState.DELIVERED, "")]


async def test_failed_receipt_has_a_reason(vonage: VonageApi, served: tuple[Connector, str], reports: RecordingReports):
    """The carrier's code is told in words."""
    receipt = await served[0].send(outbound())
    reports.known.add(receipt.external_id)
    form = vonage.sent[0].form
    fields = {"messageId": vonage.sent[0].id, "status": "failed", "err-code": "7", "client-ref": form["client-ref"]}
    await vonage.post(form["callback"], fields)
    ((_, state, detail),) = reports.states
    assert state is DeliveryState.FAILED
    assert "spam" in detail


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("1", TransientError),
        ("5", TransientError),
        ("4", TransientError),
        ("429", TransientError),
        ("503", TransientError),
        ("3", PermanentError),
        ("7", PermanentError),
        ("99", PermanentError),
    ],
)
async def test_refusals(vonage: VonageApi, served: tuple[Connector, str], status: str, error: type[Exception]):
    """Throttling, outages and refused credentials are tried again; the rest is shown to the agent."""
    vonage.refuse_next.append(status)
    with pytest.raises(error):
        await served[0].send(outbound())


async def test_settings_of_vonage_are_named():
    """The signature's secret is needed, too."""
    with pytest.raises(ConfigurationError) as caught:
        build(SmsSettings(provider="vonage", account_sid="x"), make_ports(RecordingIntake()))
    assert {fault.split(":")[0] for fault in caught.value.faults} == {
        "sms.auth_token",
        "sms.number",
        "sms.signature_secret",
    }


async def test_any_bytes_end_in_an_answer(served: tuple[Connector, str], intake: RecordingIntake):
    """Any unsigned body or query on both hooks is 400 or 403, and nothing is kept."""
    bodies: list[bytes] = [b"", b"{", b"[]", b'{"a":1}', b'{"sig":{"a":[]}}', b"{" * 50_000, b"a=1&sig=", b"\xff"]

    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200))
    def draw(body: bytes) -> None:
        bodies.append(body)

    draw()
    statuses: set[int] = set()
    async with aiohttp.ClientSession() as session:
        for at, body in enumerate(bodies):
            url = f"{served[1]}/hooks/vonage/{'sms' if at % 2 else 'status'}"
            async with session.post(url, data=body) as response:
                statuses.add(response.status)
            async with session.get(f"{url}?{body.hex()[:200]}") as response:
                statuses.add(response.status)
    assert statuses <= {400, 403}
    assert not intake.envelopes
    assert not intake.quarantined


async def test_any_signed_fields_are_kept(vonage: VonageApi, served: tuple[Connector, str], intake: RecordingIntake):
    """Whatever a signed post says is registered or quarantined, and answered 204."""
    names = st.sampled_from(["messageId", "msisdn", "to", "text", "type", "concat", "concat-part", "concat-total", "X"])
    forms: list[dict[str, str]] = []

    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"]), max_size=20)))
    def draw(form: dict[str, str]) -> None:
        forms.append(form)

    draw()
    forms.append({"messageId": "1", "msisdn": "7", "text": "\ud800"})
    for at, form in enumerate(forms):
        way = "json" if at % 2 or "\ud800" in form.get("text", "") else "form"
        assert await vonage.post(f"{served[1]}/hooks/vonage/sms", form, way=way) == 204
    assert intake.envelopes or intake.quarantined
