"""Letters and visits, registered by agents over REST with a real session."""

import io
import json
import secrets
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pypdfium2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from appeals.envelope import Channel, ContactPointKind
from appeals.numbering import secret_code
from appeals.reply import DeliveryState, ReplyKind
from tests.integration.web.office import SECRET_KEY, Office

TODAY = datetime.now(ZoneInfo("Europe/Moscow")).date()  # the office's


def picture(kind: str, pages: int = 1) -> bytes:
    """Return a scan: a page with a line of text, as a scanner saves it."""
    sheets = []
    for page in range(pages):
        sheet = Image.new("1" if kind == "TIFF" else "L", (400, 560), 1 if kind == "TIFF" else 255)
        ImageDraw.Draw(sheet).text((40, 40), f"page {page}")
        sheets.append(sheet)
    file = io.BytesIO()
    several = {"save_all": True, "append_images": sheets[1:]} if kind in ("TIFF", "PDF") else {}
    sheets[0].save(file, kind, **several)
    return file.getvalue()


def make_letter(**changed: Any) -> dict[str, Any]:
    return {
        "id": secrets.token_hex(16),
        "channel": "paper",
        "received_on": TODAY.isoformat(),
        "name": "Иванова  Анна",
        "answer_by": "post",
        "address": "191186, Санкт-Петербург, Невский пр., 28",
        "text": "Прошу починить лифт.",
        **changed,
    }


async def post(
    client: aiohttp.ClientSession, letter: dict[str, Any] | bytes, *scans: tuple[str, bytes]
) -> tuple[int, dict[str, Any]]:
    """Post a letter as the console does."""
    data = aiohttp.FormData(quote_fields=False)
    body = letter if isinstance(letter, bytes) else json.dumps(letter).encode()
    data.add_field("letter", io.BytesIO(body), content_type="application/json")
    for name, content in scans:
        data.add_field("scan", io.BytesIO(content), filename=name, content_type="application/octet-stream")
    async with client.post("/api/v1/letters", data=data) as answer:
        return answer.status, await answer.json()


