"""Web form, letters and mailboxes, through the daemon as it runs, from the citizen to the answer."""

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from okno.outside.city import City
from okno.outside.fax_document import make_fax_document
from tests.acceptance.console_agent import ConsoleAgent
from tests.acceptance.harness import DaemonProcess, eventually
from tests.dovecot import PASSWORD, DovecotServer
from tests.integration.email.imap_office import mail
from tests.integration.web.citizen import Citizen

LOGIN = "anna"
WAIT_S = 90.0
NO_LIGHT = "Прошу починить освещение: во дворе третью неделю не горят фонари."


@pytest.fixture
async def city():
    async with City() as opened:
        yield opened


def office(city: City, folder: Path, **more) -> DaemonProcess:
    """Return a daemon in the city with web form and letter desk."""
    spool = folder / "fax-spool"
    spool.mkdir()
    settings = city.settings(spool_dir=spool) | {"web": {"enabled": True}, "paper": {"enabled": True}}
    settings["email"] |= more
    return DaemonProcess(folder, settings=settings)


async def test_a_web_form_is_answered_by_mail_and_on_the_page(city: City, tmp_path: Path):
    """The form answers with number and code; sent again it says the same; the answer goes to the address named."""
    daemon = office(city, tmp_path)
    await daemon.add_agent(LOGIN)
    async with daemon, aiohttp.ClientSession(daemon.url, headers={"X-Okno-Request": "1"}) as browser:
        citizen = Citizen(browser)
        form = citizen.form(NO_LIGHT, answer_by="email", email="anna@citizens.example", topic="lighting.street")
        status, answer = await citizen.post(form, files={"двор.txt": b"the yard"})
        assert status == 201, answer
        again, repeated = await citizen.post(form, files={"двор.txt": b"the yard"})
        assert (again in (200, 201), repeated["number"]) == (True, answer["number"])
        async with ConsoleAgent(daemon.url, LOGIN) as agent:
            await agent.become_available()
            detail = await agent.take_next(timeout_s=WAIT_S)
            appeal = detail["appeal"]
            assert (appeal["channel"], appeal["topic"], appeal["topic_confidence"]) == ("web", "lighting.street", 1.0)
            assert detail["answer_to"]["channel"] == "email"
            await agent.command(
                "reply", appeal_id=appeal["id"], version=appeal["version"], text="Фонари починены.", close=False
            )
            mails = await city.relay.wait_for(2, timeout_s=WAIT_S)  # acknowledgement, answer
            assert {mail.rcpt_to for mail in mails} == {("anna@citizens.example",)}
        asked = {"number": answer["number"], "code": answer["code"]}
        async with browser.post("/api/v1/citizen/status", json=asked) as response:
            shown = await response.json()
        assert [item["text"] for item in shown["answers"]] == ["Фонари починены."]
        assert daemon.faults() == []


async def test_a_letter_is_read_answered_and_printed(city: City, tmp_path: Path, tesseract_path: Path):
    """An agent registers a scanned letter: a number and a slip at once, its words after recognition, a printed answer."""
    daemon = office(city, tmp_path)
    await daemon.add_agent(LOGIN)
    async with daemon, ConsoleAgent(daemon.url, LOGIN) as agent:
        await agent.become_available()
        letter = {
            "id": uuid4().hex,
            "channel": "paper",
            "received_on": datetime.now(UTC).date().isoformat(),
            "name": "Петрова Анна Сергеевна",
            "address": "190000, Санкт-Петербург, Садовая, 1-2",
            "answer_by": "post",
        }
        scan = make_fax_document([NO_LIGHT], "tiff")
        registered = await agent.post_form("/api/v1/letters", letter=json.dumps(letter), scan=("letter.tif", scan))
        repeated = await agent.post_form("/api/v1/letters", letter=json.dumps(letter), scan=("letter.tif", scan))
        assert (repeated["number"], repeated["duplicate"]) == (registered["number"], True)
        status, slip = await agent.get(f"/api/v1/letters/{registered['number']}/slip.pdf")
        assert (status, slip[:5]) == (200, b"%PDF-")
        detail = await agent.take_next(timeout_s=WAIT_S)
        assert "фонари" in detail["transcripts"][0]["text"]
        assert detail["appeal"]["topic"].startswith("lighting.")
        appeal = detail["appeal"]
        ack = await agent.command(
            "reply", appeal_id=appeal["id"], version=appeal["version"], text="Фонари починены.", close=True
        )
        status, printed = await agent.get(
            f"/api/v1/appeals/{registered['number']}/replies/{ack['reply']['id']}/letter.pdf"
        )
        assert (status, printed[:5]) == (200, b"%PDF-")
        assert daemon.faults() == []


async def test_a_mailbox_is_read_over_kills_of_both_sides(
    city: City, tmp_path: Path, own_dovecot_server: DovecotServer
):
    """What comes while Okno is killed, or the IMAP server is, is registered once each, in the end."""
    user = own_dovecot_server.add_user()
    mailbox = {"host": "127.0.0.1", "port": own_dovecot_server.port, "tls": "none", "since": "all"}
    mailbox |= {"username": user.name, "password": PASSWORD}
    daemon = office(city, tmp_path, imap=[mailbox])
    user.deliver(mail(1))
    async with daemon:
        await _until_registered(daemon, 1)
        user.deliver(mail(2))
        await _until_registered(daemon, 2)
        daemon.kill()
        for number in (3, 4):
            user.deliver(mail(number))
        await daemon.restart()
        await _until_registered(daemon, 4)
        own_dovecot_server.kill()
        user.deliver(mail(5))
        own_dovecot_server.restart()
        await _until_registered(daemon, 5)
        await daemon.restart()
        user.deliver(mail(6))
        await _until_registered(daemon, 6)
        async with daemon.registry() as registry:
            assert await registry.quarantined() == []


async def _until_registered(daemon: DaemonProcess, count: int) -> None:
    async def registered() -> bool:
        async with daemon.registry() as registry:
            found = sum((await registry.count_by_state()).values())
            assert found <= count, "a mail was registered twice"
            return found == count

    await eventually(registered, what=f"{count} appeals", timeout_s=WAIT_S)
