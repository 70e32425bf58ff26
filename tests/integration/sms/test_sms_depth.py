"""SMS in depth: opt-outs, prices, call-backs in any order, proxies, media hosts."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from appeals.envelope import ContactPoint, ContactPointKind
from appeals.errors import PermanentError, TransientError
from appeals.reply import DeliveryState, ReplyKind
from config.channel_settings import SmsSettings
from connectors.base import Connector, OutboundMessage
from connectors.sms import build
from okno.outside.twilio_api import MediaFile, TwilioApi
from tests.integration.sms.recording_intake import (
    RecordingCursors,
    RecordingIntake,
    RecordingReports,
    make_ports,
    serving,
)

CITIZEN = "+79161234567"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 32


@pytest.fixture
async def twilio() -> AsyncIterator[TwilioApi]:
    async with TwilioApi() as server:
        server.final_status = None
        yield server


@pytest.fixture
def intake() -> RecordingIntake:
    return RecordingIntake()


@pytest.fixture
def cursors() -> RecordingCursors:
    return RecordingCursors()


@pytest.fixture
def reports() -> RecordingReports:
    return RecordingReports()


def sms_settings(twilio: TwilioApi, **changes: Any) -> SmsSettings:
    return SmsSettings(
        **{
            "account_sid": twilio.account_sid,
            "auth_token": twilio.auth_token,
            "number": twilio.number,
            "api_url": twilio.url,
            "media_hosts": ("127.0.0.1",),
            **changes,
        }
    )


@pytest.fixture
async def served(
    twilio: TwilioApi, intake: RecordingIntake, cursors: RecordingCursors, reports: RecordingReports
) -> AsyncIterator[tuple[Connector, str]]:
    section = sms_settings(twilio)
    async with serving(
        lambda url: build(section, make_ports(intake, cursors=cursors, reports=reports, public_url=url))
    ) as served:
        yield served


@pytest.fixture
def hook(served: tuple[Connector, str]) -> str:
    return f"{served[1]}/hooks/twilio/sms"


async def no_blob(sha256: str) -> bytes:
    raise AssertionError(sha256)


def outbound(text: str = "Вода есть", **changes: Any) -> OutboundMessage:
    return OutboundMessage(
        **{
            "reply_id": uuid4(),
            "kind": ReplyKind.ANSWER,
            "appeal_number": "482-719-3566",
            "recipient": ContactPoint(kind=ContactPointKind.PHONE, value=CITIZEN),
            "subject": "",
            "text": text,
            "language": "ru",
            "message_id": f"{uuid4()}@okno",
            "read_blob": no_blob,
            **changes,
        }
    )


# ---- opt-out
async def test_russian_stop_is_answered_once_kept_and_obeyed(
    twilio: TwilioApi, served: tuple[Connector, str], hook: str, intake: RecordingIntake
):
    """СТОП is registered as automatic, confirmed in the hook's answer, and nothing is sent until СТАРТ."""
    stop = await twilio.post_incoming(hook, sender=CITIZEN, body="Стоп", message_sid="SM" + "1" * 32)
    assert "<Message>Больше не будем" in stop.body
    envelope = intake.only
    assert envelope.automatic
    assert (envelope.fields["opt_out"], envelope.marks) == ("STOP", ("opt_out",))
    with pytest.raises(PermanentError, match=r"opted out.*START.*another channel"):
        await served[0].send(outbound())
    again = await twilio.post_incoming(hook, sender=CITIZEN, body="Стоп", message_sid="SM" + "1" * 32)
    assert "<Message" not in again.body
    start = await twilio.post_incoming(hook, sender=CITIZEN, body="старт")
    assert "<Message>Вы снова" in start.body
    await served[0].send(outbound())
    assert len(twilio.sent) == 1


@pytest.mark.parametrize(("body", "kind"), [("STOP", None), ("unsubscribe", None), ("хватит", "STOP")])
async def test_what_twilio_answers_is_not_answered_twice(
    twilio: TwilioApi, served: tuple[Connector, str], hook: str, body: str, kind: str | None
):
    """Its own keywords, and what its Advanced Opt-Out found, are kept and not answered by us."""
    form = twilio.incoming_form(sender=CITIZEN, body=body) | ({"OptOutType": kind} if kind else {})
    answer = await twilio.post_form(hook, form)
    assert "<Message" not in answer.body
    with pytest.raises(PermanentError, match="opted out"):
        await served[0].send(outbound())