def text_of(pdf: bytes) -> str:
    """Return the text of a PDF's pages."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        texts = []
        for page in document:
            text_page = page.get_textpage()
            texts.append(text_page.get_text_range())
            text_page.close()
            page.close()
        return "\n".join(texts)
    finally:
        document.close()


async def pdf_of(client: aiohttp.ClientSession, path: str) -> bytes:
    async with client.get(path) as answer:
        assert (answer.status, answer.content_type) == (200, "application/pdf"), await answer.text()
        return await answer.read()


@pytest.fixture
async def agent(office: Office) -> aiohttp.ClientSession:
    return await office.logged_in("ivanova")


async def test_a_typed_letter_becomes_an_appeal(office: Office, agent: aiohttp.ClientSession):
    """Who, when, which incoming number and who typed it in are kept; the original is what was typed."""
    received = TODAY - timedelta(days=3)
    letter = make_letter(incoming_number="И-112/26", received_on=received.isoformat(), email="Anna@Example.org")
    status, view = await post(agent, letter)
    assert (status, view["duplicate"]) == (201, False)
    conversation = await office.conversation(view["number"])
    (envelope,) = conversation.envelopes
    assert (envelope.channel, envelope.text, envelope.recognise) == (Channel.PAPER, "Прошу починить лифт.", False)
    assert (envelope.sender.kind, envelope.sender.name) == (ContactPointKind.POST, "Иванова Анна")
    assert envelope.sender.value == "Иванова Анна, 191186, Санкт-Петербург, Невский пр., 28"
    assert envelope.reply_to is None
    assert envelope.received_at.date() == received
    deadline = conversation.appeal.deadline_at
    assert timedelta(days=20) < deadline - envelope.received_at < timedelta(days=31)  # counted from the receipt
    assert conversation.appeal.attributes["registered_by"] == "ivanova"
    assert conversation.appeal.attributes["incoming_number"] == "И-112/26"
    raw = json.loads(await office.registry.read_blob(envelope.raw.sha256))
    assert (raw["schema"], raw["text"], raw["registered_by"]) == ("okno.letter/1", "Прошу починить лифт.", "ivanova")


async def test_scans_without_a_text_go_to_recognition(office: Office, agent: aiohttp.ClientSession):
    """Type by content, pages counted, a TIFF made viewable: as with a fax."""
    scans = (("1.tif", picture("TIFF", 2)), ("2.bin", picture("PNG")), ("3.pdf", picture("PDF")))
    status, view = await post(agent, make_letter(text=" "), *scans)
    assert status == 201
    (envelope,) = (await office.conversation(view["number"])).envelopes
    assert envelope.recognise
    assert [file.detected_media_type for file in envelope.attachments] == [
        "image/tiff",
        "application/pdf",
        "image/png",
        "application/pdf",
    ]
    assert envelope.fields["pages"] == "4"
    assert envelope.subject == "Письмо: Иванова Анна"
    assert await office.registry.read_blob(envelope.attachments[0].sha256) == scans[0][1]


async def test_a_visit_without_a_contact_is_answered_on_the_page(office: Office, agent: aiohttp.ClientSession):
    """The citizen leaves with the slip, which is all they need."""
    status, view = await post(agent, make_letter(channel="in_person", answer_by="page", address=""))
    assert status == 201
    conversation = await office.conversation(view["number"])
    (envelope,) = conversation.envelopes
    assert (envelope.channel, envelope.sender.kind) == (Channel.IN_PERSON, ContactPointKind.WEB)
    (acknowledgement,) = conversation.replies
    receipt = await office.paper.send(_outbound(acknowledgement))
    assert (acknowledgement.connector, receipt.state) == ("paper", DeliveryState.DELIVERED)


@pytest.mark.parametrize(
    ("answer_by", "kind", "connector"),
    [("email", ContactPointKind.EMAIL, "email"), ("phone", ContactPointKind.PHONE, "paper")],
)
async def test_the_answer_goes_where_the_citizen_wants_it(
    office: Office, agent: aiohttp.ClientSession, answer_by: str, kind: ContactPointKind, connector: str
):
    """By email if that is enabled; a way that no connector speaks is left to the letter desk, which says so."""
    letter = make_letter(answer_by=answer_by, email="anna@example.org", phone="8 921 123-45-67")
    _, view = await post(agent, letter)
    appeal = await office.assign(view["number"], "ivanova")
    await office.lifecycle.answer(appeal.id, agent_id="ivanova", version=appeal.version, text="Починим.")
    reply = (await office.conversation(view["number"])).replies[-1]
    assert (reply.recipient.kind, reply.connector) == (kind, connector)


async def test_a_repeated_registration_is_the_same_appeal(office: Office, agent: aiohttp.ClientSession):
    """A double click or a lost answer is known by its id; a corrected letter joins, so neither text is lost."""
    letter = make_letter()
    first = await post(agent, letter, ("1.png", picture("PNG")))
    again = await post(agent, letter, ("1.png", picture("PNG")))
    corrected = await post(agent, {**letter, "text": "Прошу починить оба лифта."}, ("1.png", picture("PNG")))
    assert [status for status, _ in (first, again, corrected)] == [201, 200, 201]
    assert {view["number"] for _, view in (first, again, corrected)} == {first[1]["number"]}
    assert corrected[1]["joined"]
    assert len((await office.conversation(first[1]["number"])).envelopes) == 2


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"name": " "}, "letter_incomplete"),
        ({"address": ""}, "letter_incomplete"),
        ({"id": "x"}, "letter_incomplete"),
        ({"answer_by": "pigeon"}, "letter_incomplete"),
        ({"text": "\n"}, "letter_empty"),
        ({"received_on": (TODAY + timedelta(days=2)).isoformat()}, "letter_date"),
        ({"received_on": (TODAY - timedelta(days=61)).isoformat()}, "letter_date"),
        ({"received_on": "soon"}, "letter_incomplete"),
        ({"email": "no address"}, "letter_contact"),
        ({"answer_by": "phone", "phone": "12"}, "letter_contact"),
        ({"subject": "x" * 201}, "letter_too_long"),
        ({"address": "x" * 301}, "letter_too_long"),
    ],
)
async def test_what_cannot_be_registered_is_told(
    office: Office, agent: aiohttp.ClientSession, changed: dict[str, str], code: str
):
    """With a code and words in both languages; nothing is kept."""
    status, problem = await post(agent, make_letter(**changed))
    assert (status, problem["code"]) == (422, code)
    assert problem["message"]["ru"]
    assert await office.registry.list_appeals(limit=1) == []


@pytest.mark.parametrize(
    ("scan", "status", "code"),
    [
        (b"just text", 422, "letter_scan_type"),
        (b"%PDF-1.4 broken", 422, "letter_scan_unreadable"),
        (b"II*\x00broken", 422, "letter_scan_unreadable"),
        (b"\x89PNG\r\n\x1a\nbroken", 422, "letter_scan_unreadable"),
        (bytes(250_000), 413, "letter_scan_too_large"),
    ],
)
async def test_a_bad_scan_is_told_while_the_paper_is_at_hand(
    office: Office, agent: aiohttp.ClientSession, scan: bytes, status: int, code: str
):
    """Broken ones are found at once, not when somebody has to read them."""
    found, problem = await post(agent, make_letter(), ("s.pdf", scan))
    assert (found, problem["code"]) == (status, code)
    assert await office.registry.list_appeals(limit=1) == []


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b"{" * 50_000])
async def test_any_letter_part_is_refused_without_a_5xx(office: Office, agent: aiohttp.ClientSession, body: bytes):
    """What is no JSON, or another JSON."""
    status, problem = await post(agent, body)
    assert (status, problem["code"]) == (422, "letter_incomplete")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from([b"", b"%PDF-1.7\n", b"II*\x00", b"MM\x00*", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"]),
    body=st.binary(max_size=200),
)
async def test_any_scan_is_refused_in_words(office: Office, agent: aiohttp.ClientSession, head: bytes, body: bytes):
    """Whatever a scanner or a stranger's file holds: no 5xx, and nothing is kept of what cannot be opened."""
    status, problem = await post(agent, make_letter(), ("s.bin", head + body))
    assert (status, problem["code"].startswith("letter_scan")) == (422, True)
    assert await office.registry.list_appeals(limit=1) == []


