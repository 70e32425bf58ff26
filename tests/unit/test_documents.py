"""What README and docs say is there: links, files, commands, settings, classes."""

import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from config.settings import Settings
from okno.cli import app

ROOT = Path(__file__).parents[2]
ROOMS = ("agent_console", "appeals", "classifier", "config", "connectors", "okno", "queues", "router")
FOLDERS = (*ROOMS, "bench", "docs", "tests")
DOCUMENTS = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
GLOSSARY = ROOT / "docs" / "glossary.md"
PUT_THERE_LATER = frozenset({"docs/console.png"})  # a picture of the console, taken when it looks its best

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(r"(?<![\w.-])okno ([a-z]+(?: [a-z]+)?)(?![\w:])")
_PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*")
_DOTTED = re.compile(r"([a-z]+)\.(?!(?:yaml|db|py|key|lock|skops)\b)([a-z_]+)(?:$|[ :=])")
_EVENT = re.compile(r"""["']([a-z]+\.[a-z_]+)["']""")
_VARIABLE = re.compile(r"\bOKNO_([A-Z]+)__([A-Z_]+)")
_CLASSES = re.compile(r"((?:`\w+`(?:, )?)+) in `([\w/]+)\.py`")

SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
PREFIXES = {*SECTIONS, "connector", "daemon", "intake", "router", "smtp", "sweeper", "worker"}  # of settings and events

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def _spans(text: str) -> list[str]:
    """Return what stands in backticks within a line."""
    return _SPAN.findall(_BLOCK.sub("", text))


@each_document
def test_relative_links_lead_to_files(document: Path):
    """No reader meets a dead link within the repository."""
    links = {link.partition("#")[0] for link in _LINK.findall(document.read_text(encoding="utf-8"))}
    local = {link for link in links - PUT_THERE_LATER if link and "://" not in link}
    assert {link for link in local if not (document.parent / link).exists()} == set()


def _anchor(heading: str) -> str:
    """Return the anchor that a heading gets: lower case, dashes for spaces, nothing else but letters and digits."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@each_document
def test_anchors_of_links_are_headings(document: Path):
    """A link to a part of a document leads to that part."""
    missing = []
    for link in _LINK.findall(document.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if "://" not in link and anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            missing += [link] * (anchor not in map(_anchor, headings))
    assert missing == []


@each_document
def test_files_named_in_backticks_are_there(document: Path):
    """Whoever looks for `room/module.py` finds it. What a build makes is let alone."""
    named = {span for span in _spans(document.read_text(encoding="utf-8")) if _PATH.fullmatch(span)}
    assert {path for path in named if "/dist" not in path and not (ROOT / path).exists()} == set()


@cache
def _is_group(command: str) -> bool:
    return "COMMAND [ARGS]" in CliRunner().invoke(app, [command, "--help"]).output


def _commands() -> Iterator[tuple[str, ...]]:
    """Yield every command that a document names in code, without its arguments."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for code in (*_BLOCK.findall(text), *_spans(text)):
            for words in _COMMAND.findall(code):
                first, *rest = words.split()
                yield (first, *rest) if _is_group(first) else (first,)


ALL_COMMANDS = sorted(set(_commands()))


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=" ".join)
def test_named_commands_exist(command: tuple[str, ...]):
    """Every `okno …` that a document names takes --help."""
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, result.output


def test_the_search_finds_commands():
    """The test above is not empty-handed."""
    assert {("init",), ("run",), ("user", "add"), ("bench", "ingest"), ("quarantine", "list")} <= set(ALL_COMMANDS)


EVENTS = frozenset(
    name
    for room in ROOMS
    for module in (ROOT / room).rglob("*.py")
    for name in _EVENT.findall(module.read_text(encoding="utf-8"))
)


@each_document
def test_settings_and_log_events_named_in_code_exist(document: Path):
    """`section.key` in backticks is a setting, or an event that some module logs; OKNO_SECTION__KEY is a setting."""
    text = document.read_text(encoding="utf-8")
    named = {found.groups() for span in _spans(text) if (found := _DOTTED.match(span)) and found[1] in PREFIXES}
    missing = {f"{first}.{second}" for first, second in named if not _is_setting(first, second)} - EVENTS
    missing |= {name for name in _VARIABLE.findall(text) if not _is_setting(name[0].lower(), name[1].lower())}
    assert missing == set()


def _is_setting(section: str, key: str) -> bool:
    return section in SECTIONS and key in SECTIONS[section].model_fields


def _glossary_classes() -> Iterator[tuple[str, str]]:
    """Yield (module, name) wherever the glossary says that a name is in a module."""
    for names, module in _CLASSES.findall(GLOSSARY.read_text(encoding="utf-8")):
        for name in re.findall(r"`(\w+)`", names):
            yield module.replace("/", "."), name


GLOSSARY_CLASSES = sorted(set(_glossary_classes()))


@pytest.mark.parametrize(("module", "name"), GLOSSARY_CLASSES)
def test_names_of_the_glossary_exist(module: str, name: str):
    """A word of the glossary is a name in the code, where the glossary says."""
    assert hasattr(importlib.import_module(module), name)


def test_every_line_of_the_glossary_says_where():
    """No word is left without its place in the code."""
    rows = [line for line in GLOSSARY.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    words = [line for line in rows if not line.startswith(("| word", "|--"))]
    assert [line for line in words if not _CLASSES.search(line)] == []
