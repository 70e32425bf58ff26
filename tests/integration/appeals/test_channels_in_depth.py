"""What channels in depth ask of the registry: edits, forged senders, loops, topics, other addresses, desks."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from appeals.answer_route import AnswerRoutes, answer_to
from appeals.appeal import AppealState
from appeals.citizen_desk import RegistryDesk
from appeals.deadlines import answer_deadline
from appeals.envelope import AuthenticityResult, Channel, ContactPoint, ContactPointKind, ThreadReferences
from appeals.errors import PermanentError
from appeals.lifecycle import Classification
from appeals.outbox import DeliveryOutcome, Outbox
from appeals.reply import DeliveryState
from tests.integration.appeals.conftest import assign

FORGED = (AuthenticityResult(method="dmarc", result="fail"),)
EMAIL = ContactPoint(kind=ContactPointKind.EMAIL, value="citizen@example.org")


async def test_an_edit_joins_the_message_it_is_about(registered, registry):
    """Whatever else it says, and also within one group; an edit of an unknown message opens an appeal."""
    first = await registered("t1")
    edit = await registered("t1:edit:1", revises="t1", subject="", marks=("edited",))
    again = await registered("t1:edit:2", revises="t1:edit:1")
    assert first.appeal_id == edit.appeal_id == again.appeal_id
    lost = await registered("t9:edit:1", revises="t9")
    assert lost.appeal_id != first.appeal_id


async def test_a_withdrawn_message_brings_nothing_back(registered, registry):
    """The sender deleted it: it is noted on the appeal, nothing of ours goes away."""
    first = await registered("t1")
    await registered("t1:withdrawn", revises="t1", withdrawn=True, automatic=True, text="")
    conversation = await registry.conversation(first.appeal_id)
    assert [item.withdrawn for item in conversation.envelopes] == [False, True]


async def test_a_forged_sender_joins_nothing_by_what_they_may_have_read(registered):
    """DMARC says the address in From is not theirs: neither number nor an earlier message id counts."""
    first = await registered("m1", threading=ThreadReferences(message_id="one@x"))
    by_number = ThreadReferences(appeal_number=first.number)
    by_message = ThreadReferences(in_reply_to=("one@x",))
    for key, threading in (("m2", by_number), ("m3", by_message)):
        assert (await registered(key, threading=threading, authenticity=FORGED)).appeal_id != first.appeal_id
    for key, threading in (("m4", by_number), ("m5", by_message)):
        assert (await registered(key, threading=threading)).appeal_id == first.appeal_id


async def test_two_machines_that_answer_each_other_are_cut(registered, registry, policy, notifier):
    """Every message is registered, but after a number of new appeals an hour the citizen gets no more letters."""
    limit = policy.max_acknowledgements_per_hour
    found = [await registered(f"loop{place}") for place in range(limit + 3)]
    assert len({item.appeal_id for item in found}) == limit + 3
    assert len(notifier.all("deliver")) == limit
    events = (await registry.conversation(found[-1].appeal_id)).events
    assert "acknowledgement.withheld" in [event.kind for event in events]
    assert len(notifier.all("deliver")) == limit
    later = registry.now() + timedelta(hours=2)
    registry.now = lambda: later
    await registered("later")
    assert len(notifier.all("deliver")) == limit + 1


async def test_the_limit_holds_within_one_group(intake, message, policy, notifier):
    """Also when the messages come all at once."""
    limit = policy.max_acknowledgements_per_hour
    await asyncio.gather(*(intake.register(*message(f"loop{place}")) for place in range(limit + 5)))
    assert len(notifier.all("deliver")) == limit


async def test_a_topic_named_by_the_citizen(registered, registry, lifecycle, notifier):
    """It is handed to the classifier; named later, a waiting appeal is tagged anew and keeps its age."""
    talk = ThreadReferences(conversation="telegram:1")
    first = await registered("t1", threading=talk)
    found = {"topic": "unknown", "confidence": 0.1, "language": "ru", "priority": 10}
    assert not await lifecycle.classify([Classification(appeal_id=first.appeal_id, version=1, **found)])
    waiting = await registry.appeal(first.appeal_id)
    await registered("t2", threading=talk, automatic=True, fields={"topic": "housing.heating"})
    appeal = await registry.appeal(first.appeal_id)
    assert (appeal.state, appeal.topic, appeal.waiting_since) == (AppealState.REGISTERED, None, waiting.waiting_since)
    assert notifier.all("classify") == [first.appeal_id] * 2
    (text,) = await registry.texts([first.appeal_id])
    assert text.chosen_topic == "housing.heating"


@pytest.mark.parametrize(
    ("channel", "reply_to", "wanted"),
    [
        (Channel.WEB, EMAIL, (Channel.EMAIL, "email")),
        (Channel.KIOSK, ContactPoint(kind=ContactPointKind.PHONE, value="+79991112233"), (Channel.SMS, "sms")),
        (Channel.WEB, ContactPoint(kind=ContactPointKind.TELEGRAM, value="1"), (Channel.WEB, "web")),
        (Channel.WEB, None, (Channel.WEB, "web")),
        (Channel.SMS, EMAIL, (Channel.SMS, "sms")),
    ],
    ids=["email", "phone", "no such connector", "none", "an address of another kind proves nothing"],
)
def test_answers_go_by_the_address_the_citizen_named(message, channel, reply_to, wanted):
    """By the connector that speaks it, where there is one; a proven channel is not left for a claimed address."""
    names = {Channel.EMAIL, Channel.SMS, Channel.WEB, Channel.KIOSK}
    routes = AnswerRoutes(connectors={name.value: name for name in names})
    kind = ContactPointKind.PHONE if channel is Channel.SMS else ContactPointKind.WEB
    sender = ContactPoint(kind=kind, value="x")
    envelope, _ = message("w1", channel=channel, connector=channel.value, reply_to=reply_to)
    assert routes.to(answer_to(envelope, sender), envelope) == wanted


def test_a_fax_that_came_by_mail_is_answered_by_fax(message):
    """The mail gateway's connector is email; the recipient is a fax number."""
    routes = AnswerRoutes(connectors={"email": Channel.EMAIL, "fax": Channel.FAX})
    envelope, _ = message("m1", channel=Channel.FAX, connector="email")
    recipient = ContactPoint(kind=ContactPointKind.FAX, value="+74951234567")
    assert routes.to(recipient, envelope) == (Channel.FAX, "fax")


