"""What an agent's commands do to the registry, and how their errors are told over the websocket."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from agent_console.access import check_may_see
from agent_console.deps import ConsoleDeps
from agent_console.presenters import agent_view, appeal_detail, appeal_summary, offer_view, reply_view
from agent_console.problems import MESSAGES, ProblemError, error_code, log_incident
from agent_console.protocol import (
    Accept,
    Ack,
    AnyCommand,
    AnyServerMessage,
    Close,
    Decline,
    ErrorCode,
    ErrorMessage,
    MoveMessage,
    Open,
    Opened,
    Ping,
    Pong,
    Release,
    SendAgain,
    SendReply,
    SetStatus,
    Split,
    Transcribe,
)
from agent_console.uploads import UploadShelf
from agent_console.views import AppealSummary, Snapshot
from appeals.agent import Agent, AgentStatus
from appeals.answer import UploadedFile
from appeals.appeal import AppealState
from appeals.errors import NotFoundError, OknoError

logger = structlog.get_logger(__name__)

MAX_HELD = 200  # appeals of a snapshot; capacities are a handful

ERROR_CODES: frozenset[str] = frozenset(ErrorCode.__args__)  # type: ignore[attr-defined]


class Desk:
    """One agent's desk: carries out the commands of their consoles."""

    def __init__(self, deps: ConsoleDeps, *, agent: Agent, shelf: UploadShelf) -> None:
        self._registry = deps.registry
        self._lifecycle = deps.lifecycle
        self._outbox = deps.outbox
        self._transcripts = deps.transcripts
        self._rethreading = deps.rethreading
        self._routes = deps.routes
        self._queues = deps.queues
        self._agent = agent  # as at log-in: id and role
        self._shelf = shelf

    @property
    def _actor(self) -> str:
        return f"agent:{self._agent.id}"

    async def snapshot(self) -> Snapshot:
        """Return the desk as it is now. The tail is taken first: what comes during the reads is read again after it."""
        tail_id = await self._queues.agent_queue_tail(self._agent.id)
        agent = await self._registry.agent(self._agent.id)
        offers = await self._registry.pending_offers(agent.id)
        appeals = await self._registry.appeals_by_id([one.appeal_id for one in offers])
        offered = {appeal.id: appeal for appeal in appeals}
        held = await self._registry.list_appeals(states=(AppealState.ASSIGNED,), agent_id=agent.id, limit=MAX_HELD)
        return Snapshot(
            agent=agent_view(agent),
            offers=tuple(offer_view(one, offered[one.appeal_id]) for one in offers if one.appeal_id in offered),
            appeals=tuple(appeal_summary(appeal) for appeal in held),
            tail_id=tail_id,
        )

    async def carry_out(self, command: AnyCommand) -> AnyServerMessage:
        """Do what a command says and return its answer; never raises but for a bug of the caller's."""
        try:
            return await self._handlers()[type(command)](command)
        except OknoError as error:
            return self._refusal(command, error)
        except Exception as error:  # noqa: BLE001 - the last wall: logged whole, told as an incident number
            return self._incident(command, error)

    def _handlers(self) -> dict[type, Callable[..., Awaitable[AnyServerMessage]]]:
        return {
            SetStatus: self._set_status,
            Accept: self._accept,
            Decline: self._decline,
            Open: self._open,
            SendReply: self._reply,
            Close: self._close,
            Release: self._release,
            Transcribe: self._transcribe,
            Split: self._split,
            MoveMessage: self._move_message,
            SendAgain: self._send_again,
            Ping: self._ping,
        }

    async def _set_status(self, command: SetStatus) -> Ack:
        agent = await self._lifecycle.set_status(self._agent.id, AgentStatus(command.status), reason=command.reason)
        return Ack(request_id=command.request_id, agent=agent_view(agent))

    async def _accept(self, command: Accept) -> Ack:
        appeal = await self._lifecycle.accept_offer(command.offer_id, self._agent.id)
        return Ack(request_id=command.request_id, appeal=appeal_summary(appeal))

    async def _decline(self, command: Decline) -> Ack:
        appeal = await self._lifecycle.decline_offer(command.offer_id, self._agent.id, command.reason)
        return Ack(request_id=command.request_id, appeal=appeal_summary(appeal))

    async def _open(self, command: Open) -> Opened:
        conversation = await self._registry.conversation(command.appeal_id)
        check_may_see(self._agent, conversation.appeal)
        return Opened(request_id=command.request_id, detail=appeal_detail(conversation, self._routes))

    async def _reply(self, command: SendReply) -> Ack:
        uploads = await self._shelf.find(command.attachments, agent_id=self._agent.id)
        reply = await self._lifecycle.answer(
            command.appeal_id,
            agent_id=self._agent.id,
            version=command.version,
            text=command.text,
            attachments=[
                UploadedFile(name=upload.record.name, media_type=upload.record.media_type, content=upload.content)
                for upload in uploads
            ],
            close=command.close,
        )
        await self._discard(command.attachments)
        return Ack(request_id=command.request_id, reply=reply_view(reply), appeal=await self._after(command))

    async def _close(self, command: Close) -> Ack:
        appeal = await self._lifecycle.close(
            command.appeal_id, agent_id=self._agent.id, version=command.version, reason=command.reason
        )
        return Ack(request_id=command.request_id, appeal=appeal_summary(appeal))

    async def _release(self, command: Release) -> Ack:
        appeal = await self._lifecycle.release(
            command.appeal_id, agent_id=self._agent.id, version=command.version, note=command.note
        )
        return Ack(request_id=command.request_id, appeal=appeal_summary(appeal))

    async def _transcribe(self, command: Transcribe) -> Ack:
        appeal = await self._transcripts.typed(
            command.appeal_id,
            envelope_id=command.envelope_id,
            agent_id=self._agent.id,
            version=command.version,
            text=command.text,
            pass_on=command.pass_on,
        )
        return Ack(request_id=command.request_id, appeal=appeal_summary(appeal))

    async def _split(self, command: Split) -> Ack:
        check_may_see(self._agent, await self._registry.appeal(command.appeal_id))
        left, opened = await self._rethreading.split(
            command.appeal_id, envelope_id=command.envelope_id, version=command.version, actor=self._actor
        )
        return Ack(request_id=command.request_id, appeal=appeal_summary(left), other=appeal_summary(opened))

    async def _move_message(self, command: MoveMessage) -> Ack:
        check_may_see(self._agent, await self._registry.appeal(command.appeal_id))
        left, target = await self._rethreading.move(
            command.appeal_id,
            envelope_id=command.envelope_id,
            version=command.version,
            to_number=command.to_number,
            actor=self._actor,
        )
        return Ack(request_id=command.request_id, appeal=appeal_summary(left), other=appeal_summary(target))

    async def _send_again(self, command: SendAgain) -> Ack:
        conversation = await self._registry.conversation(command.appeal_id)
        check_may_see(self._agent, conversation.appeal)
        if command.reply_id not in {reply.id for reply in conversation.replies}:
            raise NotFoundError("the appeal has no such reply")
        await self._outbox.retry(command.reply_id)
        return Ack(request_id=command.request_id, appeal=appeal_summary(conversation.appeal))

    async def _ping(self, command: Ping) -> Pong:
        return Pong(request_id=command.request_id)

    async def _after(self, command: SendReply) -> AppealSummary | None:
        """Return the answered appeal. The answer is committed: a failure here must not look like a failed answer."""
        try:
            return appeal_summary(await self._registry.appeal(command.appeal_id))
        except OknoError as error:
            logger.warning("console.appeal_unread", error=type(error).__name__)
            return None

    async def _discard(self, upload_ids: tuple[UUID, ...]) -> None:
        """Drop uploads that were sent. The reply is committed: a failure here only leaves files for the sweep."""
        try:
            await self._shelf.discard(upload_ids)
        except OknoError as error:
            logger.warning("console.uploads_left", error=type(error).__name__, count=len(upload_ids))

    def _refusal(self, command: AnyCommand, error: OknoError) -> ErrorMessage:
        code = error_code(error)
        if code == "internal":
            return self._incident(command, error)
        if code == "stale" and isinstance(command, Accept | Decline):
            code = "gone"
        logger.info("console.command_refused", agent_id=self._agent.id, command=command.type, code=code)
        detail = error.detail if isinstance(error, ProblemError) else ""
        return error_message(code, request_id=command.request_id, detail=detail)

    def _incident(self, command: AnyCommand, error: Exception) -> ErrorMessage:
        incident = log_incident("console.command_failed", error, agent_id=self._agent.id, command=command.type)
        return error_message("internal", request_id=command.request_id, incident=incident)


def error_message(code: str, *, request_id: str | None, detail: str = "", incident: str | None = None) -> ErrorMessage:
    """Return the error with its words for people. `code` is one of the protocol's."""
    known: ErrorCode = code if code in ERROR_CODES else "rejected"  # type: ignore[assignment]
    return ErrorMessage(request_id=request_id, code=known, message=MESSAGES[known], detail=detail, incident=incident)
