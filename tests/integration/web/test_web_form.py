"""The citizen's form over real HTTP: what is registered, what is refused, and that nothing is doubled or lost."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appeals.envelope import Channel, ContactPointKind
from appeals.errors import DecodeError
from appeals.numbering import reply_token, secret_code
from appeals.reply import DeliveryState, ReplyKind
from config.channel_settings import WebSettings
from tests.integration.web.citizen import CONSENT, Citizen
from tests.integration.web.office import SECRET_KEY, Office, OpenOffice

PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010800000000")


@pytest.fixture
async def citizen(office: Office) -> Citizen:
    return Citizen(await office.client())


async def test_a_form_becomes_an_appeal_with_everything_that_was_typed(office: Office, citizen: Citizen):
    """Number and code come back once it is committed; consent, contact, topic, files and the body itself are kept."""
    form = citizen.form(topic="housing.lift", address="Невский, 28", answer_by="email", email="anna@Example.org")
    status, answer = await citizen.post(form, files={"../двор.png": PNG})

    assert (status, answer["duplicate"], answer["joined"]) == (201, False, False)
    conversation = await office.conversation(answer["number"])
    assert answer["code"] == secret_code(SECRET_KEY, conversation.appeal.id)
    (envelope,) = conversation.envelopes
    assert (envelope.channel, envelope.text, envelope.language) == (Channel.WEB, "В подъезде нет света.", "ru")
    assert (envelope.sender.kind, envelope.sender.value) == (ContactPointKind.WEB, citizen.submission_id)
    assert (envelope.reply_to.kind, envelope.reply_to.value) == (ContactPointKind.EMAIL, "anna@example.org")
    assert envelope.fields["topic"] == "housing.lift"
    assert envelope.fields["consent"] == WebSettings().consent.ru
    assert envelope.fields["consent_at"] == envelope.received_at.isoformat()
    assert envelope.location.address == "Невский, 28"
    (photo,) = envelope.attachments
    assert (photo.name, photo.detected_media_type) == ("двор.png", "image/png")
    assert await office.registry.read_blob(photo.sha256) == PNG
    raw = await office.registry.read_blob(envelope.raw.sha256)
    assert PNG in raw
    assert b"boundary" in envelope.raw.media_type.encode()
    assert [check.method for check in envelope.authenticity] == ["proof_of_work"]


async def test_a_double_click_a_lost_answer_and_a_reload_get_one_number(office: Office, citizen: Citizen):
    """Posted twice at once, and again later with a new proof: one appeal, one number, one code."""
    proof = await citizen.proof()
    first, second = await asyncio.gather(citizen.post(headers=proof), citizen.post(headers=proof))
    third = await citizen.post()
    assert sorted(status for status, _ in (first, second, third)) == [200, 200, 201]
    assert len({(answer["number"], answer["code"]) for _, answer in (first, second, third)}) == 1
    assert len(await office.registry.list_appeals(limit=10)) == 1


async def test_a_text_changed_after_a_lost_answer_joins_the_same_appeal(office: Office, citizen: Citizen):
    """Neither version is lost, and there are not two appeals of it."""
    _, first = await citizen.post()
    status, second = await citizen.post(citizen.form("В подъезде нет света с понедельника."))
    assert (status, second["joined"], second["number"]) == (201, True, first["number"])
    texts = [envelope.text for envelope in (await office.conversation(first["number"])).envelopes]
    assert texts == ["В подъезде нет света.", "В подъезде нет света с понедельника."]


async def test_an_addition_joins_by_its_token_and_tells_no_code(office: Office):
    """A reply token is in every mail's Reply-To: whoever has it may write, not read."""
    _, first = await Citizen(await office.client()).post()
    appeal = await office.registry.appeal_by_number(first["number"])
    other = Citizen(await office.client())
    form = {"submission_id": other.submission_id, "text": "И лифт.", "reply_token": reply_token(SECRET_KEY, appeal.id)}
    for expected_status, duplicate in ((201, False), (200, True)):
        status, answer = await other.post(form)
        assert (status, answer["number"], answer["duplicate"]) == (expected_status, first["number"], duplicate)
        assert answer["code"] is None
    assert len((await office.conversation(first["number"])).envelopes) == 2


async def test_a_forged_token_opens_an_appeal_of_its_own(office: Office, citizen: Citizen):
    """The message is not lost, and nobody writes into another's appeal."""
    _, first = await citizen.post()
    stranger = Citizen(await office.client())
    form = {"submission_id": stranger.submission_id, "text": "И лифт стоит.", "reply_token": "a" * 39}
    status, answer = await stranger.post(form)
    assert status == 201
    assert answer["number"] != first["number"]
    assert answer["code"]


async def test_a_filled_honeypot_goes_to_quarantine_and_can_be_registered(office: Office, citizen: Citizen):
    """The sender gets a reference; the bytes are kept, and a person's retry makes an appeal of them."""
    status, answer = await citizen.post(citizen.form(website="http://spam"), files={"a.png": PNG})
    assert status == 202
    (entry,) = await office.registry.quarantined()
    assert (str(entry.id), entry.connector, entry.stage) == (answer["reference"], "web", "receive")
    assert await office.registry.list_appeals(limit=10) == []
    content = await office.registry.read_blob(entry.sha256)
    registration = await office.web.retry(content, entry.context)
    (envelope,) = (await office.conversation(registration.number)).envelopes
    assert envelope.attachments[0].name == "a.png"
    assert envelope.authenticity[0].result == "pass"
    with pytest.raises(DecodeError):
        await office.web.retry(b"no form", entry.context)


