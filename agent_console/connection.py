"""One console's websocket connection: its commands in, its agent's queue out, its presence."""

import asyncio
from collections.abc import Coroutine
from enum import IntEnum
from uuid import uuid4

import orjson
import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import TypeAdapter, ValidationError

from agent_console.commands import Desk, error_message
from agent_console.deps import ConsoleDeps
from agent_console.endpoint import fault_summary
from agent_console.problems import log_incident
from agent_console.protocol import (
    AnyServerMessage,
    ClientMessage,
    Hello,
    QueueMessage,
    SnapshotMessage,
    Welcome,
)
from agent_console.session import Session, SessionKeeper
from appeals.errors import TransientError
from queues.port import AgentQueueEntry

logger = structlog.get_logger(__name__)

BLOCK_S = 5.0  # a waiting read of the agent queue; between two of them we look for a gap
RETRY_S = 1.0  # after the queues were out of reach
SEND_TIMEOUT_S = 10.0  # a console that takes nothing for so long is dropped; it resumes when it comes back
CLOSE_TIMEOUT_S = 2.0  # for the other side's half of a close
FINISH_TIMEOUT_S = 5.0  # for a command in hand when the daemon stops
SESSION_CHECK_S = 60.0  # how often a living connection's session is looked up again
BEATS_A_TTL = 3  # two may be lost

_QUEUE_MESSAGE: TypeAdapter[QueueMessage] = TypeAdapter(QueueMessage)


class CloseCode(IntEnum):
    """Why we close, beside the standard codes. RFC 6455 §7.4.2: 4000-4999 are ours."""

    SESSION_ENDED = 4401