async def test_other_forms_are_refused(office: Office, agent: aiohttp.ClientSession):
    """No letter part, scans before it, too many scans, another type, no session, no CSRF header."""
    scans = [(f"{page}.png", picture("PNG")) for page in range(4)]
    assert (await post(agent, make_letter(), *scans))[0] == 400
    for body, kind, status in (
        (b"--b\r\n\r\n\r\n--b--\r\n", "multipart/form-data; boundary=b", 400),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 400),
        (b"{}", "application/json", 415),
    ):
        async with agent.post("/api/v1/letters", data=body, headers={"Content-Type": kind}) as answer:
            assert answer.status == status
    async with (await office.client()).post("/api/v1/letters", data=b"") as answer:
        assert answer.status == 401
    async with agent.post("/api/v1/letters", data=b"", headers={"X-Okno-Request": "0"}) as answer:
        assert answer.status == 403
    assert await office.registry.list_appeals(limit=1) == []


async def test_the_slip_is_for_who_registered_it_within_a_day(office: Office, agent: aiohttp.ClientSession):
    """It holds the secret code: other agents, and the same one tomorrow, must not print it; supervisors may."""
    _, view = await post(agent, make_letter())
    path = f"/api/v1/letters/{view['number']}/slip.pdf"
    appeal = await office.registry.appeal_by_number(view["number"])
    text = text_of(await pdf_of(agent, path))
    assert view["number"] in text
    assert secret_code(SECRET_KEY, appeal.id) in text
    async with (await office.logged_in("petrov")).get(path) as answer:
        assert answer.status == 403
    office.clock.ahead = timedelta(days=1, minutes=1)
    async with (await office.logged_in("ivanova")).get(path) as answer:
        assert answer.status == 403
    await pdf_of(await office.logged_in("boss"), path)


async def test_an_answer_by_post_is_printed_with_its_address(office: Office, agent: aiohttp.ClientSession):
    """Letterhead, address, both numbers, the text; the connector says that a person has to post it."""
    _, view = await post(agent, make_letter(incoming_number="И-112/26"))
    appeal = await office.assign(view["number"], "ivanova")
    await office.lifecycle.answer(appeal.id, agent_id="ivanova", version=appeal.version, text="Лифт починен.")
    reply = (await office.conversation(view["number"])).replies[-1]
    receipt = await office.paper.send(_outbound(reply))
    assert (receipt.state, reply.kind) == (DeliveryState.SENT, ReplyKind.ANSWER)
    assert "printed" in receipt.detail
    path = f"/api/v1/appeals/{view['number']}/replies/{reply.id}/letter.pdf"
    text = text_of(await pdf_of(agent, path)).replace("\r\n", " ")
    for wanted in ("Исаакиевская", "Иванова Анна", "191186", "И-112/26", view["number"], "Лифт починен."):
        assert wanted in text
    async with (await office.logged_in("petrov")).get(path) as answer:
        assert answer.status == 403  # another agent's appeal
    for wrong in (path.replace(str(reply.id), "x"), path.replace(str(reply.id), str(appeal.id))):
        async with agent.get(wrong) as answer:
            assert answer.status == 404


async def test_an_acknowledgement_is_printed_only_where_it_goes_by_post(office: Office, agent: aiohttp.ClientSession):
    """It holds the secret code, which other channels carry to the citizen themselves."""
    for changed, status in (({}, 200), ({"answer_by": "page"}, 404)):
        _, view = await post(agent, make_letter(**changed))
        (acknowledgement,) = (await office.conversation(view["number"])).replies
        path = f"/api/v1/appeals/{view['number']}/replies/{acknowledgement.id}/letter.pdf"
        async with agent.get(path) as answer:
            assert answer.status == status


def _outbound(reply: Any) -> Any:
    """Return what the connector asks of a message: its id and its recipient."""

    class Message:
        reply_id = reply.id
        recipient = reply.recipient

    return Message()
