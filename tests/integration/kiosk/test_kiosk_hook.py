"""Kiosk submissions over real HTTP: what is kept, what is refused, and that nothing is kept twice."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appeals.envelope import ContactPointKind
from appeals.errors import PermanentError, TransientError
from config.channel_settings import KioskDevice, KioskSettings
from connectors.kiosk import build
from okno.outside.kiosk import KioskClient, KioskPhoto, make_submission, sign
from tests.integration.kiosk.recording_intake import RecordingIntake, declare_body, make_ports, serving

SignHeaders = Callable[[str], dict[str, str]]

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
NEXT_SECRET = "whsec_" + base64.b64encode(b"n" * 32).decode()
STRANGER_SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=")
KIOSKS = KioskSettings(
    enabled=True,
    devices=(
        KioskDevice(id="hall-1", name="Главный зал", secrets=(SECRET, NEXT_SECRET), address="Невский пр., 1"),
        KioskDevice(id="stolen", secrets=(SECRET,), revoked=True),
    ),
)


@pytest.fixture
def intake():
    return RecordingIntake()


@pytest.fixture
async def kiosk(intake: RecordingIntake):
    connector = build(KIOSKS, make_ports(intake))
    async with serving(connector) as url, aiohttp.ClientSession() as session:
        yield KioskClient(hook_url=f"{url}/hooks/kiosk/hall-1", secret=SECRET, session=session)


async def post(kiosk: KioskClient, body: str | bytes, headers: dict[str, str], *, url: str | None = None):
    async with kiosk.session.post(url or kiosk.hook_url, data=body, headers=headers) as response:
        return response.status, response.content_type, await response.json(content_type=None)


async def test_registers_a_form_with_everything_the_citizen_gave(kiosk: KioskClient, intake: RecordingIntake):
    """A signed form becomes one envelope with its text, fields, photo, contact, original time and original bytes."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    submission = make_submission(
        "В подъезде нет света.",
        submission_id="f-1",
        subject="Свет",
        citizen={"name": "Анна", "phone": "+7 921 123-45-67"},
        fields={"floor": 5, "urgent": True, "what": ["свет", "лифт"], "none": None},
        photos=[KioskPhoto(name="../../двор.png", media_type="image/jpeg", content=PNG)],
        created_at=yesterday,
    )

    status, answer = await kiosk.deliver(submission)

    envelope = intake.only
    slip = answer.pop("slip")
    assert (status, answer) == (200, {"number": "100-000-0001", "code": "CODE-0001", "duplicate": False})
    assert "100-000-0001" in slip
    assert "CODE-0001" in slip
    assert envelope.external_id == "hall-1/f-1"
    assert (envelope.subject, envelope.text, envelope.language) == ("Свет", "В подъезде нет света.", "ru")
    assert (envelope.sender.kind, envelope.sender.value, envelope.sender.name) == ("kiosk", "hall-1/f-1", "Анна")
    assert (envelope.reply_to.kind, envelope.reply_to.value) == (ContactPointKind.PHONE, "+79211234567")
    assert envelope.sent_at == yesterday
    assert envelope.fields == {
        "form": "appeal",
        "name": "Анна",
        "phone": "+7 921 123-45-67",
        "floor": "5",
        "urgent": "true",
        "what": "свет, лифт",
        "none": "",
    }
    assert envelope.location.address == "Невский пр., 1"
    (photo,) = envelope.attachments
    assert (photo.name, photo.declared_media_type, photo.detected_media_type) == ("двор.png", "image/jpeg", "image/png")
    assert intake.contents[photo.sha256] == PNG
    assert json.loads(intake.contents[envelope.raw.sha256]) == submission


async def test_replay_gets_the_same_number_and_writes_nothing_new(kiosk: KioskClient, intake: RecordingIntake):
    """The same request twice, and the same form signed anew, are one appeal."""
    submission = make_submission("Текст", submission_id="f-2")
    body = json.dumps(submission)
    headers = sign(body, secret=SECRET, message_id="msg-1")

    first = await post(kiosk, body, headers)
    again = await post(kiosk, body, headers)
    resigned = await kiosk.deliver(submission)

    assert [status for status, *_ in (first, again, resigned)] == [200, 200, 200]
    assert [answer["number"] for *_, answer in (first, again, resigned)] == ["100-000-0001"] * 3
    assert [answer["duplicate"] for *_, answer in (first, again, resigned)] == [False, True, True]
    assert len(intake.envelopes) == 1


