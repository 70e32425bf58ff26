from datetime import UTC, datetime, timedelta
from textwrap import dedent
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appeals.envelope import Channel
from appeals.errors import ConfigurationError
from router.conditions import VARIABLES, OfficeClock, check_condition
from router.rule_model import parse_duration
from router.rules import FALLBACK_RULE, RuleSet, default_rules_path, load_rules, parse_rules
from tests.unit.router.conftest import RULES, make_view

MOSCOW = OfficeClock(timezone=ZoneInfo("Europe/Moscow"))


def rules_with(when: str) -> str:
    return dedent(
        """\
        version: 1
        queues: {special: {skills: {housing: 2}}, triage: {skills: {triage: 1}}}
        rules:
          - name: special
            when: WHEN
            queue: special
          - name: rest
            when: "true"
            queue: triage
        """
    ).replace("WHEN", when)


def queue_of(when: str, **fields: Any) -> str:
    return parse_rules(rules_with(when)).place(make_view(1, **fields), MOSCOW).placement.queue


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(dedent(text))
    return caught.value.faults


def test_default_rules_are_without_fault_and_take_every_topic():
    """The rule file that comes with Okno loads, warns of nothing and sends each area to its queue."""
    rules = load_rules(default_rules_path())
    assert rules.warnings == ()
    for topic, queue in (
        ("housing.gas", "urgent"),
        ("housing.lift", "housing"),
        ("roads.snow", "roads"),
        ("unknown", "triage"),
        (None, "triage"),
    ):
        assert rules.place(make_view(1, topic=topic), MOSCOW).placement.queue == queue


@pytest.mark.parametrize(
    ("when", "fields"),
    [
        ('topic.startsWith("housing.")', {}),
        ('channel == "telegram"', {"channel": Channel.TELEGRAM}),
        ('"medical" in citizen.segments', {"segments": frozenset({"medical"})}),
        ("has_attachments && confidence > 0.8", {"has_attachments": True}),
        ('attributes["kiosk"] == "k1"', {"attributes": {"kiosk": "k1"}}),
        ('"kiosk" in attributes && attributes["kiosk"] == "7"', {"attributes": {"kiosk": 7}}),
        ("hour == 12 && weekday == 4", {"received_at": datetime(2026, 1, 15, 9, 30, tzinfo=UTC)}),
        ('season == "heating"', {"received_at": datetime(2026, 4, 30, 20, 59, tzinfo=UTC)}),
        ('season == "summer"', {"received_at": datetime(2026, 4, 30, 21, 0, tzinfo=UTC)}),
        ('season == "heating"', {"received_at": datetime(2026, 9, 30, 21, 0, tzinfo=UTC)}),
        ('received_at > timestamp("2026-01-01T00:00:00Z")', {}),
        ('subject.matches("(?i)gas")', {"subject": "GAS leak"}),
        ('priority >= 50 && language == "ru" && region == "RU-MOW"', {}),
    ],
)
def test_conditions_see_the_appeal(when: str, fields: dict):
    """Each variable has the appeal's value, in the office's time zone where it is about time."""
    assert queue_of(f"'{when}'", **fields) == "special"


def test_condition_that_fails_does_not_match_and_is_on_record():
    """A missing attribute makes the rule not match instead of stopping the router; the trace tells."""
    trace = parse_rules(rules_with('\'attributes["absent"] == "x"\'')).place(make_view(1), MOSCOW)
    assert trace.placement.queue == "triage"
    assert trace.passed_over == ("special",)
    assert "absent" in trace.errors["special"]


def test_every_fault_at_once_each_at_its_place():
    """Faults of form and of conditions are all reported, with line and column inside the condition."""
    faults = faults_of(
        """\
        version: 1
        queues:
          housing: {skills: {housing: 9}}
        ageing: {priority_point: 10}
        rules:
          - name: a
            when: topic.startWith("x") && seson == "a"
            queue: housing
            steps:
              - {for: 1x, prefer: [foo]}
          - name: b
            when: "hour + 1"
            queue: housing
        """
    )
    places = {":".join(fault.split(":")[1:3]) for fault in faults}
    assert places == {"3:31", "4:26", "10:15", "10:28", "7:26", "7:35", "12:12"}
    assert all(fault.splitlines()[-1].strip() == "^" for fault in faults)


@pytest.mark.parametrize(
    ("when", "line", "column"),
    [
        ("topic == foo", 5, 20),
        ('"topic == foo"', 5, 21),
        ('>-\n      topic == "a" &&\n      foo', 7, 7),
        ("|\n      topic ==\n        foo", 7, 9),
        ("\"'жильё' == topic && foo\"", 5, 32),
    ],
)
def test_caret_inside_conditions_of_any_quoting(when: str, line: int, column: int):
    """The fault stands where the wrong word is written, however the condition is quoted, also after Russian text."""
    (fault,) = faults_of(rules_with(when))
    assert fault.startswith(f"routing.yaml:{line}:{column}: ")
    assert "undeclared reference to 'foo'" in fault


