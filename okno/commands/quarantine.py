"""`okno quarantine`: what could not be processed, with its bytes."""

import sys
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer

from appeals.conversation import QuarantineEntry
from appeals.errors import ConfigurationError, PermanentError
from appeals.quarantine import DROPPED, HELD, RETRIED, settle
from appeals.registration import Registration
from okno.bootstrap import build_connectors, existing_registry, opened_parts, running_connectors
from okno.commands.common import ConfigFile, DataDir, Json, load, run
from okno.http_server import configured_url
from okno.output import print_json, print_lines, print_table

PREVIEW_BYTES = 2_000

app = typer.Typer(help="What could not be processed, with its bytes.", no_args_is_help=True, add_completion=False)


class EntryState(StrEnum):
    """What has become of an entry."""

    HELD = HELD
    RETRIED = RETRIED
    DROPPED = DROPPED


EntryId = Annotated[str, typer.Argument(help="The entry's id, see `okno quarantine list`.")]


@app.command("list")
def list_entries(
    *,
    state: Annotated[EntryState, typer.Option(help="What has become of them.")] = EntryState.HELD,
    limit: Annotated[int, typer.Option(min=1)] = 100,
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """List entries, newest first."""
    settings = load(config, data).settings

    async def main() -> list[QuarantineEntry]:
        async with existing_registry(settings) as registry:
            return await registry.quarantined(state.value, limit=limit)

    entries = run(main())
    if as_json:
        print_json(entries)
        return
    rows = [(item.id, item.at, item.connector, item.stage, item.times, item.reason) for item in entries]
    print_table(
        f"Quarantine: {len(entries)} {state.value}", ("id", "at", "connector", "stage", "times", "reason"), rows
    )


@app.command("show")
def show(
    entry_id: EntryId,
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Write the very bytes to standard output.")] = False,
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Show one entry and the beginning of its bytes."""
    settings = load(config, data).settings

    async def main() -> tuple[QuarantineEntry, bytes]:
        async with existing_registry(settings) as registry:
            entry = await registry.quarantine_entry(_parse_id(entry_id))
            return entry, await registry.read_blob(entry.sha256)

    entry, content = run(main())
    if raw:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    if as_json:
        print_json(entry)
        return
    print_lines(
        f"{entry.id}  {entry.state}  {entry.connector}/{entry.stage}  came {entry.times} times",
        f"reason: {entry.reason}",
        *(f"{key}: {value}" for key, value in sorted(entry.context.items())),
        f"{len(content)} bytes, SHA-256 {entry.sha256}",
        "",
        content[:PREVIEW_BYTES].decode("utf-8", "backslashreplace"),
    )


@app.command("retry")
def retry(entry_id: EntryId, *, as_json: Json = False, config: ConfigFile = None, data: DataDir = None) -> None:
    """Process an entry's bytes again, as if they had come in now."""
    settings = load(config, data, queues={"url": "memory://"}).settings

    async def main() -> Registration:
        async with existing_registry(settings) as registry:
            entry = await registry.quarantine_entry(_parse_id(entry_id))
        if entry.state != HELD:
            raise ConfigurationError(f"entry {entry.id} is {entry.state} already")
        async with opened_parts(settings, public_url=configured_url(settings.http)) as parts:
            content = await parts.registry.read_blob(entry.sha256)
            connectors = {connector.name: connector for connector in build_connectors(parts)}
            if entry.connector not in connectors:
                raise ConfigurationError(f"connector {entry.connector!r} is not enabled in these settings")
            try:
                async with running_connectors([connectors[entry.connector]], receiving=False):
                    registration = await connectors[entry.connector].retry(content, entry.context)
            except PermanentError as error:
                raise PermanentError(f"still not processable, the entry is kept: {error}") from error
            note = f"registered as {registration.number}"
            await settle(parts.registry, entry.id, state=RETRIED, actor="okno", note=note)
            return registration

    registration = run(main())
    if as_json:
        print_json({"number": registration.number, "duplicate": registration.duplicate})
    else:
        print_lines(f"registered as {registration.number}; the running daemon takes it on from here")


@app.command("drop")
def drop(
    entry_id: EntryId,
    *,
    reason: Annotated[str, typer.Option(help="Why it may be dropped; goes into the history.")],
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Put an entry aside for good. Its bytes stay."""
    settings = load(config, data).settings

    async def main() -> QuarantineEntry:
        async with existing_registry(settings) as registry:
            await settle(registry, _parse_id(entry_id), state=DROPPED, actor="okno", note=reason)
            return await registry.quarantine_entry(_parse_id(entry_id))

    entry = run(main())
    print_json(entry) if as_json else print_lines("dropped")


def _parse_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no entry id; see `okno quarantine list`") from error
