"""Who may see what: one place for it. Who may change what is the lifecycle's to say, in its transaction."""

from http import HTTPStatus

from agent_console.problems import ProblemError
from appeals.agent import Agent, Role
from appeals.appeal import Appeal, AppealState

OPEN_TO_ALL = frozenset({AppealState.REGISTERED, AppealState.WAITING})  # nobody's yet
OVERSEERS = frozenset({Role.SUPERVISOR, Role.ADMIN})


def oversees(agent: Agent) -> bool:
    """Tell whether the agent may see every appeal."""
    return agent.role in OVERSEERS


def may_see(agent: Agent, appeal: Appeal) -> bool:
    """Tell whether the agent may read the appeal: it is theirs, or waits for anybody, or they oversee all."""
    return oversees(agent) or appeal.agent_id == agent.id or appeal.state in OPEN_TO_ALL


def check_may_see(agent: Agent, appeal: Appeal) -> None:
    """Raise ProblemError 403 unless the agent may read the appeal."""
    if not may_see(agent, appeal):
        raise ProblemError(HTTPStatus.FORBIDDEN, "forbidden")
