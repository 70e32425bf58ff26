"""The rule set: `routing.yaml` checked as a whole, compiled, and asked where an appeal belongs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from appeals.envelope import Channel
from appeals.errors import ConfigurationError
from appeals.routing import Placement, RoutingView
from config.yaml_file import Fault, YamlDocument, load_yaml, parse_yaml, refuse, validate_model
from router.conditions import Conditions, OfficeClock, check_condition, facts_of, mentioned
from router.rule_model import RuleFile, RuleModel, StepModel

LANGUAGE = "language"  # within a step's skills: the agent must speak the appeal's language
FALLBACK_QUEUE = "triage"  # where an appeal goes that no rule takes, if there is such a queue
FALLBACK_RULE = "(no rule matched)"
DEFAULT_ORDER = ("load", "idle", "proficiency")
_SECOND_US = 1_000_000
_VERDICTS = 4_096  # answers of the conditions that a rule set keeps, by the facts they were asked about


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One stage of a rule, compiled. `starts_us`: how long an appeal has waited when it begins."""

    index: int
    starts_us: int
    skills: tuple[tuple[str, int], ...]  # sorted by name
    same_language: bool
    order: tuple[str, ...]  # what decides between eligible agents, first to last: load, idle, proficiency
    last_agent: bool  # whoever answered this citizen last goes first
    notify_supervisor: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule, compiled."""

    name: str
    queue: str
    priority: int | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacementTrace:
    """Where an appeal belongs, and why: the rules asked before the one that took it, and the facts all of them saw."""

    placement: Placement
    rule: Rule
    passed_over: tuple[str, ...]  # names of rules that said no, in their order
    errors: Mapping[str, str]  # of those, the ones that could not be evaluated, and why
    facts: Mapping[str, Any]  # JSON-able


@dataclass(frozen=True, kw_only=True, slots=True)
class _Verdict:
    """What the conditions say of one set of facts."""

    rule: Rule
    passed_over: tuple[str, ...]
    errors: Mapping[str, str]
    facts: Mapping[str, Any]


class RuleSet:
    """A rule file that has no faults. Equal content has an equal `hash`, whatever its layout and comments."""

    def __init__(self, model: RuleFile, *, text: str, source: str, warnings: tuple[str, ...] = ()) -> None:
        self.text = text
        self.source = source
        self.warnings = warnings
        self.hash = rule_hash(model)
        self.queues = model.queues
        self.rules = tuple(_compile_rule(rule, model) for rule in model.rules)
        self.priority_point_us = _microseconds(model.ageing.priority_point)
        self._weights = dict(model.weights)
        self._conditions = Conditions([rule.when for rule in model.rules])
        self._asked = mentioned([rule.when for rule in model.rules])
        self._names = tuple(rule.name for rule in model.rules)
        self._fallback = _fallback_rule(model)
        # Conditions are pure: equal facts have an equal answer. Most rules ask for topic, channel or season alone.
        self._verdict = lru_cache(maxsize=_VERDICTS)(self._ask_known)

    def weight(self, channel: Channel) -> int:
        """Return how many units of an agent's capacity an appeal of `channel` takes."""
        return self._weights.get(channel, 1)

    def place(self, view: RoutingView, clock: OfficeClock) -> PlacementTrace:
        """Find the first rule that takes the appeal. The same view always gives the same answer."""
        facts = facts_of(view, clock, names=self._asked)
        known = tuple([tuple(value) if isinstance(value, list) else value for value in facts.values()])
        try:
            verdict = self._verdict(known)
        except TypeError:  # a map among them, which cannot be looked up: asked anew each time
            verdict = self._ask(facts)
        return PlacementTrace(
            placement=self._placement(verdict.rule, view),
            rule=verdict.rule,
            passed_over=verdict.passed_over,
            errors=verdict.errors,
            facts=verdict.facts,
        )

    def rule_for(self, view: RoutingView, clock: OfficeClock) -> Rule | None:
        """Return the rule by which a placed appeal was put into its queue; None if no rule here leads to it."""
        rule = self.place(view, clock).rule
        if rule.queue == view.appeal.queue:
            return rule
        return next((known for known in self.rules if known.queue == view.appeal.queue), None)

    def _ask_known(self, known: tuple[Any, ...]) -> "_Verdict":
        values = [list(value) if isinstance(value, tuple) else value for value in known]
        return self._ask(dict(zip(self._asked, values, strict=True)))

    def _ask(self, facts: Mapping[str, Any]) -> "_Verdict":
        outcomes = self._conditions.evaluate(facts)
        index = next((number for number, outcome in enumerate(outcomes) if outcome.matched), len(outcomes))
        return _Verdict(
            rule=self.rules[index] if index < len(outcomes) else self._fallback,
            passed_over=self._names[:index],
            errors={self._names[n]: outcome.error for n, outcome in enumerate(outcomes[:index]) if outcome.error},
            facts={name: _json(value) for name, value in facts.items()},
        )

    def _placement(self, rule: Rule, view: RoutingView) -> Placement:
        priority = view.appeal.priority if rule.priority is None else rule.priority
        return Placement(queue=rule.queue, rule=rule.name, priority=priority, rule_set=self.hash)


def load_rules(path: Path) -> RuleSet:
    """Read a rule file. Raises ConfigurationError with every fault at its file:line:column."""
    return _build(load_yaml(path))


def parse_rules(text: str, *, source: str = "routing.yaml") -> RuleSet:
    """Read rules from a text, as `load_rules` does from a file."""
    return _build(parse_yaml(text, file=source))


