"""What an agent does with single messages: transcribe, split, move, send again; pages, HTML, prices."""

import hashlib
from typing import Any
from uuid import UUID, uuid4

from appeals.appeal import AppealState
from appeals.envelope import Channel, ThreadReferences
from appeals.outbox import DeliveryOutcome
from appeals.reply import DeliveryState

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20
HEADERS = {"X-Okno-Request": "1"}


async def _held(site: Any, appeal: Any, agent_id: str = "ivanova") -> tuple[Any, dict[str, Any]]:
    """Bring the appeal into the agent's hands; returns console and detail."""
    console, _ = await site.console_of(agent_id)
    await console.command("accept", offer_id=str(await site.offer(agent_id, appeal)))
    opened = await console.command("open", appeal_id=str(appeal.id))
    return console, opened["detail"]


async def test_an_agent_types_in_a_fax_that_could_not_be_read(site: Any) -> None:
    """The draft of recognition is shown; what is typed goes to the classifier; the appeal leaves the desk."""
    appeal = await site.register(
        subject="", text="", channel=Channel.FAX, connector="fax", recognise=True, files={"p": ("image/png", PNG)}
    )
    envelope = (await site.registry.conversation(appeal.id)).envelopes[0]
    await site.deps.transcripts.recognised(envelope.id, text="др@фт", confidence=0.2, accepted=False, detail="low")
    console, detail = await _held(site, await site.registry.appeal(appeal.id))
    (transcript,) = detail["transcripts"]
    assert (transcript["state"], transcript["text"], transcript["confidence"]) == ("needed", "др@фт", 0.2)
    wanted = {"appeal_id": str(appeal.id), "envelope_id": str(envelope.id), "text": "Нет света"}
    stale = await console.command("transcribe", version=1, **wanted)
    assert stale["code"] == "stale"
    ack = await console.command("transcribe", version=detail["appeal"]["version"], **wanted)
    assert (ack["type"], ack["appeal"]["state"]) == ("ack", "registered")
    (text,) = await site.registry.texts([appeal.id])
    assert text.text.endswith("Нет света")


async def test_nobody_transcribes_a_colleagues_fax(site: Any) -> None:
    """Only who holds the appeal may."""
    appeal = await site.register(recognise=True)
    _, detail = await _held(site, appeal)
    other, _ = await site.console_of("petrov")
    envelope_id = detail["envelopes"][0]["id"]
    refused = await other.command(
        "transcribe",
        appeal_id=str(appeal.id),
        version=detail["appeal"]["version"],
        envelope_id=envelope_id,
        text="x",
    )
    assert refused["code"] == "forbidden"


async def test_a_wrongly_joined_message_is_split_off_and_moved_back(site: Any) -> None:
    """The console hears of both appeals; a colleague may not touch them; a stranger's appeal takes nothing."""
    sender = {"kind": "email", "value": "anna@example.org"}
    first = await site.register(sender=sender, threading=ThreadReferences(message_id="one@x"))
    joined = ThreadReferences(message_id="two@x", in_reply_to=("one@x",))
    assert (await site.register(sender=sender, threading=joined)).id == first.id
    foreign = await site.register()
    console, detail = await _held(site, await site.registry.appeal(first.id))
    wanted = {"appeal_id": str(first.id), "envelope_id": detail["envelopes"][1]["id"]}
    other, _ = await site.console_of("petrov")
    version = detail["appeal"]["version"]
    assert (await other.command("split", version=version, **wanted))["code"] == "forbidden"
    ack = await console.command("split", version=version, **wanted)
    assert ack["appeal"]["id"] == str(first.id)
    opened = await site.registry.appeal(UUID(ack["other"]["id"]))
    assert opened.state is AppealState.REGISTERED
    back = {"appeal_id": str(opened.id), "envelope_id": wanted["envelope_id"], "version": opened.version}
    assert (await console.command("move_message", to_number=foreign.number, **back))["code"] == "rejected"
    assert (await console.command("move_message", to_number="1", **back))["code"] == "not_found"
    moved = await console.command("move_message", to_number=first.number, **back)
    assert (moved["appeal"]["state"], moved["other"]["id"]) == ("closed", str(first.id))


