"""Channels in depth, through the daemon as it runs: pages that become words, answers that bounce."""

import io
import random
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from PIL import Image

from appeals.appeal import AppealState
from okno.outside.city import FAX_NUMBER, MAILBOX, City
from tests.acceptance.console_agent import ConsoleAgent
from tests.acceptance.harness import DaemonProcess

LOGIN = "anna"
MIB = 1024 * 1024
WAIT_S = 90.0
NO_HEATING = "В квартире третий день нет отопления, батареи холодные. Прошу принять меры."


@pytest.fixture
async def city():
    async with City() as opened:
        yield opened


@pytest.fixture
async def daemon(city: City, tmp_path: Path):
    spool = tmp_path / "fax-spool"
    spool.mkdir()
    settings = city.settings(spool_dir=spool) | {"attachments": {"max_unpacked_bytes": 4 * MIB}}
    process = DaemonProcess(tmp_path, settings=settings)
    await process.add_agent(LOGIN)
    async with process:
        city.daemon_is_at(process.url, smtp_port=process.smtp_port)
        yield process
        assert process.faults() == []


def scribble() -> bytes:
    """Return a fax page on which nobody can read anything."""
    dice = random.Random(7)  # noqa: S311 - a picture
    page = Image.new("1", (1728, 2200), 1)
    for _ in range(60_000):
        page.putpixel((dice.randrange(1728), dice.randrange(2200)), 0)
    buffer = io.BytesIO()
    page.save(buffer, "TIFF", compression="group4", dpi=(204, 196))
    return buffer.getvalue()


async def test_a_fax_is_read_and_goes_to_whom_its_words_belong(city: City, daemon: DaemonProcess, tesseract_path: Path):
    """Registered at once; recognised afterwards; tagged by its words; its page is shown beside them."""
    async with ConsoleAgent(daemon.url, LOGIN) as agent:
        await agent.become_available()
        assert await city.write_fax(sender="+78125550001", pages=[NO_HEATING], as_tiff=True) == 200
        detail = await agent.take_next(timeout_s=WAIT_S)
        (transcript,) = detail["transcripts"]
        assert (transcript["state"], transcript["source"]) == ("done", "ocr")
        assert "отопления" in transcript["text"]
        assert transcript["confidence"] > 0.75
        assert detail["appeal"]["topic"] == "housing.heating"
        number, sha256 = detail["appeal"]["number"], detail["envelopes"][0]["attachments"][0]["sha256"]
        status, page = await agent.get(f"/api/v1/appeals/{number}/blobs/{sha256}/pages/1")
        assert (status, page[:8]) == (200, b"\x89PNG\r\n\x1a\n")


async def test_a_fax_that_cannot_be_read_is_typed_in_and_passed_on(city: City, daemon: DaemonProcess):
    """It goes to the skill transcription; typed in beside its page it is tagged by the words and offered again."""
    async with ConsoleAgent(daemon.url, LOGIN) as agent:
        await agent.become_available()
        assert await city.fax.send_incoming(scribble(), sender="+78125550002", recipient=FAX_NUMBER) == 200
        detail = await agent.take_next(timeout_s=WAIT_S)
        assert detail["appeal"]["queue"] == "transcription"
        assert detail["transcripts"][0]["state"] == "needed"
        waiting_since = detail["appeal"]["waiting_since"]
        await agent.command(
            "transcribe",
            appeal_id=detail["appeal"]["id"],
            version=detail["appeal"]["version"],
            envelope_id=detail["envelopes"][0]["id"],
            text=NO_HEATING,
        )
        again = await agent.take_next(timeout_s=WAIT_S)
        assert again["appeal"]["number"] == detail["appeal"]["number"]
        assert (again["appeal"]["queue"], again["appeal"]["topic"]) == ("housing", "housing.heating")
        assert again["appeal"]["waiting_since"] == waiting_since
        assert again["transcripts"][0]["agent_id"] == LOGIN


async def test_an_answer_that_bounces_comes_back_to_its_agent(city: City, daemon: DaemonProcess):
    """The relay took it; hours later the other side's report says that the mailbox does not exist."""
    async with ConsoleAgent(daemon.url, LOGIN) as agent:
        await agent.become_available()
        await city.write_email(sender="typo@citizens.example", subject="Тепло", text=NO_HEATING)
        await agent.answer_everything(1, text=lambda number: f"Answer {number}")
        ((number, appeal),) = agent.answered.items()
        mails = await city.relay.wait_for(2, timeout_s=WAIT_S)  # acknowledgement, answer
        (answer,) = [mail for mail in mails if f"Answer {number}" in words_of(mail.parsed())]
        await city.deliver_report(bounce_of(answer.parsed(), to=answer.mail_from))
        assert await agent.wait_until_assigned_again(1) == {number}
        detail = await agent.open(appeal["id"])
        assert detail["appeal"]["undelivered"]
        (failed,) = [reply for reply in detail["replies"] if reply["kind"] == "answer"]
        assert failed["state"] == "failed"
        assert "5.1.1" in failed["error"]
        report = detail["envelopes"][-1]
        assert (report["automatic"], "bounce" in report["marks"]) == (True, True)
        await agent.command("send_again", appeal_id=appeal["id"], reply_id=failed["id"])
        await city.relay.wait_for(3, timeout_s=WAIT_S)
        async with daemon.registry() as registry:
            counts = await registry.count_by_state()
            assert sum(counts.values()) == counts[AppealState.ASSIGNED] == 1
            assert await registry.quarantined() == []


def words_of(mail: EmailMessage) -> str:
    """Return what the citizen reads."""
    body = mail.get_body(("plain",))
    return "" if body is None else body.get_content()


def bounce_of(mail: EmailMessage, *, to: str) -> bytes:
    """Return what Postfix writes when a mailbox does not exist (RFC 3464)."""
    boundary = "7A3C1F.1700000000/mx.citizens.example"
    return (
        f"Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.citizens.example (Mail Delivery System)\r\nTo: {to or MAILBOX}\r\n"
        "Subject: Undelivered Mail Returned to Sender\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"\r\n'
        "Message-Id: <20261122.7A3C1F@mx.citizens.example>\r\n\r\n"
        f"--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
        "<typo@citizens.example>: unknown user\r\n\r\n"
        f"--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; mx.citizens.example\r\n\r\n"
        "Final-Recipient: rfc822; typo@citizens.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 <typo@citizens.example>: user unknown\r\n\r\n"
        f"--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        f"Message-ID: {mail['Message-ID']}\r\nFrom: {MAILBOX}\r\nTo: typo@citizens.example\r\n\r\n"
        f"--{boundary}--\r\n"
    ).encode()


async def test_files_are_looked_into_on_every_channel(city: City, daemon: DaemonProcess):
    """A program called invoice.pdf and an archive that would fill the disk are taken, kept, and marked for people."""
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(8 * MIB))
    files = {
        "invoice.pdf": b"MZ" + bytes(62) + b"This program cannot be run in DOS mode",
        "photos.zip": bomb.getvalue(),
    }
    await city.write_email(sender="a@citizens.example", subject="Документы", text="Во вложении.", files=files)
    async with ConsoleAgent(daemon.url, LOGIN) as agent:
        await agent.become_available()
        detail = await agent.take_next(timeout_s=WAIT_S)
        found = {item["name"]: item["findings"] for item in detail["envelopes"][0]["attachments"]}
        assert "executable" in found["invoice.pdf"]
        assert "archive_bomb" in found["photos.zip"]
