"""The outbox: one worker a reply, retries, late reports; and cursors."""

import asyncio
from datetime import timedelta

import pytest

from appeals.cursors import RegistryCursors
from appeals.errors import NotFoundError
from appeals.outbox import SENDING_TIMEOUT, DeliveryOutcome, Outbox
from appeals.reply import DeliveryState


@pytest.fixture
def outbox(registry, notifier) -> Outbox:
    return Outbox(registry, notifier=notifier)


async def _reply(registry, appeal_id):
    (reply,) = (await registry.conversation(appeal_id)).replies
    return reply


async def test_a_reply_is_taken_by_one_worker_only(registered, registry, outbox):
    """Five workers that begin the same reply at once: one gets it; after its time-out another may."""
    registration = await registered()
    (key,) = await outbox.due(limit=10)
    taken = await asyncio.gather(*(outbox.begin([key]) for _ in range(5)))
    assert sorted(len(item) for item in taken) == [0, 0, 0, 0, 1]
    assert await outbox.due(limit=10) == []
    later = registry.now() + SENDING_TIMEOUT + timedelta(seconds=1)
    registry.now = lambda: later
    assert await outbox.due(limit=10) == [key]
    assert (await _reply(registry, registration.appeal_id)).attempts == 1


async def test_outcomes_and_reports(registered, registry, outbox):
    """Sent, then delivered; a late "sent" or "failed" does not undo what is final; unknown ids are False."""
    registration = await registered()
    (reply,) = await outbox.begin(await outbox.due(limit=1))
    await outbox.settle([DeliveryOutcome(reply=reply, state=DeliveryState.SENT, external_id="SM1")])
    assert (await _reply(registry, registration.appeal_id)).state is DeliveryState.SENT
    assert await outbox.report("email", external_id="SM1", state=DeliveryState.DELIVERED)
    assert await outbox.report("email", external_id="SM1", state=DeliveryState.FAILED, detail="late")
    final = await _reply(registry, registration.appeal_id)
    assert (final.state, final.error) == (DeliveryState.DELIVERED, "")
    assert not await outbox.report("email", external_id="other", state=DeliveryState.SENT)
    assert not await outbox.report("sms", external_id="SM1", state=DeliveryState.SENT)
    assert not (await registry.check_history()).faults


async def test_a_failed_reply_can_be_sent_again(registered, registry, outbox, notifier):
    """Given up with its reason; a retry starts over."""
    registration = await registered()
    (reply,) = await outbox.begin(await outbox.due(limit=1))
    await outbox.settle([DeliveryOutcome(reply=reply, state=DeliveryState.FAILED, error="no such number")])
    assert (await _reply(registry, registration.appeal_id)).error == "no such number"
    await outbox.retry(reply.id)
    assert await outbox.due(limit=1) == [reply.id]
    with pytest.raises(NotFoundError):
        await outbox.retry(reply.id)
    await outbox.give_up(str(reply.id), reason="poison")
    assert (await _reply(registry, registration.appeal_id)).state is DeliveryState.FAILED
    await outbox.give_up("nonsense", reason="ignored")


async def test_cursors_are_kept(registry):
    """What was put last is what is read, for each connector and name."""
    cursors = RegistryCursors(registry)
    assert await cursors.get("telegram", "offset") is None
    for value in ("1", "2"):
        await cursors.put("telegram", "offset", value)
    await cursors.put("email", "offset", "9")
    assert await cursors.get("telegram", "offset") == "2"


async def test_cursors_are_swapped_listed_and_dropped(registry):
    """Compare-and-set among writers: one wins; names are found by their beginning, wildcards being plain letters."""
    cursors = RegistryCursors(registry)
    won = await asyncio.gather(*(cursors.replace("t", "a:1", str(n), expected=None) for n in range(5)))
    assert sorted(won) == [False, False, False, False, True]
    value = await cursors.get("t", "a:1")
    assert not await cursors.replace("t", "a:1", "x", expected="something else")
    assert await cursors.replace("t", "a:1", "x", expected=value)
    await cursors.put("t", "a%2", "y")
    await cursors.put("other", "a:1", "z")
    assert await cursors.items("t", "a:") == {"a:1": "x"}
    assert await cursors.items("t", "a%") == {"a%2": "y"}
    for _ in range(2):
        await cursors.drop("t", "a:1")
    assert await cursors.get("t", "a:1") is None
