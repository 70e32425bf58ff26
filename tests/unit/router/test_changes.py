from uuid import UUID

from appeals.agent import AgentStatus
from router.changes import PendingChanges
from router.event import AgentChanged
from tests.unit.router.conftest import Office, make_agent


def test_placement_and_offer_are_one_change(office: Office):
    """All that is decided on an appeal before a commit is one compare-and-set with all the records."""
    office.join(make_agent("anna"))
    pending = PendingChanges()
    pending.add(office.write(1))
    (change,) = pending.routing_changes()
    assert (change.version, change.placement.queue, change.offer.agent_id) == (2, "housing", "anna")
    assert [record["kind"] for record in change.record["decisions"]] == ["place", "offer"]
    assert change.record["rule_set"] == office.state.rules.hash


def test_offer_taken_back_before_it_was_committed_was_never_made(office: Office):
    """An offer and its end within one batch cancel out: nobody is told, nothing is written but the records."""
    office.join(make_agent("anna"))
    pending = PendingChanges()
    pending.add(office.write(1))
    pending.add(office.tell(AgentChanged(agent=make_agent("anna", status=AgentStatus.AWAY))))
    (change,) = pending.routing_changes()
    assert change.offer is None
    assert change.lapse is None
    assert change.placement is not None


def test_forgotten_changes_are_not_committed(office: Office):
    """What was decided on an older version of an appeal is dropped."""
    office.join(make_agent("anna"))
    pending = PendingChanges()
    pending.add(office.write(1))
    pending.forget(UUID(int=1))
    assert not pending
