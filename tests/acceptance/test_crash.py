"""kill -9 at random moments under load: nothing acknowledged is lost, nothing comes twice, everything finds its agent."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appeals.appeal import AppealState
from tests.acceptance.aftermath import check_all_with, check_history_is_whole, check_registered_exactly_once
from tests.acceptance.harness import DaemonProcess, eventually
from tests.acceptance.mail_load import MailLoad
from tests.acceptance.resuming_agent import ResumingAgent
from tests.servers import PostgresServer, RedisServer

SEED = 20_261_122
KILLS = 20
FLUSHES = 5  # of Redis
STORE_KILLS = 3  # of each
PAUSES = 2  # of each process
LOGIN = "anna"
INTAKE_MOMENTS = ("smtp.listening", "connector.message_registered", "console.connected")
CLASSIFIER_MOMENTS = ("daemon.running", "classifier.started", "classifier.appeals_classified")
PAUSE_S = (0.0, 0.5)
OUTAGE_S = (0.0, 2.0)
PAUSED_S = (1.0, 3.0)  # about as long as the leader's lease lives, or longer
MOMENT_TIMEOUT_S = 90.0
DRAIN_TIMEOUT_S = 240.0
QUICK: dict[str, Any] = {  # what an operator sets in tens of seconds, so that the test waits for none of it
    "queues": {"stale_after_s": 2.0, "sweep_interval_s": 0.5, "claim_idle_s": 2.0},
    "routing": {"lease_ttl_s": 1.5, "offer_timeout_s": 3600.0, "disconnect_grace_s": 60.0},
    "console": {"presence_ttl_s": 3.0},
    "delivery": {"acknowledge": False},
}


async def _kill_and_start(daemon: DaemonProcess, *, after: str, dice: random.Random) -> None:
    """Kill the daemon a while after its present life has logged the event `after`, and start the next one."""
    await daemon.until_logged(after, timeout_s=MOMENT_TIMEOUT_S)
    await asyncio.sleep(dice.uniform(*PAUSE_S))  # the moment of the crash is random on purpose
    daemon.kill()
    daemon.start()


async def _kill_and_start_store(
    store: RedisServer | PostgresServer, daemons: Sequence[DaemonProcess], *, dice: random.Random
) -> None:
    """Take a store away for a while from daemons that run: one that only starts would, rightly, refuse to."""
    for daemon in daemons:
        await daemon.until_running()
    await asyncio.sleep(dice.uniform(*PAUSE_S))  # the moment of the crash is random on purpose
    store.kill()
    await asyncio.sleep(dice.uniform(*OUTAGE_S))  # its length, too
    await asyncio.to_thread(store.restart)


async def _pause(daemon: DaemonProcess, *, dice: random.Random) -> None:
    """Stop a running daemon for a while: if it led, another takes over, and it comes back believing that it leads."""
    await daemon.until_running()
    await asyncio.sleep(dice.uniform(*PAUSE_S))  # the moment is random on purpose
    daemon.pause()
    await asyncio.sleep(dice.uniform(*PAUSED_S))  # the length, too
    daemon.resume()


async def _until_all_assigned(daemon: DaemonProcess, agent: ResumingAgent) -> None:
    async with daemon.registry() as registry:

        async def all_assigned() -> bool:
            agent.check()
            counts = await registry.count_by_state()
            return counts[AppealState.ASSIGNED] == sum(counts.values())

        await eventually(all_assigned, what="every appeal with the agent", timeout_s=DRAIN_TIMEOUT_S)


async def _check_aftermath(daemon: DaemonProcess, load: MailLoad) -> None:
    async with daemon.registry() as registry:
        await check_registered_exactly_once(registry, load.accepted)
        await check_all_with(registry, LOGIN)
        await check_history_is_whole(registry)


async def test_kill_minus_nine_of_the_one_process(tmp_path: Path):
    """On embedded defaults the daemon is killed and started again 20 times while 10 connections send mails."""
    dice = random.Random(SEED)  # noqa: S311 - no secret
    daemon = DaemonProcess(tmp_path, settings=QUICK)
    await daemon.add_agent(LOGIN)
    async with daemon, MailLoad(port=daemon.smtp_port, seed=SEED) as load, ResumingAgent(daemon.url, LOGIN) as agent:
        for _ in range(KILLS):
            await _kill_and_start(daemon, after=dice.choice(INTAKE_MOMENTS + CLASSIFIER_MOMENTS), dice=dice)
        await daemon.until_running()
        await load.finish(timeout_s=DRAIN_TIMEOUT_S)
        await _until_all_assigned(daemon, agent)
        assert await daemon.stop() == 0
        assert daemon.errors() == []
        assert len(load.accepted) == load.begun
        assert load.broken_off, "some mails were in hand when the daemon was killed"
        assert agent.connections > 1
        assert len(agent.acknowledged) == len(set(agent.acknowledged))
        await _check_aftermath(daemon, load)


async def test_kill_minus_nine_of_two_processes_and_their_stores(
    tmp_path: Path, own_postgres_server: PostgresServer, own_redis_server: RedisServer
):
    """Two processes are killed and paused, Redis is flushed, Redis and PostgreSQL are killed, in any order, under load."""
    dice = random.Random(SEED)  # noqa: S311 - no secret
    settings = {
        **QUICK,
        "registry": {"url": own_postgres_server.create_database()},
        "queues": {**QUICK["queues"], "url": own_redis_server.url},
    }
    front = DaemonProcess(tmp_path, settings=settings, roles=("intake", "console", "route"), name="front")
    back = DaemonProcess(tmp_path, settings=settings, roles=("classify", "route", "deliver"), name="back")
    await front.add_agent(LOGIN)
    accidents = [
        *["front", "back"] * (KILLS // 2),
        *["flush"] * FLUSHES,
        *["redis", "postgresql"] * STORE_KILLS,
        *["pause front", "pause back"] * PAUSES,
    ]
    dice.shuffle(accidents)
    async with front, back, MailLoad(port=front.smtp_port, seed=SEED) as load, ResumingAgent(front.url, LOGIN) as agent:
        for accident in accidents:
            match accident:
                case "front":
                    await _kill_and_start(front, after=dice.choice(INTAKE_MOMENTS), dice=dice)
                case "back":
                    await _kill_and_start(back, after=dice.choice(CLASSIFIER_MOMENTS), dice=dice)
                case "pause front":
                    await _pause(front, dice=dice)
                case "pause back":
                    await _pause(back, dice=dice)
                case "flush":
                    await asyncio.sleep(dice.uniform(*PAUSE_S))  # at a random moment on purpose
                    own_redis_server.flushall()
                case "redis":
                    await _kill_and_start_store(own_redis_server, (front, back), dice=dice)
                case "postgresql":
                    await _kill_and_start_store(own_postgres_server, (front, back), dice=dice)
        for daemon in (front, back):
            await daemon.until_running()
        await load.finish(timeout_s=DRAIN_TIMEOUT_S)
        await _until_all_assigned(front, agent)
        assert [await front.stop(), await back.stop()] == [0, 0]
        assert front.errors() + back.errors() == []
        assert len(load.accepted) == load.begun
        assert all("router.took_over" in daemon.log() for daemon in (front, back)), "each led for a time"
        assert len(agent.acknowledged) == len(set(agent.acknowledged))
        await _check_aftermath(front, load)
