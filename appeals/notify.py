"""What has changed and who should know: handed to the queues after each commit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from appeals.appeal import Appeal


@dataclass(kw_only=True, slots=True)
class Changes:
    """What a committed transaction changed, by who must look at it."""

    recognise: list[UUID] = field(default_factory=list)  # envelopes whose words are in pictures
    classify: list[UUID] = field(default_factory=list)  # appeals that need a topic
    route_appeals: list[UUID] = field(default_factory=list)  # appeals the leader must read again
    route_agents: list[str] = field(default_factory=list)  # agents the leader must read again
    deliver: list[UUID] = field(default_factory=list)  # replies to send
    agent_messages: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)  # for agents' consoles

    def note(self, appeal: Appeal) -> None:
        """Let the leader and whoever holds the appeal read it again."""
        self.route_appeals.append(appeal.id)
        if appeal.agent_id is not None:
            self.agent_messages.append((appeal.agent_id, appeal_changed(appeal)))

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)


def appeal_changed(appeal: Appeal) -> dict[str, object]:
    """Return the agent queue's message that an appeal has changed: a console with an older version reads it again."""
    return {
        "type": "appeal_changed",
        "appeal_id": str(appeal.id),
        "version": appeal.version,
        "state": appeal.state.value,
    }


class Notifier(Protocol):
    """Tells the queues. Best effort: it never raises, the sweeper makes up for what is lost (P3)."""

    async def notify(self, changes: Changes) -> None:
        """Put what changed onto the streams and agent queues."""
        ...


class SilentNotifier:
    """For processes that have no queues (the CLI): the daemon's sweeper will find what changed."""

    async def notify(self, changes: Changes) -> None:
        """Say nothing."""
