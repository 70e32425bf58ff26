"""The relay is down for days, or takes mail and dies: nothing lost, nothing doubled, in order, once each (outage test)."""

from datetime import timedelta
from email import message_from_bytes
from pathlib import Path

import pytest

from appeals.reply import DeliveryState
from config.settings import DeliverySettings
from connectors.base import HealthState
from connectors.delivery import retry_delay_s, tried_for_s

from .mail_office import MailOffice, citizens_mail, mail_office

CITIZENS = 6
SPARSE = DeliverySettings(first_retry_s=1800, max_retry_s=4 * 3600)  # as the defaults, with fewer attempts to test


async def _pass(office: MailOffice, span: timedelta) -> int:
    """Let time pass in steps of about the longest pause, sending what comes due; returns the attempts."""
    attempts, end = 0, office.clock.skipped + span
    while office.clock.skipped < end:
        office.clock.skipped += timedelta(minutes=75)
        while done := await office.deliver():
            attempts += done
    return attempts


async def _write_all(office: MailOffice, *, start: int = 0) -> None:
    for number in range(start, start + CITIZENS):
        mail = citizens_mail(f"Письмо {number}", message_id=f"<{number}@x.example>", sender=f"c{number}@example.org")
        await office.write(mail, mail_from=f"c{number}@example.org")


def _taken(office: MailOffice) -> list[tuple[str, str]]:
    """Return recipient and Message-ID of every mail the relay took, in order."""
    mails = office.relay.messages
    return [(mail.rcpt_to[0], message_from_bytes(mail.content)["Message-ID"].strip("<>")) for mail in mails]


async def test_the_relay_is_down_for_two_days(tmp_path: Path):
    """Mail comes in all the time, every agent sees what waits and why; when the relay is back each reply arrives once."""
    async with mail_office(tmp_path, delivery=SPARSE) as office:
        await office.relay.stop()
        await _write_all(office)
        await _pass(office, timedelta(days=1))
        await _write_all(office, start=CITIZENS)
        await _pass(office, timedelta(days=1))
        states = [reply.state for one in await office.conversations() for reply in one.replies]
        assert states == [DeliveryState.QUEUED] * 2 * CITIZENS  # the agent sees that they wait, and why
        reasons = {reply.error for one in await office.conversations() for reply in one.replies}
        assert all(reason.startswith("relay_unusable: ") for reason in reasons)
        assert office.connector.health().state is HealthState.DEGRADED
        await office.relay.start()
        await _pass(office, timedelta(hours=7))
        conversations = await office.conversations()
        replies = [reply for one in conversations for reply in one.replies]
        assert [reply.state for reply in replies] == [DeliveryState.SENT] * 2 * CITIZENS
        assert sorted(message_id for _, message_id in _taken(office)) == sorted(reply.message_id for reply in replies)
        assert len(set(_taken(office))) == 2 * CITIZENS
        assert office.connector.health().state is HealthState.UP
        assert await office.deliver() == 0
        assert not (await office.registry.check_history()).faults


async def test_an_answer_does_not_overtake_the_acknowledgement(tmp_path: Path):
    """Answers that were written during the outage arrive after the acknowledgement, in the order they were written."""
    async with mail_office(tmp_path) as office:
        await office.relay.stop()
        await office.write(citizens_mail())
        await _pass(office, timedelta(hours=5))
        answers = [await office.answer(f"Ответ {number}") for number in range(3)]
        await _pass(office, timedelta(hours=20))
        await office.relay.start()
        await _pass(office, timedelta(hours=8))
        (acknowledgement, *_) = (await office.conversation()).replies
        order = [acknowledgement.message_id, *(answer.message_id for answer in answers)]
        assert [message_id for _, message_id in _taken(office)] == order


