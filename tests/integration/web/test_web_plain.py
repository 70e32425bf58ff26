"""The form without JavaScript: it works by itself, and is held to stricter limits."""

import re
from html import unescape

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.channel_settings import WebSettings
from tests.integration.web.citizen import CONSENT
from tests.integration.web.office import Office, OpenOffice

SHOWN = WebSettings(plain_submissions_per_hour=3)


async def hidden_fields(office: Office, client: aiohttp.ClientSession) -> dict[str, str]:
    """Load the form and return its hidden fields, as a person who takes their time sends them."""
    async with client.get("/write/plain?language=ru") as answer:
        assert answer.status == 200
        assert "script" not in answer.headers["Content-Security-Policy"]
        page = await answer.text()
    office.clock.ahead += type(office.clock.ahead)(seconds=10)
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


async def post(client: aiohttp.ClientSession, fields: dict[str, str], **headers: str) -> tuple[int, str]:
    """Post a form as a browser without JavaScript does."""
    data = aiohttp.FormData(quote_fields=False)
    for name, value in fields.items():
        data.add_field(name, value)
    data.add_field("files", b"", filename="")
    async with client.post("/write/plain?language=ru", data=data, headers=headers) as answer:
        assert answer.content_type == "text/html"
        return answer.status, await answer.text()


def whole(hidden: dict[str, str], **more: str) -> dict[str, str]:
    return {**hidden, "text": "Нет света.", "name": "Анна", "consent": CONSENT, "answer_by": "page", **more}


async def test_a_form_is_registered_and_sent_twice_is_one_appeal(office: Office):
    """The page's id makes a double click harmless; number and code are on the answer, and in a link to the status."""
    client = await office.client()
    fields = whole(await hidden_fields(office, client), topic="housing.lift")
    status, page = await post(client, fields)
    again, same_page = await post(client, fields)
    assert (status, again) == (201, 200)
    assert page == same_page
    (appeal,) = await office.registry.list_appeals(limit=10)
    assert appeal.number in page
    (envelope,) = (await office.conversation(appeal.number)).envelopes
    assert (envelope.authenticity[0].method, envelope.authenticity[0].result) == ("proof_of_work", "none")
    assert envelope.attachments == ()


async def test_faults_are_shown_with_everything_that_was_typed(office: Office):
    """Markup that a citizen typed is text, and the corrected form is still the same submission."""
    client = await office.client()
    hidden = await hidden_fields(office, client)
    status, page = await post(client, whole(hidden, text='<b>"Свет"</b>', consent=""))
    assert status == 422
    assert "Нужно ваше согласие" in page
    assert "<b>" not in page.split("<textarea", 1)[1].split("</textarea>", 1)[0]
    assert '<b>"Свет"</b>' in unescape(page)
    assert hidden["submission_id"] in page
    assert await office.registry.list_appeals(limit=10) == []


@pytest.mark.parametrize(
    ("more", "reason"), [({"website": "x"}, "website"), ({"shown": "1.ff"}, "showed"), ({"shown": "x"}, "showed")]
)
async def test_what_looks_like_a_machines_is_kept_for_review(office: Office, more: dict[str, str], reason: str):
    """The sender reads that a person will look, with the reference; the bytes are in quarantine."""
    client = await office.client()
    status, page = await post(client, whole(await hidden_fields(office, client), **more))
    (entry,) = await office.registry.quarantined()
    assert status == 202
    assert str(entry.id) in page
    assert reason in entry.reason
    registration = await office.web.retry(await office.registry.read_blob(entry.sha256), entry.context)
    assert registration.number


async def test_a_form_filled_in_faster_than_a_person_can_is_kept_for_review(office: Office):
    """Three seconds are too short to write an appeal."""
    client = await office.client()
    hidden = await hidden_fields(office, client)
    office.clock.ahead -= type(office.clock.ahead)(seconds=9)
    status, _ = await post(client, whole(hidden))
    assert status == 202


async def test_other_sites_and_addresses_over_their_limit_are_refused(open_office: OpenOffice):
    """In words on a page, with nothing kept."""
    office = await open_office(web_settings=SHOWN)
    client = await office.client()
    status, page = await post(client, {}, **{"Sec-Fetch-Site": "cross-site"})
    assert (status, "чужой страницы" in page) == (403, True)
    for _ in range(3):
        await post(client, {})
    status, page = await post(client, whole(await hidden_fields(office, client)))
    assert (status, "слишком много" in page) == (429, True)


async def test_a_stopped_connector_says_that_nothing_was_kept(office: Office):
    """The citizen is asked to send again; the form's id makes that safe."""
    client = await office.client()
    fields = whole(await hidden_fields(office, client))
    await office.web.stop()
    status, page = await post(client, fields)
    assert (status, "ничего не сохранено" in page) == (503, True)


async def test_it_can_be_closed_and_speaks_two_languages(open_office: OpenOffice, office: Office):
    """Without it /write/plain is not there; the language is asked for, or the browser's."""
    client = await office.client()
    async with client.get("/write/plain", headers={"Accept-Language": "en-GB,ru"}) as answer:
        assert "Write an appeal" in await answer.text()
    async with client.get("/write/plain.css") as answer:
        assert (answer.status, answer.content_type) == (200, "text/css")
    closed = await open_office(web_settings=WebSettings(plain_submissions_per_hour=0))
    async with (await closed.client()).get("/write/plain") as answer:
        assert answer.status == 404


@pytest.fixture
async def generous(open_office: OpenOffice) -> Office:
    """Run an office whose plain form has no limit to speak of."""
    return await open_office(web_settings=WebSettings(plain_submissions_per_hour=100_000))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), frame=st.sampled_from([b"%b", b"--b\r\n%b\r\n--b--\r\n"]))
async def test_any_bytes_are_answered_with_a_page(generous: Office, body: bytes, frame: bytes):
    """Never a traceback, never a problem document: a person without JavaScript reads what it says."""
    async with aiohttp.ClientSession(generous.url) as client:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        async with client.post("/write/plain", data=frame % body, headers=headers) as answer:
            assert answer.status in (400, 422)
            assert answer.content_type == "text/html"
    assert await generous.registry.list_appeals(limit=1) == []
