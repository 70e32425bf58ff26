from datetime import timedelta
from uuid import UUID

from appeals.agent import AgentStatus
from appeals.appeal import AppealState
from appeals.envelope import Channel
from appeals.offer import OfferState
from router.decision import Decision, HoldAppeal, LapseOffer, MakeOffer, NotifySupervisor, PlaceAppeal, SetStatus
from router.event import (
    AgentChanged,
    AgentConnected,
    AgentDisconnected,
    AppealGone,
    AppealHeld,
    AppealWaiting,
    OfferAccepted,
    OfferDeclined,
    RulesChanged,
)
from router.rules import RuleSet, parse_rules
from tests.unit.router.conftest import RULES, START, Office, make_agent, make_view


def offers(decisions: list[Decision]) -> list[tuple[int, str]]:
    return [(decision.appeal_id.int, decision.agent_id) for decision in decisions if isinstance(decision, MakeOffer)]


def accept(office: Office, number: int) -> list[Decision]:
    agent = office.state.appeals[UUID(int=number)].holder
    assert agent is not None
    return office.tell(OfferAccepted(view=office.view(number, state=AppealState.ASSIGNED, agent_id=agent.agent.id)))


def decline(office: Office, number: int, agent_id: str) -> list[Decision]:
    slot = office.state.appeals[UUID(int=number)]
    view = office.view(number, state=AppealState.WAITING, refused_by=frozenset({*slot.refused, agent_id}))
    return office.tell(OfferDeclined(view=view, agent_id=agent_id))


def test_arrival_is_placed_and_offered(office: Office):
    """A waiting appeal is put into its queue and offered at once to a free agent, each with a record."""
    office.join(make_agent("anna"))
    placed, offered = office.write(1)
    assert isinstance(placed, PlaceAppeal)
    assert isinstance(offered, MakeOffer)
    assert (placed.placement.queue, offered.agent_id, offered.step) == ("housing", "anna", 0)
    assert placed.version == offered.version == 2


def test_least_relative_load_then_longest_idle_then_proficiency(office: Office):
    """The order of preference is load relative to capacity, idle time, proficiency."""
    office.join(make_agent("small", capacity_units=2))
    office.join(make_agent("large", capacity_units=6, status_since=START + timedelta(minutes=1)))
    assert offers(office.write(1)) == [(1, "small")]  # both empty: idle for longer
    assert offers(office.write(2)) == [(2, "large")]  # 0/6 against 1/2
    assert offers(office.write(3)) == [(3, "large")]  # 1/6 against 1/2
    two = Office(office.state.rules)
    two.join(make_agent("good", skills={"housing": 4}))
    two.join(make_agent("better", skills={"housing": 5}))
    assert offers(two.write(1)) == [(1, "better")]


def test_last_agent_goes_first_where_the_step_prefers_it(office: Office):
    """`prefer: [last_agent]` beats the load."""
    office.join(make_agent("anna"))
    office.join(make_agent("boris"))
    (first,) = [name for _, name in offers(office.write(1))]
    assert offers(office.write(2, last_agent=first)) == [(2, first)]


def test_capacity_and_weights_hold(office: Office):
    """Telegram takes two units: an agent of three gets one, and one email beside it."""
    office.join(make_agent("anna", capacity_units=3))
    assert offers(office.write(1, channel=Channel.TELEGRAM)) == [(1, "anna")]
    assert offers(office.write(2, channel=Channel.TELEGRAM)) == []
    assert offers(office.write(3)) == [(3, "anna")]
    assert office.state.agents["anna"].load == 3


def test_heavy_appeals_do_not_starve(office: Office):
    """A busy agent keeps room for a heavier appeal that is before the light ones by more than a priority point."""
    office.join(make_agent("anna", capacity_units=2))
    office.write(1)
    office.write(2)
    accept(office, 1)
    accept(office, 2)
    office.write(3, channel=Channel.TELEGRAM, priority=60)
    office.write(4, priority=50)
    office.tell(AppealGone(appeal_id=UUID(int=1)))
    assert offers(office.later(seconds=10)) == []  # one unit is free, the telegram before needs two
    assert offers(office.write(5, priority=50)) == []
    office.tell(AppealGone(appeal_id=UUID(int=2)))
    assert offers(office.later(seconds=10)) == [(3, "anna")]


