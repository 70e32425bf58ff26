"""Conditions of rules: CEL (Common Expression Language), type-checked when they are loaded, free of side effects.

Source: https://github.com/google/cel-spec. All facts are about the appeal as it came in, so the same appeal gives the
same answers on any host at any time.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from cel_expr_python import cel  # type: ignore[import-untyped]  # has a stub, but no py.typed

from appeals.routing import RoutingView

HEATING_FROM = (10, 1)  # month, day: the heating season by calendar, until a region says otherwise
HEATING_UNTIL = (4, 30)  # this day included

Facts = Mapping[str, Any]

VARIABLES: Mapping[str, str] = {
    "topic": "string",  # "" while unknown
    "channel": "string",
    "language": "string",  # BCP 47
    "region": "string",
    "priority": "int",  # 0..100, from the classifier
    "season": "string",  # heating | summer, of the day it was received
    "subject": "string",
    "has_attachments": "bool",
    "confidence": "double",  # 0..1, of the topic
    "hour": "int",  # 0..23, local, when it was received
    "weekday": "int",  # 1 Monday .. 7 Sunday, local, when it was received
    "attributes": "map<string, string>",
    "citizen.segments": "list<string>",
    "received_at": "timestamp",
}
_TYPES = {
    "string": cel.Type.STRING,
    "int": cel.Type.INT,
    "bool": cel.Type.BOOL,
    "double": cel.Type.DOUBLE,
    "timestamp": cel.Type.TIMESTAMP,
    "map<string, string>": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "list<string>": cel.Type.List(cel.Type.STRING),
}
_PROBLEM = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*?)(?=\n \| |\nERROR: <input>| \[[A-Z_]+\]$|\Z)", re.DOTALL)
_BAD_PATTERN = "invalid regular expression"


@dataclass(frozen=True, kw_only=True, slots=True)
class OfficeClock:
    """How the office reads a moment: its time zone and its heating season."""

    timezone: ZoneInfo

    def season(self, day: date) -> str:
        """Return `heating` from 1 October to 30 April, else `summer`."""
        month_day = (day.month, day.day)
        return "heating" if month_day >= HEATING_FROM or month_day <= HEATING_UNTIL else "summer"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionFault:
    """One thing wrong in a condition, at character `offset` of its text."""

    offset: int
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a condition said of one appeal. One that could not be evaluated does not match; `error` says why."""

    matched: bool
    error: str = ""


class Conditions:
    """The conditions of a rule file, compiled; they are asked all together, in their order."""

    def __init__(self, sources: Sequence[str]) -> None:
        """Compile `sources`, each of which `check_condition` finds nothing wrong with."""
        self._environment = _environment()
        self._single = [self._environment.compile(source) for source in sources]
        self._together = self._compile_together(sources)

    def evaluate(self, facts: Facts) -> list[Outcome]:
        """Return what each condition says of `facts`. One pass in C++ (12 µs for 50 conditions) if none fails."""
        activation = self._environment.Activation(facts)
        if self._together is not None:
            answers = self._together.eval(activation).plain_value()
            if isinstance(answers, list):
                return [_MATCHED if answer else _NOT_MATCHED for answer in answers]
        return [_outcome(expression.eval(activation)) for expression in self._single]

    def _compile_together(self, sources: Sequence[str]) -> cel.Expression | None:
        joined = ",".join(f"({source}\n)" for source in sources)
        try:
            return self._environment.compile(f"[{joined}]")
        except RuntimeError:  # beyond a limit of the compiler: they are asked one by one
            return None


def check_condition(source: str) -> list[ConditionFault]:
    """Return every fault of a condition: syntax, unknown names, types; one that is not a yes or no; bad patterns."""
    if not source.strip():
        return [ConditionFault(offset=0, message='is empty; write "true" for a rule that takes everything')]
    environment = _environment()
    try:
        expression = environment.compile(source)
    except RuntimeError as error:
        return _compile_faults(source, str(error))
    if expression.return_type() != cel.Type.BOOL:
        shown = expression.return_type().name().lower()
        return [ConditionFault(offset=0, message=f"must be true or false, but is a value of type {shown}")]
    value = expression.eval(environment.Activation(dict(_SAMPLE)))
    if value.type() == cel.Type.ERROR and _BAD_PATTERN in str(value.value()):
        message = str(value.value()).removeprefix("INVALID_ARGUMENT: ")
        return [ConditionFault(offset=max(source.find("matches"), 0), message=message)]
    return []


def facts_of(view: RoutingView, clock: OfficeClock, *, names: Collection[str]) -> dict[str, Any]:
    """Return what conditions ask about an appeal: the variables `names`."""
    return {name: _FACTS[name](view, clock) for name in names}


def mentioned(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the variables that any of the conditions may ask about; the others need not be known."""
    return tuple(name for name in VARIABLES if any(name in source for source in sources))


def _environment() -> cel.Env:
    return cel.NewEnv(variables={name: _TYPES[kind] for name, kind in VARIABLES.items()})


def _outcome(value: cel.Value) -> Outcome:
    if value.type() == cel.Type.ERROR:
        return Outcome(matched=False, error=str(value.value()))
    return _MATCHED if value.value() else _NOT_MATCHED


def _compile_faults(source: str, message: str) -> list[ConditionFault]:
    lines = source.split("\n")
    faults = [
        ConditionFault(
            offset=sum(len(text) + 1 for text in lines[: int(line) - 1]) + int(column) - 1,
            message=_in_words(words, called=_is_call(lines[int(line) - 1][int(column) - 1 :])),
        )
        for line, column, words in _PROBLEM.findall(message)
    ]
    return faults or [ConditionFault(offset=0, message=message.split("\n", maxsplit=1)[0])]


def _is_call(rest: str) -> bool:
    return re.match(r"[\w.]*\(", rest) is not None


def _in_words(words: str, *, called: bool) -> str:
    plain = words.strip().removesuffix(" (in container '')")
    if plain.startswith("undeclared reference to") and not called:
        return f"{plain}; known are {', '.join(VARIABLES)}"
    return plain.replace("'<EOF>'", "the end").split(" expecting {")[0]


def _received(view: RoutingView, clock: OfficeClock) -> datetime:
    return view.appeal.received_at.astimezone(clock.timezone)


_FACTS: Mapping[str, Callable[[RoutingView, OfficeClock], Any]] = {
    "topic": lambda view, _: view.appeal.topic or "",
    "channel": lambda view, _: view.appeal.channel.value,
    "language": lambda view, _: view.appeal.language,
    "region": lambda view, _: view.appeal.region,
    "priority": lambda view, _: view.appeal.priority,
    "season": lambda view, clock: clock.season(_received(view, clock).date()),
    "subject": lambda view, _: view.appeal.subject,
    "has_attachments": lambda view, _: view.has_attachments,
    "confidence": lambda view, _: float(view.appeal.topic_confidence or 0.0),
    "hour": lambda view, clock: _received(view, clock).hour,
    "weekday": lambda view, clock: _received(view, clock).isoweekday(),
    "attributes": lambda view, _: {str(key): str(value) for key, value in view.appeal.attributes.items()},
    "citizen.segments": lambda view, _: sorted(view.segments),
    "received_at": lambda view, _: view.appeal.received_at,
}
_MATCHED = Outcome(matched=True)
_NOT_MATCHED = Outcome(matched=False)
_SAMPLE: Facts = {
    name: {"string": "", "int": 0, "bool": False, "double": 0.0, "map<string, string>": {}, "list<string>": []}.get(
        kind
    )
    for name, kind in VARIABLES.items()
    if kind != "timestamp"
}
