"""The router's leader as one worker of the daemon."""

import asyncio
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from okno.bootstrap import Parts
from okno.operations import Check
from router.conditions import OfficeClock
from router.leader import Leader
from router.rules_source import RulesSource


@dataclass(slots=True)
class LeaderWorker:
    """Leads or stands by until stopped. What it holds is in the registry, so it may be cut off at any point."""

    leader: Leader
    parts: Parts
    _task: asyncio.Task[None] | None = None
    _stopped: bool = False

    async def run(self) -> None:
        """Lead or stand by until `stop`; a leader that stops gives its lease back."""
        if self._stopped:
            return
        self._task = asyncio.current_task()
        try:
            await self.leader.run()
        except asyncio.CancelledError:
            if not self._stopped:
                raise

    def stop(self) -> None:
        """Step down."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    def check(self) -> Check:
        """Tell how the router is."""
        health = self.leader.health()
        self.parts.metrics.leader.set(health.role == "leading")
        faults = "; ".join(fault.splitlines()[0] for fault in health.rules_faults)
        detail = f"{health.role}, {health.waiting} waiting, {health.agents_on_shift} agents on shift"
        if faults:
            detail += f", an edit of the rules was not taken: {faults}"
        if health.trouble:
            detail += f", {health.trouble}"
        return Check(name="router", ok=not (faults or health.trouble), detail=detail, required=False)


def make_leader(parts: Parts, *, holder: str) -> LeaderWorker:
    """Build the leader. Raises ConfigurationError with every fault of the rule file."""
    settings = parts.settings
    leader = Leader(
        parts.registry,
        parts.lifecycle,
        parts.queues,
        settings=settings.routing,
        rules=RulesSource(settings.routing.rules),
        office=OfficeClock(timezone=ZoneInfo(settings.office.timezone)),
        holder=holder,
        now=parts.registry.now,
        yield_to=parts.intake.is_pressed,
    )
    return LeaderWorker(leader, parts)