async def test_a_failed_answer_is_sent_again(site: Any) -> None:
    """One command; of another appeal's reply it is refused."""
    appeal = await site.register()
    console, detail = await _held(site, appeal)
    reply_id = UUID(detail["replies"][0]["id"])
    (reply,) = await site.deps.outbox.begin([reply_id])
    await site.deps.outbox.settle([DeliveryOutcome(reply=reply, state=DeliveryState.FAILED, error="no such user")])
    unknown = await console.command("send_again", appeal_id=str(appeal.id), reply_id=str(uuid4()))
    assert unknown["code"] == "not_found"
    ack = await console.command("send_again", appeal_id=str(appeal.id), reply_id=str(reply_id))
    assert ack["type"] == "ack"
    assert await site.deps.outbox.due(limit=5) == [reply_id]
    again = await console.command("send_again", appeal_id=str(appeal.id), reply_id=str(reply_id))
    assert again["code"] == "not_found"


async def test_pages_are_shown_to_those_who_may_see_the_appeal(site: Any) -> None:
    """As PNG, by number; a page that is not there is told so."""
    appeal = await site.register(files={"fax.png": ("image/png", PNG)})
    base = f"/api/v1/appeals/{appeal.number}/blobs/{hashlib.sha256(PNG).hexdigest()}/pages"
    client = await site.logged_in("ivanova")
    async with client.get(base) as response:
        assert (await response.json()) == {"pages": 1}
    async with client.get(f"{base}/1") as response:
        assert (response.status, response.content_type, await response.read()) == (200, "image/png", PNG)
    for page, status in (("0", 404), ("x", 404), ("2", 422), ("99999999999", 404)):
        async with client.get(f"{base}/{page}") as response:
            assert response.status == status, page
    async with (await site.client()).get(f"{base}/1") as response:
        assert response.status == 401


async def test_html_shows_its_own_pictures_and_asks_nobody(site: Any) -> None:
    """`cid:` becomes a data URL, an unknown one nothing; a frame without rights may load nothing else."""
    html = b'<p>Hi <img src="cid:a.png"><img src="cid:gone"></p>'
    appeal = await site.register(files={"a.png": ("image/png", PNG)}, html=html)
    envelope = (await site.registry.conversation(appeal.id)).envelopes[0]
    client = await site.logged_in("ivanova")
    async with client.get(f"/api/v1/appeals/{appeal.number}/html/{envelope.id}") as response:
        policy = response.headers["Content-Security-Policy"]
        assert response.headers["X-Frame-Options"] == "SAMEORIGIN"
        shown = await response.text()
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert 'src="data:image/png;base64,' in shown
    assert 'src=""' in shown
    plain = await site.register()
    envelope = (await site.registry.conversation(plain.id)).envelopes[0]
    async with client.get(f"/api/v1/appeals/{plain.number}/html/{envelope.id}") as response:
        assert response.status == 404


async def test_what_an_answer_would_cost(site: Any) -> None:
    """Asked of the connector that the answer would go by; channels without parts say so."""
    by_sms = await site.register(
        channel=Channel.SMS, connector="sms", sender={"kind": "phone", "value": "+79991112233"}
    )
    by_mail = await site.register()
    client = await site.logged_in("ivanova")
    async with client.post(f"/api/v1/appeals/{by_sms.number}/estimate", json={"text": "abc"}) as response:
        assert (await response.json())["parts"] == 3
    async with client.post(f"/api/v1/appeals/{by_mail.number}/estimate", json={"text": "abc"}) as response:
        assert response.status == 404


async def test_risky_files_are_never_shown_in_place_and_infected_ones_kept_back(site: Any) -> None:
    """A finding makes a download of it; malware is for supervisors who say that they want it."""
    url = "/api/v1/appeals/{}/blobs/" + hashlib.sha256(PNG).hexdigest()
    risky = await site.register(files={"a.png": ("image/png", PNG)}, findings=("extension_mismatch",))
    infected = await site.register(files={"a.png": ("image/png", PNG)}, findings=("infected:Eicar",))
    agent, boss = await site.logged_in("ivanova"), await site.logged_in("boss")
    async with agent.get(url.format(risky.number)) as response:
        assert response.headers["Content-Disposition"].startswith("attachment")
    async with agent.get(url.format(infected.number) + "?accept_risk=1") as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (403, "infected")
    async with boss.get(url.format(infected.number)) as response:
        assert response.status == 403
    async with boss.get(url.format(infected.number) + "?accept_risk=1") as response:
        assert (response.status, await response.read()) == (200, PNG)
