"""The one HTTP server: hooks of the connectors, console, citizen's page, health."""

import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

from appeals.errors import ConfigurationError
from config.section import MIB
from config.settings import HttpSettings

SHUTDOWN_S = 10.0  # requests in hand may take so long to finish
MAX_BODY_BYTES = 64 * MIB  # above every connector's own limit, which answers in its own words
BACKLOG = 1024


def bind(settings: HttpSettings) -> socket.socket:
    """Return the listening socket: bound first, so that its port is known before anything is told our address."""
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"http.port: cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
            "stop what listens there or choose another port"
        ) from error


def public_url(settings: HttpSettings, listening: socket.socket) -> str:
    """Return how the outside reaches us, without a trailing slash."""
    host, port = listening.getsockname()[:2]
    return _url(settings, host, port)


def configured_url(settings: HttpSettings) -> str:
    """Return the same as far as the settings tell it: for commands beside the daemon, which may be on port 0."""
    return _url(settings, settings.host, settings.port)


def _url(settings: HttpSettings, host: str, port: int) -> str:
    if settings.public_url:
        return settings.public_url.rstrip("/")
    if host in ("0.0.0.0", "::"):  # noqa: S104 - recognised, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def client_address(settings: HttpSettings) -> Callable[[web.Request], str]:
    """Return the function that tells who asks: the peer, or what a trusted proxy says of it (rightmost untrusted)."""
    try:
        trusted = [ipaddress.ip_network(network) for network in settings.trusted_proxies]
    except ValueError as error:
        raise ConfigurationError(f"http.trusted_proxies: {error}") from error

    def is_trusted(address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in trusted)

    def address_of(request: web.Request) -> str:
        address = request.remote or ""
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
        while hops and is_trusted(address):
            address = hops.pop()
        return address

    return address_of


@asynccontextmanager
async def serving(app: web.Application, listening: socket.socket) -> AsyncIterator[None]:
    """Serve `app` on a bound socket; on leaving, accept nothing more and finish what is in hand."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield
    finally:
        await runner.cleanup()


def make_app(routes: Iterable[web.RouteDef]) -> web.Application:
    """Return the application with its routes; bodies are limited by each hook's own setting, and by MAX_BODY_BYTES."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.add_routes(routes)
    return app