async def test_another_form_under_a_used_id_is_not_taken_for_a_redelivery(kiosk: KioskClient, intake: RecordingIntake):
    """A kiosk counts from one again after a repair: its second form no. 1 is in quarantine, a retry registers it."""
    first = make_submission("Текст", submission_id="1")
    await kiosk.deliver(first)
    reordered = dict(reversed(first.items()))
    assert (await kiosk.deliver(reordered))[0] == 200
    status, _ = await kiosk.deliver(make_submission("Совсем другой", submission_id="1"))
    ((item, content),) = intake.quarantined.values()
    assert (status, len(intake.envelopes)) == (202, 1)
    assert "another form" in item.reason
    assert "Совсем другой" in content.decode()

    connector = build(KIOSKS, make_ports(intake))
    for duplicate in (False, True):
        assert (await connector.retry(content, item.context)).duplicate is duplicate
    assert [envelope.text for envelope in intake.envelopes.values()] == ["Текст", "Совсем другой"]
    assert len({envelope.sender.value for envelope in intake.envelopes.values()}) == 2


async def test_takes_either_key_while_one_is_rotated(kiosk: KioskClient):
    """A second secret opens too."""
    body = json.dumps(make_submission("Текст"))
    status, _, _ = await post(kiosk, body, sign(body, secret=NEXT_SECRET, message_id="msg-1"))
    assert status == 200


def _no_headers(_body: str) -> dict[str, str]:
    return {}


def _stranger(body: str) -> dict[str, str]:
    return sign(body, secret=STRANGER_SECRET, message_id="m")


def _old(body: str) -> dict[str, str]:
    return sign(body, secret=SECRET, message_id="m", at=datetime.now(UTC) - timedelta(minutes=6))


def _future(body: str) -> dict[str, str]:
    return sign(body, secret=SECRET, message_id="m", at=datetime.now(UTC) + timedelta(minutes=6))


def _other_body(body: str) -> dict[str, str]:
    return sign(body + " ", secret=SECRET, message_id="m")


def _other_id(body: str) -> dict[str, str]:
    return sign(body, secret=SECRET, message_id="m") | {"webhook-id": "another"}


def _malformed(body: str) -> dict[str, str]:
    return sign(body, secret=SECRET, message_id="m") | {"webhook-signature": "v1;no comma ,, v1,!!! é"}


def _bad_timestamp(body: str) -> dict[str, str]:
    return sign(body, secret=SECRET, message_id="m") | {"webhook-timestamp": "1e999"}


@pytest.mark.parametrize(
    "headers_of", [_no_headers, _stranger, _old, _future, _other_body, _other_id, _malformed, _bad_timestamp]
)
async def test_refuses_what_is_not_freshly_signed_and_keeps_nothing(
    kiosk: KioskClient, intake: RecordingIntake, headers_of: SignHeaders
):
    """A missing, foreign, stale, early, moved or malformed signature is 401 as problem+json; nothing is kept."""
    body = json.dumps(make_submission("Текст"))
    status, media_type, answer = await post(kiosk, body, headers_of(body))
    assert (status, media_type, answer["status"]) == (401, "application/problem+json", 401)
    assert intake.nothing_kept


@pytest.mark.parametrize(("kiosk_id", "status"), [("nowhere", 404), ("stolen", 403)])
async def test_refuses_unknown_and_revoked_kiosks(
    kiosk: KioskClient, intake: RecordingIntake, kiosk_id: str, status: int
):
    """Even a right signature does not help a kiosk that is unknown or revoked."""
    body = json.dumps(make_submission("Текст"))
    url = kiosk.hook_url.replace("hall-1", kiosk_id)
    got, media_type, _ = await post(kiosk, body, sign(body, secret=SECRET, message_id="m"), url=url)
    assert (got, media_type) == (status, "application/problem+json")
    assert intake.nothing_kept


@pytest.mark.parametrize(
    "body",
    [
        "not JSON",
        "[]",
        "{}",
        '{"id": "f", "text": 5}',
        '{"id": "f", "created_at": "2026-01-01T00:00:00"}',
        '{"id": "f", "attachments": [{"name": "a", "content_base64": "%%%"}]}',
        "[" * 100_000,
        '{"id": ' + "9" * 5_000 + "}",
    ],
)
async def test_a_signed_form_that_cannot_be_read_is_quarantined_with_its_bytes(
    kiosk: KioskClient, intake: RecordingIntake, body: str
):
    """A known kiosk signed it, a citizen may be behind it: it is kept for a person, and the kiosk is told so."""
    status, _, answer = await post(kiosk, body, sign(body, secret=SECRET, message_id="m"))
    ((item, content),) = intake.quarantined.values()
    assert (status, list(answer)) == (202, ["quarantined"])
    assert (item.stage, item.context, content) == ("decode", {"kiosk_id": "hall-1"}, body.encode())
    assert not intake.envelopes


async def test_a_form_that_the_registry_can_never_take_is_quarantined(kiosk: KioskClient, intake: RecordingIntake):
    """PermanentError from the intake ends in quarantine, not in an endless redelivery."""
    intake.failure, intake.failure_spares_quarantine = PermanentError("no"), True
    status, _ = await kiosk.deliver(make_submission("Текст"))
    assert status == 202
    assert len(intake.quarantined) == 1


