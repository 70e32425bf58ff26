"""Views of what came as pictures or as HTML: rendered pages, cleaned HTML. A stranger's bytes, made harmless."""

import base64
import re
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from agent_console.appeal_api import NUMBER
from agent_console.deps import ConsoleDeps, PageRenderer
from agent_console.endpoint import Endpoint, Parameter, json_response, read_json
from agent_console.file_api import ENVELOPE_ID, GUARD, SHA256, find_attachment, find_envelope, visible_conversation
from agent_console.problems import ProblemError
from agent_console.session import SessionKeeper
from agent_console.views import EstimateRequest, EstimateView, PagesView
from appeals.answer import answer_target
from appeals.envelope import AppealEnvelope
from appeals.findings import is_risky

PAGE_PX = 1_600  # the longer side of a rendered page: fax pages are read at about 200 dots an inch
MAX_PAGE = 10_000
MAX_INLINE_BYTES = 8 * 1024 * 1024  # of all pictures within one HTML view; the rest stay among the attachments
INLINE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
HTML_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"

_CONTENT_ID = re.compile(r'(?<=src=")cid:([^"]{1,998})(?=")')


class PageApi:
    """Pages, HTML, and what an answer would take."""

    def __init__(self, deps: ConsoleDeps, *, sessions: SessionKeeper) -> None:
        self._deps = deps
        self._registry = deps.registry
        self._sessions = sessions

    def endpoints(self) -> list[Endpoint]:
        """Return what this part answers."""
        page = Parameter(name="page", place="path", description="From 1", schema={"type": "integer", "minimum": 1})
        return [
            Endpoint(
                method="GET",
                path="/api/v1/appeals/{number}/blobs/{sha256}/pages",
                handler=self.pages,
                summary="How many pages an attachment has",
                answer=PagesView,
                parameters=(NUMBER, SHA256),
            ),
            Endpoint(
                method="GET",
                path="/api/v1/appeals/{number}/blobs/{sha256}/pages/{page}",
                handler=self.page,
                summary="One page of an attachment (TIFF, PDF, image) as PNG",
                sends_bytes=True,
                parameters=(NUMBER, SHA256, page),
            ),
            Endpoint(
                method="GET",
                path="/api/v1/appeals/{number}/html/{envelope_id}",
                handler=self.html,
                summary="A message's HTML, cleaned, with its own pictures and none from elsewhere",
                sends_bytes=True,
                parameters=(NUMBER, ENVELOPE_ID),
            ),
            Endpoint(
                method="POST",
                path="/api/v1/appeals/{number}/estimate",
                handler=self.estimate,
                summary="What sending an answer would take: parts and price",
                body=EstimateRequest,
                answer=EstimateView,
                parameters=(NUMBER,),
            ),
        ]

    async def pages(self, request: web.Request) -> web.Response:
        """Answer the number of pages; 422 for what has none."""
        content = await self._attachment(request)
        return json_response(PagesView(pages=await self._renderer().page_count(content)))

    async def page(self, request: web.Request) -> web.Response:
        """Answer one page as PNG."""
        content = await self._attachment(request)
        number = request.match_info["page"]
        if not (number.isascii() and number.isdigit() and 1 <= int(number) <= MAX_PAGE):
            raise ProblemError(HTTPStatus.NOT_FOUND, "not_found", detail="no such page")
        picture = await self._renderer().render_page(content, int(number), max_px=PAGE_PX)
        headers = {**GUARD, "Cache-Control": "private, max-age=3600"}  # the bytes of a hash never change
        return web.Response(body=picture, content_type="image/png", headers=headers)

    async def html(self, request: web.Request) -> web.Response:
        """Answer the cleaned HTML, to be shown in a frame without any rights."""
        _, conversation = await visible_conversation(request, self._sessions, self._registry)
        envelope = find_envelope(conversation, request.match_info["envelope_id"])
        if envelope.html is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "not_found", detail="no such HTML in this appeal")
        cleaned = (await self._registry.read_blob(envelope.html.sha256)).decode("utf-8", "replace")
        pictures = await self._pictures(envelope)
        shown = _CONTENT_ID.sub(lambda match: pictures.get(match.group(1), ""), cleaned)
        headers = {**GUARD, "Content-Security-Policy": HTML_POLICY, "X-Frame-Options": "SAMEORIGIN"}
        return web.Response(text=shown, content_type="text/html", charset="utf-8", headers=headers)

    async def estimate(self, request: web.Request) -> web.Response:
        """Answer parts and price of an answer on this appeal's way back; 404 where there are no such limits."""
        _, conversation = await visible_conversation(request, self._sessions, self._registry)
        wanted = await read_json(request, EstimateRequest)
        target = answer_target(conversation.envelopes, self._deps.routes)
        estimate = None if target is None else self._deps.estimate(target.connector, wanted.text)
        if estimate is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "not_found", detail="this channel counts no parts")
        return json_response(
            EstimateView(
                parts=estimate.parts,
                encoding=estimate.encoding,
                units=estimate.units,
                units_per_part=estimate.units_per_part,
                price=None if estimate.price is None else str(estimate.price),
                currency=estimate.currency,
                costly=tuple(estimate.costly),
            )
        )

    async def _attachment(self, request: web.Request) -> bytes:
        _, conversation = await visible_conversation(request, self._sessions, self._registry)
        attachment = find_attachment(conversation, request.match_info["sha256"])
        return await self._registry.read_blob(attachment.sha256)

    def _renderer(self) -> PageRenderer:
        if self._deps.pages is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "not_found", detail="this process renders no pages")
        return self._deps.pages

    async def _pictures(self, envelope: AppealEnvelope) -> Mapping[str, str]:
        """Return the message's own pictures as data URLs, by Content-ID: a frame without rights can ask for nothing."""
        pictures: dict[str, str] = {}
        room = MAX_INLINE_BYTES
        for item in envelope.attachments:
            if item.content_id is None or item.detected_media_type not in INLINE_TYPES or is_risky(item.findings):
                continue
            if item.size_bytes <= room:
                room -= item.size_bytes
                encoded = base64.b64encode(await self._registry.read_blob(item.sha256)).decode()
                pictures[item.content_id] = f"data:{item.detected_media_type};base64,{encoded}"
        return pictures
