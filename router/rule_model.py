"""The form of `routing.yaml`: what an admin may write. Meaning is given to it by `rules.py`."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from appeals.agent import MAX_SKILL_LEVEL, MIN_SKILL_LEVEL
from appeals.envelope import Channel

_DURATION = re.compile(r"^(?:\d+(?:ms|s|m|h|d))+$")
_DURATION_PART = re.compile(r"(\d+)(ms|s|m|h|d)")
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NAME = r"^[a-z][a-z0-9_.-]{0,62}$"


def parse_duration(text: object) -> timedelta:
    """Return the time that a text such as `10m`, `1h30m` or `2d` stands for. Raises ValueError."""
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not _DURATION.match(text):
        raise ValueError("must be a duration such as 30s, 10m, 4h, 1h30m or 2d")
    try:
        return timedelta(milliseconds=sum(int(n) * _UNITS_MS[unit] for n, unit in _DURATION_PART.findall(text)))
    except OverflowError as error:
        raise ValueError("is longer than any wait could be") from error


def _positive(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return duration


def _in_seconds(duration: timedelta) -> float:
    return duration.total_seconds()


Duration = Annotated[
    timedelta,
    BeforeValidator(lambda text: _positive(parse_duration(text))),
    PlainSerializer(_in_seconds, return_type=float),
]
SkillLevel = Annotated[int, Field(strict=True, ge=MIN_SKILL_LEVEL, le=MAX_SKILL_LEVEL)]
Name = Annotated[str, Field(pattern=_NAME)]
Preference = Literal["last_agent", "load", "idle", "proficiency"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class ServiceLevel(_Part):
    """What share of a queue's appeals an agent should take within what time."""

    within: Duration
    target: float = Field(gt=0, le=1)


class QueueModel(_Part):
    """A queue: the skills its appeals need where a rule's step says nothing else."""

    skills: dict[Name, SkillLevel] = Field(default_factory=dict)
    service_level: ServiceLevel | None = None


class StepModel(_Part):
    """One stage of a rule: who may be offered the appeal from then on, beside those of the stages before."""

    for_: Duration | None = Field(default=None, alias="for")  # None: until an agent takes it
    skills: dict[Name, SkillLevel | Literal["appeal"]] | None = None  # None: the queue's
    prefer: tuple[Preference, ...] = ()
    supervisor: Literal["notify"] | None = None


class RuleModel(_Part):
    """One rule: the first whose condition is true decides."""

    name: str = Field(min_length=1, max_length=120)
    when: str
    priority: int | None = Field(default=None, strict=True, ge=0, le=100)  # None: the classifier's
    queue: Name
    steps: tuple[StepModel, ...] = ()


class AgeingModel(_Part):
    """How waiting and priority are measured on one scale."""

    priority_point: Duration = timedelta(minutes=10)


class RuleFile(_Part):
    """A whole `routing.yaml`."""

    version: Literal[1]
    queues: dict[Name, QueueModel] = Field(min_length=1)
    weights: dict[Channel, Annotated[int, Field(strict=True, ge=1, le=100)]] = Field(default_factory=dict)
    ageing: AgeingModel = AgeingModel()
    rules: tuple[RuleModel, ...] = Field(min_length=1)
