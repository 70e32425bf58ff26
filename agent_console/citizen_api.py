"""`/api/v1/citizen/…`: the state of an appeal for the citizen, like a parcel, and the files of its answers."""

from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

import structlog
from aiohttp import web

from agent_console.deps import ConsoleDeps
from agent_console.endpoint import Endpoint, Parameter, json_response, read_json
from agent_console.file_api import file_response
from agent_console.log_in import AttemptLimit, address_key
from agent_console.presenters import office_view
from agent_console.problems import ProblemError
from agent_console.views import (
    CitizenAnswer,
    CitizenFile,
    CitizenStage,
    CitizenStatusRequest,
    CitizenStatusView,
    CitizenStep,
)
from appeals.appeal import Appeal, AppealState
from appeals.conversation import Conversation
from appeals.envelope import ContactPointKind
from appeals.errors import NotFoundError, TransientError
from appeals.numbering import check_secret_code, reply_token
from appeals.reply import DeliveryState, Reply, ReplyKind

logger = structlog.get_logger(__name__)

NOBODY = UUID(int=0)  # a wrong number's code is checked too, against this: both take the same time
STAGES: tuple[CitizenStage, ...] = ("registered", "in_progress", "answered", "closed")
SHA256 = Parameter(
    name="sha256", place="path", description="The file's hash", schema={"type": "string", "pattern": "^[0-9a-f]{64}$"}
)
SHOWN_REPLIES = frozenset({ReplyKind.ANSWER, ReplyKind.NOTICE})  # not the acknowledgement: it holds the code


class CitizenApi:
    """The citizen's page over REST."""

    def __init__(self, deps: ConsoleDeps) -> None:
        self._deps = deps
        self._attempts = AttemptLimit("citizen_status", per_minute=deps.settings.status_attempts_per_minute)

    def endpoints(self) -> list[Endpoint]:
        """Return what this part answers."""
        return [
            Endpoint(
                method="POST",
                path="/api/v1/citizen/status",
                handler=self.status,
                summary="Where an appeal is, by its number and secret code",
                body=CitizenStatusRequest,
                answer=CitizenStatusView,
                needs_session=False,
            ),
            Endpoint(
                method="POST",
                path="/api/v1/citizen/files/{sha256}",
                handler=self.file,
                summary="A file of an answer, by the appeal's number and secret code",
                body=CitizenStatusRequest,
                sends_bytes=True,
                needs_session=False,
                parameters=(SHA256,),
            ),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """Answer the state, or the same 404 for a wrong number and a wrong code."""
        conversation = await self._claimed(request)
        await self._note_read(conversation)
        return json_response(self._view(conversation))

    async def _note_read(self, conversation: Conversation) -> None:
        """Let agents see that answers which are read on this page were read. The page is shown all the same."""
        for reply in conversation.replies:
            on_page = reply.recipient.kind is ContactPointKind.WEB and reply.kind in SHOWN_REPLIES
            if not on_page or reply.state is not DeliveryState.DELIVERED or reply.external_id is None:
                continue
            try:
                await self._deps.outbox.report(reply.connector, external_id=reply.external_id, state=DeliveryState.READ)
            except TransientError as error:
                logger.warning("console.read_not_noted", reply_id=str(reply.id), error=type(error).__name__)

    async def file(self, request: web.Request) -> web.Response:
        """Answer the bytes of a file that we sent with an answer of this appeal; never shown in place."""
        conversation = await self._claimed(request)
        wanted = request.match_info["sha256"]
        answers = (reply for reply in conversation.replies if reply.kind in SHOWN_REPLIES)
        found = next((file for reply in answers for file in reply.attachments if file.sha256 == wanted), None)
        if found is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "not_found", detail="no such file in this appeal's answers")
        content = await self._deps.registry.read_blob(found.sha256)
        return file_response(content, name=found.name, media_type=found.detected_media_type, inline=False)

    async def _claimed(self, request: web.Request) -> Conversation:
        """Return the conversation that number and code in the body open; raises ProblemError 404 or 429."""
        self._attempts.use(address_key(self._deps.client_address(request)))
        wanted = await read_json(request, CitizenStatusRequest)
        appeal = await self._find(wanted.number)
        appeal_id = NOBODY if appeal is None else appeal.id
        code_fits = check_secret_code(self._deps.secret_key, appeal_id, wanted.code)
        if appeal is None or not code_fits:
            raise ProblemError(HTTPStatus.NOT_FOUND, "citizen_not_found")
        return await self._deps.registry.conversation(appeal.id)

    async def _find(self, number: str) -> Appeal | None:
        try:
            return await self._deps.registry.appeal_by_number(number)
        except NotFoundError:
            return None

    def _view(self, conversation: Conversation) -> CitizenStatusView:
        appeal = conversation.appeal
        stage = citizen_stage(appeal)
        times = stage_times(conversation)
        reached = STAGES.index(stage)
        return CitizenStatusView(
            number=appeal.number,
            stage=stage,
            steps=tuple(
                CitizenStep(stage=name, at=times.get(name) if place <= reached else None)
                for place, name in enumerate(STAGES)
            ),
            channel=appeal.channel,
            subject=appeal.subject,
            received_at=appeal.received_at,
            deadline_at=appeal.deadline_at,
            answers=tuple(_answer(reply) for reply in conversation.replies if reply.kind in SHOWN_REPLIES),
            reply_token=reply_token(self._deps.secret_key, appeal.id),
            office=office_view(self._deps.office),
        )


def citizen_stage(appeal: Appeal) -> CitizenStage:
    """Return how far the appeal is in the citizen's eyes: one that waits again after an answer is still in progress."""
    if appeal.state is AppealState.CLOSED:
        return "closed"
    if appeal.state is AppealState.ANSWERED:
        return "answered"
    if appeal.state is AppealState.ASSIGNED or appeal.answered_at is not None:
        return "in_progress"
    return "registered"


def stage_times(conversation: Conversation) -> dict[CitizenStage, datetime | None]:
    """Return when each stage was reached last, as far as it was."""
    appeal = conversation.appeal
    return {
        "registered": appeal.registered_at,
        "in_progress": _taken_up_at(conversation),
        "answered": appeal.answered_at,
        "closed": appeal.closed_at,
    }


def _taken_up_at(conversation: Conversation) -> datetime | None:
    """Return when an agent first took the appeal, by its history; else what is known to be no earlier."""
    taken = _first(event.at for event in conversation.events if event.kind in ("offer.accepted", "appeal.assigned"))
    if taken is not None:
        return taken
    appeal = conversation.appeal
    return appeal.changed_at if appeal.state is AppealState.ASSIGNED else appeal.answered_at


def _first(moments: Iterable[datetime]) -> datetime | None:
    return min(moments, default=None)


def _answer(reply: Reply) -> CitizenAnswer:
    return CitizenAnswer(
        at=reply.created_at,
        text=reply.text,
        files=tuple(
            CitizenFile(sha256=file.sha256, name=file.name, size_bytes=file.size_bytes) for file in reply.attachments
        ),
        state=reply.state,
    )