def default_rules_path() -> Path:
    """Return the rule file that comes with Okno."""
    return Path(str(files("config"))) / "defaults" / "routing.yaml"


def rule_hash(model: RuleFile) -> str:
    """Return SHA-256, in hex, of the canonical form: JSON, keys sorted, durations in seconds, defaults written out.

    The order of rules and steps is part of it, as it is part of the meaning.
    """
    canonical = json.dumps(
        model.model_dump(mode="json", by_alias=True), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _build(document: YamlDocument) -> RuleSet:
    conditions = list(_condition_faults(document))
    try:
        model = validate_model(document, RuleFile)
    except ConfigurationError as error:
        shown = (*error.faults, *(str(fault) for fault in conditions))
        raise ConfigurationError(f"{document.file}: {len(shown)} faults", faults=shown) from error
    found = [*conditions, *_semantic_faults(document, model)]
    faults = [fault for fault in found if not fault.warning]
    if faults:
        raise refuse(document.file, faults)
    warnings = tuple(str(fault) for fault in found if fault.warning)
    return RuleSet(model, text=document.text, source=document.file, warnings=warnings)


def _condition_faults(document: YamlDocument) -> Iterator[Fault]:
    """Check every condition that is a text, even where the rest of the file is wrong: all faults at once."""
    rules = document.data.get("rules") if isinstance(document.data, dict) else None
    for number, rule in enumerate(rules if isinstance(rules, list) else []):
        source = rule.get("when") if isinstance(rule, dict) else None
        if isinstance(source, str):
            for fault in check_condition(source):
                path = ("rules", number, "when")
                yield document.fault(path, f"rules[{number}].when: {fault.message}", offset=fault.offset)


def _semantic_faults(document: YamlDocument, model: RuleFile) -> Iterator[Fault]:
    names: dict[str, int] = {}
    for number, rule in enumerate(model.rules):
        path = ("rules", number)
        if rule.queue not in model.queues:
            known = ", ".join(model.queues)
            yield document.fault((*path, "queue"), f"there is no queue {rule.queue!r}; there are {known}")
        if rule.name in names:
            yield document.fault((*path, "name"), f"rules[{names[rule.name]}] has the name {rule.name!r} already")
        names.setdefault(rule.name, number)
        yield from _step_faults(document, rule, number)
    yield from _catch_all_faults(document, model)


def _step_faults(document: YamlDocument, rule: RuleModel, number: int) -> Iterator[Fault]:
    for place, step in enumerate(rule.steps):
        path = ("rules", number, "steps", place)
        if place > 0 and rule.steps[place - 1].for_ is None:
            yield document.fault(path, "is never reached: the step before it has no `for`, so it never ends")
        if place == len(rule.steps) - 1 and step.for_ is not None:
            words = "the last step never ends; its `for` says nothing"
            yield document.fault((*path, "for"), words, warning=True)
        for skill, level in (step.skills or {}).items():
            if (skill == LANGUAGE) != (level == "appeal"):
                words = f"{skill}: write `language: appeal`, or a skill with its level 1 to 5"
                yield document.fault((*path, "skills", skill), words)
        if len(set(step.prefer)) < len(step.prefer):
            yield document.fault((*path, "prefer"), "names something twice")


def _catch_all_faults(document: YamlDocument, model: RuleFile) -> Iterator[Fault]:
    always = [number for number, rule in enumerate(model.rules) if rule.when.strip() == "true"]
    if not always:
        queue = _fallback_queue(model)
        words = f'no rule takes everything (when: "true"); what none takes goes to {queue}'
        yield document.fault(("rules",), words, key=True, warning=True)
    elif always[0] < len(model.rules) - 1:
        words = f"is never reached: {model.rules[always[0]].name!r} before it takes everything"
        yield document.fault(("rules", always[0] + 1, "name"), words, warning=True)


def _compile_rule(rule: RuleModel, model: RuleFile) -> Rule:
    steps, starts_us = [], 0
    for index, step in enumerate(rule.steps or (StepModel(),)):
        steps.append(_compile_step(step, rule, model, index=index, starts_us=starts_us))
        starts_us += _microseconds(step.for_) if step.for_ is not None else 0
    return Rule(name=rule.name, queue=rule.queue, priority=rule.priority, steps=tuple(steps))


def _compile_step(step: StepModel, rule: RuleModel, model: RuleFile, *, index: int, starts_us: int) -> Step:
    wanted = model.queues[rule.queue].skills if step.skills is None else step.skills
    order = tuple(what for what in step.prefer if what != "last_agent")
    return Step(
        index=index,
        starts_us=starts_us,
        skills=tuple(sorted((name, level) for name, level in wanted.items() if isinstance(level, int))),
        same_language=LANGUAGE in wanted and wanted[LANGUAGE] == "appeal",
        order=order + tuple(what for what in DEFAULT_ORDER if what not in order),
        last_agent="last_agent" in step.prefer,
        notify_supervisor=step.supervisor == "notify",
    )


def _fallback_queue(model: RuleFile) -> str:
    return FALLBACK_QUEUE if FALLBACK_QUEUE in model.queues else list(model.queues)[-1]


def _fallback_rule(model: RuleFile) -> Rule:
    return _compile_rule(RuleModel(name=FALLBACK_RULE, when="true", queue=_fallback_queue(model)), model)


def _microseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * _SECOND_US)


def _json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
