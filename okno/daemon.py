"""The daemon: starts what its roles need, watches over it, stops it in order."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import structlog

from agent_console.app import install
from agent_console.deps import ConsoleDeps
from agent_console.letters import LetterDesk
from appeals.errors import ConfigurationError
from config.settings import ALL_ROLES, RoleName, Settings
from connectors.base import Connector, DeliveryEstimate
from connectors.delivery import DeliveryWorker
from okno.bootstrap import (
    Parts,
    answer_routes,
    build_connectors,
    check_rooms,
    opened_parts,
    running_connectors,
)
from okno.classification import ClassifierWorker
from okno.data_folder import only_process, prepare_data_folder
from okno.http_server import bind, client_address, make_app, public_url, serving
from okno.operations import Check, Operations
from okno.recognition import make_recognition
from okno.routing import LeaderWorker, make_leader
from okno.sweeper import Sweeper
from queues.port import DELIVER, WorkItem
from queues.worker import WorkerLoop

STOP_GRACE_S = 30.0  # workers may take so long to finish the batch in hand

logger = structlog.get_logger(__name__)


class Worker(Protocol):
    """A long-running part: `run` until `stop`."""

    async def run(self) -> None:
        """Work until `stop`."""
        ...

    def stop(self) -> None:
        """Finish what is in hand and return from `run`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """What a started daemon tells: addresses for people and tests."""

    public_url: str
    connectors: tuple[Connector, ...]
    parts: Parts


