"""The lifecycle: compare-and-set everywhere, one holder at a time, ages kept (P7, P8)."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from appeals.agent import Agent, AgentStatus
from appeals.answer import UploadedFile
from appeals.appeal import Appeal, AppealState
from appeals.envelope import ContactPoint, ThreadReferences
from appeals.errors import (
    IllegalTransitionError,
    NotFoundError,
    NotHolderError,
    PermanentError,
    StaleLeaderError,
    StaleVersionError,
)
from appeals.lifecycle import Classification, RuleSet
from appeals.offer import OfferState
from appeals.reply import DeliveryState, ReplyKind
from appeals.routing import OfferDraft, OfferLapse, Placement, RoutingChange, StatusChange

FENCE = 1
SOON = timedelta(minutes=1)


@pytest.fixture
async def office(lifecycle):
    """Two agents and a leader's fence."""
    for name in ("anna", "boris"):
        await lifecycle.put_agent(Agent(id=name, name=name, skills={"housing": 3}), "hash")
    assert await lifecycle.take_fence("router", FENCE)


@pytest.fixture
def waiting(registered, registry, lifecycle, office):
    """Register a message and give it a topic."""

    async def make(external_id: str = "m1", **values) -> Appeal:
        registration = await registered(external_id, **values)
        found = Classification(
            appeal_id=registration.appeal_id,
            version=1,
            topic="housing.heating",
            confidence=0.9,
            language="ru",
            priority=40,
        )
        assert not await lifecycle.classify([found])
        return await registry.appeal(registration.appeal_id)

    return make


def _offer(appeal: Appeal, agent_id: str = "anna", **values) -> RoutingChange:
    placement = Placement(queue="housing", rule="heat", priority=90, rule_set="h" * 64)
    draft = OfferDraft(id=uuid4(), agent_id=agent_id, step=0, due_at=datetime.now(UTC) + SOON)
    given = {"version": appeal.version, "placement": placement, "offer": draft, "record": {"rule_set": "h" * 64}}
    return RoutingChange(appeal_id=appeal.id, **(given | values))


async def _assigned(appeal, lifecycle, registry, agent_id="anna") -> Appeal:
    change = _offer(appeal, agent_id)
    assert not await lifecycle.commit_routing([change], fence=FENCE)
    return await lifecycle.accept_offer(change.offer.id, agent_id)


async def test_the_whole_way(waiting, lifecycle, registry, notifier):
    """Registered, waiting, offered, assigned, answered, closed: each step told to those who must know."""
    appeal = await waiting()
    assert (appeal.state, appeal.topic, appeal.language) == (AppealState.WAITING, "housing.heating", "ru")
    change = _offer(appeal)
    assert not await lifecycle.commit_routing([change], fence=FENCE)
    (view,) = (await registry.routing_snapshot()).views
    assert view.pending_offer.id == change.offer.id
    assert (view.appeal.queue, view.appeal.priority, view.appeal.rule_set) == ("housing", 90, "h" * 64)
    assert [offer.id for offer in await registry.pending_offers("anna")] == [change.offer.id]
    (decision,) = await registry.decisions(appeal.id)
    assert decision.record == {"rule_set": "h" * 64}

    held = await lifecycle.accept_offer(change.offer.id, "anna")
    assert (held.state, held.agent_id, held.waiting_since) == (AppealState.ASSIGNED, "anna", appeal.waiting_since)
    reply = await lifecycle.answer(held.id, agent_id="anna", version=held.version, text="Включим сегодня.")
    assert (reply.kind, reply.recipient.value) == (ReplyKind.ANSWER, "citizen@example.org")
    assert held.number in reply.subject
    assert reply.id in notifier.all("deliver")
    answered = await registry.appeal(held.id)
    assert answered.state is AppealState.ANSWERED
    closed = await lifecycle.close(held.id, agent_id="anna", version=answered.version, reason="done")
    assert closed.state is AppealState.CLOSED
    assert closed.closed_at is not None
    assert not (await registry.check_history()).faults
    assert closed.version == 6


