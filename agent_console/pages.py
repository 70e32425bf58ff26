"""The built front end: the console at `/`, the citizen's pages at `/status` and `/write`, their assets."""

import html
import re
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from agent_console.deps import ConsoleDeps

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; "  # blob: a picture that an agent is about to attach
    "frame-src 'self'; "  # a PDF beside the text
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
GUARD = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
IMMUTABLE = "public, max-age=31536000, immutable"  # the build puts a hash of the content into each asset's name
MEDIA_TYPES = {  # what machines' own lists are missing or get wrong; under nosniff a wrong one means a blank page
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
REVALIDATE = "no-cache"  # pages name the assets: always ask whether they have changed

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{office}</title>
<h1>The page has not been built</h1>
<p>The daemon runs, and takes in and routes appeals. Only the pages are missing: they are made when Okno is
installed. Install it again with <code>pip install .</code>, or build the pages in a source tree with
<code>python hatch_build.py --build</code>, and load this page again.</p>
<h1 lang="ru">Страница не собрана</h1>
<p lang="ru">Служба работает, принимает и распределяет обращения. Нет только страниц: их собирает установка.
Установите Окно снова: <code>pip install .</code>, или соберите страницы в дереве исходников:
<code>python hatch_build.py --build</code>.</p></html>
"""


class Pages:
    """Serves the files of the front end's build."""

    def __init__(self, deps: ConsoleDeps) -> None:
        self._folder = deps.pages_dir
        self._office = deps.office.name

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the pages. The last one takes the few files that lie beside the pages (icons)."""
        return [
            web.get("/", self.console),
            web.get("/status", self.status),
            web.get("/write", self.write),
            web.get("/assets/{name}", self.asset),
            web.get(r"/{name:[A-Za-z0-9][A-Za-z0-9_-]*\.(?:svg|ico|png|webmanifest|txt)}", self.file),
        ]

    async def console(self, request: web.Request) -> web.StreamResponse:
        """Serve the agents' console."""
        del request
        return self._page("index.html")

    async def status(self, request: web.Request) -> web.StreamResponse:
        """Serve the citizen's page."""
        del request
        return self._page("status.html")

    async def write(self, request: web.Request) -> web.StreamResponse:
        """Serve the form of a new appeal."""
        del request
        return self._page("write.html")

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """Serve a script, style, font or picture of the build; its name changes with its content."""
        return self._file(self._folder / "assets", request.match_info["name"], caching=IMMUTABLE)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Serve a file beside the pages."""
        return self._file(self._folder, request.match_info["name"], caching=REVALIDATE)

    def _page(self, name: str) -> web.StreamResponse:
        path = self._folder / name
        if not path.is_file():
            text = NOT_BUILT.format(office=html.escape(self._office))
            return web.Response(
                status=HTTPStatus.SERVICE_UNAVAILABLE, text=text, content_type="text/html", headers=GUARD
            )
        return web.FileResponse(path, headers={**GUARD, "Cache-Control": REVALIDATE})

    @staticmethod
    def _file(folder: Path, name: str, *, caching: str) -> web.StreamResponse:
        path = folder / name
        if not _FILE_NAME.fullmatch(name) or not path.is_file():  # a bare name cannot leave the folder
            raise web.HTTPNotFound
        headers = {**GUARD, "Cache-Control": caching}
        if media_type := MEDIA_TYPES.get(path.suffix):
            headers["Content-Type"] = media_type
        return web.FileResponse(path, headers=headers)