def test_room_is_no_longer_kept_when_the_heavy_one_is_gone(office: Office):
    """As soon as the heavier appeal needs no room any more, the light ones get it."""
    office.join(make_agent("anna", capacity_units=2))
    office.write(1)
    accept(office, 1)
    office.write(3, channel=Channel.TELEGRAM, priority=60)
    assert offers(office.write(4, priority=50)) == []
    assert offers(office.tell(AppealGone(appeal_id=UUID(int=3)))) == [(4, "anna")]


def test_nobody_without_skill_language_or_channel_is_asked(office: Office):
    """Skill level, language of the step and channel are conditions, not wishes."""
    office.join(make_agent("junior", skills={"housing": 1}))
    office.join(make_agent("english", languages=frozenset({"en"})))
    office.join(make_agent("paper", channels=frozenset({Channel.FAX})))
    assert offers(office.write(1)) == []
    assert offers(office.later(minutes=3)) == [(1, "english")]  # the second step asks for no language


def test_steps_widen_the_circle_on_waiting_time(office: Office):
    """Each step begins when the appeal has waited for those before it; the last resort is told to a supervisor."""
    office.join(make_agent("middle", skills={"housing": 2}))
    office.join(make_agent("triage", skills={"triage": 1}))
    office.join(make_agent("busy", status=AgentStatus.BUSY))
    assert offers(office.write(1)) == []
    assert offers(office.later(minutes=1)) == []
    assert offers(office.later(minutes=1)) == [(1, "middle")]
    decline(office, 1, "middle")
    late = office.later(minutes=10)
    assert offers(late) == [(1, "triage")]
    assert any(isinstance(decision, NotifySupervisor) for decision in late)


def test_age_counts_towards_steps_after_a_restart(office: Office):
    """An appeal that has waited long already begins at the step its age has come to."""
    office.join(make_agent("triage", skills={"triage": 1}))
    assert offers(office.write(1, at=START - timedelta(hours=1))) == [(1, "triage")]


def test_freed_agent_takes_the_highest_score(office: Office):
    """Priority and age are on one scale: ten minutes of waiting are worth one point."""
    office.write(1, priority=50, at=START - timedelta(minutes=9))
    office.write(2, priority=51)
    office.write(3, priority=50, at=START - timedelta(minutes=11))
    assert offers(office.join(make_agent("anna"))) == [(3, "anna"), (2, "anna"), (1, "anna")]


def test_declined_goes_to_another_and_not_back(office: Office):
    """A declined appeal is not offered to that agent again while others are at work; they rest for the delay."""
    office.join(make_agent("anna", capacity_units=2))
    office.write(1)
    assert decline(office, 1, "anna") == []
    assert office.state.agents["anna"].block == "delay"
    assert offers(office.write(2)) == []
    assert offers(office.join(make_agent("boris", capacity_units=1))) == [(1, "boris")]
    assert offers(office.later(seconds=11)) == [(2, "anna")]


def test_refusers_are_asked_again_when_nobody_else_is_left(office: Office):
    """At the last step, with nobody else at work, those who declined are asked again; not while there is another."""
    office.join(make_agent("anna"))
    office.join(make_agent("boris", status=AgentStatus.AWAY))
    office.write(1)
    decline(office, 1, "anna")
    assert offers(office.later(minutes=20)) == []  # boris is away, but at work
    assert offers(office.tell(AgentChanged(agent=make_agent("boris", status=AgentStatus.OFFLINE)))) == [(1, "anna")]


