import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from appeals.agent import AgentStatus
from appeals.conversation import StoredDecision
from router.changes import PendingChanges
from router.decision import Decision
from router.explain import agrees, explain, recompute
from router.explain_words import WORDS
from tests.unit.router.conftest import START, Office, make_agent, make_view


def stored(decisions: list[Decision]) -> list[StoredDecision]:
    """Return the decisions as the registry gives them back: one record a change, through JSON."""
    pending = PendingChanges()
    pending.add(decisions)
    return [
        StoredDecision(id=change.appeal_id, at=START, rule_set=None, record=json.loads(json.dumps(change.record)))
        for change in pending.routing_changes()
    ]


@pytest.mark.parametrize(
    ("language", "words"),
    [("ru", ("предложено оператору", "по правилу «housing»")), ("en", ("offered to", "by rule “housing”"))],
)
def test_explanation_in_words(office: Office, language: Any, words: tuple[str, ...]):
    """An explanation names queue, rule, candidates, exclusions, score and what decided, in the language asked for."""
    office.join(make_agent("anna"))
    office.join(make_agent("boris", capacity_units=6))
    office.join(make_agent("away", status=AgentStatus.AWAY))
    office.write(9)
    told = explain(make_view(1).appeal, stored(office.write(1)), language)
    for word in (*words, "anna", "boris", "housing ≥ 4"):
        assert word in told.text()
    assert [decision.kind for decision in told.decisions] == ["place", "offer"]
    assert [decision.agrees for decision in told.decisions] == [None, True]
    json.dumps(told.to_json())


def test_lapse_and_freed_agent_are_explained(office: Office):
    """Time-outs and choices for a freed agent are told too, and agree."""
    office.write(1, at=START - timedelta(hours=1))
    office.write(2)
    told = explain(make_view(1).appeal, stored(office.join(make_agent("anna"))), "en")
    assert "anna had room" in told.text()
    assert all(decision.agrees for decision in told.decisions)
    lapsed = explain(make_view(1).appeal, stored(office.later(seconds=61)), "en")
    assert "timed out" in lapsed.text()


def test_a_record_that_was_tampered_with_does_not_agree(office: Office):
    """Recomputing finds out a record whose outcome does not follow from its inputs."""
    office.join(make_agent("anna"))
    office.join(make_agent("boris", capacity_units=6))
    office.write(1)
    (decision,) = stored(office.write(2))
    offer = decision.record["decisions"][1]
    assert recompute(offer) == offer["chosen"]
    assert not agrees({**offer, "chosen": "somebody else"})


def test_both_languages_have_the_same_words():
    """No reason is explained in one language only."""
    assert WORDS["ru"].keys() == WORDS["en"].keys()


def test_unknown_reason_is_shown_as_it_is(office: Office):
    """A record with a reason of a later version is still explained."""
    office.join(make_agent("anna"))
    (decision,) = stored(office.write(1))
    offer = {**decision.record["decisions"][1], "excluded": {"holiday": 2}}
    told = explain(make_view(1).appeal, [replace(decision, record={"decisions": [offer]})], "en")
    assert "2 excluded: holiday" in told.text()
