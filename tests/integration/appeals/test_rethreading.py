"""Threading can be reversed: a message that joined wrongly is split off, one that did not join is moved."""

import pytest

from appeals.appeal import AppealState
from appeals.envelope import ThreadReferences
from appeals.errors import NotFoundError, PermanentError, StaleVersionError
from appeals.rethreading import Rethreading

ACTOR = "agent:anna"


@pytest.fixture
def rethreading(registry, notifier, policy) -> Rethreading:
    return Rethreading(registry, notifier=notifier, policy=policy)


async def _joined(registered, registry):
    """Two messages of one citizen in one appeal; returns the appeal and the second registration."""
    first = await registered("m1", threading=ThreadReferences(message_id="one@x"))
    second = await registered("m2", threading=ThreadReferences(message_id="two@x", in_reply_to=("one@x",)))
    assert second.appeal_id == first.appeal_id
    return await registry.appeal(first.appeal_id), second


async def test_a_wrongly_joined_message_becomes_an_appeal_of_its_own(registered, registry, rethreading, notifier):
    """With a number of its own, an acknowledgement, its own age; what answers it finds the new appeal."""
    appeal, second = await _joined(registered, registry)
    left, opened = await rethreading.split(
        appeal.id, envelope_id=second.envelope_id, version=appeal.version, actor=ACTOR
    )
    assert opened.number != left.number
    assert opened.state is AppealState.REGISTERED
    assert notifier.all("classify")[-1] == opened.id
    assert [item.id for item in (await registry.conversation(opened.id)).envelopes] == [second.envelope_id]
    assert len((await registry.conversation(left.id)).envelopes) == 1
    assert len((await registry.conversation(opened.id)).replies) == 1
    third = await registered("m3", threading=ThreadReferences(in_reply_to=("two@x",)))
    assert third.appeal_id == opened.id
    again = await registered("m2")
    assert (again.duplicate, again.number) == (True, opened.number)
    kinds = [event.kind for event in (await registry.conversation(left.id)).events]
    assert kinds[-1] == "envelope.split_off"
    assert not (await registry.check_history()).faults


async def test_the_only_message_cannot_be_split_off(registered, registry, rethreading):
    """An appeal without messages would be nobody's."""
    registration = await registered()
    with pytest.raises(PermanentError):
        await rethreading.split(registration.appeal_id, envelope_id=registration.envelope_id, version=1, actor=ACTOR)


async def test_two_agents_who_split_at_once(registered, registry, rethreading):
    """One wins; the other reads again (P7)."""
    appeal, second = await _joined(registered, registry)
    wanted = {"envelope_id": second.envelope_id, "version": appeal.version, "actor": ACTOR}
    await rethreading.split(appeal.id, **wanted)
    with pytest.raises(StaleVersionError):
        await rethreading.split(appeal.id, **wanted)
    with pytest.raises(NotFoundError):
        await rethreading.split(appeal.id, **{**wanted, "version": appeal.version + 1})


async def test_a_message_is_moved_to_where_it_belongs(registered, registry, rethreading):
    """The appeal that is left empty is closed; another citizen's appeal is out of reach."""
    first, second = await registered("m1"), await registered("m2")
    foreign = await registered("m3", sender="other@example.org")
    wanted = {"envelope_id": second.envelope_id, "version": 1, "actor": ACTOR}
    with pytest.raises(PermanentError):
        await rethreading.move(second.appeal_id, to_number=foreign.number, **wanted)
    with pytest.raises(PermanentError):
        await rethreading.move(second.appeal_id, to_number=second.number, **wanted)
    left, joined = await rethreading.move(second.appeal_id, to_number=first.number, **wanted)
    assert left.state is AppealState.CLOSED
    assert joined.id == first.appeal_id
    assert len((await registry.conversation(joined.id)).envelopes) == 2
    assert not (await registry.check_history()).faults


async def test_a_message_split_from_a_running_talk(registered, registry, rethreading):
    """Later messages of the talk stay with the appeal there was: one open appeal a talk."""
    talk = ThreadReferences(conversation="sms:+79991112233")
    first = await registered("s1", threading=talk)
    second = await registered("s2", threading=talk)
    appeal = await registry.appeal(first.appeal_id)
    _, opened = await rethreading.split(appeal.id, envelope_id=second.envelope_id, version=appeal.version, actor=ACTOR)
    third = await registered("s3", threading=talk)
    assert third.appeal_id == first.appeal_id != opened.id
