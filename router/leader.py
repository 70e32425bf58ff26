"""The shell around the core: wins the lease, leads while it is the newest, steps down at the first doubt."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from appeals.errors import OknoError, StaleLeaderError, TransientError
from appeals.lifecycle import Lifecycle
from appeals.lifecycle import RuleSet as RuleSetRecord
from appeals.registry import Registry
from config.settings import RoutingSettings
from queues.port import ROUTE, LeaseGrant, Queues
from queues.worker import gathering_pause_s, let_go_first
from router.conditions import OfficeClock
from router.policy import RouterPolicy
from router.rules_source import RulesSource
from router.session import LeaderSession
from router.state import RouterState, settle_memory

logger = structlog.get_logger(__name__)

LEASE = "router"
READ_COUNT = 200  # items a batch: one commit for all of them
STANDBY_POLL_S = 0.25  # how often a stand-by asks for the lease
FIRST_BACK_OFF_S = 0.1
MAX_BACK_OFF_S = 2.0
RENEWALS_PER_TTL = 3


class LeaseLostError(OknoError):
    """The lease ran out or is somebody else's. Stop leading at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterHealth:
    """How the router is, for /readyz and operators."""

    role: str  # stopped, standby, taking_over, leading
    token: int | None
    rule_set: str
    rules_faults: tuple[str, ...]  # of an edit that was not taken
    waiting: int
    offered: int
    assigned: int
    agents_on_shift: int
    hopeless: int  # waiting appeals that no agent could ever take
    left_out: int  # appeals that broke the core; see the log
    decided: int  # changes committed in this term
    trouble: str  # what the registry or the queues said last, "" if all is well


