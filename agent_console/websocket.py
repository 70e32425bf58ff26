"""`/ws/agent`: who may open a websocket, and all that are open."""

import asyncio
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog
from aiohttp import WSCloseCode, web

from agent_console.commands import Desk
from agent_console.connection import CLOSE_TIMEOUT_S, AgentConnection, CloseCode
from agent_console.deps import ConsoleDeps
from agent_console.problems import ProblemError
from agent_console.protocol import MAX_MESSAGE_BYTES
from agent_console.session import SessionKeeper
from agent_console.uploads import UploadShelf

logger = structlog.get_logger(__name__)

HEARTBEAT_S = 20.0  # a console that answers no ping for half as long is gone
DEFAULT_PORTS = {"http": 80, "https": 443}


class AgentSockets:
    """The websockets of all consoles connected to this process."""

    def __init__(self, deps: ConsoleDeps, *, sessions: SessionKeeper, shelf: UploadShelf) -> None:
        self._deps = deps
        self._sessions = sessions
        self._shelf = shelf
        self._connections: set[AgentConnection] = set()
        self._stopping = False

    def __len__(self) -> int:
        """Return how many consoles are connected."""
        return len(self._connections)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Check session and origin, then serve the websocket until either side closes."""
        if self._stopping:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", headers={"Retry-After": "1"})
        self._check_origin(request)
        session = await self._sessions.require(request)
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, timeout=CLOSE_TIMEOUT_S, compress=False
        )  # no compression: its memory and time, for each of hundreds of consoles, cost more than the bytes
        if not socket.can_prepare(request):
            raise ProblemError(HTTPStatus.BAD_REQUEST, "invalid_request", detail="this address speaks websocket")
        await socket.prepare(request)
        connection = AgentConnection(
            socket,
            transport=request.transport,
            deps=self._deps,
            session=session,
            sessions=self._sessions,
            desk=Desk(self._deps, agent=session.agent, shelf=self._shelf),
        )
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)
        return socket

    async def end_session(self, session_id: str) -> None:
        """Close the websockets of a session that has been logged out."""
        await self._finish(
            [one for one in self._connections if one.session_id == session_id],
            code=CloseCode.SESSION_ENDED,
            reason="logged out",
        )

    async def stop(self, *, restarting: bool = False) -> None:
        """Finish the commands in hand and close all; consoles connect again. Idempotent."""
        self._stopping = True
        code = WSCloseCode.SERVICE_RESTART if restarting else WSCloseCode.GOING_AWAY
        await self._finish(list(self._connections), code=code, reason="server is stopping")

    @staticmethod
    async def _finish(connections: list[AgentConnection], *, code: int, reason: str) -> None:
        results = await asyncio.gather(
            *(connection.finish(code, reason) for connection in connections), return_exceptions=True
        )
        for result in results:
            if isinstance(result, Exception):
                logger.error("console.close_failed", exc_info=result)

    def _check_origin(self, request: web.Request) -> None:
        """Refuse websockets of foreign pages (RFC 6455 §10.2); programs send no Origin and have no cookie by chance."""
        origin = request.headers.get("Origin")
        if origin is None:
            return
        given = _origin(origin)
        if given is None or given not in {
            _origin(self._deps.public_url),
            _origin(f"{request.scheme}://{request.host}"),
        }:
            raise ProblemError(HTTPStatus.FORBIDDEN, "csrf", detail="a foreign Origin")


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of a URL, None if it has none (as `null`, the origin of sandboxed pages)."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not parts.hostname or port is None:
        return None
    return parts.scheme, parts.hostname, port
