"""The leader when things around it break: registry gone, queues gone, two leaders at once, an appeal that breaks it."""

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from appeals.appeal import AppealState
from appeals.offer import Offer
from appeals.routing import RoutingView
from queues.memory import MemoryQueues
from queues.redis import RedisQueues
from router.conditions import OfficeClock
from router.rule_model import RuleFile
from router.rules import PlacementTrace, RuleSet
from tests.integration.router.conftest import Desk, eventually, open_desk
from tests.servers import PostgresServer, RedisServer


async def take_all(desk: Desk, count: int) -> set[UUID]:
    """Accept and close what is offered to anna until `count` appeals are done; none may come twice."""
    done: set[UUID] = set()

    async def offer() -> Offer | None:
        return next(iter(await desk.registry.pending_offers("anna")), None)

    while len(done) < count:
        found = await eventually(offer, what="an offer")
        await desk.lifecycle.accept_offer(found.id, "anna")
        held = await desk.registry.appeal(found.appeal_id)
        assert held.id not in done
        await desk.lifecycle.close(held.id, agent_id="anna", version=held.version, reason="done")
        done.add(held.id)
    return done


async def test_registry_killed_and_restarted(tmp_path: Path, own_postgres_server: PostgresServer):
    """With the registry down the leader waits; when it is back, memory is rebuilt and all goes on."""
    url = own_postgres_server.create_database()
    async with open_desk(tmp_path, MemoryQueues(), url=url) as desk:
        leader = desk.leader(lease_ttl_s=5.0)
        async with desk.leading(leader):
            await desk.join("anna", capacity_units=1)
            appeals = [await desk.write(number) for number in range(1, 4)]
            await desk.in_state(AppealState.OFFERED, 1)
            own_postgres_server.kill()
            await desk.queues.add("route", [{"appeal_id": str(appeals[0].id)}])

            async def troubled() -> bool:
                return bool(leader.health().trouble)

            await eventually(troubled, what="the leader to notice")
            await asyncio.to_thread(own_postgres_server.restart)

            async def well() -> bool:
                return leader.health().role == "leading" and not leader.health().trouble

            await eventually(well, what="the leader to lead again")
            assert await take_all(desk, 3) == {appeal.id for appeal in appeals}


async def test_queues_killed_and_restarted(tmp_path: Path, own_redis_server: RedisServer):
    """With Redis killed the leader steps down or waits; when it is back, somebody leads and nothing is lost."""
    async with open_desk(tmp_path, RedisQueues(own_redis_server.url)) as desk:
        leader = desk.leader()
        async with desk.leading(leader):
            await desk.join("anna", capacity_units=1)
            appeals = [await desk.write(number) for number in range(1, 4)]
            await desk.in_state(AppealState.OFFERED, 1)
            own_redis_server.kill()

            async def troubled() -> bool:
                return leader.health().role != "leading" or bool(leader.health().trouble)

            await eventually(troubled, what="the leader to notice")
            await asyncio.to_thread(own_redis_server.restart)
            await desk.until_leading(leader)
            await desk.queues.beat("anna", "c1", ttl_s=60.0)
            assert await take_all(desk, 3) == {appeal.id for appeal in appeals}


async def test_two_leaders_at_once_decide_each_appeal_once(desk: Desk):
    """Two leaders on separate queues both believe they lead: the registry's fence lets only one commit at a time."""
    other = MemoryQueues()
    await other.start()
    second = desk.leader("two")
    second._queues = other  # a lease server of its own: what a network split looks like
    try:
        async with desk.leading(desk.leader("one")), desk.leading(second):
            await desk.join("anna", capacity_units=30)
            await other.beat("anna", "c1", ttl_s=60.0)
            appeals = [await desk.write(number) for number in range(1, 21)]
            await desk.in_state(AppealState.OFFERED, 20)
            offers = await desk.registry.pending_offers("anna")
            assert sorted(offer.appeal_id for offer in offers) == sorted(appeal.id for appeal in appeals)
            report = await desk.registry.check_history()
            assert report.faults == ()
    finally:
        await other.stop()


class BrittleRules(RuleSet):
    """Rules that break on one appeal, as a fault of ours might."""

    def place(self, view: RoutingView, clock: OfficeClock) -> PlacementTrace:
        if view.appeal.subject == "Appeal 2":
            raise RuntimeError("a fault of ours")
        return super().place(view, clock)


async def test_an_appeal_that_breaks_the_core_stops_nobody_else(desk: Desk):
    """One appeal that breaks the core is left out and shown; all others are routed (P4)."""
    leader = desk.leader()
    known = leader._rules.current
    model = RuleFile.model_validate(
        {
            "version": 1,
            "queues": {"housing": {"skills": {"housing": 1}}},
            "rules": [{"name": "all", "when": "true", "queue": "housing"}],
        }
    )
    leader._rules.current = BrittleRules(model, text=known.text, source=known.source)
    async with desk.leading(leader):
        await desk.join("anna")
        for number in range(1, 4):
            await desk.write(number)
        offered = await desk.in_state(AppealState.OFFERED, 2)
        assert {appeal.subject for appeal in offered} == {"Appeal 1", "Appeal 3"}
        assert leader.health().left_out == 1


async def test_waiting_appeals_keep_their_rules_over_a_restart(desk: Desk):
    """An appeal placed under an older rule set keeps its rule when a new leader knows the new file only."""
    async with desk.leading(desk.leader("one")) as leader:
        appeal = await desk.write(1)

        async def placed() -> bool:
            return (await desk.registry.appeal(appeal.id)).queue == "housing"

        await eventually(placed, what="the placement")
        old = leader.health().rule_set
    desk.rules_path.write_text(desk.rules_path.read_text().replace("queue: housing", "queue: triage"))
    async with desk.leading(desk.leader("two")) as leader:
        assert leader.health().rule_set != old
        await desk.join("anna")
        (offered,) = await desk.in_state(AppealState.OFFERED, 1)
        assert (offered.queue, offered.rule_set) == ("housing", old)


@pytest.mark.parametrize("number", [3])
async def test_standing_offers_are_told_again_on_take_over(desk: Desk, number: int):
    """A leader that died between commit and telling: the next one tells the offers that stand."""
    async with desk.leading(desk.leader("one")):
        await desk.join("anna", capacity_units=number)
        for one in range(number):
            await desk.write(one)
        await desk.in_state(AppealState.OFFERED, number)
    tail = await desk.queues.agent_queue_tail("anna")
    async with desk.leading(desk.leader("two")):

        async def told() -> bool:
            entries = await desk.queues.read_agent_queue("anna", after_id=tail, block_s=0.0)
            return len([entry for entry in entries if entry.message["type"] == "offer"]) == number

        await eventually(told, what="the offers to be told again")