def test_offer_times_out_to_the_next_agent(office: Office):
    """An offer nobody answers lapses, counts as refused, and is offered on in the same breath."""
    office.join(make_agent("anna"))
    ((_, first),) = offers(office.write(1))
    office.join(make_agent("boris"))
    lapsed, offered = office.later(seconds=60)
    assert isinstance(lapsed, LapseOffer)
    assert lapsed.state is OfferState.TIMED_OUT
    assert (first, offers([offered])) == ("anna", [(1, "boris")])
    assert office.later(seconds=1) == []


def test_three_misses_in_a_row_set_away(office: Office):
    """The third missed offer in a row sets the agent away; an accepted one begins the count anew."""
    office.join(make_agent("anna", capacity_units=1))
    for number in range(1, 7):
        office.write(number)
    office.later(seconds=61)
    office.later(seconds=31)
    office.later(seconds=61)
    office.later(seconds=31)
    decisions = office.later(seconds=61)
    assert [decision.status for decision in decisions if isinstance(decision, SetStatus)] == [AgentStatus.AWAY]
    assert not offers(office.later(minutes=5))


def test_acceptance_ends_the_row_of_misses(office: Office):
    """After an acceptance two more misses do not set the agent away."""
    office.join(make_agent("anna", capacity_units=1))
    for number in range(1, 7):
        office.write(number)
    for _ in range(2):
        office.later(seconds=61)
        office.later(seconds=31)
    number = next(iter(office.state.agents["anna"].held))
    accept(office, number)
    office.tell(AppealGone(appeal_id=UUID(int=number)))
    office.later(seconds=11)
    assert not [decision for decision in office.later(seconds=61) if isinstance(decision, SetStatus)]


def test_lost_connection_has_a_grace_then_offers_are_taken_back(office: Office):
    """Within the grace nothing is lost but no offer made; after it the agent is offline and only offers go on."""
    office.join(make_agent("anna"))
    office.write(1)
    office.write(2)
    accept(office, 2)
    office.tell(AgentDisconnected(agent_id="anna"))
    assert offers(office.write(3)) == []
    office.join(make_agent("boris"))
    office.later(seconds=10)
    decisions = office.later(seconds=10)
    (status,) = [decision for decision in decisions if isinstance(decision, SetStatus)]
    assert (status.agent_id, status.status) == ("anna", AgentStatus.OFFLINE)
    (lapse,) = [decision for decision in decisions if isinstance(decision, LapseOffer)]
    assert lapse.state is OfferState.RESCINDED
    assert offers(decisions) == [(1, "boris")]
    assert office.state.appeals[UUID(int=2)].holder is office.state.agents["anna"]


def test_reconnecting_within_the_grace_keeps_everything(office: Office):
    """A connection that comes back in time changes nothing."""
    office.join(make_agent("anna"))
    office.write(1)
    office.tell(AgentDisconnected(agent_id="anna"))
    office.later(seconds=10)
    office.tell(AgentConnected(agent_id="anna"))
    assert office.later(seconds=30) == []
    assert offers(office.write(2)) == [(2, "anna")]


def test_available_again_without_connection_goes_offline_again(office: Office):
    """Whoever is set available but never connects is offline again after another grace."""
    office.join(make_agent("anna"))
    office.tell(AgentDisconnected(agent_id="anna"))
    office.later(seconds=21)
    office.tell(AgentChanged(agent=make_agent("anna", status_since=office.now)))
    assert [type(decision) for decision in office.later(seconds=21)] == [SetStatus]


def test_wrap_up_before_the_next_offer(office: Office):
    """After an answer the agent has time to wrap up."""
    office.join(make_agent("anna", capacity_units=1))
    office.write(1)
    office.write(2)
    accept(office, 1)
    assert office.tell(AppealGone(appeal_id=UUID(int=1))) == []
    assert offers(office.later(seconds=10)) == [(2, "anna")]


def test_away_gives_back_offers_busy_keeps_them(office: Office):
    """Going away takes back what is only offered; busy only means no new offers."""
    office.join(make_agent("anna"))
    office.write(1)
    assert office.tell(AgentChanged(agent=make_agent("anna", status=AgentStatus.BUSY))) == []
    assert offers(office.write(2)) == []
    decisions = office.tell(AgentChanged(agent=make_agent("anna", status=AgentStatus.AWAY)))
    assert [type(decision) for decision in decisions] == [LapseOffer]