async def test_help_is_answered_and_registered(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """ПОМОЩЬ alone may be a cry for help: an agent sees it all the same."""
    answer = await twilio.post_incoming(hook, sender=CITIZEN, body="Помощь!")
    assert "напишите сюда обращение" in answer.body
    assert intake.only.text == "Помощь!"


async def test_opt_out_outlives_a_restart_and_is_applied_before_the_registration(
    twilio: TwilioApi, intake: RecordingIntake, cursors: RecordingCursors
):
    """A STOP whose registration fails is obeyed already; the next process obeys it, too."""
    section = sms_settings(twilio)
    form = twilio.incoming_form(sender=CITIZEN, body="СТОП")
    intake.down = TransientError("no store")
    for status in (503, 200):
        async with serving(lambda url: build(section, make_ports(intake, cursors=cursors, public_url=url))) as (
            connector,
            url,
        ):
            assert (await twilio.post_form(f"{url}/hooks/twilio/sms", form)).status == status
            with pytest.raises(PermanentError, match="opted out"):
                await connector.send(outbound())
        intake.down = None
    assert not twilio.sent


async def test_refusal_by_twilio_is_remembered(twilio: TwilioApi, served: tuple[Connector, str], hook: str):
    """Error 21610 is asked for once; START lifts it here, too."""
    twilio.opted_out.add(CITIZEN)
    with pytest.raises(PermanentError, match="STOP"):
        await served[0].send(outbound())
    twilio.opted_out.clear()
    with pytest.raises(PermanentError, match="opted out"):
        await served[0].send(outbound())
    await twilio.post_incoming(hook, sender=CITIZEN, body="START")
    await served[0].send(outbound())


# ---- what it costs
@pytest.mark.parametrize(
    ("text", "parts", "encoding", "units_per_part", "price"),
    [
        ("Вода есть", 1, "ucs2", 70, "3.50"),
        ("я" * 71, 2, "ucs2", 67, "7.00"),
        ("“Water” – on", 1, "gsm7", 160, "3.50"),
        ("я" * 1_700, 26, "ucs2", 67, "91.00"),  # two calls of 1,600 and 100
        ("", 1, "gsm7", 160, "3.50"),
    ],
)
async def test_price_is_known_before_sending(
    twilio: TwilioApi, text: str, parts: int, encoding: str, units_per_part: int, price: str
):
    """Parts, encoding and price are those of what would be sent."""
    section = sms_settings(twilio, price_per_part=Decimal("3.50"), currency="RUB")
    estimate = build(section, make_ports(RecordingIntake())).estimate(text)
    assert estimate is not None
    assert (estimate.parts, estimate.encoding, estimate.units_per_part) == (parts, encoding, units_per_part)
    assert (estimate.price, estimate.currency) == (Decimal(price), "RUB")


async def test_costly_letters_and_unknown_price(twilio: TwilioApi):
    """Without a price there is no currency; without smart encoding the signs count."""
    section = sms_settings(twilio, smart_encoding=False)
    estimate = build(section, make_ports(RecordingIntake())).estimate("“Water”")
    assert estimate is not None
    assert (estimate.price, estimate.currency, estimate.costly) == (None, "", ("“", "”"))


async def test_signs_are_written_plainly(twilio: TwilioApi, served: tuple[Connector, str]):
    """What is sent is what was estimated."""
    await served[0].send(outbound("“Water” – on…"))
    await served[0].send(outbound("«Вода» – есть…"))
    assert [sent.body for sent in twilio.sent] == ['"Water" - on...', "«Вода» – есть…"]


# ---- call-backs
@pytest.mark.parametrize("order", list(itertools.permutations(("queued", "sent", "delivered", "read"))))
async def test_call_backs_in_any_order_and_doubled(
    twilio: TwilioApi, served: tuple[Connector, str], reports: RecordingReports, order: tuple[str, ...]
):
    """Each is handed on as it comes, once a post; the outbox keeps the furthest state. Queued says nothing."""
    receipt = await served[0].send(outbound())
    reports.known.add(receipt.external_id)
    for status in (*order, order[0]):
        assert (await twilio.report(twilio.sent[0], status)).status == 204
    states = {"sent": DeliveryState.SENT, "delivered": DeliveryState.DELIVERED, "read": DeliveryState.READ}
    assert [state for _, state, _ in reports.states] == [states[item] for item in (*order, order[0]) if item in states]


async def test_whole_is_what_its_parts_are(twilio: TwilioApi, served: tuple[Connector, str], reports: RecordingReports):
    """A reply of three messages is delivered when all are, in whatever order they say so."""
    receipt = await served[0].send(outbound("слово " * 700))
    reports.known.add(receipt.external_id)
    first, second, third = twilio.sent
    for sent, status in ((third, "delivered"), (first, "delivered"), (first, "sent"), (second, "sent")):
        assert (await twilio.report(sent, status)).status == 204
    assert {state for _, state, _ in reports.states} == {DeliveryState.SENT}
    await twilio.report(second, "delivered")
    assert reports.states[-1] == (receipt.external_id, DeliveryState.DELIVERED, "")


@pytest.mark.parametrize("failed", [0, 1])
@pytest.mark.parametrize("failed_first", [True, False])
async def test_failure_of_any_part_is_the_whole_replys(
    twilio: TwilioApi,
    served: tuple[Connector, str],
    reports: RecordingReports,
    failed: int,
    failed_first: bool,  # noqa: FBT001
):
    """One part that fails makes the whole fail, in words, whatever the other part says before or after."""
    receipt = await served[0].send(outbound("слово " * 400))
    reports.known.add(receipt.external_id)
    calls = [(twilio.sent[failed], "undelivered", "30003"), (twilio.sent[1 - failed], "delivered", "")]
    for sent, status, error_code in calls if failed_first else reversed(calls):
        await twilio.report(sent, status, error_code=error_code)
    assert {state for _, state, _ in reports.states} == {DeliveryState.FAILED}
    assert ("the telephone is switched off or out of reach (Twilio error 30003)") in {
        item[2] for item in reports.states
    }


async def test_call_back_before_the_receipt_is_committed_is_asked_for_again(
    twilio: TwilioApi, served: tuple[Connector, str], reports: RecordingReports, monkeypatch: pytest.MonkeyPatch
):
    """One of a message just sent gets 503 while its reply is not known; one that nobody ever sent gets 204."""
    monkeypatch.setattr("connectors.sms.connector.REPORT_RETRY_DELAYS_S", (0.01, 0.02))
    await served[0].send(outbound())
    stranger = twilio.incoming_form(sender=CITIZEN, body="x")["MessageSid"]
    form = {"MessageSid": stranger, "MessageStatus": "delivered"}
    early, unknown = await asyncio.gather(
        twilio.report(twilio.sent[0], "delivered"),
        twilio.post_form(f"{served[1]}/hooks/twilio/status", form),
    )
    assert (early.status, unknown.status) == (503, 204)
    reports.known.add(twilio.sent[0].sid)
    assert (await twilio.report(twilio.sent[0], "delivered")).status == 204


# ---- proxies and media
async def test_url_of_a_trusted_proxy_is_what_may_be_signed(twilio: TwilioApi, intake: RecordingIntake):
    """X-Forwarded-* counts only where the peer is a trusted proxy; a port and a query are part of it."""
    section, public = sms_settings(twilio), "https://okno.example:8443/hooks/twilio/sms?office=1&office=2"
    statuses = []
    for trusted in (True, False):
        ports = make_ports(
            intake,
            public_url="https://elsewhere.example",
            client_address=lambda request, trusted=trusted: "203.0.113.9" if trusted else request.remote or "",
        )
        async with serving(lambda _, ports=ports: build(section, ports)) as (_, url):
            form = twilio.incoming_form(sender=CITIZEN, body="Вода")
            assert twilio._session is not None
            headers = {
                "X-Twilio-Signature": twilio._validator.compute_signature(public, form),
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "okno.example:8443",
            }
            target = f"{url}/hooks/twilio/sms?office=1&office=2"
            async with twilio._session.post(target, data=form, headers=headers) as response:
                statuses.append(response.status)
    assert statuses == [200, 403]


async def test_credentials_go_to_the_api_alone(twilio: TwilioApi, intake: RecordingIntake):
    """Media named on another allowed host is fetched without them; a host is allowed by its domain, not by its end."""
    async with TwilioApi() as cdn:
        section = sms_settings(twilio, media_hosts=("127.0.0.1", ".twiliocdn.com"))
        async with serving(lambda url: build(section, make_ports(intake, public_url=url))) as (_, url):
            theirs = cdn.incoming_form(sender=CITIZEN, body="x", media=[MediaFile(content=PNG)])
            media_sid = theirs["MediaUrl0"].rpartition("/")[2]
            links = {
                "NumMedia": "3",
                "MediaUrl0": f"{cdn.url}/cdn/{media_sid}",
                "MediaUrl1": "https://evil-twiliocdn.com/x",
                "MediaUrl2": "https://twiliocdn.com.evil.example/x",
            }
            form = twilio.incoming_form(sender=CITIZEN, body="Фото") | links
            assert (await twilio.post_form(f"{url}/hooks/twilio/sms", form)).status == 200
    assert [intake.contents[item.sha256] for item in intake.only.attachments] == [PNG]  # 400 with credentials
    assert intake.only.text.count("not a host of the provider") == 2
    assert intake.only.marks == ("file_missing",)


@pytest.mark.parametrize("text", ["", "№" * 1_600, "\ud800", "\x00", "🥶" * 900])
async def test_estimates_never_raise(twilio: TwilioApi, text: str):
    """Whatever an agent types has a price."""
    build_one: Callable[[], Connector] = lambda: build(sms_settings(twilio), make_ports(RecordingIntake()))  # noqa: E731
    estimate = build_one().estimate(text)
    assert estimate is not None
    assert estimate.parts >= 1


async def test_quarantined_mms_can_be_retried_by_a_process_that_only_sends(twilio: TwilioApi, intake: RecordingIntake):
    """`open` is enough to fetch media: the command that retries does not receive."""
    form = twilio.incoming_form(sender=CITIZEN, body="Фото", media=[MediaFile(content=PNG)])
    connector = build(sms_settings(twilio), make_ports(intake))
    await connector.open()
    await connector.retry(urlencode(form).encode(), {})
    await connector.stop()
    assert len(intake.only.attachments) == 1
