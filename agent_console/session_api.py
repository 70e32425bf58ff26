"""`/api/v1/session` and `/api/v1/office`: log in, who am I, log out, who are you."""

from http import HTTPStatus

from aiohttp import web

from agent_console.deps import ConsoleDeps
from agent_console.endpoint import Endpoint, json_response, read_json
from agent_console.log_in import Doorkeeper
from agent_console.presenters import agent_view, office_view
from agent_console.session import COOKIE, Session, SessionKeeper, set_cookie
from agent_console.views import LogInRequest, OfficeView, SessionView
from agent_console.websocket import AgentSockets


class SessionApi:
    """Sessions over REST."""

    def __init__(self, deps: ConsoleDeps, *, sessions: SessionKeeper, sockets: AgentSockets) -> None:
        self._deps = deps
        self._sockets = sockets
        self._sessions = sessions
        self._doorkeeper = Doorkeeper(deps)

    def endpoints(self) -> list[Endpoint]:
        """Return what this part answers."""
        path = "/api/v1/session"
        return [
            Endpoint(
                method="POST",
                path=path,
                handler=self.log_in,
                summary="Log in: sets the session cookie",
                body=LogInRequest,
                answer=SessionView,
                needs_session=False,
            ),
            Endpoint(method="GET", path=path, handler=self.show, summary="Who is logged in", answer=SessionView),
            Endpoint(
                method="DELETE",
                path=path,
                handler=self.log_out,
                summary="Log out",
                status=HTTPStatus.NO_CONTENT,
                needs_session=False,
            ),
            Endpoint(
                method="GET",
                path="/api/v1/office",
                handler=self.office,
                summary="Whose console this is",
                answer=OfficeView,
                needs_session=False,
            ),
        ]

    async def log_in(self, request: web.Request) -> web.Response:
        """Check name and password and begin a session."""
        wanted = await read_json(request, LogInRequest)
        agent, password_hash = await self._doorkeeper.admit(
            wanted.agent_id, wanted.password, address=self._deps.client_address(request)
        )
        session, cookie = self._sessions.begin(agent, password_hash=password_hash)
        response = json_response(self._view(session))
        set_cookie(response, cookie, session=session, deps=self._deps)
        return response

    async def show(self, request: web.Request) -> web.Response:
        """Tell who is logged in."""
        return json_response(self._view(await self._sessions.require(request)))

    async def log_out(self, request: web.Request) -> web.Response:
        """End the session, if there is one."""
        session = await self._sessions.find(request)
        if session is not None:
            self._sessions.end(session)
            await self._sockets.end_session(session.id)
        response = web.Response(status=HTTPStatus.NO_CONTENT)
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
        return response

    async def office(self, request: web.Request) -> web.Response:
        """Tell whose console this is."""
        del request
        return json_response(office_view(self._deps.office))

    def _view(self, session: Session) -> SessionView:
        return SessionView(
            agent=agent_view(session.agent),
            office=office_view(self._deps.office),
            expires_at=session.expires_at,
            max_upload_bytes=self._deps.settings.max_upload_bytes,
        )
