"""Intake: registers what connectors bring, many messages in one durable transaction (P1, P2, P6)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from appeals.blob_rows import keep_blobs, store_large_blobs
from appeals.envelope import AppealEnvelope
from appeals.errors import OknoError, PermanentError, StaleVersionError, TransientError
from appeals.intake_policy import IntakePolicy
from appeals.notify import Changes, Notifier
from appeals.quarantine import hold
from appeals.registration import Contents, QuarantineItem, Registration
from appeals.registration_group import RegistrationGroup
from appeals.registry import Registry
from config.settings import RegistrySettings

MAX_RACES = 5  # another process registered the same citizen or talk at the same moment: read again and retry
QUIET_SHARE = 8  # of the linger, in quiet times
PRESSED_FROM = 4  # messages a group: some two hundred a second
PRESSED_FOR_S = 0.1  # after such a group

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Waiting:
    """A message and the caller who waits for its commit."""

    envelope: AppealEnvelope
    contents: Contents
    done: "asyncio.Future[Registration]"


class Intake:
    """Registers messages. Use as an async context manager: leaving it finishes what is in hand.

    Concurrent `register` calls share transactions: while one commit is on its way to the disk, the next group gathers.
    """

    def __init__(
        self, registry: Registry, *, settings: RegistrySettings, policy: IntakePolicy, notifier: Notifier
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._policy = policy
        self._notifier = notifier
        self._gathering: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._last_group = 0
        self._pressed_until = 0.0  # event loop's time
        self._stopping = False
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._worker = asyncio.create_task(self._work(), name="intake")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._arrived.set()
        if self._worker is not None:
            await self._worker

    async def register(self, envelope: AppealEnvelope, contents: Contents) -> Registration:
        """Commit the message and its bytes; see `connectors.base.Intake`."""
        wanted = {envelope.raw.sha256, *(item.sha256 for item in envelope.attachments)}
        if missing := wanted - contents.keys():
            raise PermanentError(f"{len(missing)} of the message's blobs were not handed over")
        if self._stopping:
            raise TransientError("the intake is stopping")
        await store_large_blobs(self._registry.blobs, contents, inline_max_bytes=self._settings.inline_blob_max_bytes)
        waiting = _Waiting(envelope=envelope, contents=contents, done=asyncio.get_running_loop().create_future())
        self._gathering.append(waiting)
        self._arrived.set()
        return await waiting.done

    async def quarantine(self, item: QuarantineItem, content: bytes) -> UUID:
        """Keep bytes that cannot be processed; see `connectors.base.Intake`."""
        entry_id = await hold(self._registry, item, content, inline_max_bytes=self._settings.inline_blob_max_bytes)
        logger.warning("intake.quarantined", connector=item.connector, stage=item.stage, entry_id=str(entry_id))
        return entry_id

    def is_pressed(self) -> bool:
        """Tell whether many messages wait for their commit: stages that can wait should let the intake go first."""
        return asyncio.get_running_loop().time() < self._pressed_until

    # ---- the worker
    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            if self._stopping and not self._gathering:
                return
            if len(self._gathering) < self._settings.group_max_messages and not self._stopping:
                await asyncio.sleep(self._linger_s())
            group = self._gathering[: self._settings.group_max_messages]
            del self._gathering[: len(group)]
            if not self._gathering and not self._stopping:
                self._arrived.clear()
            self._note_pressure(len(group))
            if group:
                await self._settle(group)

    def _note_pressure(self, group: int) -> None:
        self._last_group = group
        if group >= PRESSED_FROM:
            self._pressed_until = asyncio.get_running_loop().time() + PRESSED_FOR_S

    def _linger_s(self) -> float:
        """Wait for company in busy times only: a lone message after a lone message hardly finds any."""
        linger_s = self._settings.group_linger_ms / 1000
        return linger_s if self._last_group > 1 or len(self._gathering) > 1 else linger_s / QUIET_SHARE

    async def _settle(self, group: Sequence[_Waiting]) -> None:
        """Commit a group. If one message breaks it, each is tried alone, so that it fails alone."""
        try:
            registrations, changes = await self._commit(group)
        except TransientError as error:
            _fail(group, error)
        except Exception as error:  # noqa: BLE001 - whatever one message breaks must not fail the others
            if len(group) == 1:
                await self._settle_alone(group[0], error)
                return
            logger.warning("intake.group_split", messages=len(group), reason=type(error).__name__)
            for waiting in group:
                await self._settle([waiting])
        else:
            for waiting, registration in zip(group, registrations, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(registration)
            await self._notifier.notify(changes)

    async def _settle_alone(self, waiting: _Waiting, error: Exception) -> None:
        """Retry what lost a race against another process; give up on what can never be registered."""
        for _ in range(MAX_RACES):
            if not isinstance(error, (IntegrityError, StaleVersionError)):
                break
            try:
                (registration,), changes = await self._commit([waiting])
            except TransientError as transient:
                _fail([waiting], transient)
                return
            except (SQLAlchemyError, OknoError, ValueError) as again:
                error = again
            else:
                if not waiting.done.done():
                    waiting.done.set_result(registration)
                await self._notifier.notify(changes)
                return
        logger.error("intake.message_refused", reason=type(error).__name__, exc_info=error)
        _fail([waiting], PermanentError(f"the registry cannot hold this message ({type(error).__name__})"))

    async def _commit(self, group: Sequence[_Waiting]) -> tuple[list[Registration], Changes]:
        async with self._registry.transaction() as transaction:
            writer = RegistrationGroup(transaction, self._policy)
            registrations = await writer.register([waiting.envelope for waiting in group])
            await keep_blobs(
                transaction.connection,
                [waiting.contents for waiting in group],
                inline_max_bytes=self._settings.inline_blob_max_bytes,
            )
        return registrations, writer.changes


def _fail(group: Sequence[_Waiting], error: OknoError) -> None:
    for waiting in group:
        if not waiting.done.done():
            waiting.done.set_exception(error)
