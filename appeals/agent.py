"""The agent: capacity in units, skills with levels, languages, status."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from appeals.envelope import Channel

MIN_SKILL_LEVEL = 1
MAX_SKILL_LEVEL = 5


class Role(StrEnum):
    """What a user may do in the console."""

    AGENT = "agent"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"


class AgentStatus(StrEnum):
    """What an agent says of themselves; `offline` also when the last connection has been gone past its grace."""

    AVAILABLE = "available"
    AWAY = "away"
    BUSY = "busy"
    WRAP_UP = "wrap_up"
    OFFLINE = "offline"


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    """A person who answers appeals, as the registry holds them."""

    id: str  # the log-in name
    name: str
    role: Role = Role.AGENT
    capacity_units: int = 6
    skills: Mapping[str, int] = field(default_factory=dict)  # skill -> level 1..5
    languages: frozenset[str] = frozenset({"ru"})  # BCP 47
    channels: frozenset[Channel] = frozenset(Channel)  # may answer on these
    status: AgentStatus = AgentStatus.OFFLINE
    status_since: datetime | None = None
    active: bool = True  # False: kept for history, may not log in
