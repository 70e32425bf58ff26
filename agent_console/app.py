"""The console's part of the HTTP application: REST, websocket, pages."""

from collections.abc import Awaitable, Callable
from functools import wraps

import orjson
from aiohttp import web

from agent_console.appeal_api import AppealApi
from agent_console.citizen_api import CitizenApi
from agent_console.deps import ConsoleDeps
from agent_console.endpoint import JSON, Endpoint, Handler
from agent_console.file_api import FileApi
from agent_console.letter_api import LetterApi
from agent_console.openapi import openapi_document
from agent_console.page_api import PageApi
from agent_console.pages import Pages
from agent_console.problems import with_problems
from agent_console.session import SessionKeeper, check_not_forged
from agent_console.session_api import SessionApi
from agent_console.uploads import UploadShelf
from agent_console.websocket import AgentSockets

API_PREFIX = "/api/"
SAFE_METHODS = frozenset({"GET", "HEAD"})
API_GUARD = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"}


class Console:
    """Everything the console serves, and what it must be told when the daemon stops."""

    def __init__(self, deps: ConsoleDeps) -> None:
        self._deps = deps
        sessions = SessionKeeper(deps)
        shelf = UploadShelf(deps.uploads_dir, now=deps.now)
        self.sockets = AgentSockets(deps, sessions=sessions, shelf=shelf)
        self._pages = Pages(deps)
        self.endpoints: tuple[Endpoint, ...] = (
            *SessionApi(deps, sessions=sessions, sockets=self.sockets).endpoints(),
            *AppealApi(deps, sessions=sessions).endpoints(),
            *FileApi(deps, sessions=sessions, shelf=shelf).endpoints(),
            *PageApi(deps, sessions=sessions).endpoints(),
            *LetterApi(deps, sessions=sessions).endpoints(),
            *CitizenApi(deps).endpoints(),
            self._openapi_endpoint(),
        )

    def routes(self) -> list[web.RouteDef]:
        """Return all routes: the endpoints, the websocket, the pages."""
        api = [web.route(one.method, one.path, _guarded(one.handler)) for one in self.endpoints]
        return [*api, web.get("/ws/agent", _guarded(self.sockets.handle)), *self._pages.routes()]

    async def stop(self, *, restarting: bool = False) -> None:
        """Finish commands in hand and close all websockets with 1001 (1012 when restarting). Idempotent."""
        await self.sockets.stop(restarting=restarting)

    def _openapi_endpoint(self) -> Endpoint:
        return Endpoint(
            method="GET",
            path="/api/openapi.json",
            handler=self._openapi,
            summary="This document",
            needs_session=False,
        )

    async def _openapi(self, request: web.Request) -> web.Response:
        del request
        document = openapi_document(self.endpoints, title=self._deps.office.name)
        return web.Response(body=orjson.dumps(document), content_type=JSON)


def install(app: web.Application, deps: ConsoleDeps) -> Console:
    """Add the console to `app`: routes, problem details for unknown `/api/` paths, the clean stop of its websockets."""
    console = Console(deps)
    app.add_routes(console.routes())
    app.middlewares.append(problem_middleware)

    async def stop(_: web.Application) -> None:
        await console.stop()

    app.on_shutdown.append(stop)
    return console


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell what goes wrong under `/api/` as problem details; leave everything else alone."""
    if not request.path.startswith(API_PREFIX):
        return await handler(request)
    return await with_problems(request, handler)


def _guarded(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Refuse forged requests, turn errors into problem details and set the headers every answer carries."""

    async def checked(request: web.Request) -> web.StreamResponse:
        if request.method not in SAFE_METHODS:
            check_not_forged(request)
        return await handler(request)

    @wraps(handler)
    async def guarded(request: web.Request) -> web.StreamResponse:
        response = await with_problems(request, checked)
        if not response.prepared:
            for name, value in API_GUARD.items():
                response.headers.setdefault(name, value)
        return response

    return guarded
