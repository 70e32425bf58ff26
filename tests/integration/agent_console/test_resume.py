"""Resuming: a console that comes back misses nothing, in order, whenever and however it was cut off."""

import asyncio
import random
from typing import Any
from uuid import uuid4

import pytest

MESSAGES = 60


def numbered(place: int) -> dict[str, object]:
    """Return a queue message that can be told apart."""
    return {"type": "appeal_changed", "appeal_id": str(uuid4()), "version": place, "state": "assigned"}


async def push(site: Any, *, rng: random.Random) -> None:
    """Push all messages in uneven lots, letting the consoles run in between."""
    place = 0
    while place < MESSAGES:
        lot = min(rng.randint(1, 7), MESSAGES - place)
        await site.queues.push([("ivanova", numbered(number)) for number in range(place, place + lot)])
        place += lot
        for _ in range(rng.randint(0, 5)):
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(8))
async def test_a_console_cut_off_at_random_points_gets_every_message_once_in_order(site: Any, seed: int) -> None:
    """Property over random cuts: the versions seen over all connections are exactly 0..n-1, each after each."""
    rng = random.Random(seed)  # noqa: S311 - cuts, not secrets
    client = await site.logged_in("ivanova")
    console, welcome = await site.console_of("ivanova", client=client)
    after_id = welcome["snapshot"]["tail_id"]
    pushing = asyncio.create_task(push(site, rng=rng))
    versions: list[int] = []
    while len(versions) < MESSAGES:
        for _ in range(min(rng.randint(0, 12), MESSAGES - len(versions))):
            message = await console.receive()
            versions.append(message["version"])
            after_id = message["id"]
        if rng.random() < 0.5:
            await console.socket.close()
        else:
            console.socket._response.connection.transport.abort()  # a cable pulled
        console, welcome = await site.console_of("ivanova", after_id=after_id, client=client)
        assert welcome["resume_gap"] is False
    await pushing
    assert versions == list(range(MESSAGES))


async def test_an_id_of_another_life_is_a_gap(site: Any) -> None:
    """Ids from before a restart, or made up, get resume_gap and live messages, never an error."""
    client = await site.logged_in("ivanova")
    for after_id in ("garbage", "deadbeef.1-0", "0-0", "999999999999.1-1", "\u0000", "'; DROP"):
        console, welcome = await site.console_of("ivanova", after_id=after_id, client=client)
        assert welcome["resume_gap"] is True, after_id
        await site.queues.push([("ivanova", numbered(1))])
        assert (await console.receive())["version"] == 1


async def test_a_console_that_is_too_far_behind_is_told_so(site: Any) -> None:
    """The queue keeps 1,000: after 1,100 missed messages the snapshot is all there is."""
    console, _ = await site.console_of("ivanova")
    await site.queues.push([("ivanova", numbered(0))])
    await console.receive()
    after_id = console.last_id
    await console.socket.close()
    await site.queues.push([("ivanova", numbered(number)) for number in range(1, 1101)])
    _, welcome = await site.console_of("ivanova", after_id=after_id)
    assert welcome["resume_gap"] is True


async def test_a_burst_that_overruns_the_queue_sends_a_fresh_snapshot(site: Any) -> None:
    """A live console from under which messages were trimmed gets `snapshot`, and goes on live after it."""
    console, _ = await site.console_of("ivanova")
    await site.queues.push([("ivanova", numbered(number)) for number in range(1500)])
    fresh = await console.until(lambda message: message["type"] == "snapshot")
    assert fresh["snapshot"]["agent"]["id"] == "ivanova"
    await site.queues.push([("ivanova", numbered(9999))])
    await console.until(lambda message: message.get("version") == 9999)


async def test_every_tab_gets_everything(site: Any) -> None:
    """Three tabs of one agent see the same messages with the same ids."""
    client = await site.logged_in("ivanova")
    tabs = [(await site.console_of("ivanova", client=client))[0] for _ in range(3)]
    await site.queues.push([("ivanova", numbered(number)) for number in range(5)])
    for tab in tabs:
        await tab.until(lambda message: message["version"] == 4)
    assert tabs[0].seen == tabs[1].seen == tabs[2].seen


async def test_a_message_nobody_knows_becomes_a_snapshot(site: Any) -> None:
    """A queue entry of a newer version does not stop the console: it gets the whole picture and goes on."""
    console, _ = await site.console_of("ivanova")
    await site.queues.push([("ivanova", {"type": "from_the_future", "x": 1})])
    await console.until(lambda message: message["type"] == "snapshot")
    await site.queues.push([("ivanova", numbered(7))])
    await console.until(lambda message: message.get("version") == 7)


async def test_nothing_between_snapshot_and_tail_is_lost(site: Any) -> None:
    """Offers made while consoles connect are in the snapshot, or come after it, or both: never in neither."""
    appeals = [await site.register(subject=f"Обращение {number}") for number in range(6)]
    client = await site.logged_in("ivanova")

    async def offer_all() -> set[str]:
        return {str(await site.offer("ivanova", appeal)) for appeal in appeals}

    offering = asyncio.create_task(offer_all())
    consoles = [await site.console_of("ivanova", client=client) for _ in range(4)]
    made = await offering
    for console, welcome in consoles:
        known = {offer["offer_id"] for offer in welcome["snapshot"]["offers"]}
        while not made <= known:
            message = await console.receive()
            known.add(message["offer_id"])


async def test_presence_begins_with_the_console_and_ends_with_its_goodbye(site: Any, poll: Any) -> None:
    """An agent is present while one of their consoles lives."""
    first, _ = await site.console_of("ivanova")
    second, _ = await site.console_of("ivanova")

    async def present() -> bool:
        return "ivanova" in await site.queues.present()

    async def absent() -> bool:
        return not await present()

    await poll(present)
    await first.socket.close()
    await second.command("ping")
    assert await present()
    await second.socket.close()
    await poll(absent)


async def test_a_lost_connection_stays_present_until_its_time_is_up(site: Any, poll: Any) -> None:
    """A pulled cable is no goodbye: the presence lasts for its ttl, so that a reconnect is in time."""
    console, _ = await site.console_of("ivanova")
    console.socket._response.connection.transport.abort()

    async def dropped() -> bool:
        return len(site.console.sockets) == 0

    await poll(dropped)
    assert "ivanova" in await site.queues.present()
