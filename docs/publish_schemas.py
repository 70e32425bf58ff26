"""Writes the published documents from the models: `python docs/publish_schemas.py`. A test fails where they differ."""  # noqa: INP001 - a script

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from agent_console.app import Console
from agent_console.deps import ConsoleDeps
from agent_console.openapi import openapi_document
from agent_console.schema import protocol_json_schema
from appeals.blobs import FileBlobStore
from appeals.database import registry_url
from appeals.envelope import envelope_json_schema
from appeals.intake_policy import IntakePolicy
from appeals.lifecycle import Lifecycle
from appeals.notify import SilentNotifier
from appeals.outbox import Outbox
from appeals.registry import Registry
from appeals.rethreading import Rethreading
from appeals.transcripts import Transcripts
from config.settings import DeadlineSettings, OfficeSettings, Settings
from queues.memory import MemoryQueues

DOCS = Path(__file__).parent


def published() -> Mapping[str, dict[str, Any]]:
    """Return each published document by its file's name, as the code has it now."""
    return {
        "appeal-envelope.schema.json": envelope_json_schema(),
        "console-protocol.schema.json": protocol_json_schema(),
        "openapi.json": _openapi(),
    }


def text_of(document: Mapping[str, Any]) -> str:
    """Return a document as its file holds it."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


_POLICY = IntakePolicy(
    secret_key=b"not used for a description",
    public_url="https://okno.localhost",
    office=OfficeSettings(),
    deadlines=DeadlineSettings(),
)


def _openapi() -> dict[str, Any]:
    """Return what `/api/openapi.json` of an office called Okno says. The endpoints are built, nothing is opened."""
    settings, nowhere = Settings(), Path(gettempdir())
    registry = Registry(registry_url("", nowhere), blobs=FileBlobStore(nowhere))
    lifecycle = Lifecycle(registry, notifier=SilentNotifier(), mail_domain="okno.localhost", inline_blob_max_bytes=0)
    deps = ConsoleDeps(
        registry=registry,
        lifecycle=lifecycle,
        outbox=Outbox(registry, notifier=SilentNotifier()),
        transcripts=Transcripts(registry, notifier=SilentNotifier()),
        rethreading=Rethreading(registry, notifier=SilentNotifier(), policy=_POLICY),
        queues=MemoryQueues(),
        settings=settings.console,
        office=settings.office,
        secret_key=b"not used for a description",
        public_url="https://okno.localhost",
        now=lambda: datetime.now(UTC),
        uploads_dir=nowhere,
    )
    return openapi_document(Console(deps).endpoints, title=settings.office.name)


if __name__ == "__main__":
    for name, document in published().items():
        (DOCS / name).write_text(text_of(document), encoding="utf-8")
