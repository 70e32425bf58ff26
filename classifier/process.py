"""Predictions in one process of their own: scikit-learn holds the interpreter's lock while it predicts.

Nothing of scikit-learn is imported here but in that process, so the daemon's main process starts fast and stays small.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Self

import structlog

from appeals.errors import PermanentError, TransientError
from classifier.model_file import read_model_file, topic_priorities
from classifier.prediction import MAX_TEXT_CHARS, Prediction

if TYPE_CHECKING:
    from classifier.model import Model

logger = structlog.get_logger(__name__)

MAX_RESTARTS = 5  # within RESTART_WINDOW_S: then the caller's retries decide
RESTART_WINDOW_S = 60.0
ATTEMPTS = 2  # a batch whose process died is tried once more
WARM_UP = ("warm",)  # makes the process load all it needs
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_model: "Model | None" = None  # of the predicting process; None in every other


class ClassifierProcess:
    """A model in a process of its own, as an async context manager. The process is replaced when it dies.

    One batch at a time is computed; callers queue up.
    """

    def __init__(self, model: Path, *, priorities: Mapping[str, int]) -> None:
        """Keep the model's file and the base priority of each topic of the taxonomy; nothing is started yet."""
        self._model = model
        self._priorities = dict(priorities)
        self._pool: ProcessPoolExecutor | None = None
        self._guard = asyncio.Lock()
        self._deaths: deque[float] = deque()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the process and load the model and the language identifier, which takes a few seconds.

        Raises ConfigurationError if the model is unfit, TransientError if the process died.
        """
        await asyncio.to_thread(self._check_model)  # most faults show without a process
        self._pool = self._new_pool()
        try:
            await self._submit(self._pool, WARM_UP)
        except BrokenProcessPool as error:
            await self.stop()
            raise TransientError("the classifier's process died while it started") from error
        except BaseException:
            await self.stop()
            raise
        logger.info("classifier.started")

    async def stop(self) -> None:
        """Finish the batch in hand, drop those that wait, end the process. May be called twice."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    async def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return a prediction for each of `texts`, in their order; only their first 4,000 characters are read.

        Raises PermanentError if there is one text and a healthy process died of it twice; TransientError if the
        process died twice on several texts, keeps dying, or is stopped.
        """
        if not texts:
            return []
        heads = [text[:MAX_TEXT_CHARS] for text in texts]
        for _ in range(ATTEMPTS):
            pool = self._pool
            if pool is None:
                raise TransientError("the classifier is stopped")
            try:
                return await self._submit(pool, heads)
            except BrokenProcessPool:
                await self._replace(pool)
        reason = f"the classifier's process died {ATTEMPTS} times on {len(texts)} texts"
        raise PermanentError(reason) if len(texts) == 1 else TransientError(reason)

    def _check_model(self) -> None:
        card, _ = read_model_file(self._model)
        topic_priorities(card, self._priorities, source=str(self._model))

    async def _submit(self, pool: ProcessPoolExecutor, texts: Sequence[str]) -> list[Prediction]:
        try:
            future = pool.submit(_predict, str(self._model), self._priorities, texts)
        except BrokenProcessPool:
            raise
        except RuntimeError as error:  # after shutdown(): stopped meanwhile
            raise TransientError("the classifier is stopping") from error
        return await asyncio.wrap_future(future)

    async def _replace(self, dead: ProcessPoolExecutor) -> None:
        async with self._guard:
            if self._pool is not dead:
                return  # somebody else has done it, or we are stopping
            now = time.monotonic()
            while self._deaths and self._deaths[0] < now - RESTART_WINDOW_S:
                self._deaths.popleft()
            if len(self._deaths) >= MAX_RESTARTS:
                wait_s = self._deaths[0] + RESTART_WINDOW_S - now
                raise TransientError("the classifier's process keeps dying", retry_after_s=wait_s)
            self._deaths.append(now)
            logger.warning("classifier.process_died", restarts=len(self._deaths))
            self._pool = self._new_pool()
            await asyncio.to_thread(dead.shutdown, wait=True, cancel_futures=True)
            try:
                await self._submit(self._pool, WARM_UP)  # proves that it is not the process itself that is ill
            except BrokenProcessPool as error:
                raise TransientError("the classifier's process dies as it starts") from error

    def _new_pool(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")  # fork would copy the event loop's threads and locks half-way
        return ProcessPoolExecutor(max_workers=1, mp_context=spawn, initializer=_enter_process)


def _enter_process() -> None:
    """Set up the predicting process: one thread for linear algebra, and no life of its own."""
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the daemon stops us in order
    threading.Thread(target=_follow_parent, name="follow-parent", daemon=True).start()


def _follow_parent() -> None:
    """End with the daemon, even if it was killed: the pool alone would leave an orphan that waits for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(0)


def _load(path: str, priorities: Mapping[str, int]) -> "Model":
    global _model  # noqa: PLW0603 - the process exists to hold it
    if _model is None:
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 - only in the predicting process

        from classifier.model import Model  # noqa: PLC0415

        _model = Model.load(Path(path), priorities=priorities)
        threadpool_limits(limits=1)
    return _model


def _predict(path: str, priorities: Mapping[str, int], texts: Sequence[str]) -> list[Prediction]:
    return _load(path, priorities).predict(texts)
