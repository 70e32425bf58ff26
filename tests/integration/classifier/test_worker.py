"""The worker of the stream `classify` on a real registry: every registered appeal gets a topic, once."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from appeals.appeal import AppealState
from appeals.errors import PermanentError, TransientError
from appeals.lifecycle import Classification
from classifier.process import ClassifierProcess
from classifier.worker import ClassifyWorker
from config.settings import ClassifierSettings, QueueSettings
from config.taxonomy import UNKNOWN, Taxonomy
from queues.port import CLASSIFY, ROUTE, WorkItem
from tests.integration.classifier.conftest import Office

DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def classifier(model_file: Path, taxonomy: Taxonomy) -> Iterator[ClassifierProcess]:
    process = ClassifierProcess(model_file, priorities=taxonomy.priorities)
    asyncio.run(process.start())
    yield process
    asyncio.run(process.stop())


def worker_of(
    office: Office, classifier: ClassifierProcess, taxonomy: Taxonomy, threshold: float = 0.5
) -> ClassifyWorker:
    return ClassifyWorker(
        office.registry,
        office.lifecycle,
        queues=office.queues,
        classifier=classifier,
        taxonomy=taxonomy,
        settings=ClassifierSettings(threshold=threshold),
        queue_settings=QueueSettings(max_tries=2, claim_idle_s=0.2),
        consumer="one",
    )


@asynccontextmanager
async def running(worker: ClassifyWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await task


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await holds():
            await asyncio.sleep(0.02)


async def drained(office: Office) -> bool:
    depth = await office.queues.depth(CLASSIFY)
    return depth.waiting == depth.pending == 0


def item(appeal_id: UUID | str) -> WorkItem:
    return WorkItem(id="1", fields={"appeal_id": str(appeal_id)}, tries=1)


async def test_registered_appeals_get_their_topics(
    office: Office, classifier: ClassifierProcess, taxonomy: Taxonomy
) -> None:
    """A sure appeal gets topic, priority, language and goes to the router; an empty one and small talk go to triage."""
    sure = await office.receive("the radiator is cold, no heating at home", subject="cold radiators")
    empty = await office.receive("")
    talk = await office.receive("thank you, happy new year")
    async with running(worker_of(office, classifier, taxonomy)):
        await eventually(lambda: drained(office))
    appeal = await office.registry.appeal(sure)
    assert (appeal.state, appeal.topic, appeal.priority, appeal.language) == (
        AppealState.WAITING,
        "housing.heating",
        75,
        "en",
    )
    assert appeal.topic_confidence is not None
    assert 0.5 <= appeal.topic_confidence <= 1
    for appeal_id in (empty, talk):
        other = await office.registry.appeal(appeal_id)
        assert (other.state, other.topic) == (AppealState.WAITING, UNKNOWN)
        assert other.priority >= taxonomy.topics[UNKNOWN].priority
    assert (await office.queues.depth(ROUTE)).waiting == 3


async def test_unsure_appeals_go_to_triage(office: Office, classifier: ClassifierProcess, taxonomy: Taxonomy) -> None:
    """Below the threshold the topic is unknown, the priority no less than triage's; the guesses are kept in history."""
    appeal_id = await office.receive("the radiator is cold")
    await worker_of(office, classifier, taxonomy, threshold=1.0).handle([item(appeal_id)])
    appeal = await office.registry.appeal(appeal_id)
    assert (appeal.topic, appeal.state) == (UNKNOWN, AppealState.WAITING)
    assert appeal.priority > taxonomy.topics[UNKNOWN].priority
    events = (await office.registry.conversation(appeal_id)).events
    guesses = next(event.data["alternatives"] for event in events if event.kind == "appeal.classified")
    assert guesses[0][0] == "housing.heating"


async def test_classifying_twice_changes_nothing(
    office: Office, classifier: ClassifierProcess, taxonomy: Taxonomy
) -> None:
    """An item that comes again, twice in a batch, or for an appeal that is gone, does no harm."""
    appeal_id = await office.receive("potholes everywhere")
    worker = worker_of(office, classifier, taxonomy)
    await worker.handle([item(appeal_id), item(appeal_id), item(uuid4())])
    first = await office.registry.appeal(appeal_id)
    await worker.handle([item(appeal_id)])
    assert await office.registry.appeal(appeal_id) == first


async def test_lost_race_is_ignored(office: Office, classifier: ClassifierProcess, taxonomy: Taxonomy) -> None:
    """Two workers on the same appeal: one commits, the other's compare-and-set loses quietly."""
    appeal_id = await office.receive("potholes everywhere")
    one, two = (worker_of(office, classifier, taxonomy) for _ in range(2))
    await asyncio.gather(one.handle([item(appeal_id)]), two.handle([item(appeal_id)]))
    appeal = await office.registry.appeal(appeal_id)
    assert (appeal.topic, appeal.version) == ("roads.pothole", 2)
    stale = Classification(
        appeal_id=appeal_id, version=1, topic="housing.gas", confidence=1.0, language="en", priority=1
    )
    assert await office.lifecycle.classify([stale]) == {appeal_id}


async def test_items_without_an_appeal_are_dropped(
    office: Office, classifier: ClassifierProcess, taxonomy: Taxonomy
) -> None:
    """Garbage on the stream is told apart from its batch and dropped; the appeal beside it gets its topic."""
    worker = worker_of(office, classifier, taxonomy)
    with pytest.raises(PermanentError):
        await worker.handle([item("not an id")])
    await office.queues.add(CLASSIFY, [{"appeal_id": "not an id"}, {"other": "x"}])
    appeal_id = await office.receive("potholes everywhere")
    async with running(worker):
        await eventually(lambda: drained(office))
    assert (await office.registry.appeal(appeal_id)).topic == "roads.pothole"


async def test_killed_process_loses_no_appeal(
    office: Office, classifier: ClassifierProcess, taxonomy: Taxonomy
) -> None:
    """The process is killed while sixty appeals wait: each still gets its topic."""
    ids = [await office.receive("the radiator is cold") for _ in range(60)]
    assert classifier._pool is not None
    os.kill(next(iter(classifier._pool._processes)), signal.SIGKILL)
    async with running(worker_of(office, classifier, taxonomy)):
        await eventually(lambda: drained(office))
    assert not await office.registered()
    assert {appeal.topic for appeal in await office.registry.appeals_by_id(ids)} == {"housing.heating"}


async def test_hopeless_appeal_goes_to_people(office: Office, taxonomy: Taxonomy) -> None:
    """An appeal that can't be classified at all is not hidden in the quarantine: triage gets it."""
    appeal_id = await office.receive("deadly")

    class Deadly(ClassifierProcess):
        async def predict(self, texts: object) -> list[object]:
            raise PermanentError(f"the process died of {len(texts)} texts")

    worker = worker_of(office, Deadly(Path("unused"), priorities={}), taxonomy)
    async with running(worker):
        await eventually(lambda: drained(office))
    appeal = await office.registry.appeal(appeal_id)
    assert (appeal.topic, appeal.topic_confidence, appeal.state) == (UNKNOWN, 0.0, AppealState.WAITING)


async def test_stopped_classifier_keeps_the_appeals(office: Office, taxonomy: Taxonomy) -> None:
    """While the process is away nothing is decided: the appeal stays registered and on the stream."""
    appeal_id = await office.receive("the radiator is cold")
    stopped = ClassifierProcess(Path("unused"), priorities={})
    with pytest.raises(TransientError):
        await worker_of(office, stopped, taxonomy).handle([item(appeal_id)])
    assert (await office.registry.appeal(appeal_id)).state is AppealState.REGISTERED
