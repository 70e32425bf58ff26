"""kill -9 at random moments under load: nothing acknowledged is lost, nothing comes twice, everything finds its agent."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appeals.appeal import AppealState
from okno.exit_codes import EXIT_ERROR
from tests.acceptance.aftermath import check_all_with, check_history_is_whole, check_registered_exactly_once
from tests.acceptance.harness import DaemonEndedError, DaemonProcess, eventually
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
BETWEEN_STRIKES_S = (0.5, 4.0)
PAUSED_S = (1.0, 3.0)  # about as long as the leader's lease lives, or longer
MOMENT_TIMEOUT_S = 90.0
DRAIN_TIMEOUT_S = 240.0
QUICK: dict[str, Any] = {  # what an operator sets in tens of seconds, so that the test waits for none of it
    "queues": {"stale_after_s": 2.0, "sweep_interval_s": 0.5, "claim_idle_s": 2.0},
    "routing": {"lease_ttl_s": 1.5, "offer_timeout_s": 3600.0, "disconnect_grace_s": 60.0},
    "console": {"presence_ttl_s": 3.0, "log_in_attempts_per_minute": 1_000},
    "delivery": {"acknowledge": False},
}


def _dice(name: str) -> random.Random:
    return random.Random(f"{SEED}-{name}")  # noqa: S311 - no secret


async def _until_logged(daemon: DaemonProcess, event: str) -> None:
    """Wait for an event of its present life; start it again if it found a store away as it started (supervision)."""
    while True:
        try:
            await daemon.until_logged(event, timeout_s=MOMENT_TIMEOUT_S)
        except DaemonEndedError as error:
            if error.exit_code != EXIT_ERROR:
                raise
            daemon.start()
        else:
            return


async def _strike(
    daemon: DaemonProcess, *, moments: Sequence[str], kills: int, pauses: int, dice: random.Random
) -> None:
    """Kill and start the daemon again and again, each time a while after a random one of the events `moments`.

    Some strikes only let it stand still: if it led, another takes over, and it comes back believing that it leads.
    """
    strikes = ["kill"] * kills + ["pause"] * pauses
    dice.shuffle(strikes)
    for strike in strikes:
        await _until_logged(daemon, dice.choice(moments))
        await asyncio.sleep(dice.uniform(*PAUSE_S))  # the moment is random on purpose
        if strike == "kill":
            daemon.kill()
            daemon.start()
        else:
            daemon.pause()
            await asyncio.sleep(dice.uniform(*PAUSED_S))  # the length, too
            daemon.resume()
    await _until_logged(daemon, "daemon.running")


async def _strike_stores(redis: RedisServer, postgresql: PostgresServer, *, dice: random.Random) -> None:
    """Flush Redis, kill it, kill PostgreSQL, at random moments, in random order; each is back a while later."""
    strikes: list[RedisServer | PostgresServer | None] = [None] * FLUSHES + [redis, postgresql] * STORE_KILLS
    dice.shuffle(strikes)
    for store in strikes:
        await asyncio.sleep(dice.uniform(*BETWEEN_STRIKES_S))  # the moment is random on purpose
        if store is None:
            await asyncio.to_thread(redis.flushall)
            continue
        store.kill()
        await asyncio.sleep(dice.uniform(*OUTAGE_S))  # the length, too
        await asyncio.to_thread(store.restart)


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
    daemon = DaemonProcess(tmp_path, settings=QUICK)
    await daemon.add_agent(LOGIN)
    async with daemon, MailLoad(port=daemon.smtp_port, seed=SEED) as load, ResumingAgent(daemon.url, LOGIN) as agent:
        await _strike(daemon, moments=INTAKE_MOMENTS + CLASSIFIER_MOMENTS, kills=KILLS, pauses=0, dice=_dice("daemon"))
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
    """Two processes are killed and paused, Redis is flushed, Redis and PostgreSQL are killed, all at once, under load."""
    settings = {
        **QUICK,
        "registry": {"url": own_postgres_server.create_database()},
        "queues": {**QUICK["queues"], "url": own_redis_server.url},
    }
    front = DaemonProcess(tmp_path, settings=settings, roles=("intake", "console", "route"), name="front")
    back = DaemonProcess(tmp_path, settings=settings, roles=("classify", "route", "deliver"), name="back")
    await front.add_agent(LOGIN)
    async with front, back, MailLoad(port=front.smtp_port, seed=SEED) as load, ResumingAgent(front.url, LOGIN) as agent:
        async with asyncio.TaskGroup() as group:
            for daemon, moments in ((front, INTAKE_MOMENTS), (back, CLASSIFIER_MOMENTS)):
                dice = _dice(daemon.folder.name)
                group.create_task(_strike(daemon, moments=moments, kills=KILLS // 2, pauses=PAUSES, dice=dice))
            group.create_task(_strike_stores(own_redis_server, own_postgres_server, dice=_dice("stores")))
        await load.finish(timeout_s=DRAIN_TIMEOUT_S)
        await _until_all_assigned(front, agent)
        assert [await front.stop(), await back.stop()] == [0, 0]
        assert front.errors() + back.errors() == []
        assert "internal error" not in front.log() + back.log()
        assert len(load.accepted) == load.begun
        assert all("router.took_over" in daemon.log() for daemon in (front, back)), "each led for a time"
        assert len(agent.acknowledged) == len(set(agent.acknowledged))
        await _check_aftermath(front, load)