async def test_two_agents_cannot_hold_one_appeal(waiting, lifecycle, registry):
    """Of two accepts at the same moment one wins; the other agent is told that the offer is gone (P7)."""
    appeal = await waiting()
    change = _offer(appeal)
    await lifecycle.commit_routing([change], fence=FENCE)
    results = await asyncio.gather(
        *(lifecycle.accept_offer(change.offer.id, "anna") for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(item, Appeal) for item in results) == 1
    assert sum(isinstance(item, StaleVersionError) for item in results) == 4
    with pytest.raises(NotFoundError):
        await lifecycle.accept_offer(change.offer.id, "boris")


async def test_a_declined_appeal_keeps_its_age_and_remembers_who(waiting, lifecycle, registry):
    """After a decline and a time-out the appeal waits with its first age, and both agents are known (P8)."""
    appeal = await waiting()
    first = _offer(appeal)
    await lifecycle.commit_routing([first], fence=FENCE)
    declined = await lifecycle.decline_offer(first.offer.id, "anna", "not mine")
    assert (declined.state, declined.agent_id) == (AppealState.WAITING, None)
    second = _offer(declined, "boris", placement=None)
    await lifecycle.commit_routing([second], fence=FENCE)
    offered = await registry.appeal(appeal.id)
    lapse = OfferLapse(offer_id=second.offer.id, state=OfferState.TIMED_OUT, reason="60 s")
    assert not await lifecycle.commit_routing(
        [RoutingChange(appeal_id=appeal.id, version=offered.version, lapse=lapse)], fence=FENCE
    )
    (view,) = await registry.routing_views([appeal.id])
    assert view.refused_by == {"anna", "boris"}
    assert view.appeal.waiting_since == appeal.waiting_since
    assert (await registry.offer(second.offer.id)).state is OfferState.TIMED_OUT


async def test_a_lapse_and_the_next_offer_are_one_change(waiting, lifecycle, registry):
    """A timed-out appeal goes to the next agent in a single version."""
    appeal = await waiting()
    first = _offer(appeal)
    await lifecycle.commit_routing([first], fence=FENCE)
    offered = await registry.appeal(appeal.id)
    lapse = OfferLapse(offer_id=first.offer.id, state=OfferState.TIMED_OUT, reason="60 s")
    assert not await lifecycle.commit_routing([_offer(offered, "boris", lapse=lapse, placement=None)], fence=FENCE)
    now = await registry.appeal(appeal.id)
    assert (now.version, now.agent_id, now.state) == (offered.version + 1, "boris", AppealState.OFFERED)
    assert not (await registry.check_history()).faults


async def test_a_lost_race_touches_nothing_and_fails_nobody_else(waiting, lifecycle, registry):
    """In one commit of several changes those with an old version are named and left alone."""
    one, two = await waiting("m1"), await waiting("m2")
    stale = _offer(one, version=one.version - 1)
    lost = await lifecycle.commit_routing([stale, _offer(two)], fence=FENCE)
    assert lost == {one.id}
    assert (await registry.appeal(one.id)).state is AppealState.WAITING
    assert (await registry.appeal(two.id)).state is AppealState.OFFERED


async def test_a_stale_leader_commits_nothing(waiting, lifecycle, registry):
    """After a newer token nothing of the old leader's is written; tokens never go back."""
    appeal = await waiting()
    assert await lifecycle.take_fence("router", FENCE + 4)
    assert not await lifecycle.take_fence("router", FENCE + 4)
    with pytest.raises(StaleLeaderError):
        await lifecycle.commit_routing(
            [_offer(appeal)], [StatusChange(agent_id="anna", status=AgentStatus.AWAY, reason="x")], fence=FENCE
        )
    assert (await registry.appeal(appeal.id)).state is AppealState.WAITING
    assert (await registry.agent("anna")).status is AgentStatus.OFFLINE
    assert await registry.fence("router") == FENCE + 4


async def test_only_the_holder_answers_and_only_what_they_saw(waiting, lifecycle, registry):
    """Another agent, or an old version, is refused; nothing is queued."""
    held = await _assigned(await waiting(), lifecycle, registry)
    with pytest.raises(NotHolderError):
        await lifecycle.answer(held.id, agent_id="boris", version=held.version, text="x")
    with pytest.raises(StaleVersionError):
        await lifecycle.answer(held.id, agent_id="anna", version=held.version - 1, text="x")
    with pytest.raises(StaleVersionError):
        await lifecycle.close((await waiting("m2", sender="b@x.org")).id, agent_id="anna", version=99, reason="x")
    replies = (await registry.conversation(held.id)).replies
    assert [item.kind for item in replies] == [ReplyKind.ACKNOWLEDGEMENT]


async def test_the_citizen_s_next_message_brings_the_appeal_back(waiting, registered, lifecycle, registry, notifier):
    """Answered → assigned to the same agent; closed → waiting with a new age; a robot's message changes nothing."""
    held = await _assigned(await waiting(), lifecycle, registry)
    reply = await lifecycle.answer(held.id, agent_id="anna", version=held.version, text="Готово")
    answer = ThreadReferences(in_reply_to=(reply.message_id,))
    await registered("auto", automatic=True, threading=answer)
    assert (await registry.appeal(held.id)).state is AppealState.ANSWERED
    await registered("m2", threading=answer)
    again = await registry.appeal(held.id)
    assert (again.state, again.agent_id) == (AppealState.ASSIGNED, "anna")
    assert any(agent == "anna" for agent, _ in notifier.all("agent_messages"))
    closed = await lifecycle.close(held.id, agent_id="anna", version=again.version, reason="")
    await registered("m3", threading=answer)
    reopened = await registry.appeal(held.id)
    assert (reopened.state, reopened.closed_at) == (AppealState.WAITING, None)
    assert reopened.waiting_since > closed.waiting_since
    assert not (await registry.check_history()).faults


async def test_an_answer_goes_to_whoever_wrote_last(waiting, registered, lifecycle, registry):
    """Answers follow the newest message of a person, its Reply-To first, never a robot's."""
    held = await _assigned(await waiting(), lifecycle, registry)
    (first,) = (await registry.conversation(held.id)).replies
    other = ContactPoint(kind="email", value="work@example.org")
    await registered("m2", reply_to=other, threading=ThreadReferences(in_reply_to=(first.message_id,)))
    now = await registry.appeal(held.id)
    file = UploadedFile(name="Ответ.txt", media_type="text/plain", content=b"z" * 2_000)
    reply = await lifecycle.answer(held.id, agent_id="anna", version=now.version, text="x", attachments=[file])
    assert reply.recipient == other
    assert await registry.read_blob(reply.attachments[0].sha256) == file.content


async def test_without_an_address_an_answer_is_refused_clearly(waiting, lifecycle, registry):
    """A fax without a number can be closed, not answered."""
    held = await _assigned(await waiting(sender=None), lifecycle, registry)
    with pytest.raises(PermanentError, match="no contact point"):
        await lifecycle.answer(held.id, agent_id="anna", version=held.version, text="x")


async def test_a_released_appeal_waits_with_its_age(waiting, lifecycle, registry):
    """Release gives it back; the agent counts among those who refused."""
    appeal = await waiting()
    held = await _assigned(appeal, lifecycle, registry)
    await lifecycle.release(held.id, agent_id="anna", version=held.version, note="needs a plumber")
    (view,) = await registry.routing_views([appeal.id])
    assert (view.appeal.state, view.appeal.agent_id) == (AppealState.WAITING, None)
    assert view.appeal.waiting_since == appeal.waiting_since
    assert "anna" in view.refused_by


async def test_agents_are_kept_and_their_status_is_theirs(lifecycle, registry, office, notifier):
    """Changing an agent keeps status and password; an unknown one has no status to set."""
    await lifecycle.set_status("anna", AgentStatus.AVAILABLE)
    await lifecycle.put_agent(Agent(id="anna", name="Anna", skills={"roads": 1}))
    anna = await registry.agent("anna")
    assert (anna.status, anna.skills, anna.name) == (AgentStatus.AVAILABLE, {"roads": 1}, "Anna")
    assert await registry.password_hash("anna") == "hash"
    assert "anna" in notifier.all("route_agents")
    with pytest.raises(NotFoundError):
        await lifecycle.set_status("nobody", AgentStatus.AWAY)


async def test_a_late_classification_is_lost_not_applied(waiting, lifecycle, registry):
    """A classification of an appeal that has moved on, or is unknown, changes nothing."""
    appeal = await waiting()
    late = [
        Classification(appeal_id=key, version=1, topic="x", confidence=1, language="ru", priority=1)
        for key in (appeal.id, UUID(int=7))
    ]
    assert await lifecycle.classify(late) == {appeal.id, UUID(int=7)}
    assert (await registry.appeal(appeal.id)).topic == "housing.heating"


async def test_rule_sets_are_recorded_once(lifecycle, registry):
    """The same rules going live twice are one record and one event."""
    rules = RuleSet(hash="a" * 64, text="version: 1", author="vera", source="routing.yaml")
    await lifecycle.put_rule_set(rules)
    await lifecycle.put_rule_set(rules)
    report = await registry.check_history()
    assert (report.events, report.faults) == (2, ())  # chain.opened and rules.went_live


async def test_an_offered_appeal_cannot_be_answered(waiting, lifecycle, registry):
    """The state machine holds whoever calls."""
    appeal = await waiting()
    await lifecycle.commit_routing([_offer(appeal)], fence=FENCE)
    offered = await registry.appeal(appeal.id)
    with pytest.raises((StaleVersionError, IllegalTransitionError)):
        await lifecycle.answer(appeal.id, agent_id="anna", version=offered.version, text="x")


async def test_listing_and_counting(waiting, registry):
    """Appeals are found by state, text and channel, newest first, page by page."""
    made = [await waiting(f"m{number}", subject=f"Труба {number}% течёт") for number in range(3)]
    found = await registry.list_appeals(states=[AppealState.WAITING], text="2%")
    assert [item.id for item in found] == [made[2].id]
    assert [item.id for item in await registry.list_appeals(limit=2)] == [made[2].id, made[1].id]
    assert [item.id async for item in registry.iterate_appeals(page=2)] == [item.id for item in reversed(made)]
    assert (await registry.count_by_state())[AppealState.WAITING] == 3
    later = datetime.now(UTC) + SOON
    assert set(await registry.stale_appeals(AppealState.WAITING, before=later, limit=10)) == {i.id for i in made}
    assert {item.appeal_id: item.text for item in await registry.texts([made[0].id])} == {
        made[0].id: "Труба 0% течёт\nНет отопления"
    }
    assert made[0].state is AppealState.WAITING
    assert DeliveryState.QUEUED.value == "queued"
