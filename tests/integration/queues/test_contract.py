"""Both backends of the queues keep the port's promises: the same tests over memory and a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from appeals.errors import TransientError
from queues.memory import MemoryQueues
from queues.port import Queues
from queues.redis import RedisQueues

SHORT_S = 0.05  # for waits that end empty
AGED_S = 0.3  # after which an untouched item counts as left behind; far longer than one touch and claim take
LONG_S = 10.0  # for waits that are ended by what they wait for
STREAM = "classify"


@pytest.fixture(params=["memory", "redis"])
async def queues(request: pytest.FixtureRequest) -> AsyncIterator[Queues]:
    backend: Queues = MemoryQueues() if request.param == "memory" else RedisQueues(request.getfixturevalue("redis_url"))
    await backend.start()
    yield backend
    await backend.stop()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll until it holds; fail after LONG_S seconds."""
    async with asyncio.timeout(LONG_S):
        while not await condition():
            await asyncio.sleep(0.005)


def items(*names: str) -> list[dict[str, str]]:
    return [{"appeal_id": name} for name in names]


# ---- work streams


async def test_items_come_in_order_with_their_fields(queues: Queues) -> None:
    """What was added is handed out in order, on the first try, with distinct ordered ids."""
    await queues.add(STREAM, [{"appeal_id": "1", "text": "Отопление"}, {"appeal_id": "2"}])
    got = await queues.read(STREAM, consumer="a", block_s=0)
    assert [dict(item.fields) for item in got] == [{"appeal_id": "1", "text": "Отопление"}, {"appeal_id": "2"}]
    assert [item.tries for item in got] == [1, 1]
    assert len({item.id for item in got}) == 2


async def test_adding_nothing_and_acknowledging_nothing_is_harmless(queues: Queues) -> None:
    """Empty sequences are no error and leave nothing."""
    await queues.add(STREAM, [])
    await queues.ack(STREAM, [])
    assert await queues.push([]) == []
    assert (await queues.depth(STREAM)).waiting == 0


async def test_reading_an_empty_stream_returns_nothing(queues: Queues) -> None:
    """Neither a blocking nor a non-blocking read of an empty stream fails."""
    assert await queues.read(STREAM, consumer="a", block_s=0) == []
    assert await queues.read(STREAM, consumer="a", block_s=SHORT_S) == []


async def test_count_bounds_a_read(queues: Queues) -> None:
    """No more than `count` items are handed out at once."""
    await queues.add(STREAM, items("1", "2", "3"))
    assert len(await queues.read(STREAM, consumer="a", count=2, block_s=0)) == 2
    assert len(await queues.read(STREAM, consumer="a", count=2, block_s=0)) == 1


async def test_two_consumers_share_a_stream(queues: Queues) -> None:
    """Each item goes to one consumer only, and together they get all."""
    await queues.add(STREAM, items(*map(str, range(20))))
    first = await queues.read(STREAM, consumer="a", count=7, block_s=0)
    second = await queues.read(STREAM, consumer="b", count=50, block_s=0)
    assert [item.fields["appeal_id"] for item in (*first, *second)] == list(map(str, range(20)))


async def test_streams_are_separate(queues: Queues) -> None:
    """An item of one stream is not seen on another."""
    await queues.add("deliver", [{"reply_id": "1"}])
    assert await queues.read(STREAM, consumer="a", block_s=0) == []


async def test_depth_counts_waiting_and_pending(queues: Queues) -> None:
    """Added: waiting. Handed out: pending. Acknowledged: gone."""
    empty = await queues.depth(STREAM)
    assert (empty.waiting, empty.pending) == (0, 0)
    await queues.add(STREAM, items("1", "2", "3"))
    added = await queues.depth(STREAM)
    assert (added.waiting, added.pending) == (3, 0)
    got = await queues.read(STREAM, consumer="a", count=2, block_s=0)
    handed = await queues.depth(STREAM)
    assert (handed.waiting, handed.pending) == (1, 2)
    await queues.ack(STREAM, [item.id for item in got])
    acknowledged = await queues.depth(STREAM)
    assert (acknowledged.waiting, acknowledged.pending) == (1, 0)


