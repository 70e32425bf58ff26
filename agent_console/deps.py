"""What the console is handed by the composition root. It opens nothing and reads no configuration by itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from aiohttp import web

from agent_console.letters import LetterDesk
from appeals.answer_route import AnswerRoutes
from appeals.lifecycle import Lifecycle
from appeals.outbox import Outbox
from appeals.registry import Registry
from appeals.rethreading import Rethreading
from appeals.transcripts import Transcripts
from config.settings import ConsoleSettings, OfficeSettings
from queues.port import Queues

BUILT_PAGES = Path(__file__).parent / "web" / "dist"  # where the packaging hook puts the front end


class Estimate(Protocol):
    """What sending a text would take, as a connector tells it (`connectors.base.DeliveryEstimate`)."""

    @property
    def parts(self) -> int: ...  # noqa: D102
    @property
    def encoding(self) -> str: ...  # noqa: D102
    @property
    def units(self) -> int: ...  # noqa: D102
    @property
    def units_per_part(self) -> int: ...  # noqa: D102
    @property
    def price(self) -> Decimal | None: ...  # noqa: D102
    @property
    def currency(self) -> str: ...  # noqa: D102
    @property
    def costly(self) -> Sequence[str]: ...  # noqa: D102


class PageRenderer(Protocol):
    """Makes pictures of pages. Both raise PermanentError for what has no pages, TransientError when out of reach."""

    async def page_count(self, content: bytes) -> int:
        """Count the pages of a TIFF, a PDF or an image."""
        ...

    async def render_page(self, content: bytes, page: int, *, max_px: int) -> bytes:
        """Return page `page` (from 1) as PNG, its longer side at most `max_px`."""
        ...


def _no_estimate(connector: str, text: str) -> Estimate | None:  # noqa: ARG001
    return None


def _peer_address(request: web.Request) -> str:
    return request.remote or ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsoleDeps:
    """All that the console needs."""

    registry: Registry
    lifecycle: Lifecycle
    outbox: Outbox
    transcripts: Transcripts
    rethreading: Rethreading
    queues: Queues
    settings: ConsoleSettings
    office: OfficeSettings
    secret_key: bytes  # the daemon's; cookies are signed with a key made of it
    public_url: str  # how the outside reaches us, no trailing slash
    now: Callable[[], datetime]  # aware UTC
    uploads_dir: Path  # agents' uploads wait here for their reply; several console processes share it
    pages_dir: Path = BUILT_PAGES
    client_address: Callable[[web.Request], str] = _peer_address  # behind a trusted proxy: what it says
    routes: AnswerRoutes = field(default_factory=AnswerRoutes)  # by which connector answers go
    estimate: Callable[[str, str], Estimate | None] = _no_estimate  # (connector, text) -> what sending would take
    pages: PageRenderer | None = None
    letters: LetterDesk | None = None  # None: no letters are registered here
