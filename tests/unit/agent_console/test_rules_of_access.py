"""Small decisions: what counts as one address, one origin, one stage; who sees what."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from agent_console.access import may_see
from agent_console.citizen_api import citizen_stage
from agent_console.log_in import address_key
from agent_console.websocket import _origin
from appeals.agent import Agent, Role
from appeals.appeal import Appeal, AppealState
from appeals.envelope import Channel

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
APPEAL = Appeal(
    id=UUID(int=1),
    number="482-719-3561",
    version=1,
    state=AppealState.REGISTERED,
    citizen_id=None,
    channel=Channel.SMS,
    connector="sms",
    subject="",
    language="und",
    region="RU-MOW",
    topic=None,
    topic_confidence=None,
    priority=0,
    queue=None,
    agent_id=None,
    rule_set=None,
    received_at=AT,
    registered_at=AT,
    waiting_since=AT,
    changed_at=AT,
    deadline_at=AT,
    answered_at=None,
    closed_at=None,
)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_addresses_of_one_host_count_as_one(address: str, key: str) -> None:
    """IPv6 by its /64: one host has that many addresses to try from."""
    assert address_key(address) == key


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://okno.example", ("http", "okno.example", 80)),
        ("https://OKNO.example:443", ("https", "okno.example", 443)),
        ("http://[::1]:8080", ("http", "::1", 8080)),
        ("null", None),
        ("", None),
        ("https://", None),
        ("http://x:99999", None),
        ("file:///etc", None),
    ],
)
def test_origins_are_compared_by_scheme_host_and_port(url: str, origin: tuple[str, str, int] | None) -> None:
    """Default ports are filled in; what is no origin equals nothing."""
    assert _origin(url) == origin


@pytest.mark.parametrize("state", list(AppealState))
def test_agents_see_their_own_and_what_waits_supervisors_all(state: AppealState) -> None:
    """Read access depends on state and holder alone."""
    appeal = replace(APPEAL, state=state, agent_id="ivanova")
    assert may_see(Agent(id="ivanova", name=""), appeal)
    assert may_see(Agent(id="boss", name="", role=Role.SUPERVISOR), appeal)
    assert may_see(Agent(id="petrov", name=""), appeal) is (state in {AppealState.REGISTERED, AppealState.WAITING})


@pytest.mark.parametrize(
    ("state", "answered", "stage"),
    [
        (AppealState.REGISTERED, False, "registered"),
        (AppealState.WAITING, False, "registered"),
        (AppealState.OFFERED, False, "registered"),
        (AppealState.ASSIGNED, False, "in_progress"),
        (AppealState.ANSWERED, True, "answered"),
        (AppealState.CLOSED, False, "closed"),
        (AppealState.CLOSED, True, "closed"),
        (AppealState.WAITING, True, "in_progress"),
        (AppealState.ASSIGNED, True, "in_progress"),
    ],
)
def test_the_citizen_sees_stages_and_never_our_queues(state: AppealState, answered: bool, stage: str) -> None:  # noqa: FBT001 - a parameter of the table
    """An appeal that waits again after an answer is in progress: a parcel does not go back to the sender."""
    assert citizen_stage(replace(APPEAL, state=state, answered_at=AT if answered else None)) == stage
