import asyncio
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from appeals.agent import AgentStatus
from appeals.appeal import AppealState
from appeals.errors import StaleLeaderError
from appeals.offer import Offer
from queues.port import ROUTE, LeaseGrant
from queues.redis import RedisQueues
from router.leader import Leader
from tests.integration.router.conftest import Desk, eventually, open_desk
from tests.servers import RedisServer


async def test_appeal_reaches_an_agents_queue_with_a_record(desk: Desk):
    """A classified appeal is placed, offered, told to the agent's queue, and the decision is on record."""
    async with desk.leading(desk.leader()):
        await desk.join("anna")
        appeal = await desk.write(1)
        (offered,) = await desk.in_state(AppealState.OFFERED, 1)
        assert (offered.queue, offered.agent_id) == ("housing", "anna")

        async def told() -> list[dict[str, object]]:
            return await desk.messages("anna", "offer")

        (message,) = await eventually(told, what="the offer")
        assert message["appeal_id"] == str(appeal.id)
        assert message["number"] == appeal.number
        assert message["queue"] == "housing"
        (decision,) = await desk.registry.decisions(appeal.id)
        assert [part["kind"] for part in decision.record["decisions"]] == ["place", "offer"]
        await desk.lifecycle.accept_offer(UUID(str(message["offer_id"])), "anna")
        await desk.in_state(AppealState.ASSIGNED, 1)


async def test_decline_goes_to_another_agent_with_its_age(desk: Desk):
    """A declined appeal goes to someone else and keeps its age."""
    async with desk.leading(desk.leader()):
        await desk.join("anna")
        appeal = await desk.write(1)
        (offered,) = await desk.in_state(AppealState.OFFERED, 1)
        (offer,) = await desk.registry.pending_offers("anna")
        await desk.join("boris")
        await desk.lifecycle.decline_offer(offer.id, "anna", "not mine")

        async def with_boris() -> bool:
            return bool(await desk.registry.pending_offers("boris"))

        await eventually(with_boris, what="an offer to boris")
        now = await desk.registry.appeal(appeal.id)
        assert now.waiting_since == offered.waiting_since


async def test_offer_times_out_and_agent_goes_away(desk: Desk):
    """An offer nobody answers lapses; three in a row set the agent away, which they are told."""
    async with desk.leading(desk.leader(offer_timeout_s=0.1, timeout_delay_s=0.0)):
        await desk.join("anna", capacity_units=1)
        await desk.write(1)

        async def is_away() -> bool:
            return (await desk.registry.agent("anna")).status is AgentStatus.AWAY

        await eventually(is_away, what="anna to be away")

        async def told() -> list[dict[str, object]]:
            return await desk.messages("anna", "offer_gone")

        assert all(message["reason"] == "timed_out" for message in await eventually(told, what="offer_gone"))

        async def status_told() -> bool:
            return any(message["status"] == "away" for message in await desk.messages("anna", "status"))

        await eventually(status_told, what="the status message")
        await desk.in_state(AppealState.WAITING, 1)


async def test_lost_connection_takes_offers_back_after_grace(desk: Desk):
    """An agent whose connections are gone is offline after the grace; what was offered goes to others."""
    async with desk.leading(desk.leader(disconnect_grace_s=0.2)):
        await desk.join("anna")
        await desk.write(1)
        await desk.in_state(AppealState.OFFERED, 1)
        await desk.queues.leave("anna", "c1")
        await desk.in_state(AppealState.WAITING, 1)
        assert (await desk.registry.agent("anna")).status is AgentStatus.OFFLINE


async def test_doubled_lost_and_garbage_items_do_no_harm(desk: Desk):
    """Items are hints: doubled ones change nothing, garbage is dropped, unknown ids are ignored."""
    async with desk.leading(desk.leader()):
        await desk.join("anna")
        appeal = await desk.write(1)
        await desk.in_state(AppealState.OFFERED, 1)
        await desk.queues.add(
            ROUTE,
            [{"appeal_id": str(appeal.id)}] * 5
            + [{"appeal_id": "nonsense"}, {}, {"agent_id": "nobody"}, {"appeal_id": str(uuid4())}],
        )
        second = await desk.write(2)

        async def both() -> bool:
            return len(await desk.registry.pending_offers("anna")) == 2

        await eventually(both, what="the second offer")
        assert (await desk.registry.appeal(appeal.id)).version == 3
        assert (await desk.registry.appeal(second.id)).version == 3

        async def drained() -> bool:
            depth = await desk.queues.depth(ROUTE)
            return depth.waiting == depth.pending == 0

        await eventually(drained, what="an empty stream")


