"""SMS in: Twilio's posts over real HTTP, signed by Twilio's own validator."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appeals.envelope import Channel, ContactPointKind
from appeals.errors import PermanentError, TransientError
from config.channel_settings import SmsSettings
from connectors.base import Connector, HealthState
from connectors.sms import build
from connectors.sms.media import MAX_MEDIA_ROUNDS
from okno.outside.twilio_api import MediaFile, TwilioApi
from tests.integration.sms.recording_intake import RecordingIntake, make_ports, serving

CITIZEN = "+79161234567"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 32


def sms_settings(twilio: TwilioApi, **changes: Any) -> SmsSettings:
    return SmsSettings(
        **{
            "enabled": True,
            "account_sid": twilio.account_sid,
            "auth_token": twilio.auth_token,
            "number": twilio.number,
            "api_url": twilio.url,
            "media_hosts": ("127.0.0.1",),
            **changes,
        }
    )


@pytest.fixture
async def twilio() -> AsyncIterator[TwilioApi]:
    async with TwilioApi() as server:
        yield server


@pytest.fixture
def intake() -> RecordingIntake:
    return RecordingIntake()


@pytest.fixture
async def served(twilio: TwilioApi, intake: RecordingIntake) -> AsyncIterator[tuple[Connector, str]]:
    async with serving(lambda url: build(sms_settings(twilio), make_ports(intake, public_url=url))) as served:
        yield served


@pytest.fixture
def hook(served: tuple[Connector, str]) -> str:
    return f"{served[1]}/hooks/twilio/sms"


async def test_text_is_registered_before_the_answer(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """A signed post becomes one envelope with its original bytes; the answer is empty TwiML."""
    answer = await twilio.post_incoming(hook, sender=CITIZEN, body="Нет отопления\nул. Мира, 5 🥶")
    assert (answer.status, answer.content_type) == (200, "text/xml")
    assert "<Response" in answer.body
    assert "<Message" not in answer.body
    envelope = intake.only
    assert envelope.channel is Channel.SMS
    assert envelope.external_id == answer.message_sid
    assert envelope.text == envelope.clean_text == "Нет отопления\nул. Мира, 5 🥶"
    assert envelope.sender is not None
    assert (envelope.sender.kind, envelope.sender.value) == (ContactPointKind.PHONE, CITIZEN)
    assert envelope.threading.conversation == f"sms:{twilio.number}:{CITIZEN}"
    assert not envelope.automatic
    assert b"MessageSid=" + answer.message_sid.encode() in intake.raw_of(envelope)


async def test_replay_registers_nothing_new(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """The same MessageSid posted again is answered 200 and stays one registration (P2)."""
    for _ in range(3):
        answer = await twilio.post_incoming(hook, sender=CITIZEN, body="Вода", message_sid="SM" + "1" * 32)
        assert answer.status == 200
    assert len(intake.envelopes) == 1


@pytest.mark.parametrize("signature", ["", "AAAA", "подпись", "A" * 28])
async def test_unsigned_post_is_refused(twilio: TwilioApi, hook: str, intake: RecordingIntake, signature: str):
    """A missing or wrong signature is 403 as a problem document, and nothing is kept."""
    form = twilio.incoming_form(sender=CITIZEN, body="Вода")
    answer = await twilio.post_form(hook, form, signature=signature)
    assert (answer.status, answer.content_type) == (403, "application/problem+json")
    assert not intake.envelopes
    assert not intake.quarantined


async def test_changed_field_breaks_the_signature(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """A signature for one text does not carry another text."""
    form = twilio.incoming_form(sender=CITIZEN, body="Вода")
    signature = twilio._validator.compute_signature(hook, form)
    answer = await twilio.post_form(hook, form | {"Body": "Деньги"}, signature=signature)
    assert answer.status == 403
    assert not intake.envelopes


async def test_signature_is_over_the_public_url(twilio: TwilioApi, intake: RecordingIntake):
    """Behind a proxy the public URL with its prefix and query is what is signed; the local URL is not."""
    public = "https://okno.example/window"
    async with serving(lambda _: build(sms_settings(twilio), make_ports(intake, public_url=public))) as (_, url):
        local = f"{url}/hooks/twilio/sms?office=1&name=%D0%90"
        signed = f"{public}/hooks/twilio/sms?office=1&name=%D0%90"
        good = await twilio.post_incoming(local, sender=CITIZEN, body="Вода", public_url=signed)
        bad = await twilio.post_incoming(local, sender=CITIZEN, body="Вода")
    assert (good.status, bad.status) == (200, 403)
    assert len(intake.envelopes) == 1


async def test_connection_overrides_are_not_signed(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """The documented URL with #rc=5&rp=all works."""
    answer = await twilio.post_incoming(f"{hook}#rc=5&rp=all", sender=CITIZEN, body="Вода")
    assert answer.status == 200
    assert intake.only.text == "Вода"


