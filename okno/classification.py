"""The classifier as one worker of the daemon: its process comes up while messages come in."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from appeals.errors import TransientError
from classifier.commands import model_path
from classifier.process import ClassifierProcess
from classifier.worker import ClassifyWorker
from config.taxonomy import load_taxonomy
from okno.bootstrap import Parts
from okno.operations import Check

FIRST_RETRY_S = 1.0
MAX_RETRY_S = 30.0
OVERLAP = 2  # batches in hand: one is read or committed here while the other is predicted in its process

logger = structlog.get_logger(__name__)


class ClassifierWorker:
    """Finds the model or trains it, starts its process, and classifies until stopped.

    Seconds pass before the process answers, more where a model is trained first: nobody outside waits for that, what
    is registered meanwhile waits in the registry. A process that cannot start for now is tried again.
    """

    def __init__(self, parts: Parts, *, consumer: str, progress: Callable[[str], None]) -> None:
        """`consumer`: unique among all processes. Raises ConfigurationError with every fault of the taxonomy."""
        self._parts = parts
        self._consumer = consumer
        self._progress = progress
        self._taxonomy = load_taxonomy(parts.settings.classifier.taxonomy)
        self._workers: list[ClassifyWorker] = []
        self._starting: asyncio.Task[None] | None = None
        self._stopped = False
        self._trouble = ""

    async def run(self) -> None:
        """Start and work until `stop`. Raises ConfigurationError if the model is unfit."""
        if self._stopped:
            return
        self._starting = asyncio.current_task()
        async with AsyncExitStack() as stack:
            try:
                process = await self._started_process(stack)
            except asyncio.CancelledError:
                if not self._stopped:
                    raise
                return
            self._workers = [self._make_worker(process, number) for number in range(1, OVERLAP + 1)]
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(worker.run())

    def stop(self) -> None:
        """Finish the batch in hand; what is only starting is broken off."""
        self._stopped = True
        for worker in self._workers:
            worker.stop()
        if not self._workers and self._starting is not None:
            self._starting.cancel()

    def check(self) -> Check:
        """Tell how the classifier is."""
        detail = self._trouble or ("running" if self._workers else "starting")
        return Check(name="classifier", ok=not self._trouble, detail=detail, required=False)

    async def _started_process(self, stack: AsyncExitStack) -> ClassifierProcess:
        retry_s = FIRST_RETRY_S
        while True:
            try:
                path = await asyncio.to_thread(
                    model_path, self._parts.settings, taxonomy=self._taxonomy, progress=self._progress
                )
                process = ClassifierProcess(path, priorities=self._taxonomy.priorities)
                await stack.enter_async_context(process)
            except TransientError as error:
                self._trouble = str(error)
                logger.warning("classifier.start_put_off", reason=str(error), retry_s=retry_s)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, MAX_RETRY_S)
            else:
                self._trouble = ""
                return process

    def _make_worker(self, process: ClassifierProcess, number: int) -> ClassifyWorker:
        settings = self._parts.settings
        return ClassifyWorker(
            self._parts.registry,
            self._parts.lifecycle,
            queues=self._parts.queues,
            classifier=process,
            taxonomy=self._taxonomy,
            settings=settings.classifier,
            queue_settings=settings.queues,
            consumer=f"{self._consumer}-{number}",
            yield_to=self._parts.intake.is_pressed,
        )
