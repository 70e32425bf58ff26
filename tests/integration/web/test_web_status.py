"""The citizen's page: files of answers, and the token that lets a message join."""

from appeals.answer import UploadedFile
from appeals.numbering import reply_token
from tests.integration.web.citizen import Citizen
from tests.integration.web.office import SECRET_KEY, Office

PLAN = b"%PDF-1.4 plan"


async def answered(office: Office) -> tuple[Citizen, dict[str, str]]:
    """Return a citizen whose appeal was answered with a file, and number and code."""
    citizen = Citizen(await office.client())
    _, sent = await citizen.post()
    appeal = await office.assign(sent["number"], "ivanova")
    files = [UploadedFile(name="план работ.pdf", media_type="application/pdf", content=PLAN)]
    await office.lifecycle.answer(
        appeal.id, agent_id="ivanova", version=appeal.version, text="Починим завтра.", attachments=files
    )
    return citizen, {"number": sent["number"], "code": sent["code"]}


async def test_a_file_of_an_answer_is_fetched_with_number_and_code(office: Office):
    """In the body, so that no history or log keeps the code; as a download, never shown in place."""
    citizen, claim = await answered(office)
    async with citizen.client.post("/api/v1/citizen/status", json=claim) as answer:
        view = await answer.json()
    ((file,),) = (one["files"] for one in view["answers"])
    assert (file["name"], file["size_bytes"]) == ("план работ.pdf", len(PLAN))
    async with citizen.client.post(f"/api/v1/citizen/files/{file['sha256']}", json=claim) as answer:
        assert await answer.read() == PLAN
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.content_type == "application/octet-stream"


async def test_an_answer_on_the_page_counts_as_read_once_it_was_opened(office: Office):
    """Delivered when the worker hands it over, read when the citizen looks; the acknowledgement stays delivered."""
    citizen, claim = await answered(office)
    await office.deliver()
    assert [reply.state for reply in (await office.conversation(claim["number"])).replies] == ["delivered", "delivered"]
    for _ in range(2):
        async with citizen.client.post("/api/v1/citizen/status", json=claim) as answer:
            assert answer.status == 200
    assert [reply.state for reply in (await office.conversation(claim["number"])).replies] == ["delivered", "read"]


async def test_no_other_file_and_no_other_code_opens_one(office: Office):
    """A wrong code, another appeal's claim, and files the citizen sent themselves are all 404."""
    citizen, claim = await answered(office)
    other = Citizen(await office.client())
    _, others = await other.post(files={"своё.txt": b"mine"})
    sha256 = (await office.conversation(claim["number"])).replies[-1].attachments[0].sha256
    own = (await office.conversation(others["number"])).envelopes[0].attachments[0].sha256
    others_claim = {"number": others["number"], "code": others["code"]}
    for path, body in (
        (sha256, {**claim, "code": "AAAA-AAAA"}),
        (sha256, others_claim),
        (own, others_claim),
        ("x", claim),
    ):
        async with citizen.client.post(f"/api/v1/citizen/files/{path}", json=body) as answer:
            assert answer.status == 404


async def test_the_pages_token_lets_a_message_join_and_reopens_the_work(office: Office):
    """What the citizen adds comes to the agent who answered."""
    citizen, claim = await answered(office)
    async with citizen.client.post("/api/v1/citizen/status", json=claim) as answer:
        token = (await answer.json())["reply_token"]
    writer = Citizen(await office.client())
    status, added = await writer.post(
        {"submission_id": writer.submission_id, "text": "Не починили.", "reply_token": token}
    )
    assert (status, added["number"], added["code"]) == (201, claim["number"], None)
    appeal = (await office.conversation(claim["number"])).appeal
    assert (appeal.state, appeal.agent_id) == ("assigned", "ivanova")


async def test_an_addition_does_not_move_the_answer(office: Office):
    """Who asked for an email gets it there, whatever they add on the page."""
    citizen = Citizen(await office.client())
    _, sent = await citizen.post(citizen.form(answer_by="email", email="anna@example.org"))
    token = reply_token(SECRET_KEY, (await office.registry.appeal_by_number(sent["number"])).id)
    writer = Citizen(await office.client())
    await writer.post({"submission_id": writer.submission_id, "text": "И лифт.", "reply_token": token})
    appeal = await office.assign(sent["number"], "ivanova")
    reply = await office.lifecycle.answer(appeal.id, agent_id="ivanova", version=appeal.version, text="Починим.")
    assert (reply.recipient.value, reply.connector) == ("anna@example.org", "email")