async def test_the_acknowledgement_goes_by_the_named_address(intake, message, registry, policy):
    """A web appeal with an address for the answer is acknowledged by mail."""
    intake._policy = replace(policy, routes=AnswerRoutes(connectors={"web": Channel.WEB, "email": Channel.EMAIL}))
    envelope, contents = message("w1", channel=Channel.WEB, connector="web", reply_to=EMAIL)
    sender = ContactPoint(kind=ContactPointKind.WEB, value="session")
    registration = await intake.register(envelope.model_copy(update={"sender": sender}), contents)
    (reply,) = (await registry.conversation(registration.appeal_id)).replies
    assert (reply.channel, reply.connector, reply.recipient) == (Channel.EMAIL, "email", EMAIL)


async def test_reports_of_delivery_in_any_order(registered, registry, notifier):
    """Read comes after delivered, whichever is told first; what was delivered has not failed."""
    outbox = Outbox(registry, notifier=notifier)
    registration = await registered()
    (reply,) = await outbox.begin(await outbox.due(limit=1))
    await outbox.settle([DeliveryOutcome(reply=reply, state=DeliveryState.SENT, external_id="x")])
    for state in (DeliveryState.READ, DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.SENT):
        assert await outbox.report("email", external_id="x", state=state)
    (kept,) = (await registry.conversation(registration.appeal_id)).replies
    assert kept.state is DeliveryState.READ


async def test_a_citizen_asks_about_their_own_appeals_only(registered, registry):
    """By any writing of the number; another's number, a wrong one and nonsense all give nothing."""
    desk = RegistryDesk(registry)
    mine = await registered("m1")
    other = await registered("m2", sender="other@example.org")
    found = await desk.status(f"{mine.number[:3]}-{mine.number[3:]}", EMAIL)
    assert found is not None
    assert (found.number, found.state) == (mine.number, AppealState.REGISTERED)
    for number in (other.number, "1234567890", "nonsense", ""):
        assert await desk.status(number, EMAIL) is None
    assert [item.number for item in await desk.open_appeals(EMAIL)] == [mine.number]
    stranger = ContactPoint(kind=ContactPointKind.PHONE, value="+79990000000")
    assert await desk.open_appeals(stranger) == []