async def test_it_gives_up_after_five_days_and_an_agent_can_send_again(tmp_path: Path):
    """After five days of trying the reply has failed with the reason; sent again by an agent it starts over."""
    async with mail_office(tmp_path, delivery=SPARSE) as office:
        await office.relay.stop()
        await office.write(citizens_mail())
        await _pass(office, timedelta(days=4))
        (reply,) = (await office.conversation()).replies
        assert reply.state is DeliveryState.QUEUED
        await _pass(office, timedelta(days=4))
        (reply,) = (await office.conversation()).replies
        assert reply.state is DeliveryState.FAILED
        assert "no relay can be used" in reply.error
        assert "tried" in reply.error
        await office.relay.start()
        await office.outbox.retry(reply.id)
        await office.deliver_all()
        assert (await office.reply(reply.id)).state is DeliveryState.SENT
        assert len(office.relay.messages) == 1


async def test_a_night_without_a_worker_is_no_night_of_trying(tmp_path: Path):
    """While nothing was tried for a week, nothing expires: the first attempt after it counts as one."""
    async with mail_office(tmp_path) as office:
        await office.relay.stop()
        await office.write(citizens_mail())
        await office.deliver()
        office.clock.skipped += timedelta(days=7)
        await office.deliver()
        assert (await office.conversation()).replies[0].state is DeliveryState.QUEUED
        await office.relay.start()
        office.clock.skipped += timedelta(minutes=1)
        await office.deliver_all()
        assert len(office.relay.messages) == 1


@pytest.mark.parametrize(
    "refusal", ["450 4.2.0 Greylisted", "451 4.7.1 Try again later", "421 4.3.2 Service shutting down"]
)
async def test_greylisting_and_closing(tmp_path: Path, refusal: str):
    """A recipient that is deferred gets its mail some seconds later, once; the others do not wait for it."""
    async with mail_office(tmp_path) as office:
        office.relay.refuse_recipient("c0@example.org", refusal)
        await _write_all(office)
        await office.deliver_all()
        assert len(office.relay.messages) == CITIZENS - 1 or refusal.startswith("421")
        office.relay.refuse_recipient("c0@example.org", None)
        await _pass(office, timedelta(hours=1))
        assert sorted(rcpt for rcpt, _ in _taken(office)) == sorted(
            f"c{number}@example.org" for number in range(CITIZENS)
        )


async def test_one_bad_recipient_fails_alone(tmp_path: Path):
    """5xx for one recipient fails that reply at once, in words; all others are delivered."""
    async with mail_office(tmp_path) as office:
        office.relay.refuse_recipient("c3@example.org", "550 5.1.1 <c3@example.org>: User unknown")
        await _write_all(office)
        await office.deliver_all()
        replies = [reply for one in await office.conversations() for reply in one.replies]
        failed = [reply for reply in replies if reply.state is DeliveryState.FAILED]
        assert [reply.recipient.value for reply in failed] == ["c3@example.org"]
        assert failed[0].error.startswith("mailbox_unknown: ")
        assert failed[0].attempts == 1
        assert len(office.relay.messages) == CITIZENS - 1


async def test_a_relay_that_dies_with_the_answer_on_its_lips(tmp_path: Path):
    """Taken, and the connection cut before the reply: sent again under the same Message-ID, which tells the copy."""
    async with mail_office(tmp_path) as office:
        office.relay.drop_next()
        await office.write(citizens_mail())
        await office.deliver_all()
        (reply,) = (await office.conversation()).replies
        assert (reply.state, reply.attempts) == (DeliveryState.QUEUED, 1)
        await _pass(office, timedelta(minutes=20))
        assert (await office.reply(reply.id)).state is DeliveryState.SENT
        assert [message_id for _, message_id in _taken(office)] == [reply.message_id] * 2


def test_the_pauses():
    """The first pauses are short, none is longer than the limit, and together they make up the days of trying."""
    settings = DeliverySettings()
    assert [retry_delay_s(attempt, settings) for attempt in (1, 2, 3)] == [5, 10, 20]
    assert retry_delay_s(10_000, settings) == settings.max_retry_s
    assert tried_for_s(1, settings) == 0
    assert tried_for_s(5, settings) == 5 + 10 + 20 + 40
    attempts = next(n for n in range(1, 1000) if tried_for_s(n, settings) >= settings.give_up_after_s)
    assert 100 < attempts < 200