async def test_a_blocked_read_wakes_up_at_add(queues: Queues) -> None:
    """A consumer that waits gets an item as soon as it is added, well before its wait is over."""
    waiting = asyncio.create_task(queues.read(STREAM, consumer="a", block_s=LONG_S))
    await asyncio.sleep(0)
    await queues.add(STREAM, items("1"))
    async with asyncio.timeout(LONG_S / 2):
        got = await waiting
    assert [item.fields["appeal_id"] for item in got] == ["1"]


async def test_two_blocked_consumers_never_share_an_item(queues: Queues) -> None:
    """Of two that wait, one gets the item, and the other waits on."""
    readers = [asyncio.create_task(queues.read(STREAM, consumer=name, block_s=LONG_S)) for name in "ab"]
    await asyncio.sleep(0)
    await queues.add(STREAM, items("1"))
    done, waiting = await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(waiting)) == (1, 1)
    await queues.add(STREAM, items("2"))
    got = [item.fields["appeal_id"] for reader in readers for item in await reader]
    assert sorted(got) == ["1", "2"]


async def test_acknowledged_items_are_not_claimed(queues: Queues) -> None:
    """What is done is never handed out again."""
    await queues.add(STREAM, items("1"))
    got = await queues.read(STREAM, consumer="a", block_s=0)
    await queues.ack(STREAM, [got[0].id])
    await queues.ack(STREAM, [got[0].id])
    assert await queues.claim(STREAM, consumer="b", idle_s=0) == []


async def test_items_of_a_dead_worker_are_claimed_with_their_tries(queues: Queues) -> None:
    """Each hand-out counts as a try, and fields and ids stay the same."""
    await queues.add(STREAM, items("1", "2"))
    first = await queues.read(STREAM, consumer="dead", block_s=0)
    second = await queues.claim(STREAM, consumer="b", idle_s=0)
    assert [(item.id, dict(item.fields)) for item in second] == [(item.id, dict(item.fields)) for item in first]
    assert [item.tries for item in second] == [2, 2]
    third = await queues.claim(STREAM, consumer="c", idle_s=0, count=1)
    assert [(item.id, item.tries) for item in third] == [(first[0].id, 3)]


async def test_fresh_items_are_not_claimed(queues: Queues) -> None:
    """An item that was handed out just now is left with its worker; a claim of it renews its age."""
    await queues.add(STREAM, items("1"))
    await queues.read(STREAM, consumer="a", block_s=0)
    assert await queues.claim(STREAM, consumer="b", idle_s=LONG_S) == []

    async def claimed() -> bool:
        return bool(await queues.claim(STREAM, consumer="b", idle_s=SHORT_S))

    await eventually(claimed)
    assert await queues.claim(STREAM, consumer="c", idle_s=LONG_S) == []


async def test_claiming_from_a_stream_nobody_knows_returns_nothing(queues: Queues) -> None:
    """No stream, no group: nothing to claim."""
    assert await queues.claim("route", consumer="a", idle_s=0) == []
    await queues.add("route", items("1"))
    assert await queues.claim("route", consumer="a", idle_s=0) == []


async def test_touched_items_stay_and_hide_no_older_ones(queues: Queues) -> None:
    """Items shown to be worked on are not claimed and spend no try; one left alone behind hundreds of them is found."""
    await queues.add(STREAM, items(*map(str, range(300))))
    *busy, left = await queues.read(STREAM, consumer="a", count=300, block_s=0)
    found = []

    async def claimed() -> bool:
        await queues.touch(STREAM, [item.id for item in busy], consumer="a")
        found.extend(await queues.claim(STREAM, consumer="b", idle_s=AGED_S, count=1))
        return bool(found)

    await eventually(claimed)
    assert [(item.id, item.tries) for item in found] == [(left.id, 2)]
    assert [item.tries for item in await queues.claim(STREAM, consumer="b", idle_s=0, count=1)] == [2]


async def test_touching_what_is_done_does_not_bring_it_back(queues: Queues) -> None:
    """An acknowledged item is not made pending again."""
    await queues.add(STREAM, items("1"))
    got = await queues.read(STREAM, consumer="a", block_s=0)
    await queues.ack(STREAM, [got[0].id])
    await queues.touch(STREAM, [got[0].id], consumer="a")
    depth = await queues.depth(STREAM)
    assert (depth.waiting, depth.pending) == (0, 0)


# ---- agent queues