class Daemon:
    """One process of Okno. `run` returns after `stop`, or raises what could not be started or went wrong."""

    def __init__(
        self,
        settings: Settings,
        *,
        roles: Collection[RoleName] = ALL_ROLES,
        on_running: Callable[[Running], None] = lambda _: None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._roles = frozenset(roles)
        self._on_running = on_running
        self._progress = progress
        self._stopping = asyncio.Event()
        self._consumer = f"{socket.gethostname()}-{os.getpid()}"

    def stop(self) -> None:
        """Begin a clean stop; may be called from a signal handler, any number of times."""
        self._stopping.set()

    async def stopping(self) -> None:
        """Wait until `stop` was called: traffic of a demo ends before the doors close."""
        await self._stopping.wait()

    async def run(self) -> None:
        """Run until `stop`. Raises ConfigurationError or TransientError if it cannot start."""
        check_rooms()
        in_memory = self._settings.queues.url.startswith("memory:")
        if in_memory and self._roles != frozenset(ALL_ROLES):
            raise ConfigurationError("--role needs queues that processes share: set queues.url to a Redis")
        data_dir = prepare_data_folder(self._settings.data_dir)
        with only_process(data_dir) if in_memory else nullcontext(), bind(self._settings.http) as listening:
            url = public_url(self._settings.http, listening)
            async with opened_parts(self._settings, public_url=url) as parts:
                await self._run_parts(parts, listening)

    async def _run_parts(self, parts: Parts, listening: socket.socket) -> None:
        built = build_connectors(parts) if self._roles & {"intake", "deliver", "console"} else []
        connectors = built if self._roles & {"intake", "deliver"} else []  # a console only asks what sending would take
        receiving = connectors if "intake" in self._roles else []
        workers = self._make_workers(parts)
        senders = [self._delivery_loop(parts, connectors)] if "deliver" in self._roles else []
        async with self._supervised(workers):
            app = make_app(route for connector in receiving for route in connector.routes())
            operations = Operations(parts, receiving, extra=lambda: self._worker_checks(workers))
            app.add_routes(operations.routes())
            if "console" in self._roles:
                install(app, self._console_deps(parts, built))
            # Left in reverse: what is being sent is finished while the connectors are still open.
            async with (
                serving(app, listening),
                running_connectors(connectors, receiving=bool(receiving)),
                self._supervised(senders),
            ):
                await self._receive(parts, receiving)
        logger.info("daemon.stopped")

    async def _receive(self, parts: Parts, connectors: Sequence[Connector]) -> None:
        """Run the connectors' own loops until `stop`."""
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(connector.work(), name=connector.name) for connector in connectors]
            logger.info("daemon.running", roles=sorted(self._roles), url=parts.public_url)
            self._on_running(Running(public_url=parts.public_url, connectors=tuple(connectors), parts=parts))
            await self._stopping.wait()
            logger.info("daemon.stopping")
            for loop in loops:
                loop.cancel()

    @asynccontextmanager
    async def _supervised(self, workers: Sequence[Worker]) -> AsyncIterator[None]:
        """Run the workers beside the block; when it ends they finish what is in hand. A bug in one ends everything."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(worker.run(), name=type(worker).__name__) for worker in workers]
            try:
                yield
            finally:
                for worker in workers:
                    worker.stop()
                if tasks:
                    _, late = await asyncio.wait(tasks, timeout=STOP_GRACE_S)
                    for task in late:
                        logger.error("daemon.worker_cancelled", worker=task.get_name())
                        task.cancel()

    def _make_workers(self, parts: Parts) -> list[Worker]:
        workers: list[Worker] = [
            Sweeper(
                parts.registry,
                parts.queues,
                parts.outbox,
                parts.transcripts,
                settings=self._settings.queues,
                roles=self._roles,
            )
        ]
        if "classify" in self._roles:
            workers.append(ClassifierWorker(parts, consumer=self._consumer, progress=self._progress))
            workers.append(make_recognition(parts, consumer=self._consumer))
        if "route" in self._roles:
            workers.append(make_leader(parts, holder=self._consumer))
        return workers

    def _delivery_loop(self, parts: Parts, connectors: Sequence[Connector]) -> Worker:
        delivery = DeliveryWorker(
            parts.registry,
            parts.outbox,
            connectors,
            settings=self._settings.delivery,
            secret_key=parts.secret_key,
            now=parts.registry.now,
            letterhead=parts.letterhead,
        )

        async def give_up(item: WorkItem, error: Exception) -> None:
            await parts.outbox.give_up(item.fields.get("reply_id", ""), reason=str(error))

        return WorkerLoop(
            parts.queues,
            DELIVER,
            consumer=self._consumer,
            handle=delivery.handle,
            on_poison=give_up,
            max_tries=self._settings.queues.max_tries,
            claim_idle_s=max(self._settings.queues.claim_idle_s, 180.0),  # a send may take two minutes
        )

    def _console_deps(self, parts: Parts, connectors: Sequence[Connector]) -> ConsoleDeps:
        by_name = {connector.name: connector for connector in connectors}

        def estimate(name: str, text: str) -> DeliveryEstimate | None:
            connector = by_name.get(name)
            return None if connector is None else connector.estimate(text)

        return ConsoleDeps(
            registry=parts.registry,
            lifecycle=parts.lifecycle,
            outbox=parts.outbox,
            transcripts=parts.transcripts,
            rethreading=parts.rethreading,
            routes=answer_routes(self._settings),
            estimate=estimate,
            pages=parts.pages,
            letters=_letter_desk(connectors) if self._settings.paper.enabled else None,
            queues=parts.queues,
            settings=self._settings.console,
            office=self._settings.office,
            secret_key=parts.secret_key,
            public_url=parts.public_url,
            now=parts.registry.now,
            uploads_dir=self._settings.data_dir / "uploads",
            client_address=client_address(self._settings.http),
        )

    @staticmethod
    def _worker_checks(workers: Sequence[Worker]) -> list[Check]:
        return [worker.check() for worker in workers if isinstance(worker, (ClassifierWorker, LeaderWorker))]


def _letter_desk(connectors: Sequence[Connector]) -> LetterDesk | None:
    from connectors.paper.connector import PaperConnector  # noqa: PLC0415 - fpdf2 takes half a second to import

    return next((connector.desk for connector in connectors if isinstance(connector, PaperConnector)), None)


async def run_until_signal(daemon: Daemon) -> None:
    """Run a daemon; SIGINT and SIGTERM stop it cleanly, a second one at once."""
    loop = asyncio.get_running_loop()
    seen = 0

    def on_signal() -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            os._exit(130)
        daemon.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    await daemon.run()