def test_nobody_ever_is_told_once(office: Office):
    """An appeal that no agent could ever take is reported when it is at its last step, once."""
    office.write(1, at=START - timedelta(hours=1))
    decisions = office.write(2, at=START - timedelta(hours=1))
    assert [type(decision) for decision in decisions].count(HoldAppeal) == 1
    assert office.later(minutes=1) == []


def test_waiting_appeals_keep_their_rule(office: Office, rules: RuleSet):
    """After an edit new appeals follow the new rules, those that wait keep theirs."""
    office.write(1)
    edited = parse_rules(RULES.replace("queue: housing", "queue: triage", 1))
    office.tell(RulesChanged(rules=edited))
    office.write(2)
    names = [office.state.appeals[UUID(int=number)].rule.queue for number in (1, 2)]
    assert names == ["housing", "triage"]
    assert office.state.appeals[UUID(int=1)].rules is rules


def test_new_scale_reorders_the_waiting(office: Office):
    """When an edit changes what a priority point is worth, all waiting appeals are on the new scale at once."""
    office.write(1, priority=50, at=START - timedelta(minutes=30))
    office.write(2, priority=52)
    office.tell(RulesChanged(rules=parse_rules(RULES.replace("priority_point: 10m", "priority_point: 1h"))))
    assert offers(office.join(make_agent("anna", capacity_units=1))) == [(2, "anna")]


def test_skill_change_finds_waiting_work(office: Office):
    """An agent who learns a skill gets what has waited for it."""
    office.join(make_agent("anna", skills={"roads": 3}))
    assert offers(office.write(1)) == []
    assert offers(office.tell(AgentChanged(agent=make_agent("anna", skills={"housing": 4})))) == [(1, "anna")]


def test_repeated_events_change_nothing(office: Office):
    """Events say what is so: telling them again gives no decision."""
    office.join(make_agent("anna"))
    office.write(1)
    office.write(2)
    accept(office, 1)
    load = office.state.agents["anna"].load
    assert office.join(make_agent("anna")) == []
    office.tell(AppealHeld(view=office.view(1, state=AppealState.ASSIGNED, agent_id="anna")))
    office.tell(AppealGone(appeal_id=UUID(int=99)))
    assert office.state.agents["anna"].load == load


def test_released_appeal_frees_its_agent_for_others(office: Office):
    """Giving an appeal back makes room, which the next waiting appeal gets at once; the one given back goes elsewhere."""
    office.join(make_agent("anna", capacity_units=1))
    office.write(1)
    office.write(2)
    accept(office, 1)
    view = office.view(1, state=AppealState.WAITING, agent_id=None, refused_by=frozenset({"anna"}))
    assert offers(office.tell(AppealWaiting(view=view))) == [(2, "anna")]


def test_held_by_an_agent_who_is_known_only_later(office: Office):
    """What the registry says an agent holds uses their capacity, in whatever order the two are told."""
    view = make_view(1, state=AppealState.ASSIGNED, agent_id="anna", queue="housing", rule_set=office.state.rules.hash)
    office.tell(AppealHeld(view=view))
    office.join(make_agent("anna", capacity_units=1))
    assert office.state.agents["anna"].load == 1
    assert offers(office.write(2)) == []


def test_inactive_agents_get_nothing(office: Office):
    """An agent who is switched off keeps no offer and gets none."""
    office.join(make_agent("anna"))
    office.write(1)
    decisions = office.tell(AgentChanged(agent=make_agent("anna", active=False)))
    assert [type(decision) for decision in decisions] == [LapseOffer]
    assert offers(office.write(2)) == []


def test_unplaced_again_if_the_placement_was_not_committed(office: Office):
    """If the registry knows of no queue, the appeal is placed again."""
    office.write(1)
    view = make_view(1, version=5)
    assert [type(decision) for decision in office.tell(AppealWaiting(view=view))] == [PlaceAppeal]