async def test_a_console_resumes_after_the_id_it_saw(queues: Queues) -> None:
    """Reading after an id returns exactly the later messages, as they were pushed."""
    ids = await queues.push([("anna", {"n": n, "text": "да"}) for n in range(5)])
    entries = await queues.read_agent_queue("anna", after_id=ids[1], block_s=0)
    assert [entry.id for entry in entries] == ids[2:]
    assert [dict(entry.message) for entry in entries] == [{"n": n, "text": "да"} for n in (2, 3, 4)]
    assert len(await queues.read_agent_queue("anna", after_id="0", count=2, block_s=0)) == 2
    assert await queues.read_agent_queue("anna", after_id=ids[-1], block_s=0) == []


async def test_agents_read_their_own_queue(queues: Queues) -> None:
    """One push reaches several agents, each theirs; every console of one agent reads all of it."""
    await queues.push([("anna", {"n": 1}), ("boris", {"n": 2}), ("anna", {"n": 3})])
    for _ in range(2):
        anna = await queues.read_agent_queue("anna", after_id="0", block_s=0)
        assert [entry.message["n"] for entry in anna] == [1, 3]
    boris = await queues.read_agent_queue("boris", after_id="0", block_s=0)
    assert [entry.message["n"] for entry in boris] == [2]


async def test_a_waiting_console_wakes_up_at_push(queues: Queues) -> None:
    """A blocked read returns the message that is pushed, from an empty queue too."""
    tail = await queues.agent_queue_tail("anna")
    waiting = asyncio.create_task(queues.read_agent_queue("anna", after_id=tail, block_s=LONG_S))
    await asyncio.sleep(0)
    ids = await queues.push([("anna", {"n": 1})])
    async with asyncio.timeout(LONG_S / 2):
        assert [entry.id for entry in await waiting] == ids


async def test_dollar_reads_only_what_comes_from_now_on(queues: Queues) -> None:
    """Old messages are not returned for "$"."""
    await queues.push([("anna", {"n": 1})])
    assert await queues.read_agent_queue("anna", after_id="$", block_s=SHORT_S) == []


async def test_the_tail_is_the_newest_entry(queues: Queues) -> None:
    """What is read after the tail is what was pushed after it was taken."""
    assert await queues.agent_queue_tail("anna") == await queues.agent_queue_tail("anna")
    ids = await queues.push([("anna", {"n": 1})])
    assert await queues.agent_queue_tail("anna") == ids[0]
    assert not await queues.agent_queue_has_gap("anna", ids[0])


async def test_no_gap_while_everything_is_kept(queues: Queues) -> None:
    """Neither a fresh queue nor ids of kept entries have a gap."""
    before = await queues.agent_queue_tail("anna")
    assert not await queues.agent_queue_has_gap("anna", before)
    assert not await queues.agent_queue_has_gap("anna", "0")
    ids = await queues.push([("anna", {"n": n}) for n in range(3)])
    for seen in (before, "0", "$", *ids):
        assert not await queues.agent_queue_has_gap("anna", seen)


async def test_a_trimmed_queue_has_a_gap(queues: Queues) -> None:
    """Who is more than the kept 1,000 entries behind is told so; who is not, is not."""
    ids = []
    for start in range(0, 2000, 500):
        ids += await queues.push([("anna", {"n": n}) for n in range(start, start + 500)])
    kept = await queues.read_agent_queue("anna", after_id="0", count=5000, block_s=0)
    assert 1000 <= len(kept) <= 1200
    assert [entry.id for entry in kept] == ids[-len(kept) :]
    assert await queues.agent_queue_has_gap("anna", "0")
    assert await queues.agent_queue_has_gap("anna", ids[0])
    assert not await queues.agent_queue_has_gap("anna", ids[-1000])
    assert not await queues.agent_queue_has_gap("anna", ids[-1])


@pytest.mark.parametrize(
    "bad", ["", "garbage", "deadbeef.1-0", "1-0", "deadbeef.99999999999999999999-0", "-", "(0", "\x00", "deadbeef.١-0"]
)
async def test_an_id_we_never_gave_is_a_gap_and_reads_all(queues: Queues, bad: str) -> None:
    """Consoles send ids back, so any text may come: it counts as a gap, and reading starts with the oldest."""
    ids = await queues.push([("anna", {"n": 1})])
    assert await queues.agent_queue_has_gap("anna", bad)
    entries = await queues.read_agent_queue("anna", after_id=bad, block_s=0)
    assert [entry.id for entry in entries] == ids


