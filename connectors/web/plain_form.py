"""`/write/plain`: the form for browsers without JavaScript. No proof of work, so fewer submissions an address."""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from importlib.resources import files
from typing import Protocol
from uuid import UUID

from aiohttp import web

from appeals.envelope import AuthenticityResult
from appeals.errors import DecodeError, TransientError
from appeals.registration import Registration
from config.channel_settings import WebSettings
from connectors.base import ConnectorPorts
from connectors.problem import DEFAULT_RETRY_AFTER_S, answering_problems
from connectors.web.envelope import code_to_tell
from connectors.web.plain_page import PlainPage, typed_again
from connectors.web.refusal import is_foreign, refusal_text
from connectors.web.submission import Fault, FormRefusedError, Language, Submission
from connectors.web.visitor_limit import VisitorLimit

MIN_FILLING_S = 3.0  # nobody writes an appeal faster
NO_PROOF = AuthenticityResult(method="proof_of_work", result="none")
GUARD = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_BUSY = {
    "ru": "Сейчас принять обращение не удалось, ничего не сохранено. Отправьте форму ещё раз через минуту.",
    "en": "Your appeal could not be taken just now, nothing was kept. Send the form again in a minute.",
}


class TakeIn(Protocol):
    """`WebConnector.take_in`."""

    def __call__(
        self, request: web.Request, proof: AuthenticityResult, *, doubt_of: Callable[[Submission], str]
    ) -> Awaitable[tuple[Submission, Registration | UUID]]:
        """Read, check and register a form."""
        ...


class PlainForm:
    """Serves the form and takes it in. Its ids are drawn and signed here: a form sent twice is one appeal."""

    def __init__(self, settings: WebSettings, ports: ConnectorPorts, *, take_in: TakeIn) -> None:
        self._ports = ports
        self._take_in = take_in
        self._key = hmac.digest(ports.signing_key, b"plain form\x00", "sha256")
        self._page = PlainPage(office_name=ports.office.name, settings=settings, taxonomy=ports.taxonomy)
        self._visitors = VisitorLimit("web_plain", per_hour=settings.plain_submissions_per_hour)
        self._is_open = settings.plain_submissions_per_hour > 0
        self._css = (files("connectors.web") / "plain.css").read_bytes()

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the page, its style and where it posts to; nothing if the settings close it."""
        if not self._is_open:
            return ()
        return (
            web.get("/write/plain", answering_problems(self._show)),
            web.get("/write/plain.css", self._style),
            web.post("/write/plain", answering_problems(self._receive)),
        )

    async def _show(self, request: web.Request) -> web.Response:
        language = self._language(request)
        return _html(self._page.form(language=language, hidden=self._fresh(language)))

    async def _style(self, request: web.Request) -> web.Response:
        del request
        headers = {**GUARD, "Cache-Control": "max-age=3600"}
        return web.Response(body=self._css, content_type="text/css", charset="utf-8", headers=headers)

    async def _receive(self, request: web.Request) -> web.Response:
        language = self._language(request)
        address = self._ports.client_address(request)
        if is_foreign(request):
            return self._told("foreign_page", language=language, status=HTTPStatus.FORBIDDEN)
        if (wait_s := self._visitors.wait_s(address)) is not None:
            headers = {"Retry-After": str(int(wait_s))}
            text = refusal_text("too_many_requests", language)
            return _html(self._page.told(text, language=language), status=HTTPStatus.TOO_MANY_REQUESTS, headers=headers)
        self._visitors.count(address)
        try:
            submission, kept = await self._take_in(request, NO_PROOF, doubt_of=self._doubt)
        except FormRefusedError as error:
            return self._form_again(language, typed=error.typed, faults=error.faults)
        except (DecodeError, web.HTTPBadRequest, web.HTTPRequestTimeout):
            return self._told("invalid_request", language=language, status=HTTPStatus.BAD_REQUEST)
        except web.HTTPRequestEntityTooLarge:
            return self._told("too_large", language=language, status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        except TransientError:
            headers = {"Retry-After": str(int(DEFAULT_RETRY_AFTER_S))}
            text = self._page.told(_BUSY[language], language=language)
            return _html(text, status=HTTPStatus.SERVICE_UNAVAILABLE, headers=headers)
        if not isinstance(kept, Registration):
            text = self._page.under_review(language=language, reference=str(kept))
            return _html(text, status=HTTPStatus.ACCEPTED)
        text = self._page.registered(language=language, number=kept.number, code=code_to_tell(submission, kept))
        return _html(text, status=HTTPStatus.OK if kept.duplicate else HTTPStatus.CREATED)

    def _form_again(self, language: Language, *, typed: Mapping[str, str], faults: Sequence[Fault]) -> web.Response:
        text = self._page.form(
            language=language,
            hidden=self._fresh(language, submission_id=typed.get("submission_id", "")),
            typed=typed_again(typed.items()),
            faults=faults,
        )
        return _html(text, status=HTTPStatus.UNPROCESSABLE_ENTITY)

    def _told(self, code: str, *, language: Language, status: HTTPStatus) -> web.Response:
        return _html(self._page.told(refusal_text(code, language), language=language), status=status)

    def _language(self, request: web.Request) -> Language:
        wanted = request.query.get("language")
        if wanted in ("ru", "en"):
            return "en" if wanted == "en" else "ru"
        first = request.headers.get("Accept-Language", self._ports.office.language)[:2].lower()
        return "ru" if first == "ru" else "en"

    def _fresh(self, language: Language, *, submission_id: str = "") -> dict[str, str]:
        """Return the hidden fields of a form that is shown now."""
        submission_id = submission_id or secrets.token_hex(16)
        shown_at = str(int(self._ports.now().timestamp()))
        token = f"{shown_at}.{self._sign(shown_at, submission_id)}"
        return {"submission_id": submission_id, "shown": token, "language": language}

    def _doubt(self, submission: Submission) -> str:
        """Return why a form looks like a machine's: not one that we showed, or filled in faster than a person can."""
        shown_at, _, signature = submission.shown.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(shown_at, submission.id).encode()):
            return "it is not a form that we showed"
        if _seconds_since(shown_at, self._ports.now()) < MIN_FILLING_S:
            return f"it was sent within {MIN_FILLING_S:.0f} seconds after the form was shown"
        return ""

    def _sign(self, shown_at: str, submission_id: str) -> str:
        return hmac.digest(self._key, f"{shown_at}\x00{submission_id}".encode(), "sha256").hex()


def _seconds_since(shown_at: str, now: datetime) -> float:
    return now.timestamp() - int(shown_at)  # signed, so ours: digits


def _html(text: str, *, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        text=text, status=status, content_type="text/html", charset="utf-8", headers={**GUARD, **(headers or {})}
    )
