"""The consumer of the stream `classify`: gives registered appeals a topic, a priority and a language."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

import structlog

from appeals.appeal import AppealState
from appeals.conversation import AppealText
from appeals.errors import PermanentError
from appeals.lifecycle import Classification, Lifecycle
from appeals.registry import Registry
from classifier.prediction import Prediction
from classifier.process import ClassifierProcess
from config.settings import ClassifierSettings, QueueSettings
from config.taxonomy import UNKNOWN, Taxonomy
from queues.port import CLASSIFY, Queues, WorkItem
from queues.worker import WorkerLoop

logger = structlog.get_logger(__name__)

UNDETERMINED = "und"  # BCP 47


class ClassifyWorker:
    """Reads appeals from the stream in batches, and commits what the model says. Idempotent.

    No appeal stays behind: one that has no text, that the model is not sure of, or that cannot be classified at all
    gets the topic `unknown`, which triage answers.
    """

    def __init__(
        self,
        registry: Registry,
        lifecycle: Lifecycle,
        *,
        queues: Queues,
        classifier: ClassifierProcess,
        taxonomy: Taxonomy,
        settings: ClassifierSettings,
        queue_settings: QueueSettings,
        consumer: str,
        yield_to: Callable[[], bool] = lambda: False,
    ) -> None:
        """`consumer`: unique among all processes; `classifier` must be started; `yield_to`: who goes first."""
        self._registry = registry
        self._lifecycle = lifecycle
        self._classifier = classifier
        self._threshold = settings.threshold
        self._priorities = taxonomy.priorities
        self._unknown_priority = taxonomy.topics[UNKNOWN].priority
        self._loop = WorkerLoop(
            queues,
            CLASSIFY,
            consumer=consumer,
            handle=self.handle,
            on_poison=self._give_to_triage,
            max_tries=queue_settings.max_tries,
            claim_idle_s=queue_settings.claim_idle_s,
            batch=settings.batch,
            gather=True,
            yield_to=yield_to,
        )

    async def run(self) -> None:
        """Work until `stop`."""
        await self._loop.run()

    def stop(self) -> None:
        """Let `run` finish the batch in hand and return."""
        self._loop.stop()

    async def handle(self, items: list[WorkItem]) -> None:
        """Classify the appeals that `items` name. Those no longer registered are passed over.

        Raises PermanentError for an item without an appeal id, or whose text kills a healthy process;
        TransientError when registry or process are out of reach.
        """
        waiting = await self._registered([_appeal_id(item) for item in items])
        if not waiting:
            return
        written = [entry for entry in waiting if entry.text.strip()]
        predictions = await self._classifier.predict([entry.text for entry in written])
        found = [self._classification(entry, said) for entry, said in zip(written, predictions, strict=True)]
        found += [self._triage(entry.appeal_id, version=entry.version) for entry in waiting if not entry.text.strip()]
        chosen = {entry.appeal_id: entry.chosen_topic for entry in waiting}
        await self._commit([self._as_chosen(item, chosen[item.appeal_id]) for item in found])

    async def _registered(self, appeal_ids: Sequence[UUID]) -> list[AppealText]:
        texts = await self._registry.texts(list(dict.fromkeys(appeal_ids)))
        return [entry for entry in texts if entry.state is AppealState.REGISTERED]

    async def _commit(self, found: Sequence[Classification]) -> None:
        lost = await self._lifecycle.classify(found)  # lost: changed meanwhile, so no longer ours to classify
        unknown = sum(item.topic == UNKNOWN for item in found)
        logger.info("classifier.appeals_classified", appeals=len(found), unknown=unknown, lost=len(lost))

    def _classification(self, entry: AppealText, said: Prediction) -> Classification:
        sure = said.topic != UNKNOWN and said.confidence >= self._threshold
        return Classification(
            appeal_id=entry.appeal_id,
            version=entry.version,
            topic=said.topic if sure else UNKNOWN,
            confidence=said.confidence,
            language=said.language,
            priority=said.priority if sure else max(said.expected_priority, self._unknown_priority),
            alternatives=tuple((guess.topic, guess.confidence) for guess in said.alternatives),
        )

    def _as_chosen(self, item: Classification, topic: str | None) -> Classification:
        """Take the topic that the citizen named, if there is such a one; what the model said of urgency stays."""
        if topic is None or topic == UNKNOWN or topic not in self._priorities:
            return item
        return replace(item, topic=topic, confidence=1.0, priority=max(item.priority, self._priorities[topic]))

    def _triage(self, appeal_id: UUID, *, version: int) -> Classification:
        return Classification(
            appeal_id=appeal_id,
            version=version,
            topic=UNKNOWN,
            confidence=0.0,
            language=UNDETERMINED,
            priority=self._unknown_priority,
        )

    async def _give_to_triage(self, item: WorkItem, error: Exception) -> None:
        """Give an appeal that cannot be classified to people instead of to the quarantine: it is safe in the registry.

        An item that names no appeal holds nothing to keep (streams carry ids alone): it is dropped with a log line.
        """
        logger.error("classifier.gave_up", item_id=item.id, error_type=type(error).__name__, error=str(error))
        try:
            appeal_id = _appeal_id(item)
        except PermanentError:
            return
        appeals = await self._registry.appeals_by_id([appeal_id])
        waiting = [appeal for appeal in appeals if appeal.state is AppealState.REGISTERED]
        if waiting:
            await self._commit([self._triage(appeal.id, version=appeal.version) for appeal in waiting])


def _appeal_id(item: WorkItem) -> UUID:
    try:
        return UUID(item.fields["appeal_id"])
    except (KeyError, ValueError) as error:
        raise PermanentError("an item of the stream classify names no appeal") from error
