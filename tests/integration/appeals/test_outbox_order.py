"""The outbox keeps replies in order, and knows a bounce that comes before our own mark."""

from datetime import timedelta

import pytest
from sqlalchemy import insert
from uuid_utils.compat import uuid7

from appeals import tables
from appeals.outbox import SENDING_TIMEOUT, DeliveryOutcome, Outbox
from appeals.reply import DeliveryState
from appeals.rows import reply_row


@pytest.fixture
def outbox(registry, notifier) -> Outbox:
    return Outbox(registry, notifier=notifier)


async def _replies(registry, appeal_id):
    return (await registry.conversation(appeal_id)).replies


async def test_a_later_reply_waits_for_the_one_before_it(registered, registry, outbox):
    """While the first reply to an address is unsent, the next one about the same appeal is not handed out; then it is."""
    registration = await registered()
    (first,) = await _replies(registry, registration.appeal_id)
    second = await _copy_of(registry, first)
    assert await outbox.due(limit=10) == [first.id]
    (taken,) = await outbox.begin([first.id, second])
    assert taken.id == first.id
    assert await outbox.begin([second]) == []
    again = registry.now() + timedelta(hours=1)
    await outbox.settle([DeliveryOutcome(reply=taken, state=DeliveryState.QUEUED, error="451", next_attempt_at=again)])
    assert await outbox.begin([second]) == []
    registry.now = lambda: again + SENDING_TIMEOUT
    (taken,) = await outbox.begin([first.id])
    await outbox.settle([DeliveryOutcome(reply=taken, state=DeliveryState.SENT, external_id=first.message_id)])
    assert await outbox.due(limit=10) == [second]
    assert [reply.id for reply in await outbox.begin([second])] == [second]


async def test_a_failed_reply_holds_nobody_up(registered, registry, outbox):
    """When the first one is given up, the next one goes."""
    registration = await registered()
    (first,) = await _replies(registry, registration.appeal_id)
    second = await _copy_of(registry, first)
    (taken,) = await outbox.begin([first.id])
    await outbox.settle([DeliveryOutcome(reply=taken, state=DeliveryState.FAILED, error="550")])
    assert [reply.id for reply in await outbox.begin([second])] == [second]


async def test_another_address_does_not_wait(registered, registry, outbox):
    """An answer to another address does not wait for one that cannot be delivered."""
    registration = await registered()
    (first,) = await _replies(registry, registration.appeal_id)
    other = {"kind": "email", "value": "other@example.org", "name": ""}
    second = await _copy_of(registry, first, recipient=other)
    assert [reply.id for reply in await outbox.begin([second])] == [second]


@pytest.mark.parametrize("settled", ["before", "not yet"])
async def test_a_bounce_that_comes_before_our_mark(registered, registry, outbox, settled):
    """A bounce finds the reply by our message id also while it is still being sent; the later "sent" changes nothing."""
    registration = await registered()
    (reply,) = await outbox.begin(await outbox.due(limit=1))
    sent = DeliveryOutcome(reply=reply, state=DeliveryState.SENT, external_id=reply.message_id)
    if settled == "before":
        await outbox.settle([sent])
    assert await outbox.report(
        "email", external_id=reply.message_id, state=DeliveryState.FAILED, detail="mailbox_unknown: x"
    )
    if settled == "not yet":
        await outbox.settle([sent])
    (final,) = await _replies(registry, registration.appeal_id)
    assert (final.state, final.error, final.external_id) == (
        DeliveryState.FAILED,
        "mailbox_unknown: x",
        reply.message_id,
    )
    assert not await outbox.report("email", external_id=f"{reply.id.hex}@elsewhere.example", state=DeliveryState.FAILED)


async def test_a_delay_is_told(registered, registry, outbox):
    """A report that the mail is still on its way keeps the state and shows its words; a later one replaces them."""
    registration = await registered()
    (reply,) = await outbox.begin(await outbox.due(limit=1))
    await outbox.settle([DeliveryOutcome(reply=reply, state=DeliveryState.SENT, external_id=reply.message_id)])
    for detail in ("delayed: 4 hours", "delayed: 4 hours", "relayed: on"):
        assert await outbox.report("email", external_id=reply.message_id, state=DeliveryState.SENT, detail=detail)
    (final,) = await _replies(registry, registration.appeal_id)
    assert (final.state, final.error) == (DeliveryState.SENT, "relayed: on")
    await outbox.report("email", external_id=reply.message_id, state=DeliveryState.DELIVERED, detail="delivered: in")
    (final,) = await _replies(registry, registration.appeal_id)
    assert (final.state, final.error) == (DeliveryState.DELIVERED, "")
    assert not (await registry.check_history()).faults


async def _copy_of(registry, reply, **changes):
    """Queue another reply like `reply`, a moment later."""
    key = uuid7()
    row = {**reply_row(reply), "id": key, "kind": "answer", "message_id": f"{key.hex}@okno.localhost", **changes}
    async with registry.transaction() as transaction:
        await transaction.connection.execute(insert(tables.replies), row)
    return key
