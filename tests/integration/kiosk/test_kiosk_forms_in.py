"""Live and stored forms of the office's form file, with their scans, over real HTTP."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.channel_settings import KioskDevice, KioskSettings
from connectors.kiosk import build
from okno.outside.kiosk import KioskClient, KioskPhoto, make_multipart, make_submission, sign
from tests.integration.kiosk.recording_intake import RecordingIntake, make_ports, serving

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
KIOSKS = KioskSettings(enabled=True, devices=(KioskDevice(id="hall-1", secrets=(SECRET,)),))
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
ANSWERS = {
    "topic": "housing.heating",
    "message": "Третий день холодные батареи.",
    "name": "Анна Петрова",
    "email": "anna@Example.org",
    "address": "Невский пр., 5",
    "consent": True,
}
PHOTO = KioskPhoto(name="батарея.png", media_type="image/png", content=PNG, field="photos")


def filled_in(submission_id: str = "f-1", **more):
    answers = {**ANSWERS, **more.pop("fields", {})}
    return make_submission("", submission_id=submission_id, fields=answers, form_version=1, **more)


@pytest.fixture
def intake() -> RecordingIntake:
    return RecordingIntake()


@pytest.fixture
async def kiosk(intake: RecordingIntake) -> AsyncIterator[KioskClient]:
    async with serving(build(KIOSKS, make_ports(intake))) as url, aiohttp.ClientSession() as session:
        yield KioskClient(hook_url=f"{url}/hooks/kiosk/hall-1", secret=SECRET, session=session)


async def test_roles_of_the_fields_make_the_appeal(kiosk: KioskClient, intake: RecordingIntake):
    """Text, topic, subject, name, address and contact are where agents and rules look for them."""
    status, answer = await kiosk.deliver(filled_in(photos=[PHOTO]))
    assert status == 200
    envelope = intake.only
    assert (envelope.text, envelope.subject) == ("Третий день холодные батареи.", "Отопление")
    assert (envelope.sender.name, envelope.reply_to.value) == ("Анна Петрова", "anna@example.org")
    assert (envelope.fields["topic"], envelope.fields["consent"]) == ("housing.heating", "true")
    assert envelope.location.address == "Невский пр., 5"
    assert [attachment.name for attachment in envelope.attachments] == ["батарея.png"]
    assert answer["slip"].splitlines()[1] == f"Номер обращения: {answer['number']}"


async def test_a_live_form_with_faults_goes_back_to_the_citizen(kiosk: KioskClient, intake: RecordingIntake):
    """422 with a fault for each field, in the citizen's language; nothing is kept; put right, it is registered."""
    bad = {"message": "Мало", "email": "anna@", "consent": False}
    status, answer = await kiosk.deliver(filled_in(fields=bad))
    assert (status, answer["title"]) == (422, "The form has faults")
    assert [(error["field"], error["code"]) for error in answer["errors"]] == [
        ("message", "too_short"),
        ("email", "email"),
        ("consent", "consent"),
    ]
    assert answer["errors"][0]["message"] == "Слишком коротко: не меньше 10 знаков."
    assert intake.nothing_kept
    assert (await kiosk.deliver(filled_in()))[0] == 200


async def test_a_late_form_is_never_refused_for_its_fields(kiosk: KioskClient, intake: RecordingIntake):
    """Its citizen has gone: it is registered with the time it was handed in, and the mark says what it is."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    form = filled_in(fields={"message": "", "topic": "no.such"}, created_at=yesterday)
    status, _ = await kiosk.deliver(form)
    assert status == 200
    assert (intake.only.received_at, intake.only.marks) == (yesterday, ("offline", "incomplete"))


async def test_parts_and_base64_are_the_same_form(kiosk: KioskClient, intake: RecordingIntake):
    """A form as multipart, and again as JSON with Base64: one appeal, and the original is what came first."""
    form = filled_in(photos=[PHOTO])
    status, first = await kiosk.deliver_multipart(form, [PHOTO])
    assert status == 200
    assert (await kiosk.deliver(form))[1] | {"duplicate": False} == first
    (photo,) = intake.only.attachments
    assert intake.contents[photo.sha256] == PNG
    assert intake.only.raw.media_type == "multipart/form-data"
    assert intake.contents[intake.only.raw.sha256].startswith(b"--")


async def test_scans_of_another_kind_or_too_many_are_named(kiosk: KioskClient):
    """The type is that of the content: a program that says it is a picture is no picture."""
    program = KioskPhoto(name="a.png", media_type="image/png", content=b"MZ" + bytes(100), field="photos")
    _, answer = await kiosk.deliver_multipart(filled_in(), [program])
    assert [error["code"] for error in answer["errors"]] == ["file_type"]
    _, answer = await kiosk.deliver_multipart(filled_in(), [PHOTO] * 4)
    assert [error["code"] for error in answer["errors"]] == ["too_many_files"]


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.replace(b'name="submission"', b'name="other"'),
        lambda body: body.replace(b'name="file0"', b'name="file9"'),
        lambda body: body.replace(b"--\r\n", b""),
        lambda body: body[:200],
        lambda _: b"no parts at all",
        lambda _: b"",
    ],
)
async def test_broken_multipart_is_quarantined_and_can_be_retried(kiosk: KioskClient, intake: RecordingIntake, change):
    """202 with its bytes kept, and the content type beside them: a retry reads it as what it was."""
    body, content_type = make_multipart(filled_in(), [PHOTO])
    changed = change(body)
    headers = sign(changed, secret=SECRET, message_id="m", content_type=content_type)
    async with kiosk.session.post(kiosk.hook_url, data=changed, headers=headers) as response:
        status = response.status
    assert status == 202
    ((item, content),) = intake.quarantined.values()
    assert (content, item.context["content_type"]) == (changed, content_type)
    connector = build(KIOSKS, make_ports(intake))
    assert not (await connector.retry(body, item.context)).duplicate


@given(
    body=st.binary(max_size=300), content_type=st.sampled_from(["multipart/form-data; boundary=b", "x", "text/plain"])
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_signed_bytes_are_kept_once(
    kiosk: KioskClient, intake: RecordingIntake, body: bytes, content_type: str
):
    """200 or 202 for any bytes that a known kiosk signed, as any type; the same again adds nothing."""
    before = len(intake.quarantined)
    for _ in range(2):
        status, _ = await kiosk.post("", b"--b\r\n" + body, message_id="m", content_type=content_type)
        assert status in {200, 202}
    assert len(intake.envelopes) + len(intake.quarantined) <= before + 1


@given(fields=st.dictionaries(st.sampled_from(list(ANSWERS)), st.none() | st.booleans() | st.floats() | st.text()))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_answers_are_judged_or_kept(kiosk: KioskClient, fields: dict):
    """Whatever stands in the fields, a live form is registered or its faults named; a stored one is always kept."""
    live = make_submission("", fields=fields, form_version=1)
    assert (await kiosk.deliver(live))[0] in {200, 422}
    late = make_submission("", fields=fields, form_version=1, created_at=datetime.now(UTC) - timedelta(days=2))
    assert (await kiosk.deliver(late))[0] == 200
