"""Tells why: from the stored records to words, and computes each decision again from its record alone (P5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from appeals.appeal import Appeal
from appeals.conversation import StoredDecision
from router.explain_words import WORDS, Language
from router.policy import moment_of

_PPM = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedDecision:
    """One decision in words. `agrees`: its record, computed again, gives the same; None: nothing to choose."""

    at: datetime
    kind: Literal["place", "offer", "lapse"]
    lines: tuple[str, ...]
    agrees: bool | None
    record: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Everything that was decided about an appeal, oldest first."""

    number: str
    decisions: tuple[ExplainedDecision, ...]

    def text(self) -> str:
        """Return it for a terminal."""
        return "\n".join(
            f"{decision.at:%Y-%m-%d %H:%M:%S} UTC  {decision.lines[0]}\n" + "".join(f"    {line}\n" for line in rest)
            for decision in self.decisions
            for rest in [decision.lines[1:]]
        )

    def to_json(self) -> dict[str, Any]:
        """Return it for programs: words and records."""
        return {
            "number": self.number,
            "decisions": [
                {
                    "at": decision.at.isoformat(),
                    "kind": decision.kind,
                    "words": list(decision.lines),
                    "agrees": decision.agrees,
                    "record": dict(decision.record),
                }
                for decision in self.decisions
            ],
        }


def explain(appeal: Appeal, decisions: Sequence[StoredDecision], language: Language = "ru") -> Explanation:
    """Return why the appeal went where it went. `decisions`: of `registry.decisions(appeal.id)`."""
    return Explanation(
        number=appeal.number,
        decisions=tuple(
            _explained(record, language) for stored in decisions for record in stored.record.get("decisions", ())
        ),
    )


def recompute(record: Mapping[str, Any]) -> str | None:
    """Return whom or what the recorded inputs choose: an agent's id, an appeal's id; None if it was no choice.

    For an offer this must equal the recorded outcome: `chosen`, or `appeal` where an agent was freed.
    """
    if record["kind"] != "offer" or not record["candidates"]:
        return None
    if record["direction"] == "appeal_for_agent":
        point_us = record["point_us"]
        best = min(
            record["candidates"],
            key=lambda one: (one["since_us"] - one["priority"] * point_us, one["appeal"]),
        )
        return str(best["appeal"])
    if record["preferred_last_agent"]:
        return str(record["candidates"][0]["agent"])
    return str(min(record["candidates"], key=_rank_by(record["order"]))["agent"])


def agrees(record: Mapping[str, Any]) -> bool | None:
    """Tell whether the record, computed again, gives the recorded outcome; None if there was nothing to choose."""
    again = recompute(record)
    if again is None:
        return None
    recorded: str = record["appeal"] if record["direction"] == "appeal_for_agent" else record["chosen"]
    return again == recorded


def _rank_by(order: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    def rank(candidate: Mapping[str, Any]) -> tuple[Any, ...]:
        values = {
            "load": candidate["load"] * _PPM // max(candidate["capacity"], 1),
            "idle": candidate["idle_us"],
            "proficiency": -candidate["proficiency"],
        }
        return (*(values[what] for what in order), candidate["hash"], candidate["agent"])

    return rank


def _explained(record: Mapping[str, Any], language: Language) -> ExplainedDecision:
    lines = {"place": _place_lines, "offer": _offer_lines, "lapse": _lapse_lines}[record["kind"]]
    return ExplainedDecision(
        at=moment_of(record["at_us"]),
        kind=record["kind"],
        lines=tuple(lines(record, WORDS[language])),
        agrees=agrees(record),
        record=record,
    )


def _place_lines(record: Mapping[str, Any], words: Mapping[str, str]) -> list[str]:
    lines = [words["placed"].format(**record, hash=record["rule_set"][:12])]
    if record["facts"]:
        shown = ", ".join(f"{name} = {value!r}" for name, value in record["facts"].items())
        lines.append(words["facts"].format(facts=shown))
    if record["passed_over"]:
        lines.append(words["passed_over"].format(rules=", ".join(record["passed_over"])))
    lines += [words["rule_error"].format(rule=rule, error=error) for rule, error in record["errors"].items()]
    return lines


def _offer_lines(record: Mapping[str, Any], words: Mapping[str, str]) -> list[str]:
    wanted = record["requires"]
    skills = ", ".join(f"{skill} ≥ {level}" for skill, level in wanted["skills"].items()) or words["anyone"]
    lines = [
        words["offered"].format(agent=record["chosen"], step=record["step"] + 1),
        words["requires"].format(skills=skills, language=wanted["language"] or words["any_language"], **_rest(wanted)),
        words["score"].format(score=record["score"], priority=record["priority"], waited=_waited(record)),
    ]
    if record["direction"] == "agent_for_appeal":
        lines += _agent_lines(record, words)
    else:
        lines += _appeal_lines(record, words)
    lines.append(words["decided_by"].format(reason=words["by_" + record["decided_by"]]))
    return lines


def _agent_lines(record: Mapping[str, Any], words: Mapping[str, str]) -> list[str]:
    lines = [
        words["agent_candidate"].format(**candidate, idle=moment_of(candidate["idle_us"]).strftime("%H:%M:%S"))
        for candidate in record["candidates"]
    ]
    unnamed = record["free"] - len(record["candidates"])
    if unnamed > 0:
        lines.append(words["more_free"].format(count=unnamed))
    for reason, count in record["excluded"].items():
        lines.append(words["excluded"].format(count=count, reason=words.get("not_" + reason, reason)))
    if record["refused_by"]:
        lines.append(words["refused_by"].format(agents=", ".join(record["refused_by"])))
    return lines


def _appeal_lines(record: Mapping[str, Any], words: Mapping[str, str]) -> list[str]:
    lines = [
        words["agent_freed"].format(
            agent=record["chosen"],
            load=record["agent_load"],
            capacity=record["agent_capacity"],
            waiting=record["waiting_here"],
        )
    ]
    lines += [words["appeal_candidate"].format(**candidate) for candidate in record["candidates"]]
    return lines


def _lapse_lines(record: Mapping[str, Any], words: Mapping[str, str]) -> list[str]:
    return [words[record["state"]].format(agent=record["agent"], reason=record["reason"])]


def _rest(wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {"channel": wanted["channel"], "units": wanted["units"]}


def _waited(record: Mapping[str, Any]) -> str:
    seconds = max(record["at_us"] - record["since_us"], 0) // 1_000_000
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
