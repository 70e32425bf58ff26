"""`okno appeals`: look at appeals, take them out."""

import sys
from collections.abc import AsyncIterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from appeals.appeal import Appeal, AppealState
from appeals.conversation import Conversation
from appeals.envelope import Channel
from appeals.errors import ConfigurationError
from appeals.registry import Registry
from okno.bootstrap import existing_registry
from okno.commands.common import ConfigFile, DataDir, Json, load, run
from okno.output import print_json, print_lines, print_table, progress, to_json

EXPORT_PAGE = 200
PROGRESS_EVERY = 1_000  # appeals

app = typer.Typer(help="Look at appeals, take them out.", no_args_is_help=True, add_completion=False)


class ExportFormat(StrEnum):
    """How an export is written."""

    JSONL = "jsonl"


@app.command("list")
def list_appeals(
    *,
    state: Annotated[list[AppealState] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only in this queue.")] = None,
    channel: Annotated[Channel | None, typer.Option(help="Only from this channel.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only of this agent.")] = None,
    text: Annotated[str | None, typer.Option(help="Part of number or subject.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: Json = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """List appeals, newest first."""
    settings = load(config, data).settings

    async def main() -> list[Appeal]:
        async with existing_registry(settings) as registry:
            return await registry.list_appeals(
                states=state or (), agent_id=agent, queue=queue, channel=channel, text=text, limit=limit
            )

    found = run(main())
    if as_json:
        print_json(found)
        return
    rows = [
        (item.number, item.state, item.channel, item.topic, item.queue, item.agent_id, item.registered_at, item.subject)
        for item in found
    ]
    columns = ("number", "state", "channel", "topic", "queue", "agent", "registered", "subject")
    print_table(f"{len(found)} appeals", columns, rows)


@app.command("show")
def show(number: str, *, as_json: Json = False, config: ConfigFile = None, data: DataDir = None) -> None:
    """Show one appeal with all that was said and done."""
    settings = load(config, data).settings

    async def main() -> Conversation:
        async with existing_registry(settings) as registry:
            return await registry.conversation((await registry.appeal_by_number(number)).id)

    conversation = run(main())
    if as_json:
        print_json(conversation)
        return
    _print_conversation(conversation)


def _print_conversation(conversation: Conversation) -> None:
    appeal = conversation.appeal
    print_lines(
        f"{appeal.number}  {appeal.state.value}  {appeal.subject}",
        f"topic {appeal.topic or '-'}  queue {appeal.queue or '-'}  agent {appeal.agent_id or '-'}  "
        f"priority {appeal.priority}  language {appeal.language}",
        f"received {appeal.received_at:%Y-%m-%d %H:%M} UTC  answer due {appeal.deadline_at:%Y-%m-%d %H:%M} UTC",
    )
    transcripts = {item.envelope_id: item.text for item in conversation.transcripts}
    messages: list[tuple[datetime, str, str]] = [
        (
            item.received_at,
            " ".join((f"citizen, by {item.channel.value}", *item.marks)),
            "\n\n".join(words for words in (item.clean_text or item.text, transcripts.get(item.id)) if words),
        )
        for item in conversation.envelopes
    ]
    messages += [
        (item.created_at, f"{item.agent_id or 'okno'}, {item.kind.value}: {item.state.value} {item.error}", item.text)
        for item in conversation.replies
    ]
    for at, who, words in sorted(messages):
        print_lines("", f"--- {at:%Y-%m-%d %H:%M:%S} UTC  {who}", words.strip())
    rows = [(event.at, event.kind, event.actor, to_json(event.data)) for event in conversation.events]
    print_table("History", ("at", "event", "by", "details"), rows)


@app.command("export")
def export(
    *,
    format_: Annotated[ExportFormat, typer.Option("--format", help="One JSON object a line.")] = ExportFormat.JSONL,
    out: Annotated[Path | None, typer.Option(help="File to write; else standard output.")] = None,
    state: Annotated[list[AppealState] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Write every appeal with its envelopes, replies and events, newest first."""
    del format_  # there is one so far; the option is there so that scripts name it
    settings = load(config, data).settings

    async def main() -> int:
        count = 0
        with out.open("w", encoding="utf-8") if out else _Stdout() as file:
            async with existing_registry(settings) as registry:
                async for conversation in _conversations(registry, state or []):
                    file.write(to_json(conversation) + "\n")
                    count += 1
                    if count % PROGRESS_EVERY == 0:
                        progress(f"{count} appeals")
        return count

    try:
        count = run(main())
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigurationError(f"{out or 'standard output'} cannot be written ({error.strerror})") from error
    progress(f"{count} appeals exported" + (f" to {out}" if out else ""))


class _Stdout:
    """Standard output as a file that the export does not close."""

    def __enter__(self) -> Any:
        return sys.stdout

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()


async def _conversations(registry: Registry, states: list[AppealState]) -> AsyncIterator[Conversation]:
    async for appeal in registry.iterate_appeals(states=states, page=EXPORT_PAGE):
        yield await registry.conversation(appeal.id)
