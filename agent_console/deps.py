"""What the console is handed by the composition root. It opens nothing and reads no configuration by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiohttp import web

from appeals.lifecycle import Lifecycle
from appeals.registry import Registry
from config.settings import ConsoleSettings, OfficeSettings
from queues.port import Queues

BUILT_PAGES = Path(__file__).parent / "web" / "dist"  # where the packaging hook puts the front end


def _peer_address(request: web.Request) -> str:
    return request.remote or ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsoleDeps:
    """All that the console needs."""

    registry: Registry
    lifecycle: Lifecycle
    queues: Queues
    settings: ConsoleSettings
    office: OfficeSettings
    secret_key: bytes  # the daemon's; cookies are signed with a key made of it
    public_url: str  # how the outside reaches us, no trailing slash
    now: Callable[[], datetime]  # aware UTC
    uploads_dir: Path  # agents' uploads wait here for their reply; several console processes share it
    pages_dir: Path = BUILT_PAGES
    client_address: Callable[[web.Request], str] = _peer_address  # behind a trusted proxy: what it says
