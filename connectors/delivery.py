"""Delivery: takes replies from the stream `deliver` and hands them to the connector of the citizen's channel."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from appeals.appeal import Appeal
from appeals.errors import OknoError, PermanentError, TransientError
from appeals.numbering import reply_token
from appeals.outbox import DeliveryOutcome, Outbox
from appeals.registry import Registry
from appeals.reply import DeliveryState, Reply
from config.settings import DeliverySettings
from connectors.base import Connector, OutboundMessage
from connectors.letterhead import Letterhead
from queues.port import WorkItem

CONCURRENT_SENDS = 16  # a slow gateway must not hold up the others' replies
SEND_TIMEOUT_S = 120.0
MAX_DOUBLINGS = 40  # of the first pause: beyond any limit that makes sense
JITTER = 0.2  # of the delay: many replies that failed together do not come back together

logger = structlog.get_logger(__name__)


class DeliveryWorker:
    """Sends replies. At least once: the message id is fixed before the first attempt, so repeats can be recognised."""

    def __init__(
        self,
        registry: Registry,
        outbox: Outbox,
        connectors: Sequence[Connector],
        *,
        settings: DeliverySettings,
        secret_key: bytes,
        now: Callable[[], datetime],
        letterhead: Letterhead | None = None,
    ) -> None:
        """`letterhead`: frames what agents write; None: it goes out bare."""
        self._registry = registry
        self._outbox = outbox
        self._connectors: Mapping[str, Connector] = {connector.name: connector for connector in connectors}
        self._settings = settings
        self._secret_key = secret_key
        self._now = now
        self._letterhead = letterhead

    async def handle(self, items: list[WorkItem]) -> None:
        """Send what is due among `items`; safe to call again with the same ones."""
        replies = await self._outbox.begin([UUID(item.fields["reply_id"]) for item in items])
        appeals = {appeal.id: appeal for appeal in await self._registry.appeals_by_id([r.appeal_id for r in replies])}
        room = asyncio.Semaphore(CONCURRENT_SENDS)

        async def attempt(reply: Reply) -> None:
            async with room:
                outcome = await self._attempt(reply, appeals[reply.appeal_id])
            await self._outbox.settle([outcome])

        async with asyncio.TaskGroup() as group:
            for reply in replies:
                group.create_task(attempt(reply))

    async def _attempt(self, reply: Reply, appeal: Appeal) -> DeliveryOutcome:
        connector = self._connectors.get(reply.connector)
        if connector is None:
            return self._again(reply, f"connector {reply.connector} is not running here", retry_after_s=None)
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                receipt = await connector.send(self._message(reply, appeal))
        except TransientError as error:
            return self._again(reply, str(error), retry_after_s=error.retry_after_s)
        except PermanentError as error:
            logger.warning("delivery.refused", reply_id=str(reply.id), connector=reply.connector)
            return DeliveryOutcome(reply=reply, state=DeliveryState.FAILED, error=str(error))
        except TimeoutError:
            return self._again(reply, f"no answer within {SEND_TIMEOUT_S:.0f} s", retry_after_s=None)
        except Exception as error:
            logger.exception("delivery.bug", reply_id=str(reply.id), connector=reply.connector)
            reason = str(error) if isinstance(error, OknoError) else f"internal error ({type(error).__name__})"
            return self._again(reply, reason, retry_after_s=None)
        logger.info("delivery.sent", reply_id=str(reply.id), connector=reply.connector, kind=reply.kind.value)
        return DeliveryOutcome(reply=reply, state=receipt.state, external_id=receipt.external_id, error="")

    def _again(self, reply: Reply, reason: str, *, retry_after_s: float | None) -> DeliveryOutcome:
        """Put the reply back with back-off, or give up when it has been tried for long enough."""
        attempts = reply.attempts + 1
        if tried_for_s(attempts, self._settings) >= self._settings.give_up_after_s:
            logger.warning("delivery.given_up", reply_id=str(reply.id), connector=reply.connector, attempts=attempts)
            return DeliveryOutcome(reply=reply, state=DeliveryState.FAILED, error=f"{reason}; tried {attempts} times")
        delay_s = retry_delay_s(attempts, self._settings)
        delay_s = max(delay_s * random.uniform(1 - JITTER, 1 + JITTER), retry_after_s or 0.0)  # noqa: S311 - no secret
        logger.info("delivery.retry", reply_id=str(reply.id), connector=reply.connector, delay_s=round(delay_s, 1))
        next_attempt_at = self._now() + timedelta(seconds=delay_s)
        return DeliveryOutcome(reply=reply, state=DeliveryState.QUEUED, error=reason, next_attempt_at=next_attempt_at)

    def _message(self, reply: Reply, appeal: Appeal) -> OutboundMessage:
        return OutboundMessage(
            reply_id=reply.id,
            kind=reply.kind,
            appeal_number=appeal.number,
            recipient=reply.recipient,
            subject=reply.subject,
            text=self._letterhead.frame(reply, appeal) if self._letterhead else reply.text,
            language=reply.language,
            message_id=reply.message_id,
            in_reply_to=reply.in_reply_to,
            reply_token=reply_token(self._secret_key, reply.appeal_id),
            attachments=reply.attachments,
            read_blob=self._registry.read_blob,
        )


def retry_delay_s(attempts: int, settings: DeliverySettings) -> float:
    """Return the pause after the `attempts`-th failed attempt, 1 or more: doubled each time up to its limit."""
    exponent = min(attempts - 1, MAX_DOUBLINGS)
    return float(min(settings.first_retry_s * 2**exponent, settings.max_retry_s))


def tried_for_s(attempts: int, settings: DeliverySettings) -> float:
    """Return the time over which `attempts` attempts have spread.

    It counts pauses, not the clock: while no delivery worker ran, a reply was not tried, and must not expire (RFC 5321
    §4.5.4.1 means time of trying). A reply that an agent sends again starts over.
    """
    return sum(retry_delay_s(attempt, settings) for attempt in range(1, attempts))