async def test_media_is_fetched_with_credentials_for_the_api_only(
    twilio: TwilioApi, hook: str, intake: RecordingIntake
):
    """MMS files come through the API's redirect to the CDN and end as attachments typed by content."""
    media = [MediaFile(content=PNG, media_type="image/png"), MediaFile(content=b"%PDF-1.7\n", media_type="image/png")]
    answer = await twilio.post_incoming(hook, sender=CITIZEN, body="Фото", media=media)
    assert answer.status == 200
    first, second = intake.only.attachments
    assert intake.contents[first.sha256] == PNG
    assert (second.declared_media_type, second.detected_media_type) == ("image/png", "application/pdf")
    assert len(twilio.media_requests) == 4


async def test_message_of_media_alone(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """An MMS without text is registered with its file."""
    await twilio.post_incoming(hook, sender=CITIZEN, body="", media=[MediaFile(content=PNG)])
    assert intake.only.text == ""
    assert len(intake.only.attachments) == 1


async def test_media_server_that_recovers(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """One 503 of the media server is not the end of a photo."""
    twilio.fail_media(503)
    await twilio.post_incoming(hook, sender=CITIZEN, body="Фото", media=[MediaFile(content=PNG)])
    assert len(intake.only.attachments) == 1


async def test_missing_media_never_costs_the_text(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """A file that is gone is noted in the text, and the text is registered."""
    twilio.fail_media(404)
    answer = await twilio.post_incoming(hook, sender=CITIZEN, body="Фото", media=[MediaFile(content=PNG)])
    assert answer.status == 200
    assert intake.only.text.startswith("Фото\n[файл 1 не получен")
    assert "404" in intake.only.text
    assert not intake.only.attachments


async def test_media_server_that_is_down_is_waited_for_within_bounds(
    twilio: TwilioApi, hook: str, intake: RecordingIntake
):
    """While the media server is down Twilio is asked to come again; in the end the text goes on without the file."""
    twilio.fail_media(503, times=100)
    form = twilio.incoming_form(sender=CITIZEN, body="Фото", media=[MediaFile(content=PNG)])
    for _ in range(MAX_MEDIA_ROUNDS - 1):
        assert (await twilio.post_form(hook, form)).status == 503
        assert not intake.calls
    assert (await twilio.post_form(hook, form)).status == 200
    assert intake.only.text.startswith("Фото\n[файл 1 не получен")


@pytest.mark.parametrize(
    "address", ["http://169.254.169.254/latest", "http://localhost:1/x", "file:///etc/passwd", "", "http://[", "x" * 50]
)
async def test_media_of_foreign_hosts_is_never_asked_for(
    twilio: TwilioApi, hook: str, intake: RecordingIntake, address: str
):
    """Only the provider's hosts are asked, even when the post is signed."""
    form = twilio.incoming_form(sender=CITIZEN, body="Фото") | {"NumMedia": "1", "MediaUrl0": address}
    answer = await twilio.post_form(hook, form)
    assert answer.status == 200
    assert "[файл 1 не получен" in intake.only.text
    assert not twilio.media_requests


async def test_plain_http_is_refused_when_the_api_is_https(twilio: TwilioApi, intake: RecordingIntake):
    """With the real API configured, media over plain HTTP is not fetched even from a listed host."""
    section = sms_settings(twilio, api_url="https://api.twilio.com")
    async with serving(lambda url: build(section, make_ports(intake, public_url=url))) as (_, url):
        await twilio.post_incoming(
            f"{url}/hooks/twilio/sms", sender=CITIZEN, body="Фото", media=[MediaFile(content=PNG)]
        )
    assert "not https" in intake.only.text
    assert not twilio.media_requests


async def test_registry_down_is_503_and_nothing_kept(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """When the intake is down Twilio is asked to come again, and the second post registers."""
    intake.down = TransientError("no store", retry_after_s=7)
    form = twilio.incoming_form(sender=CITIZEN, body="Вода")
    answer = await twilio.post_form(hook, form)
    assert (answer.status, answer.content_type) == (503, "application/problem+json")
    assert "no store" not in answer.body
    assert not intake.envelopes
    intake.down = None
    assert (await twilio.post_form(hook, form)).status == 200
    assert intake.only.text == "Вода"


async def test_message_that_cannot_be_registered_is_quarantined(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """A permanent failure keeps the bytes and the reason, answers 200, and can be retried."""
    intake.failure = lambda _: PermanentError("no such office")
    answer = await twilio.post_incoming(hook, sender=CITIZEN, body="Вода")
    assert answer.status == 200
    ((item, content),) = intake.quarantined
    assert (item.connector, item.stage, item.reason) == ("sms", "register", "no such office")
    assert b"Body=" in content


async def test_quarantined_post_can_be_retried(
    twilio: TwilioApi, served: tuple[Connector, str], hook: str, intake: RecordingIntake
):
    """What was quarantined registers by `retry` once the fault is gone."""
    intake.failure = lambda _: PermanentError("no such office")
    await twilio.post_incoming(hook, sender=CITIZEN, body="Вода")
    intake.failure = lambda _: None
    ((item, content),) = intake.quarantined
    registration = await served[0].retry(content, item.context)
    assert not registration.duplicate
    assert intake.only.text == "Вода"


@pytest.mark.parametrize(
    "change",
    [
        {"MessageSid": "", "SmsSid": "", "SmsMessageSid": ""},
        {"MessageSid": "../../etc"},
        {"From": ""},
        {"From": "whatsapp:+79161234567"},
        {"NumMedia": "-1"},
        {"NumMedia": "99999999999999999999999"},
        {"NumMedia": "²"},
    ],
)
async def test_signed_nonsense_is_quarantined(
    twilio: TwilioApi, hook: str, intake: RecordingIntake, change: dict[str, str]
):
    """A signed post that is no SMS is kept with the reason, never answered with a failure."""
    answer = await twilio.post_form(hook, twilio.incoming_form(sender=CITIZEN, body="Вода") | change)
    assert answer.status == 200
    assert len(intake.quarantined) == 1
    assert not intake.envelopes


@pytest.mark.parametrize(("sender", "value"), [("MChS", "MChS"), ("12345", "12345")])
async def test_senders_without_a_number_are_automatic(
    twilio: TwilioApi, hook: str, intake: RecordingIntake, sender: str, value: str
):
    """Names and short codes cannot be answered: registered, marked automatic."""
    await twilio.post_incoming(hook, sender=sender, body="Акция!")
    assert intake.only.automatic
    assert intake.only.sender is not None
    assert intake.only.sender.value == value


async def test_national_number_is_read_in_the_default_region(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """Numbers become E.164."""
    await twilio.post_incoming(hook, sender="8 (916) 123-45-67", body="Вода")
    assert intake.only.sender is not None
    assert intake.only.sender.value == CITIZEN


async def test_opt_out_is_kept_and_never_acknowledged(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """STOP, which Twilio has answered itself, is registered as automatic with its meaning."""
    form = twilio.incoming_form(sender=CITIZEN, body="STOP") | {"OptOutType": "STOP"}
    await twilio.post_form(hook, form)
    assert intake.only.automatic
    assert intake.only.fields["opt_out"] == "STOP"


async def test_control_characters_do_not_reach_the_envelope(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """NUL is dropped from the text; the raw bytes still have it."""
    await twilio.post_incoming(hook, sender=CITIZEN, body="a\x00b")
    assert intake.only.text == "ab"
    assert b"%00" in intake.raw_of(intake.only)


async def test_wrong_type_and_size_and_method(hook: str, intake: RecordingIntake):
    """Not a form: 415; a huge body: 413; GET: 405; each before anything is kept."""
    async with aiohttp.ClientSession() as session:
        async with session.post(hook, json={"a": 1}) as response:
            assert (response.status, response.content_type) == (415, "application/problem+json")
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        async with session.post(hook, data=b"a" * 300_000, headers=headers) as response:
            assert (response.status, response.content_type) == (413, "application/problem+json")
        headers["Content-Encoding"] = "gzip"
        async with session.post(hook, data=b"not gzip", headers=headers) as response:
            assert response.status == 400
        async with session.get(hook) as response:
            assert response.status == 405
    assert not intake.envelopes
    assert not intake.quarantined


async def test_stopped_connector_refuses_with_503(twilio: TwilioApi, served: tuple[Connector, str], hook: str):
    """After `stop` hooks are asked to come again, and health says so."""
    await served[0].stop()
    assert served[0].health().state is HealthState.STOPPED
    answer = await twilio.post_incoming(hook, sender=CITIZEN, body="Вода")
    assert answer.status == 503


async def test_stop_finishes_what_is_in_hand(
    twilio: TwilioApi, served: tuple[Connector, str], hook: str, intake: RecordingIntake
):
    """A post that is being registered when `stop` comes is registered and answered 200."""
    intake.gate.clear()
    posting = asyncio.create_task(twilio.post_incoming(hook, sender=CITIZEN, body="Вода"))
    async with asyncio.timeout(30):
        while not intake.calls:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(served[0].stop())
        assert (await twilio.post_incoming(hook, sender=CITIZEN, body="Поздно")).status == 503
        assert not stopping.done()
        intake.gate.set()
        await stopping
        assert (await posting).status == 200
    assert intake.only.text == "Вода"


async def test_any_bytes_end_in_an_answer(hook: str, intake: RecordingIntake):
    """Any body, any signature header, on both hooks: 4xx unsigned, never 5xx, nothing kept."""
    statuses: set[int] = set()

    async with aiohttp.ClientSession() as session:
        bodies = list(_examples(st.binary(max_size=400)))
        for at, body in enumerate(bodies):
            headers = {
                "Content-Type": "application/x-www-form-urlencoded",
                "X-Twilio-Signature": body[:30].hex(),
            }
            url = hook if at % 2 else hook.replace("/sms", "/status")
            async with session.post(f"{url}?q={body[:9].hex()}", data=body, headers=headers) as response:
                statuses.add(response.status)
                assert response.content_type == "application/problem+json"
    assert statuses <= {400, 403}
    assert not intake.envelopes
    assert not intake.quarantined


async def test_any_signed_fields_are_kept(twilio: TwilioApi, hook: str, intake: RecordingIntake):
    """Whatever a signed post says is registered or quarantined, and answered 200."""
    names = st.sampled_from(["MessageSid", "From", "To", "Body", "NumMedia", "MediaUrl0", "OptOutType", "X"])
    forms = list(_examples(st.dictionaries(names, st.text(max_size=40))))
    for form in forms:
        answer = await twilio.post_form(hook, form or {"X": "1"})
        assert answer.status == 200
    assert intake.envelopes or intake.quarantined


def _examples(strategy: Any, count: int = 60) -> list[Any]:
    """Draw examples; the checks run in this test's own event loop."""
    drawn: list[Any] = []

    @settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def draw(example: Any) -> None:
        drawn.append(example)

    draw()
    return drawn
