"""The composition root: the only place where settings become objects and the rooms meet."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import structlog

from appeals.answer_route import AnswerRoutes
from appeals.blobs import open_blob_store
from appeals.citizen_desk import RegistryDesk
from appeals.cursors import RegistryCursors
from appeals.database import registry_url
from appeals.envelope import Channel
from appeals.errors import ConfigurationError
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.lifecycle import Lifecycle
from appeals.notify import Notifier, SilentNotifier
from appeals.outbox import Outbox
from appeals.registry import Registry
from appeals.rethreading import Rethreading
from appeals.transcripts import Transcripts
from config.settings import Settings
from config.taxonomy import load_taxonomy
from config.templates import load_templates
from connectors.base import Connector, ConnectorFactory, ConnectorPorts
from connectors.letterhead import Letterhead
from connectors.pages.renderer import PageRenderer
from connectors.screening.intake import ScreeningIntake
from okno.http_server import client_address
from okno.metrics import MeteredIntake, Metrics
from okno.secret_key import load_secret_key
from queues.factory import open_queues
from queues.notifier import QueueNotifier
from queues.port import Queues

CONNECTOR_GROUP = "okno.connectors"

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The concrete objects of one process, opened in order and closed in reverse."""

    settings: Settings
    secret_key: bytes
    public_url: str
    registry: Registry
    queues: Queues
    notifier: Notifier
    intake: MeteredIntake
    screening: ScreeningIntake  # what connectors hand messages to: it looks into files, then hands on to `intake`
    lifecycle: Lifecycle
    outbox: Outbox
    letterhead: Letterhead
    transcripts: Transcripts
    rethreading: Rethreading
    pages: PageRenderer
    metrics: Metrics


def make_registry(settings: Settings) -> Registry:
    """Return the registry that the settings name, not migrated. Raises ConfigurationError."""
    blobs = open_blob_store(settings.blobs.url, options=settings.blobs.options, data_dir=settings.data_dir)
    return Registry(registry_url(settings.registry.url, settings.data_dir), blobs=blobs)


def make_lifecycle(settings: Settings, registry: Registry, notifier: Notifier | None = None) -> Lifecycle:
    """Return the lifecycle over a registry; without a notifier the daemon's sweeper finds what changed."""
    return Lifecycle(
        registry,
        notifier=notifier or SilentNotifier(),
        mail_domain=settings.email.hostname,
        inline_blob_max_bytes=settings.registry.inline_blob_max_bytes,
        routes=answer_routes(settings),
    )


def answer_routes(settings: Settings) -> AnswerRoutes:
    """Return which of our connectors reach whom, as far as they are enabled."""
    return AnswerRoutes(connectors={name: Channel(name) for name in _ours(settings)})


@asynccontextmanager
async def opened_registry(settings: Settings) -> AsyncIterator[Registry]:
    """Open the registry alone, its tables up to date: for commands beside a running daemon."""
    registry = make_registry(settings)
    try:
        await registry.migrate()
        yield registry
    finally:
        await registry.close()


def missing_file(settings: Settings) -> Path | None:
    """Return the file of an SQLite registry that has not been made yet."""
    url = registry_url(settings.registry.url, settings.data_dir)
    path = Path(url.database or "")
    return path if url.get_backend_name() == "sqlite" and not path.is_file() else None


@asynccontextmanager
async def existing_registry(settings: Settings) -> AsyncIterator[Registry]:
    """Open a registry that is there and up to date: for commands that make neither files nor tables by looking.

    Raises ConfigurationError if it is not there yet or if `okno run` has migrations to do.
    """
    if path := missing_file(settings):
        raise ConfigurationError(
            f"there is no registry {path} yet: `okno run` makes it; -c and --data tell where else to look"
        )
    registry = make_registry(settings)
    try:
        if missing := await registry.missing_migrations():
            raise ConfigurationError(
                f"the registry's tables are not up to date ({len(missing)} migrations): start `okno run`, it does them"
            )
        yield registry
    finally:
        await registry.close()


