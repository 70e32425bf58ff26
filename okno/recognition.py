"""Text recognition as one worker of the daemon."""

from uuid import UUID

import structlog

from connectors.recognition.worker import RecognitionWorker
from okno.bootstrap import Parts
from queues.port import RECOGNISE, WorkItem
from queues.worker import WorkerLoop

BATCH = 2  # a page takes seconds: other processes shall have their share
CLAIM_IDLE_S = 300.0

logger = structlog.get_logger(__name__)


def make_recognition(parts: Parts, *, consumer: str) -> WorkerLoop:
    """Return the consumer of the stream `recognise`, to be run under role classify.

    What cannot be handled at all is given to an agent to type in.
    """
    worker = RecognitionWorker(
        parts.transcripts, parts.registry.read_blob, parts.settings.recognition, renderer=parts.pages
    )

    async def give_to_an_agent(item: WorkItem, error: Exception) -> None:
        logger.error("recognition.gave_up", item_id=item.id, error_type=type(error).__name__, error=str(error))
        try:
            envelope_id = UUID(item.fields["envelope_id"])
        except (KeyError, ValueError):
            return  # it names no message: nothing is lost, streams carry ids alone
        await parts.transcripts.recognised(
            envelope_id, text="", confidence=None, accepted=False, detail="the pages could not be read"
        )

    queues = parts.settings.queues
    return WorkerLoop(
        parts.queues,
        RECOGNISE,
        consumer=consumer,
        handle=worker.handle,
        on_poison=give_to_an_agent,
        max_tries=queues.max_tries,
        claim_idle_s=max(queues.claim_idle_s, CLAIM_IDLE_S),
        batch=BATCH,
        yield_to=parts.intake.is_pressed,
    )