def test_meaning_faults_are_found():
    """Unknown queues, doubled names, unreachable steps and misused `language` are refused, all at once."""
    faults = faults_of(
        """\
        version: 1
        queues: {housing: {skills: {housing: 1}}}
        rules:
          - name: a
            when: topic.matches("(")
            queue: nope
            steps:
              - {skills: {housing: 1}}
              - {for: 1m, skills: {language: 3, housing: appeal}}
          - {name: a, when: "true", queue: housing}
        """
    )
    text = "\n".join(faults)
    for words in (
        "invalid regular expression",
        "no queue 'nope'",
        "never reached",
        "language: appeal",
        "name 'a' already",
    ):
        assert words in text
    assert len(faults) == 6


def test_warnings_do_not_refuse():
    """A file without a rule for everything is taken, with a warning; what no rule takes goes to triage."""
    rules = parse_rules('version: 1\nqueues: {a: {}, triage: {}}\nrules: [{name: a, when: "false", queue: a}]')
    assert "no rule takes everything" in rules.warnings[0]
    placement = rules.place(make_view(1), MOSCOW).placement
    assert (placement.queue, placement.rule) == ("triage", FALLBACK_RULE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "version: 2",
        "rules: 3",
        "version: 1\nqueues: {}\nrules: []",
        "- a\n- b",
        "rules: [3]",
        "version: 1\nqueues: {a: {}}\nrules: [{name: a, when: 3, queue: a}]",
    ],
)
def test_wrong_files_are_refused_never_raised_through(text: str):
    """Files of quite another form are configuration errors with places, not tracebacks."""
    assert all(fault.startswith("routing.yaml:") for fault in faults_of(text))


def test_hash_is_of_the_meaning():
    """Layout, comments and the order of mappings do not change the hash; an edit of meaning does."""
    one = parse_rules(RULES)
    same = parse_rules(
        "# a comment\n"
        + RULES.replace("{email: 1, telegram: 2}", "{telegram: 2, email: 1}").replace("10m}", "600s}", 1)
    )
    other = parse_rules(RULES.replace("10m", "11m", 1))
    assert one.hash == same.hash != other.hash


def test_priority_of_the_rule_or_of_the_classifier():
    """A rule's priority replaces the classifier's; without one the classifier's stands."""
    text = rules_with('topic == "x"').replace("queue: special\n", "queue: special\n    priority: 90\n", 1)
    rules = parse_rules(text)
    assert rules.place(make_view(1, topic="x", priority=10), MOSCOW).placement.priority == 90
    assert rules.place(make_view(1, topic="y", priority=10), MOSCOW).placement.priority == 10


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("500ms", 0.5)]
)
def test_durations(text: str, seconds: float):
    """Durations are numbers with units, added up."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "-1m", "1.5h", "10 m", "99999999999999999999d", 10, None])
def test_no_durations(text: object):
    """Anything else is refused."""
    with pytest.raises(ValueError, match=r"duration|longer"):
        parse_duration(text)


@given(st.text(max_size=80))
def test_any_text_as_condition_is_checked_without_a_crash(source: str):
    """Whatever is written as a condition is either fine or has faults within its text."""
    for fault in check_condition(source):
        assert 0 <= fault.offset <= len(source)


@given(
    st.lists(
        st.sampled_from([*VARIABLES, "&&", "||", "==", "(", ")", '"x"', "1", "in", "!", "?", ":", "matches"]),
        max_size=9,
    )
)
def test_faults_of_near_conditions_are_in_place(words: list[str]):
    """Conditions made of real words are checked without a crash; places lie within."""
    source = " ".join(words)
    for fault in check_condition(source):
        assert 0 <= fault.offset <= len(source)


KINDS = st.fixed_dictionaries(
    {
        "topic": st.sampled_from([None, "housing.heating", "roads"]),
        "priority": st.sampled_from([0, 1, 50]),
        "segments": st.sampled_from([frozenset(), frozenset({"medical"}), frozenset({"medical", "veteran"})]),
        "has_attachments": st.booleans(),
    }
)
ASKING = """
version: 1
queues: {one: {}, two: {}, three: {}, rest: {}}
rules:
  - {name: one, when: '"medical" in citizen.segments && has_attachments', queue: one}
  - {name: two, when: 'topic.startsWith("housing.") && priority > 0', queue: two}
  - {name: three, when: 'size(citizen.segments) == 2', queue: three}
  - {name: rest, when: "true", queue: rest}
"""


@settings(max_examples=15, deadline=None)
@given(st.lists(KINDS, min_size=1, max_size=8))
def test_kept_answers_are_those_of_asking_anew(kinds: list[dict[str, Any]]):
    """A rule set that has answered before says of every appeal what a fresh one says."""
    kept = parse_rules(ASKING)
    for number, fields in enumerate(kinds, start=1):
        view = make_view(number, **fields)
        assert kept.place(view, MOSCOW) == fresh().place(view, MOSCOW)


def fresh() -> RuleSet:
    """Return a rule set that has answered nothing yet."""
    return parse_rules(ASKING)