@pytest.mark.parametrize(
    "spoil",
    [
        {"X-Okno-Solution": ""},
        {"X-Okno-Solution": "x"},
        {"X-Okno-Challenge": "1.0.ff"},
        {"X-Okno-Submission": "f" * 32},
        {"X-Okno-Challenge": ""},
    ],
)
async def test_without_proof_nothing_is_read(office: Office, citizen: Citizen, spoil: dict[str, str]):
    """428 tells the page to solve another challenge."""
    status, answer = await citizen.post(headers={**await citizen.proof(), **spoil})
    assert (status, answer["code"]) == (428, "challenge_required")
    assert await office.registry.list_appeals(limit=10) == []


async def test_a_proof_for_another_form_is_refused(office: Office, citizen: Citizen):
    """The header's id must be the form's."""
    form = {**citizen.form(), "submission_id": "0" * 32}
    status, answer = await citizen.post(form)
    assert (status, answer["code"]) == (400, "invalid_request")


async def test_faults_come_back_by_field_in_both_languages(citizen: Citizen):
    """The page puts each beside its field."""
    status, answer = await citizen.post({**citizen.form(""), "consent": ""})
    assert (status, answer["code"]) == (422, "invalid_form")
    assert {fault["field"] for fault in answer["faults"]} == {"text", "consent"}
    assert all(fault["message"]["ru"] and fault["message"]["en"] for fault in answer["faults"])


async def test_a_page_of_another_site_is_refused(citizen: Citizen):
    """It could only make its visitors' browsers write to us."""
    status, answer = await citizen.post(headers={**await citizen.proof(), "Sec-Fetch-Site": "cross-site"})
    assert (status, answer["code"]) == (403, "foreign_page")


async def test_the_limit_of_an_address_tells_when_to_come_back(open_office: OpenOffice):
    """429 with Retry-After; what is registered stays so."""
    office = await open_office(web_settings=WebSettings(difficulty_bits=2, submissions_per_hour=2))
    for _ in range(2):
        status, _ = await Citizen(await office.client()).post()
        assert status == 201
    citizen = Citizen(await office.client())
    form = {"text": "x"}
    async with citizen.client.post("/api/v1/citizen/appeals", data=form, headers=await citizen.proof()) as answer:
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 3603


async def test_too_large_a_body_is_refused_in_the_forms_own_words(open_office: OpenOffice):
    """By its declared length before it is read; by its parts after."""
    small = WebSettings(difficulty_bits=0, max_file_bytes=1024, max_total_bytes=1024)
    office = await open_office(web_settings=small)
    citizen = Citizen(await office.client())
    status, answer = await citizen.post(files={"a.bin": bytes(4 * 1024 * 1024)})
    assert (status, answer["code"]) == (413, "too_large")
    status, answer = await citizen.post(files={"a.bin": bytes(2048)})
    assert (status, answer["faults"][0]["code"]) == (422, "too_large")
    assert await office.registry.list_appeals(limit=10) == []


async def test_a_stopping_connector_answers_503(office: Office, citizen: Citizen):
    """Nothing is kept; the page tries again by itself."""
    proof = await citizen.proof()
    await office.web.stop()
    status, _ = await citizen.post(headers=proof)
    assert status == 503
    assert await office.registry.list_appeals(limit=10) == []


async def test_the_page_is_told_topics_limits_and_consent(citizen: Citizen):
    """Everything that the form shows comes from the settings and the taxonomy."""
    async with citizen.client.get("/api/v1/citizen/form") as answer:
        form = await answer.json()
    assert form["consent"]["ru"] == {"text": WebSettings().consent.ru, "mark": CONSENT}
    assert "unknown" not in {topic["code"] for topic in form["topics"]}
    assert form["max_files"] == 10


@pytest.mark.parametrize("body", [b"", b"[]", b'{"submission_id": 1}', b'{"submission_id": "x"}', b"[" * 1000])
async def test_a_challenge_needs_a_submission_id(citizen: Citizen, body: bytes):
    """Any other body is a bad request, however it is nested."""
    async with citizen.client.post("/api/v1/citizen/challenge", data=body) as answer:
        assert answer.status == 400


async def test_the_acknowledgement_is_on_the_page_at_once(office: Office, citizen: Citizen):
    """Without a contact the connector itself takes the reply, and it counts as delivered."""
    _, answer = await citizen.post()
    (reply,) = (await office.conversation(answer["number"])).replies
    assert (reply.kind, reply.connector) == (ReplyKind.ACKNOWLEDGEMENT, "web")

    class Message:  # the two fields that are asked for
        reply_id = reply.id

    receipt = await office.web.send(Message())  # type: ignore[arg-type]
    assert (receipt.state, receipt.external_id) == (DeliveryState.DELIVERED, str(reply.id))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=400),
    frame=st.sampled_from([b"%b", b"--b\r\n%b\r\n--b--\r\n"]),
    kind=st.sampled_from(["multipart/form-data; boundary=b", "multipart/form-data", "text/plain"]),
)
async def test_any_bytes_are_refused(office: Office, citizen: Citizen, body: bytes, frame: bytes, kind: str):
    """With a valid proof, whatever the body is: never a 5xx, never an appeal out of nothing."""
    posted = frame % body
    headers = {**await citizen.proof(), "Content-Type": kind}
    async with citizen.client.post("/api/v1/citizen/appeals", data=posted, headers=headers) as answer:
        assert answer.status in (400, 422)
        assert answer.content_type == "application/problem+json"
    assert await office.registry.list_appeals(limit=1) == []