async def test_standby_takes_over_and_keeps_ages(desk: Desk):
    """When the leader dies without a word, a stand-by leads after the lease ran out; nothing is lost or doubled."""
    first, second = desk.leader("one"), desk.leader("two")
    task = asyncio.create_task(first.run())
    await desk.until_leading(first)
    await desk.join("anna", capacity_units=1)
    appeals = [await desk.write(number) for number in range(1, 4)]
    await desk.in_state(AppealState.OFFERED, 1)
    async with asyncio.TaskGroup() as group:
        standby = group.create_task(second.run())
        assert second.health().role in {"stopped", "standby"}
        await _kill(first, task)
        await desk.until_leading(second)
        (offer,) = await desk.registry.pending_offers("anna")
        await desk.lifecycle.accept_offer(offer.id, "anna")
        held = await desk.registry.appeal(offer.appeal_id)
        await desk.lifecycle.close(held.id, agent_id="anna", version=held.version, reason="done")
        (offered,) = await desk.in_state(AppealState.OFFERED, 1)
        assert offered.waiting_since in {appeal.waiting_since for appeal in appeals}
        standby.cancel()


async def _kill(leader: Leader, task: asyncio.Task[None]) -> None:
    """Stop a leader as kill -9 would: the lease stays, to run out by itself."""

    async def keep(grant: LeaseGrant) -> None:
        del grant

    leader._give_back = keep  # giving back is the one thing a killed process does not do
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_stale_leader_cannot_commit(desk: Desk):
    """A leader that believes it still leads is refused by its fencing token, and steps down."""
    leader = desk.leader()
    async with desk.leading(leader):
        await desk.join("anna")
        token = leader.health().token
        assert token is not None
        assert await desk.lifecycle.take_fence("router", token + 10)
        await desk.write(1)

        async def newer() -> bool:
            found = leader.health().token
            return found is not None and found > token + 10

        await eventually(newer, what="a newer token")
        await desk.in_state(AppealState.OFFERED, 1)
        with pytest.raises(StaleLeaderError):
            await desk.lifecycle.commit_routing([], [], fence=token)


async def test_everything_is_rebuilt_from_the_registry(desk: Desk):
    """Appeals that came while nobody led, and whose stream items were lost, are found in the registry (P3)."""
    await desk.join("anna", capacity_units=2)
    for number in range(1, 6):
        await desk.write(number, priority=10 * number)
    while items := await desk.queues.read(ROUTE, consumer="lost", block_s=0.0):
        await desk.queues.ack(ROUTE, [item.id for item in items])
    async with desk.leading(desk.leader()):
        offered = await desk.in_state(AppealState.OFFERED, 2)
        assert {appeal.priority for appeal in offered} == {40, 50}


async def test_rules_are_live_after_an_edit_and_not_after_a_bad_one(desk: Desk):
    """A valid edit routes the next appeal and is recorded; an invalid one changes nothing and is shown with its line."""
    leader = desk.leader()
    async with desk.leading(leader):
        before = leader.health().rule_set
        good = desk.rules_path.read_text()
        desk.rules_path.write_text(good.replace('topic.startsWith("housing.")', "topic.startsWith(3)"))

        async def refused() -> bool:
            return bool(leader.health().rules_faults)

        await eventually(refused, what="the refusal")
        assert ":9:27:" in leader.health().rules_faults[0]
        assert leader.health().rule_set == before
        desk.rules_path.write_text(good.replace("queue: triage\n", "queue: triage\n    priority: 77\n"))

        async def changed() -> bool:
            return leader.health().rule_set != before and not leader.health().rules_faults

        await eventually(changed, what="the new rules")

        async def recorded() -> bool:
            return await desk.registry.rule_set_text(leader.health().rule_set) is not None

        await eventually(recorded, what="the record")
        appeal = await desk.write(1, topic="unknown")

        async def placed() -> bool:
            return (await desk.registry.appeal(appeal.id)).queue == "triage"

        await eventually(placed, what="the placement")
        assert (await desk.registry.appeal(appeal.id)).priority == 77


async def test_flushall_on_redis_loses_nothing(tmp_path: Path, redis_url: str, redis_server: RedisServer):
    """FLUSHALL in the middle of work: the leader leads anew, rebuilds, and every appeal is offered, ages kept (P3)."""
    async with open_desk(tmp_path, RedisQueues(redis_url)) as desk:
        leader = desk.leader()
        async with desk.leading(leader):
            await desk.join("anna", capacity_units=2)
            appeals = [await desk.write(number) for number in range(1, 5)]
            await desk.in_state(AppealState.OFFERED, 2)
            redis_server.flushall()
            await desk.queues.beat("anna", "c1", ttl_s=60.0)
            ages = {appeal.id: appeal.waiting_since for appeal in appeals}
            for _ in range(4):

                async def offer() -> Offer | None:
                    found = await desk.registry.pending_offers("anna")
                    return found[0] if found else None

                taken = await eventually(offer, what="an offer")
                await desk.lifecycle.accept_offer(taken.id, "anna")
                held = await desk.registry.appeal(taken.appeal_id)
                assert held.waiting_since == ages.pop(held.id)
                await desk.lifecycle.close(held.id, agent_id="anna", version=held.version, reason="done")
            assert not ages