async def test_quarantined_form_can_be_retried(intake: RecordingIntake):
    """`retry` takes the bytes in again, under the same external id, although the kiosk was revoked since."""
    connector = build(KIOSKS, make_ports(intake))
    body = json.dumps(make_submission("Текст", submission_id="f-9")).encode()
    registration = await connector.retry(body, {"kiosk_id": "stolen"})
    assert intake.only.external_id == "stolen/f-9"
    assert not registration.duplicate
    with pytest.raises(PermanentError, match="gone"):
        await connector.retry(body, {"kiosk_id": "gone"})


async def test_registry_down_is_503_and_the_same_form_is_taken_later(kiosk: KioskClient, intake: RecordingIntake):
    """503 with Retry-After, nothing kept; the redelivery registers it once."""
    submission = make_submission("Текст", submission_id="f-3")
    intake.failure = TransientError("down", retry_after_s=3)
    body = json.dumps(submission)
    async with kiosk.session.post(
        kiosk.hook_url, data=body, headers=sign(body, secret=SECRET, message_id="m")
    ) as response:
        assert (response.status, response.content_type) == (503, "application/problem+json")
        assert response.headers["Retry-After"] == "3"
    assert intake.nothing_kept

    intake.failure = None
    status, answer = await kiosk.deliver(submission)
    assert (status, answer["duplicate"], len(intake.envelopes)) == (200, False, 1)


async def test_declared_60_mb_are_refused_before_they_are_read(kiosk: KioskClient, intake: RecordingIntake):
    """413 comes after the headers alone: the body is never read into memory."""
    answer = await declare_body(kiosk.hook_url, size_bytes=60 * 1024 * 1024)
    assert b" 413 " in answer
    assert b"application/problem+json" in answer
    assert intake.nothing_kept


async def test_undeclared_60_mb_are_refused_at_the_limit(kiosk: KioskClient, intake: RecordingIntake):
    """A chunked body is cut off once it passes the limit; the sender could not have sent all of it."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(60):
            yield b"x" * (1024 * 1024)
            sent += 1

    try:
        async with kiosk.session.post(kiosk.hook_url, data=endless()) as response:
            assert response.status == 413
    except aiohttp.ClientConnectionError:  # it hung up on us while we were still sending: a refusal as well
        pass
    assert sent < 60
    assert intake.nothing_kept


@given(body=st.binary(max_size=300), header=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=80))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_unsigned_are_refused(kiosk: KioskClient, intake: RecordingIntake, body: bytes, header: str):
    """Whatever the body and the signature header hold, the answer is a 4xx problem and nothing is kept."""
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(int(datetime.now(UTC).timestamp())),
        "webhook-signature": header,
    }
    status, media_type, _ = await post(kiosk, body, headers)
    assert (status, media_type) == (401, "application/problem+json")
    assert intake.nothing_kept


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(
    submission=st.fixed_dictionaries(
        {},
        optional={
            "id": st.just("f") | json_values,
            "text": st.text(st.characters(), max_size=50) | json_values,
            "fields": st.dictionaries(st.text(max_size=5), json_values, max_size=3) | json_values,
            "citizen": st.fixed_dictionaries({}, optional={"name": st.text(), "phone": st.text(), "email": st.text()}),
            "subject": st.text(st.characters()) | json_values,
            "attachments": st.lists(
                st.fixed_dictionaries({"name": st.text(), "content_base64": st.text()}), max_size=2
            ),
            "location": json_values,
            "language": st.just("ru") | json_values,
        },
    )
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_signed_json_is_registered_or_quarantined(kiosk: KioskClient, submission: dict[str, object]):
    """What a known kiosk signed is never lost: 200 and registered, or 202 and quarantined; never 5xx."""
    body = json.dumps(submission)
    status, _, answer = await post(kiosk, body.encode(), sign(body, secret=SECRET, message_id="m"))
    assert (status == 200 and answer["number"]) or (status == 202 and answer["quarantined"])


async def test_stopping_refuses_new_forms(intake: RecordingIntake):
    """After `stop` the hook answers 503: the kiosk keeps the form."""
    connector = build(KIOSKS, make_ports(intake))
    async with serving(connector) as url, aiohttp.ClientSession() as session:
        kiosk = KioskClient(hook_url=f"{url}/hooks/kiosk/hall-1", secret=SECRET, session=session)
        assert (await kiosk.deliver(make_submission("Текст")))[0] == 200
        assert connector.health().last_message_at is not None
        await connector.stop()
        assert (await kiosk.deliver(make_submission("Текст")))[0] == 503
        assert connector.health().state == "stopped"


async def test_publishes_the_schema_of_a_submission(kiosk: KioskClient):
    """The schema that kiosk makers build to is served beside the hook."""
    url = kiosk.hook_url.replace("hall-1", "submission.schema.json")
    async with kiosk.session.get(url) as response:
        schema = await response.json(content_type=None)
    assert schema["$id"] == "urn:okno:kiosk-submission:1"
    assert "content_base64" in schema["$defs"]["KioskAttachment"]["properties"]