class AgentConnection:
    """One websocket of one agent. Several of them may live at once; each reads the agent's queue by itself."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        *,
        transport: asyncio.Transport | None,
        deps: ConsoleDeps,
        session: Session,
        sessions: SessionKeeper,
        desk: Desk,
    ) -> None:
        self.session_id = session.id
        self._socket = socket
        self._transport = transport
        self._deps = deps
        self._session = session
        self._sessions = sessions
        self._desk = desk
        self._agent_id = session.agent.id
        self._id = uuid4().hex
        self._feed: asyncio.Task[None] | None = None
        self._in_hand = asyncio.Lock()  # held while a command is carried out and answered
        self._left_in_order = False  # the console said goodbye; a lost connection does not

    async def serve(self) -> None:
        """Serve until either side closes."""
        logger.info("console.connected", agent_id=self._agent_id, connection=self._id)
        try:
            async with asyncio.TaskGroup() as group:
                beats = self._spawn(group, self._keep_present())
                watch = self._spawn(group, self._watch_session())
                await self._read_commands(group)
                for task in (beats, watch, self._feed):
                    if task is not None:
                        task.cancel()
        finally:
            await self._leave()
            logger.info("console.disconnected", agent_id=self._agent_id, code=self._socket.close_code)

    async def finish(self, code: int, reason: str) -> None:
        """Close from outside: the command in hand is carried out and answered first."""
        try:
            async with asyncio.timeout(FINISH_TIMEOUT_S):
                await self._in_hand.acquire()
        except TimeoutError:
            logger.warning("console.command_unfinished", agent_id=self._agent_id)
            await self._close(code, reason)
            return
        try:
            await self._close(code, reason)
        finally:
            self._in_hand.release()

    # ---- in
    async def _read_commands(self, group: asyncio.TaskGroup) -> None:
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.TEXT:
                async with self._in_hand:
                    if self._socket.closed:  # finished while this command waited: not begun, not answered
                        return
                    await self._handle(message.data, group)
            elif message.type is WSMsgType.BINARY:
                await self._send(error_message("invalid_message", request_id=None, detail="text messages only"))
            else:  # CLOSE, CLOSING, CLOSED; or ERROR: aiohttp has closed with the fitting code (1002, 1007, 1009)
                self._left_in_order = message.type is WSMsgType.CLOSE
                return

    async def _handle(self, text: str, group: asyncio.TaskGroup) -> None:
        try:
            command = ClientMessage.model_validate_json(text).root
        except ValidationError as error:
            request_id = _request_id_of(text)
            await self._send(error_message("invalid_message", request_id=request_id, detail=fault_summary(error)))
            return
        if isinstance(command, Hello):
            await self._greet(command, group)
        elif self._feed is None:
            await self._send(error_message("hello_first", request_id=command.request_id))
        else:
            await self._send(await self._desk.carry_out(command))

    async def _greet(self, hello: Hello, group: asyncio.TaskGroup) -> None:
        """Answer `hello` and start forwarding: after what the console has seen if all since is there, else the tail."""
        if self._feed is not None:
            await self._send(error_message("invalid_message", request_id=hello.request_id, detail="one hello only"))
            return
        try:
            gap = hello.after_id is not None and await self._deps.queues.agent_queue_has_gap(
                self._agent_id, hello.after_id
            )
            snapshot = await self._desk.snapshot()
        except TransientError as error:
            logger.warning("console.hello_failed", agent_id=self._agent_id, error=type(error).__name__)
            await self._send(error_message("unavailable", request_id=hello.request_id))
            return
        await self._send(Welcome(request_id=hello.request_id, resume_gap=gap, snapshot=snapshot))
        after_id = snapshot.tail_id if hello.after_id is None or gap else hello.after_id
        self._feed = self._spawn(group, self._forward_queue(after_id))

    # ---- out
    async def _send(self, message: AnyServerMessage) -> None:
        """Send one message; waits for a slow reader, and drops one that stands still."""
        if self._socket.closed:
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.send_str(message.model_dump_json())
        except TimeoutError:
            logger.warning("console.too_slow", agent_id=self._agent_id)
            self._abort()  # its buffer is full: a close frame would not reach it either
        except ConnectionError:  # gone between two messages: the reader notices too
            logger.debug("console.gone_while_sending", agent_id=self._agent_id)

    async def _forward_queue(self, after_id: str) -> None:
        while not self._socket.closed:
            try:
                after_id = await self._forward_next(after_id)
            except TransientError as error:
                logger.warning("console.queue_unavailable", agent_id=self._agent_id, error=type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def _forward_next(self, after_id: str) -> str:
        """Forward what comes next and return the id to go on after; what was lost is made up for by a snapshot."""
        queues = self._deps.queues
        entries = await queues.read_agent_queue(self._agent_id, after_id=after_id, block_s=BLOCK_S)
        if await queues.agent_queue_has_gap(self._agent_id, after_id):
            return await self._send_snapshot()
        for entry in entries:
            message = _read_entry(entry)
            if message is None:
                return await self._send_snapshot()
            await self._send(message)
            after_id = entry.id
        return after_id

    async def _send_snapshot(self) -> str:
        """Send a fresh picture and return the queue id it was taken at."""
        snapshot = await self._desk.snapshot()
        logger.info("console.snapshot_sent", agent_id=self._agent_id)
        await self._send(SnapshotMessage(snapshot=snapshot))
        return snapshot.tail_id

    # ---- life
    def _spawn(self, group: asyncio.TaskGroup, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return group.create_task(self._guard(work))

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        """Run a part of the connection; a bug in it closes this connection, logged, and nothing else."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the last wall
            log_incident("console.connection_failed", error, agent_id=self._agent_id)
            await self._close(WSCloseCode.INTERNAL_ERROR, "internal error")

    async def _keep_present(self) -> None:
        ttl_s = self._deps.settings.presence_ttl_s
        while True:
            try:
                await self._deps.queues.beat(self._agent_id, self._id, ttl_s=ttl_s)
            except TransientError as error:
                logger.warning("console.beat_failed", agent_id=self._agent_id, error=type(error).__name__)
            await asyncio.sleep(ttl_s / BEATS_A_TTL)

    async def _watch_session(self) -> None:
        """Close when the session ends: its time is up, or the agent was made inactive or got another password."""
        while True:
            left_s = (self._session.expires_at - self._deps.now()).total_seconds()
            await asyncio.sleep(max(0.0, min(left_s, SESSION_CHECK_S)))
            try:
                alive = await self._sessions.still_valid(self._session)
            except TransientError:
                continue  # the registry is out of reach: the next look decides
            if not alive:
                await self._close(CloseCode.SESSION_ENDED, "session ended")
                return

    async def _leave(self) -> None:
        """End the presence at once if the console said goodbye; a lost connection runs into its grace instead."""
        if not self._left_in_order:
            return
        try:
            await self._deps.queues.leave(self._agent_id, self._id)
        except TransientError as error:  # it is forgotten after its ttl all the same
            logger.warning("console.leave_failed", agent_id=self._agent_id, error=type(error).__name__)

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
                await self._socket.close(code=code, message=reason.encode())
        except TimeoutError:
            logger.info("console.close_unanswered", agent_id=self._agent_id)
            self._abort()

    def _abort(self) -> None:
        """Cut the connection, whatever its buffers hold; the reader notices."""
        if self._transport is not None:
            self._transport.abort()


def _read_entry(entry: AgentQueueEntry) -> QueueMessage | None:
    """Return a queue entry as the protocol's message; None if it is none, as a newer process beside us may write."""
    try:
        return _QUEUE_MESSAGE.validate_python({**entry.message, "id": entry.id})
    except ValidationError as error:
        logger.error("console.queue_message_unknown", faults=fault_summary(error))  # noqa: TRY400 - the faults say it all
        return None


def _request_id_of(text: str) -> str | None:
    """Return the request id of a message that could not be read otherwise, if it has one."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    request_id = message.get("request_id") if isinstance(message, dict) else None
    return request_id if isinstance(request_id, str) else None