class Leader:
    """Runs as leader or stand-by, as many processes as you like: one of them leads."""

    def __init__(
        self,
        registry: Registry,
        lifecycle: Lifecycle,
        queues: Queues,
        *,
        settings: RoutingSettings,
        rules: RulesSource,
        office: OfficeClock,
        holder: str,
        seed: int = 0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        yield_to: Callable[[], bool] = lambda: False,
    ) -> None:
        self._registry = registry
        self._lifecycle = lifecycle
        self._queues = queues
        self._settings = settings
        self._rules = rules
        self._office = office
        self._holder = holder
        self._seed = seed
        self._now = now
        self._yield_to = yield_to
        self._role = "stopped"
        self._trouble = ""
        self._grant: LeaseGrant | None = None
        self._session: LeaderSession | None = None
        self._poisoned: dict[UUID, int] = {}

    async def run(self) -> None:
        """Lead or stand by until cancelled. Trouble of registry or queues is waited out, never raised."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_rules())
                tasks.create_task(self._run_terms())
        finally:
            self._role = "stopped"

    def health(self) -> RouterHealth:
        """Report from memory: no I/O."""
        session = self._session
        phases = [slot.phase for slot in session.state.appeals.values()] if session is not None else []
        agents = session.state.agents.values() if session is not None else ()
        return RouterHealth(
            role=self._role,
            token=self._grant.token if self._grant is not None else None,
            rule_set=self._rules.current.hash,
            rules_faults=self._rules.faults,
            waiting=phases.count("waiting"),
            offered=phases.count("offered"),
            assigned=phases.count("assigned"),
            agents_on_shift=sum(1 for slot in agents if slot.on_shift),
            hopeless=len(session.hopeless) if session is not None else 0,
            left_out=len(self._poisoned),
            decided=session.decided if session is not None else 0,
            trouble=self._trouble,
        )

    # ---- terms

    async def _run_terms(self) -> None:
        back_off_s = FIRST_BACK_OFF_S
        while True:
            try:
                self._role = "standby"
                grant = await self._campaign()
                await self._lead(grant)
            except* (LeaseLostError, StaleLeaderError) as group:
                self._stepped_down(group)
                back_off_s = FIRST_BACK_OFF_S
            except* TransientError as group:
                self._stepped_down(group)
                back_off_s = min(back_off_s * 2, MAX_BACK_OFF_S)
            await asyncio.sleep(back_off_s)

    async def _campaign(self) -> LeaseGrant:
        """Wait for the lease, and make its token the newest that the registry knows."""
        while True:
            known = await self._registry.fence(LEASE)
            grant = await self._queues.acquire_lease(
                LEASE, self._holder, ttl_s=self._settings.lease_ttl_s, at_least=known
            )
            self._trouble = ""
            if grant is not None:
                if await self._lifecycle.take_fence(LEASE, grant.token):
                    return grant
                await self._queues.release_lease(grant)
            await asyncio.sleep(STANDBY_POLL_S)

    async def _lead(self, grant: LeaseGrant) -> None:
        self._grant, self._role = grant, "taking_over"
        logger.info("router.took_over", token=grant.token)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._renew(grant))
                tasks.create_task(self._serve(grant))
        finally:
            self._grant = self._session = None
            self._role = "standby"
            await self._give_back(grant)

    async def _renew(self, grant: LeaseGrant) -> None:
        """Prolong the lease; LeaseLostError as soon as it may be somebody else's."""
        ttl_s = self._settings.lease_ttl_s
        loop = asyncio.get_running_loop()
        held_until = loop.time() + ttl_s
        while True:
            await asyncio.sleep(ttl_s / RENEWALS_PER_TTL)
            asked_at = loop.time()
            try:
                async with asyncio.timeout_at(held_until):
                    renewed = await self._queues.renew_lease(grant, ttl_s=ttl_s)
            except (TransientError, TimeoutError) as error:
                if loop.time() >= held_until:
                    raise LeaseLostError("the lease could not be renewed in time") from error
                self._trouble = str(error)
                continue
            if not renewed:
                raise LeaseLostError("the lease is no longer ours")
            held_until = asked_at + ttl_s

    async def _serve(self, grant: LeaseGrant) -> None:
        """Rebuild and follow the stream; after trouble, rebuild again: memory may know more than the registry."""
        back_off_s = FIRST_BACK_OFF_S
        while True:
            try:
                session = await self._rebuilt(grant)
                self._session, self._role, self._trouble = session, "leading", ""
                back_off_s = FIRST_BACK_OFF_S
                await self._follow(session)
            except TransientError as error:
                self._trouble = str(error)
                logger.warning("router.trouble", reason=str(error))
                await asyncio.sleep(max(back_off_s, error.retry_after_s or 0.0))
                back_off_s = min(back_off_s * 2, MAX_BACK_OFF_S)

    async def _rebuilt(self, grant: LeaseGrant) -> LeaderSession:
        await self._record_rules()
        await self._drop_orphaned_items()
        state = RouterState(
            self._rules.current, policy=RouterPolicy.of(self._settings), clock=self._office, seed=self._seed
        )
        session = LeaderSession(
            self._registry,
            self._lifecycle,
            self._queues,
            state=state,
            fence=grant.token,
            now=self._now,
            poisoned=self._poisoned,
            resync_interval_s=self._settings.resync_interval_s,
        )
        await session.rebuild()
        settle_memory()
        logger.info("router.rebuilt", token=grant.token, appeals=len(state.appeals), agents=len(state.agents))
        return session

    async def _follow(self, session: LeaderSession) -> None:
        """Step whenever there is news: at once after a pause, else with what has gathered since the last step."""
        while True:
            rules = self._rules.current
            if rules.hash != session.state.rules.hash:
                await self._record_rules()
                await session.change_rules(rules)
            items = await self._queues.read(
                ROUTE, consumer=self._holder, count=READ_COUNT, block_s=self._settings.tick_s
            )
            await session.step(items)
            if items:
                await self._queues.ack(ROUTE, [item.id for item in items])
            if 1 < len(items) < READ_COUNT:
                await asyncio.sleep(gathering_pause_s(len(items)))
            if len(items) > 1:
                await let_go_first(self._yield_to)

    async def _drop_orphaned_items(self) -> None:
        """Acknowledge what a leader before read and never finished: the snapshot read next tells it all anyway."""
        while items := await self._queues.claim(ROUTE, consumer=self._holder, idle_s=0.0, count=READ_COUNT):
            await self._queues.ack(ROUTE, [item.id for item in items])

    async def _record_rules(self) -> None:
        rules = self._rules.current
        await self._lifecycle.put_rule_set(
            RuleSetRecord(hash=rules.hash, text=rules.text, author=self._rules.author, source=rules.source)
        )

    async def _watch_rules(self) -> None:
        async for rules in self._rules.watch():
            logger.info("router.rules_changed", rule_set=rules.hash)

    async def _give_back(self, grant: LeaseGrant) -> None:
        try:
            await self._queues.release_lease(grant)
        except TransientError as error:
            logger.warning("router.lease_not_released", reason=str(error))  # it runs out by itself

    def _stepped_down(self, group: BaseExceptionGroup[OknoError]) -> None:
        reasons = "; ".join(str(error) for error in group.exceptions)
        self._trouble = reasons
        logger.warning("router.stepped_down", reason=reasons)