# ---- presence


async def test_an_agent_is_present_while_one_connection_beats(queues: Queues) -> None:
    """Two tabs: closing one leaves the agent present, closing both does not."""
    assert await queues.present() == frozenset()
    await queues.beat("anna", "tab 1", ttl_s=LONG_S)
    await queues.beat("anna", "tab 2", ttl_s=LONG_S)
    await queues.beat("boris", "tab 1", ttl_s=LONG_S)
    assert await queues.present() == {"anna", "boris"}
    await queues.leave("anna", "tab 1")
    assert await queues.present() == {"anna", "boris"}
    await queues.leave("anna", "tab 2")
    await queues.leave("anna", "never was")
    assert await queues.present() == {"boris"}


async def test_presence_expires_without_a_beat(queues: Queues) -> None:
    """A connection that stops beating is forgotten; another beat prolongs."""
    await queues.beat("anna", "tab", ttl_s=SHORT_S)
    await queues.beat("boris", "tab", ttl_s=SHORT_S)
    await queues.beat("boris", "tab", ttl_s=LONG_S)

    async def only_boris() -> bool:
        return await queues.present() == {"boris"}

    await eventually(only_boris)


# ---- lease


async def test_one_holder_at_a_time(queues: Queues) -> None:
    """A held lease cannot be won, by nobody; a released one can, with a greater token."""
    first = await queues.acquire_lease("router", "a", ttl_s=LONG_S, at_least=0)
    assert first is not None
    assert await queues.acquire_lease("router", "b", ttl_s=LONG_S, at_least=0) is None
    assert await queues.acquire_lease("router", "a", ttl_s=LONG_S, at_least=0) is None
    assert await queues.renew_lease(first, ttl_s=LONG_S)
    await queues.release_lease(first)
    second = await queues.acquire_lease("router", "b", ttl_s=LONG_S, at_least=0)
    assert second is not None
    assert second.holder == "b"
    assert second.token > first.token


async def test_leases_of_other_names_are_separate(queues: Queues) -> None:
    """Two leases may be held at once."""
    assert await queues.acquire_lease("router", "a", ttl_s=LONG_S, at_least=0)
    assert await queues.acquire_lease("sweeper", "b", ttl_s=LONG_S, at_least=0)


async def test_an_expired_lease_is_lost_for_good(queues: Queues) -> None:
    """After its time another wins it; the old holder can neither renew nor release it."""
    first = await queues.acquire_lease("router", "a", ttl_s=SHORT_S, at_least=0)
    assert first is not None
    won = []

    async def acquired() -> bool:
        grant = await queues.acquire_lease("router", "b", ttl_s=LONG_S, at_least=0)
        won.append(grant)
        return grant is not None

    await eventually(acquired)
    assert won[-1] is not None
    assert won[-1].token > first.token
    assert not await queues.renew_lease(first, ttl_s=LONG_S)
    await queues.release_lease(first)
    assert await queues.renew_lease(won[-1], ttl_s=LONG_S)


async def test_the_token_exceeds_what_the_registry_knows(queues: Queues) -> None:
    """`at_least` is the registry's fence: a backend that forgot its tokens still grants a newer one."""
    grant = await queues.acquire_lease("router", "a", ttl_s=LONG_S, at_least=41)
    assert grant is not None
    assert grant.token == 42
    await queues.release_lease(grant)
    again = await queues.acquire_lease("router", "a", ttl_s=LONG_S, at_least=7)
    assert again is not None
    assert again.token == 43


# ---- life


async def test_ping_answers(queues: Queues) -> None:
    """A backend that is there does not complain."""
    await queues.ping()


async def test_stop_sends_blocked_readers_home(queues: Queues) -> None:
    """Readers that wait return nothing when the queues stop; a later read is refused as transient."""
    await queues.read(STREAM, consumer="a", block_s=0)
    readers = [
        asyncio.create_task(queues.read(STREAM, consumer="a", block_s=LONG_S)),
        asyncio.create_task(queues.read_agent_queue("anna", after_id="0", block_s=LONG_S)),
    ]
    await asyncio.sleep(0)
    await queues.stop()
    async with asyncio.timeout(LONG_S / 2):
        assert [list(await reader) for reader in readers] == [[], []]
    with pytest.raises(TransientError):
        await queues.read(STREAM, consumer="a", block_s=0)
