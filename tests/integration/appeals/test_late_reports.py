"""What machines write about an appeal that has been closed for long."""

from datetime import timedelta

from sqlalchemy import update

from appeals import tables
from appeals.appeal import AppealState
from appeals.envelope import ThreadReferences


async def test_a_receipt_after_months_joins_and_reopens_nothing(registered, registry):
    """A machine's mail joins the appeal it answers however long that is closed; a person's opens a new one."""
    first = await registered("m1")
    (acknowledgement,) = (await registry.conversation(first.appeal_id)).replies
    closed_at = registry.now() - timedelta(days=90)
    async with registry.transaction() as transaction:
        values = {"state": AppealState.CLOSED.value, "closed_at": closed_at}
        table = tables.appeals
        await transaction.connection.execute(update(table).where(table.c.id == first.appeal_id).values(values))
    answers = ThreadReferences(in_reply_to=(acknowledgement.message_id,))
    receipt = await registered("m2", automatic=True, marks=("read_receipt",), threading=answers)
    assert (receipt.appeal_id, receipt.joined) == (first.appeal_id, True)
    person = await registered("m3", threading=answers)
    assert (person.joined, person.appeal_id != first.appeal_id) == (False, True)
    appeal = (await registry.conversation(first.appeal_id)).appeal
    assert appeal.state is AppealState.CLOSED
