"""The kiosk page: its files, the forms it shows, and the exchange of an enrolment code for a key."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import structlog
from aiohttp import web
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appeals.errors import DecodeError
from config.channel_settings import KioskSettings
from config.kiosk_forms import FormField, KioskForm, KioskForms
from config.section import KIB
from connectors.base import ConnectorPorts
from connectors.kiosk.devices import KioskDevices
from connectors.kiosk.enrolment import claim_key
from connectors.problem import answering_problems, read_body

FOLDER = Path(__file__).parent / "page"
MAX_ENROL_BODY_BYTES = 4 * KIB
ENROLMENTS_PER_MINUTE = 10  # tries of an address: sixty bits are not guessed at that pace
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "worker-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "  # blob: the photo, the camera's picture
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
GUARD = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
}
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}

logger = structlog.get_logger(__name__)


class EnrolRequest(BaseModel):
    """What an installer types in."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str = Field(min_length=1, max_length=64)


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> "_File":
        return cls(content=content, media_type=media_type, etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"')


class KioskPage:
    """Serves the page at /kiosk/."""

    def __init__(
        self,
        settings: KioskSettings,
        ports: ConnectorPorts,
        *,
        forms: KioskForms,
        devices: KioskDevices,
    ) -> None:
        self._ports = ports
        self._devices = devices
        self._files: Mapping[str, _File] = {}
        published = json.dumps(publish_forms(forms, settings, office=ports.office.name), ensure_ascii=False)
        self._forms = _File.of(published.encode(), "application/json")
        self._limit = RateLimitItemPerMinute(ENROLMENTS_PER_MINUTE)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def routes(self) -> list[web.RouteDef]:
        """Return the page's routes; reads the files, which are small, into memory."""
        self._files = _read_page()
        return [
            web.get("/kiosk", self._redirect),
            web.get("/kiosk/", self._show),
            web.get("/kiosk/forms.json", self._show_forms),
            web.post("/kiosk/enrol", answering_problems(self._enrol)),
            web.get(r"/kiosk/{name:[a-z][a-z0-9_-]*\.[a-z]+}", self._show),
        ]

    async def _redirect(self, _request: web.Request) -> web.Response:
        raise web.HTTPPermanentRedirect("/kiosk/")

    async def _show(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info.get("name", "index.html"))
        if file is None:
            raise web.HTTPNotFound
        return _respond(request, file)

    async def _show_forms(self, request: web.Request) -> web.Response:
        return _respond(request, self._forms)

    async def _enrol(self, request: web.Request) -> web.Response:
        if not self._limiter.hit(self._limit, "kiosk enrol", self._ports.client_address(request)):
            raise web.HTTPTooManyRequests
        body = await read_body(request, max_bytes=MAX_ENROL_BODY_BYTES)
        try:
            wanted = EnrolRequest.model_validate_json(body)
        except ValidationError as error:
            raise DecodeError("the body is no request to enrol", data=body) from error
        enrolled = await claim_key(
            self._devices,
            self._ports.cursors,
            wanted.code,
            signing_key=self._ports.signing_key,
            now=self._ports.now(),
        )
        if enrolled is None:
            logger.warning("connector.kiosk_code_refused")
            raise web.HTTPNotFound(reason="Unknown code")
        logger.info("connector.kiosk_enrolled", kiosk=enrolled.kiosk.id, key=enrolled.key.id)
        answer = {"kiosk_id": enrolled.kiosk.id, "name": enrolled.kiosk.name, "secret": enrolled.key.text}
        return web.json_response(answer, headers={"Cache-Control": "no-store"})


def _read_page() -> dict[str, _File]:
    """Return the page's files by name; scripts that ask for it are told the version and the names of all files."""
    contents = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in MEDIA_TYPES}
    version = hashlib.sha256(b"".join(contents.values())).hexdigest()[:12]
    names = ", ".join(f'"{name}"' for name in contents if name not in {"index.html", "sw.js"})
    for name in ("sw.js", "version.js"):
        contents[name] = contents[name].replace(b"__VERSION__", version.encode())
    contents["sw.js"] = contents["sw.js"].replace(b'"__FILES__"', names.encode())
    return {name: _File.of(content, MEDIA_TYPES[Path(name).suffix]) for name, content in contents.items()}


def publish_forms(forms: KioskForms, settings: KioskSettings, *, office: str) -> dict[str, object]:
    """Return what kiosks are given: the newest version of each form, `okno.kiosk-forms/1`."""
    return {
        "schema": "okno.kiosk-forms/1",
        "office": office,
        "languages": list(forms.languages),
        "idle_s": settings.idle_s,
        "max_body_bytes": settings.max_body_bytes,
        "forms": [_publish_form(form) for form in forms.current()],
    }


def _publish_form(form: KioskForm) -> dict[str, object]:
    head = {"id": form.id, "version": form.version, "title": dict(form.title), "intro": dict(form.intro)}
    return head | {"fields": [_publish_field(field) for field in form.fields]}


def _publish_field(field: FormField) -> dict[str, object]:
    published: dict[str, object] = {
        "name": field.name,
        "type": field.type,
        "role": field.role,
        "required": field.required,
        "title": dict(field.title),
        "help": dict(field.help),
        "schema": field.json_schema(),
    }
    if field.choices:
        published["choices"] = [{"value": choice.value, "title": dict(choice.title)} for choice in field.choices]
    if field.type == "files":
        published["files"] = field.files.model_dump(mode="json")
    return published


def _respond(request: web.Request, file: _File) -> web.Response:
    headers = {**GUARD, "ETag": file.etag, "Cache-Control": "no-cache"}
    if file.etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(body=file.content, content_type=file.media_type, charset="utf-8", headers=headers)