@pytest.fixture
def answered(registered, registry, lifecycle):
    """Register a message, answer it, and let the answer be sent; returns the appeal and the outbox's reply."""

    async def make(outbox: Outbox, *, close: bool = False):
        registration = await registered()
        held = await assign(registration.appeal_id, lifecycle, registry)
        answer = await lifecycle.answer(held.id, agent_id="anna", version=held.version, text="Ответ", close=close)
        for _ in range(2):  # the acknowledgement goes first
            replies = await outbox.begin(await outbox.due(limit=5))
            outcomes = [
                DeliveryOutcome(reply=reply, state=DeliveryState.SENT, external_id=reply.message_id)
                for reply in replies
            ]
            await outbox.settle(outcomes)
        return held, answer

    return make


@pytest.mark.parametrize(("close", "state"), [(False, AppealState.ASSIGNED), (True, AppealState.WAITING)])
async def test_an_answer_that_did_not_arrive_brings_the_appeal_back(
    answered, registry, lifecycle, notifier, close, state
):
    """A bounce days later: to the agent's desk, or into the queue if the appeal was closed; its age kept, marked."""
    outbox = Outbox(registry, notifier=notifier)
    held, answer = await answered(outbox, close=close)
    assert await outbox.report("email", external_id=answer.message_id, state=DeliveryState.FAILED, detail="5.1.1")
    appeal = await registry.appeal(held.id)
    assert (appeal.state, appeal.waiting_since) == (state, held.waiting_since)
    assert appeal.attributes["undelivered"] == "true"
    assert notifier.all("route_appeals")[-1] == held.id
    assert notifier.all("agent_messages")[-1][1]["state"] == state.value
    await outbox.report("email", external_id=answer.message_id, state=DeliveryState.FAILED, detail="again")
    assert (await registry.appeal(held.id)).version == appeal.version
    await outbox.retry(answer.id)
    assert "undelivered" not in (await registry.appeal(held.id)).attributes
    assert not (await registry.check_history()).faults


async def test_a_failed_acknowledgement_brings_nothing_back(registered, registry, notifier):
    """Nobody has to answer because a form letter did not arrive; its state is shown."""
    outbox = Outbox(registry, notifier=notifier)
    registration = await registered()
    (reply,) = await outbox.begin(await outbox.due(limit=1))
    await outbox.settle([DeliveryOutcome(reply=reply, state=DeliveryState.FAILED, error="no such user")])
    assert (await registry.appeal(registration.appeal_id)).version == 1


async def test_another_answer_takes_the_mark_off(answered, registry, lifecycle, notifier):
    """The agent writes again."""
    outbox = Outbox(registry, notifier=notifier)
    held, answer = await answered(outbox)
    await outbox.report("email", external_id=answer.message_id, state=DeliveryState.FAILED)
    back = await registry.appeal(held.id)
    await lifecycle.answer(held.id, agent_id="anna", version=back.version, text="Ещё раз")
    assert "undelivered" not in (await registry.appeal(held.id)).attributes


async def test_a_withdrawal_of_what_is_not_here_opens_nothing(intake, message, registered, registry):
    """There is nothing to mark: it fails alone, and its connector puts it into quarantine."""
    talk = ThreadReferences(conversation="telegram:1")
    await registered("t1", threading=talk)
    envelope, contents = message("t9:gone", revises="t9", withdrawn=True, automatic=True, threading=talk)
    with pytest.raises(PermanentError):
        await intake.register(envelope, contents)
    assert sum((await registry.count_by_state()).values()) == 1


@pytest.mark.parametrize(
    ("channel", "days_ago", "days_late"), [("email", 0, 0), ("email", 2, 0), ("email", 9, 6), ("kiosk", 2, 2)]
)
async def test_the_citizen_does_not_wait_for_our_delay(registered, registry, policy, channel, days_ago, days_late):
    """The answer's time runs from registration, at the latest from when that was due; a form's from when it was given."""
    received_at = registry.now() - timedelta(days=days_ago)
    registration = await registered("m1", channel=channel, connector=channel, received_at=received_at)
    appeal = await registry.appeal(registration.appeal_id)
    office = policy.office
    expected = answer_deadline(
        appeal.registered_at - timedelta(days=days_late),
        days=policy.deadlines.answer_days,
        timezone=office.timezone,
        region=office.region,
    )
    assert appeal.deadline_at == expected.due_at
