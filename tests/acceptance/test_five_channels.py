"""The main job: twenty messages on each of five channels reach an agent, and each citizen gets the answer."""

import asyncio
import re
from collections import Counter
from email.message import EmailMessage
from pathlib import Path

import pypdfium2
import pytest

from appeals.appeal import AppealState
from appeals.envelope import Channel
from appeals.reply import DeliveryState, ReplyKind
from appeals.rows import contact_key
from okno.outside.city import City
from tests.acceptance.console_agent import ConsoleAgent
from tests.acceptance.harness import DaemonProcess

MESSAGES = 20  # on each channel
LOGIN = "anna"
TEXTS = (
    "В квартире третий день нет отопления, у нас маленький ребёнок.",
    "There is a deep pothole on Main street, cars are being damaged.",
    "Во дворе не вывозят мусор вторую неделю.",
    "The lift in our building has been broken for a month.",
)
WAIT_S = 90.0


@pytest.fixture
async def city():
    async with City() as opened:
        yield opened


@pytest.fixture
async def daemon(city: City, tmp_path: Path):
    spool = tmp_path / "fax-spool"
    spool.mkdir()
    process = DaemonProcess(tmp_path, settings=city.settings(spool_dir=spool))
    await process.add_agent(LOGIN)
    async with process:
        city.daemon_is_at(process.url, smtp_port=process.smtp_port)
        yield process


async def _everybody_writes(city: City) -> None:
    """Send MESSAGES messages on every channel, each from a citizen of its own; every hook must say 2xx."""
    statuses: Counter[int] = Counter()

    async def write(number: int) -> None:
        text = f"{TEXTS[number % len(TEXTS)]} ({number})"
        await city.write_email(sender=f"citizen{number}@citizens.example", subject=f"Mail {number}", text=text)
        statuses[await city.write_sms(sender=f"+7921555{number:04d}", text=text)] += 1
        city.write_telegram(chat_id=7_000_000 + number, text=text, name=f"Citizen {number}")
        status, answer = await city.write_at_kiosk(subject=f"Form {number}", text=text, name=f"Citizen {number}")
        statuses[status] += 1
        assert re.fullmatch(r"\d{3}-\d{3}-\d{4}", answer["number"])
        statuses[await city.write_fax(sender=f"+7812555{number:04d}", pages=[text], as_tiff=number % 2 == 0)] += 1

    for start in range(0, MESSAGES, 5):  # five citizens at a time
        await asyncio.gather(*(write(number) for number in range(start, start + 5)))
    assert set(statuses) == {200}, statuses


async def _answers_at_the_citizens(city: City) -> dict[Channel, set[str]]:
    """Return what has arrived on each channel: the part of each text that says which appeal it answers."""
    mails = [message.parsed() for message in city.relay.messages]
    return {
        Channel.EMAIL: {_words(mail) for mail in mails},
        Channel.SMS: {message.body for message in city.twilio.sent},
        Channel.TELEGRAM: {message.text for message in city.bot.sent},
        Channel.KIOSK: {answer["text"] for answer in city.kiosk_answers.answers},
        Channel.FAX: {_fax_words(document) for fax in city.fax.sent for document in fax.documents},
    }


def _fax_words(document: bytes) -> str:
    """Read a faxed PDF as the citizen would."""
    pdf = pypdfium2.PdfDocument(document)
    try:
        return "\n".join(page.get_textpage().get_text_bounded() for page in pdf)
    finally:
        pdf.close()


def _words(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    return "" if body is None else body.get_content().strip()


async def test_every_message_reaches_an_agent_and_every_answer_its_citizen(city: City, daemon: DaemonProcess):
    """100 messages over five channels become 100 appeals, each answered on the channel it came by."""
    async with ConsoleAgent(daemon.url, LOGIN) as agent:
        await agent.become_available()
        answering = asyncio.create_task(agent.answer_everything(5 * MESSAGES, text=lambda number: f"Answer {number}"))
        await _everybody_writes(city)
        async with asyncio.timeout(WAIT_S):
            answered = await answering
    assert Counter(appeal["channel"] for appeal in answered.values()) == dict.fromkeys(
        ["email", "sms", "telegram", "kiosk", "fax"], MESSAGES
    )
    async with daemon.registry() as registry:
        async with asyncio.timeout(WAIT_S):
            while await _unsent(registry):
                await asyncio.sleep(0.2)  # poll: deliveries finish on their own
        seen = await _answers_at_the_citizens(city)
        for number, appeal in answered.items():
            conversation = await registry.conversation((await registry.appeal_by_number(number)).id)
            (answer,) = [reply for reply in conversation.replies if reply.kind is ReplyKind.ANSWER]
            assert answer.state in (DeliveryState.SENT, DeliveryState.DELIVERED), (number, answer.error)
            assert contact_key(answer.recipient) == contact_key(conversation.envelopes[0].sender)
            channel = Channel(appeal["channel"])
            assert any(f"Answer {number}" in text for text in seen[channel]), (channel, number)
            acknowledgements = [r for r in conversation.replies if r.kind is ReplyKind.ACKNOWLEDGEMENT]
            assert len(acknowledgements) == 1
        assert (await registry.count_by_state())[AppealState.ANSWERED] == 5 * MESSAGES
        assert await registry.quarantined() == []
        assert not (await registry.check_history()).faults
    assert "Traceback" not in daemon.log()


async def _unsent(registry) -> int:
    counts = 0
    async for appeal in registry.iterate_appeals():
        replies = (await registry.conversation(appeal.id)).replies
        counts += sum(reply.state in (DeliveryState.QUEUED, DeliveryState.SENDING) for reply in replies)
    return counts


async def test_the_citizen_s_next_message_joins(city: City, daemon: DaemonProcess):
    """After the agent's answer a citizen replies by mail, SMS and Telegram: the same appeal comes back to the agent."""
    async with ConsoleAgent(daemon.url, LOGIN) as agent:
        await agent.become_available()
        answering = asyncio.create_task(agent.answer_everything(3, text=lambda number: f"Answer {number}"))
        await city.write_email(sender="anna@citizens.example", subject="Heating", text=TEXTS[0])
        await city.write_sms(sender="+79215551111", text=TEXTS[0])
        city.write_telegram(chat_id=42, text=TEXTS[0], name="Anna")
        async with asyncio.timeout(WAIT_S):
            answered = await answering
            by_channel = {appeal["channel"]: number for number, appeal in answered.items()}
            (mail,) = [
                m.parsed() for m in await city.relay.wait_for(2, timeout_s=WAIT_S) if "Answer" in _words(m.parsed())
            ]
            await city.write_email(
                sender="anna@citizens.example", subject="Re: Heating", text="Thanks!", In_Reply_To=mail["Message-ID"]
            )
            await city.write_sms(sender="+79215551111", text="Still cold")
            city.write_telegram(chat_id=42, text="Спасибо", name="Anna")
            back = await agent.wait_until_assigned_again(3)
    assert back == set(by_channel.values())
    async with daemon.registry() as registry:
        assert sum((await registry.count_by_state()).values()) == 3