@asynccontextmanager
async def opened_parts(settings: Settings, *, public_url: str) -> AsyncIterator[Parts]:
    """Open everything that all roles share. On leaving, the intake finishes what is in hand before the stores close."""
    secret_key = load_secret_key(settings)
    templates = load_templates(settings.delivery.templates)
    queues = open_queues(settings.queues)
    metrics = Metrics()
    pages = PageRenderer()
    async with opened_registry(settings) as registry:
        await queues.start()
        try:
            notifier = QueueNotifier(queues)
            policy = IntakePolicy(
                secret_key=secret_key,
                public_url=public_url,
                office=settings.office,
                deadlines=settings.deadlines,
                acknowledge=settings.delivery.acknowledge,
                max_acknowledgements_per_hour=settings.delivery.max_acknowledgements_per_hour,
                routes=answer_routes(settings),
                templates=templates,
                mail_domain=settings.email.hostname,
            )
            intake = Intake(registry, settings=settings.registry, policy=policy, notifier=notifier)
            metered = MeteredIntake(intake, metrics)
            async with intake, ScreeningIntake(metered, settings.attachments) as screening:
                yield Parts(
                    settings=settings,
                    secret_key=secret_key,
                    public_url=public_url,
                    registry=registry,
                    queues=queues,
                    notifier=notifier,
                    intake=metered,
                    screening=screening,
                    lifecycle=make_lifecycle(settings, registry, notifier),
                    outbox=Outbox(registry, notifier=notifier),
                    letterhead=Letterhead(templates=templates, office=settings.office, public_url=public_url),
                    transcripts=Transcripts(registry, notifier=notifier),
                    rethreading=Rethreading(registry, notifier=notifier, policy=policy),
                    pages=pages,
                    metrics=metrics,
                )
        finally:
            await pages.close()
            await queues.stop()


def connectors_key(secret_key: bytes) -> bytes:
    """Return the key that connectors derive theirs from: the same in all processes and in commands."""
    return hmac.digest(secret_key, b"okno connectors\x00", "sha256")


def build_connectors(parts: Parts) -> list[Connector]:
    """Build every connector that is enabled: ours, and others' that are installed and have a section of their own."""
    ports = ConnectorPorts(
        intake=parts.screening,
        cursors=RegistryCursors(parts.registry),
        reports=parts.outbox,
        desk=RegistryDesk(parts.registry),
        now=parts.registry.now,
        public_url=parts.public_url,
        office=parts.settings.office,
        taxonomy=load_taxonomy(parts.settings.classifier.taxonomy),
        client_address=client_address(parts.settings.http),
        pages=parts.pages,
        signing_key=connectors_key(parts.secret_key),
    )
    connectors = []
    for name, section in _enabled_sections(parts.settings).items():
        factory: ConnectorFactory = _entry_point(name).load()
        connectors.append(factory(section, ports))
    names = [connector.name for connector in connectors]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ConfigurationError(f"two connectors are called {', '.join(sorted(doubled))}")
    return connectors


def _enabled_sections(settings: Settings) -> Mapping[str, Any]:
    return {**_ours(settings), **settings.connectors}


def _ours(settings: Settings) -> dict[str, Any]:
    sections = {channel.value: getattr(settings, channel.value, None) for channel in Channel}
    return {name: section for name, section in sections.items() if section is not None and section.enabled}


def _entry_point(name: str) -> EntryPoint:
    found: Sequence[EntryPoint] = [point for point in entry_points(group=CONNECTOR_GROUP) if point.name == name]
    if not found:
        raise ConfigurationError(f"no connector {name!r} is installed (entry point group {CONNECTOR_GROUP})")
    return found[0]


@asynccontextmanager
async def running_connectors(connectors: Sequence[Connector], *, receiving: bool) -> AsyncIterator[None]:
    """Start all, or only open them in a process that just sends; on leaving, each finishes what it has in hand.

    If one cannot start, those that did are stopped and its error is raised.
    """
    begun: list[Connector] = []
    try:
        for connector in connectors:
            await (connector.start() if receiving else connector.open())
            begun.append(connector)
            if receiving:
                logger.info("connector.started", connector=connector.name, addresses=connector.health().addresses)
        yield
    finally:
        results = await asyncio.gather(*(connector.stop() for connector in begun), return_exceptions=True)
        for connector, result in zip(begun, results, strict=True):
            if isinstance(result, Exception):
                logger.error("connector.stop_failed", connector=connector.name, exc_info=result)


def packaged_rooms() -> tuple[Path, ...]:
    """Return where the rooms were imported from: the start-up check compares them."""
    import agent_console  # noqa: PLC0415 - only this check needs the packages themselves
    import appeals  # noqa: PLC0415
    import classifier  # noqa: PLC0415
    import config  # noqa: PLC0415
    import connectors  # noqa: PLC0415
    import queues  # noqa: PLC0415
    import router  # noqa: PLC0415

    rooms = (agent_console, appeals, classifier, config, connectors, queues, router)
    return tuple(Path(room.__file__ or "").parent for room in rooms)


def check_rooms() -> None:
    """Refuse to run if another distribution has put a package of the same name in our place."""
    home = Path(__file__).parent.parent
    strangers = [str(path) for path in packaged_rooms() if path.parent != home]
    if strangers:
        raise ConfigurationError(
            "another distribution has overwritten a part of Okno: install Okno in an environment of its own",
            faults=tuple(strangers),
        )
