"""Labelled texts: CSV or JSON Lines with `text`, `topic`, and optionally `priority` and `group`."""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appeals.errors import ConfigurationError

MAX_FAULTS = 20  # shown; the rest is counted
MAX_FIELD_CHARS = 1_000_000
MAX_PRIORITY = 100
COLUMNS = frozenset({"text", "topic", "priority", "group"})


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledText:
    """One example."""

    text: str
    topic: str
    priority: int | None = None  # 0..100; overrides the topic's base priority where given
    group: str = ""  # rows that are variants of one another share it: never split between training and judging


def load_rows(path: Path, *, topics: Iterable[str] | None = None) -> list[LabelledText]:
    """Read a labelled file: `.jsonl`/`.ndjson` is JSON Lines, anything else CSV with a header line, UTF-8.

    `topics`: the codes allowed. Raises ConfigurationError with `file:line` of every fault, all at once.
    """
    allowed = None if topics is None else frozenset(topics)
    rows: list[LabelledText] = []
    faults: list[str] = []
    for line, record in _records(path):
        row = _row(record, allowed)
        if isinstance(row, str):
            faults.append(f"{path}:{line}: {row}")
        else:
            rows.append(row)
    if not rows and not faults:
        faults.append(f"{path}:1: no labelled texts")
    if faults:
        shown = tuple(faults[:MAX_FAULTS])
        more = (f"… and {len(faults) - MAX_FAULTS} more",) if len(faults) > MAX_FAULTS else ()
        raise ConfigurationError(f"{path}: {len(faults)} faults in the labelled texts", faults=shown + more)
    return rows


def data_hash(rows: Iterable[LabelledText]) -> str:
    """Return the SHA-256 (hex) of what a model learns from; the order of rows counts."""
    digest = hashlib.sha256()
    for row in rows:
        fields = [row.text, row.topic, row.priority, row.group]
        digest.update(json.dumps(fields, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Yield (line number, record), or a text that says what is wrong with the line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _json_lines(file) if path.suffix in {".jsonl", ".ndjson"} else _csv_rows(file, path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text: byte 0x{error.object[error.start]:02x}") from error


def _json_lines(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        yield number, record if isinstance(record, dict) else "not a JSON object"


def _csv_rows(lines: Iterable[str], path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    reader = csv.reader(lines, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if not {"text", "topic"} <= set(header) or len(set(header)) < len(header):
            message = f"{path}:1: the header must name the columns text and topic once each, not {header[:6]}"
            raise ConfigurationError(message)
        start = reader.line_num + 1
        for values in reader:
            if values:
                yield start, _csv_record(header, values)
            start = reader.line_num + 1
    except csv.Error as error:
        raise ConfigurationError(f"{path}:{reader.line_num}: not proper CSV: {error}") from error


def _csv_record(header: list[str], values: list[str]) -> Mapping[str, Any] | str:
    if len(values) != len(header):
        return f"{len(values)} fields where the header has {len(header)}"
    return {name: value for name, value in zip(header, values, strict=True) if name in COLUMNS}


def _row(record: Mapping[str, Any] | str, topics: frozenset[str] | None) -> LabelledText | str:
    """Return the example, or what is wrong with it."""
    if isinstance(record, str):
        return record
    text, topic, group = record.get("text"), record.get("topic"), record.get("group") or ""
    if not isinstance(text, str) or not isinstance(topic, str) or not isinstance(group, str):
        return "text, topic and group must be texts"
    topic = topic.strip()
    if not text.strip():
        return "the text is empty"
    if len(text) > MAX_FIELD_CHARS:
        return f"the text is longer than {MAX_FIELD_CHARS} characters"
    if not topic:
        return "the topic is empty"
    if topics is not None and topic not in topics:
        return f"the topic {topic!r} is not in the taxonomy"
    priority = _priority(record.get("priority"))
    if isinstance(priority, str):
        return priority
    return LabelledText(text=text, topic=topic, priority=priority, group=group)


def _priority(value: Any) -> int | str | None:
    if value is None or value == "":
        return None
    text = str(value).strip()
    short = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_PRIORITY))
    if isinstance(value, bool) or not short or int(text) > MAX_PRIORITY:
        return f"the priority {text[:20]!r} is not a whole number from 0 to 100"
    return int(text)
