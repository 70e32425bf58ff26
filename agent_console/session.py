"""Sessions: a signed cookie that names the agent, until when, and for which password."""

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from aiohttp import web

from agent_console.deps import ConsoleDeps
from agent_console.problems import ProblemError
from appeals.agent import Agent
from appeals.errors import NotFoundError

COOKIE = "okno_session"
CSRF_HEADER = "X-Okno-Request"
CSRF_VALUE = "1"
MAX_COOKIE_CHARS = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """What a valid cookie says, and the agent it is for, as they are now."""

    id: str
    agent: Agent
    expires_at: datetime
    password: str  # fingerprint of the password's hash: a new password ends it


class SessionKeeper:
    """Makes and checks session cookies. They are stateless: any console process with the same key takes them.

    A log-out is remembered by this process until the cookie would have ended anyway. A new password and an inactive
    agent end all sessions everywhere.
    """

    def __init__(self, deps: ConsoleDeps) -> None:
        self._deps = deps
        self._key = hmac.digest(deps.secret_key, b"okno console session\x00", "sha256")
        self._ended: dict[str, datetime] = {}  # session id -> when its cookie ends by itself

    def begin(self, agent: Agent, *, password_hash: str) -> tuple[Session, str]:
        """Return a new session and its cookie's value."""
        expires_at = self._deps.now() + timedelta(hours=self._deps.settings.session_hours)
        session = Session(
            id=secrets.token_urlsafe(16),
            agent=agent,
            expires_at=expires_at.replace(microsecond=0),
            password=_fingerprint(password_hash),
        )
        claims = {
            "sid": session.id,
            "agent": agent.id,
            "until": int(session.expires_at.timestamp()),
            "password": session.password,
        }
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode())
        return session, (payload + b"." + self._signature(payload)).decode()

    def end(self, session: Session) -> None:
        """Take the cookie no longer."""
        now = self._deps.now()
        self._ended = {key: until for key, until in self._ended.items() if until > now}
        self._ended[session.id] = session.expires_at

    async def find(self, request: web.Request) -> Session | None:
        """Return the session of a request, None if it has none that is valid now."""
        claims = self._claims(request.cookies.get(COOKIE, ""))
        if claims is None:
            return None
        agent_id, password = str(claims["agent"]), str(claims["password"])
        expires_at = datetime.fromtimestamp(int(claims["until"]), UTC)
        if not await self._holds(str(claims["sid"]), agent_id, expires_at=expires_at, password=password):
            return None
        try:
            agent = await self._deps.registry.agent(agent_id)
        except NotFoundError:
            return None
        return Session(id=str(claims["sid"]), agent=agent, expires_at=expires_at, password=password)

    async def still_valid(self, session: Session) -> bool:
        """Tell whether a session found before is valid now."""
        return await self._holds(session.id, session.agent.id, expires_at=session.expires_at, password=session.password)

    async def _holds(self, session_id: str, agent_id: str, *, expires_at: datetime, password: str) -> bool:
        if expires_at <= self._deps.now() or session_id in self._ended:
            return False
        password_hash = await self._deps.registry.password_hash(agent_id)  # None for inactive agents too
        return password_hash is not None and hmac.compare_digest(_fingerprint(password_hash), password)

    async def require(self, request: web.Request) -> Session:
        """Return the session of a request; raises ProblemError 401."""
        session = await self.find(request)
        if session is None:
            raise ProblemError(HTTPStatus.UNAUTHORIZED, "not_logged_in")
        return session

    def _claims(self, cookie: str) -> dict[str, str | int] | None:
        payload, _, signature = cookie.encode("utf-8", "replace").partition(b".")
        if len(cookie) > MAX_COOKIE_CHARS or not hmac.compare_digest(signature, self._signature(payload)):
            return None
        claims: dict[str, str | int] = json.loads(base64.urlsafe_b64decode(payload))  # ours: signed
        return claims

    def _signature(self, payload: bytes) -> bytes:
        return base64.urlsafe_b64encode(hmac.digest(self._key, payload, "sha256"))


def _fingerprint(password_hash: str) -> str:
    return hashlib.sha256(password_hash.encode()).hexdigest()[:16]


def set_cookie(response: web.Response, value: str, *, session: Session, deps: ConsoleDeps) -> None:
    """Hand the session's cookie to the browser."""
    response.set_cookie(
        COOKIE,
        value,
        max_age=max(0, int((session.expires_at - deps.now()).total_seconds())),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=deps.public_url.startswith("https://"),
    )


def check_not_forged(request: web.Request) -> None:
    """Raise ProblemError 403 unless the request carries the header that no foreign page can send."""
    if request.headers.get(CSRF_HEADER) != CSRF_VALUE:
        raise ProblemError(HTTPStatus.FORBIDDEN, "csrf", detail=f"send the header {CSRF_HEADER}: 1")
