"""YAML files in which every value knows its line and column, so that every fault can be shown where it is.

YAML 1.2, read by ruamel.yaml. Dates stay text: the model decides what is a date.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from config.errors import ConfigurationError
from config.yaml_nodes import construct, node_faults
from config.yaml_scalar import scalar_offsets

MAX_FILE_BYTES = 4 * 1024 * 1024  # far above any real file; keeps a wrong path (a disk image) out of memory

Path_ = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)

_SECRET_KEY = re.compile(r"^(\s*(?:-\s*)?[\"']?[\w-]*(?:password|secret|token)[\w-]*[\"']?\s*:\s*)\S.*$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing wrong in a file. `line` and `column` count from 1, columns in characters."""

    file: str
    line: int
    column: int
    message: str
    source: str = ""  # the line it is in
    warning: bool = False

    def __str__(self) -> str:
        """Return `file:line:column: message`, then the line and a caret under the place."""
        kind = "warning: " if self.warning else ""
        head = f"{self.file}:{self.line}:{self.column}: {kind}{self.message}"
        if not self.source.strip():
            return head
        shown = _SECRET_KEY.sub(r"\1***", self.source)
        pad = "".join("\t" if character == "\t" else " " for character in self.source[: self.column - 1])
        return f"{head}\n    {shown}\n    {pad:<{self.column - 1}}^"


@dataclass(frozen=True, kw_only=True, slots=True)
class YamlDocument:
    """One YAML document with the place of everything in it. Paths are keys and indexes from the root."""

    file: str
    text: str
    data: Any
    root: Node | None = field(repr=False)

    def position(self, path: Path_) -> tuple[int, int]:
        """Return (line, column), from 1, of the value at `path`; of the nearest value around it if there is none."""
        node = self._find(path)[1]
        return self._line_column(node.start_mark.index if node is not None else 0)

    def key_position(self, path: Path_) -> tuple[int, int]:
        """Return (line, column) of the key that `path` ends with; of the value where there is no key."""
        key, node = self._find(path)
        found = key if key is not None else node
        return self._line_column(found.start_mark.index if found is not None else 0)

    def position_in_text(self, path: Path_, offset: int) -> tuple[int, int]:
        """Return (line, column) in the file of character `offset` of the text at `path`, whatever its quoting."""
        node = self._find(path)[1]
        if not isinstance(node, ScalarNode):
            return self.position(path)
        return self._line_column(scalar_offsets(self.text, node)[min(offset, len(node.value))])

    def fault(
        self, path: Path_, message: str, *, key: bool = False, offset: int | None = None, warning: bool = False
    ) -> Fault:
        """Return a fault at the value of `path`; at its key if `key`; at character `offset` of its text if given."""
        if offset is not None:
            place = self.position_in_text(path, offset)
        else:
            place = self.key_position(path) if key else self.position(path)
        return self._fault_at(place, message, warning=warning)

    def _fault_at(self, place: tuple[int, int], message: str, *, warning: bool = False) -> Fault:
        return fault_in(self.text, place, file=self.file, message=message, warning=warning)

    def _line_column(self, index: int) -> tuple[int, int]:
        return line_column(self.text, index)

    def _find(self, path: Path_) -> tuple[Node | None, Node | None]:
        """Walk `path` as far as it goes; parts that name nothing (union tags of pydantic) are passed over."""
        key: Node | None = None
        node = self.root
        for part in path:
            found = _child(node, part)
            if found is not None:
                key, node = found
        return key, node


def line_column(text: str, index: int) -> tuple[int, int]:
    """Return (line, column), both from 1, of character `index` of `text`."""
    index = min(index, len(text))
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def fault_in(text: str, place: tuple[int, int], *, file: str, message: str, warning: bool = False) -> Fault:
    """Return a fault at `place` = (line, column) of `text`."""
    lines = text.split("\n")
    source = lines[place[0] - 1] if place[0] <= len(lines) else ""
    return Fault(file=file, line=place[0], column=place[1], message=message, source=source, warning=warning)


def load_yaml(path: Path) -> YamlDocument:
    """Read a YAML file. Raises ConfigurationError with every fault if it cannot be read or is not proper YAML."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _refuse(path.name, [f"{path}: cannot be read: {error.strerror or error}"]) from error
    return parse_yaml(content, file=str(path))


def parse_yaml(content: bytes | str, *, file: str) -> YamlDocument:
    """Parse YAML; `file` is what faults call it. An empty document has data None. Raises ConfigurationError."""
    if len(content) > MAX_FILE_BYTES:
        raise _refuse(file, [f"{file}: larger than {MAX_FILE_BYTES // 1024} KiB"])
    text = content if isinstance(content, str) else _decode(content, file)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    root = _compose(text, file)
    faults = [
        fault_in(text, line_column(text, node.start_mark.index), file=file, message=message)
        for node, message in node_faults(root)
    ]
    if faults:
        raise _refuse(file, faults)
    return YamlDocument(file=file, text=text, data=construct(root), root=root)


def validate_model(document: YamlDocument, model: type[ModelT]) -> ModelT:
    """Return `document` as `model`. Raises ConfigurationError with every fault at its line and column."""
    try:
        return model.model_validate({} if document.data is None else document.data)
    except ValidationError as error:
        raise refuse(document.file, validation_faults(document, error)) from error


def validation_faults(document: YamlDocument, error: ValidationError) -> list[Fault]:
    """Return the faults of a pydantic error at their places in `document`."""
    return [_validation_fault(document, details) for details in error.errors(include_url=False)]


def refuse(file: str, faults: Iterable[Fault]) -> ConfigurationError:
    """Return the error that lists `faults` in the order of the file."""
    ordered: list[Fault] = sorted(faults, key=_place)
    return _refuse(file, ordered)


def _place(fault: Fault) -> tuple[int, int]:
    return fault.line, fault.column


def _refuse(file: str, faults: Iterable[object]) -> ConfigurationError:
    shown = tuple(dict.fromkeys(str(fault) for fault in faults))
    return ConfigurationError(f"{file}: {len(shown)} fault{'s' if len(shown) > 1 else ''}", faults=shown)


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        line, column = line_column(before, len(before))
        message = f"{file}:{line}:{column}: not UTF-8 text: byte 0x{content[error.start]:02x}"
        raise _refuse(file, [message]) from error


def _compose(text: str, file: str) -> Node | None:
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        place = line_column(text, mark.index if mark is not None else 0)
        raise _refuse(file, [fault_in(text, place, file=file, message=message)]) from error
    except ReaderError as error:
        place = line_column(text, error.position)
        message = f"character U+{ord(text[error.position]):04X} is not allowed in YAML"
        raise _refuse(file, [fault_in(text, place, file=file, message=message)]) from error
    except (YAMLError, RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise _refuse(file, [f"{file}:1:1: not proper YAML: {reason}"]) from error
    return node


def _child(node: Node | None, part: str | int) -> tuple[Node | None, Node] | None:
    if isinstance(node, SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
        return None, node.value[part]
    if isinstance(node, MappingNode):
        return next((pair for pair in _pairs(node) if construct(pair[0]) == part), None)
    return None


def _pairs(node: Node) -> Iterator[tuple[Node, Node]]:
    merged: list[Node] = []
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            merged.extend(value.value if isinstance(value, SequenceNode) else [value])
        elif isinstance(key, ScalarNode):
            yield key, value
    for other in merged:
        yield from _pairs(other)


def _validation_fault(document: YamlDocument, details: ErrorDetails) -> Fault:
    path = tuple(details["loc"])
    shown = _dotted(path) or "the file"
    if details["type"] == "missing":
        return document.fault(path[:-1], f"{shown}: is missing", key=True)
    if details["type"] == "extra_forbidden":
        return document.fault(path, f"{shown}: there is no such key", key=True)
    if path and path[-1] == "[key]":
        return document.fault(path[:-1], f"{_dotted(path[:-1])}: {_in_words(details)}", key=True)
    return document.fault(path, f"{shown}: {_in_words(details)}")


def _in_words(details: ErrorDetails) -> str:
    message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    context: Mapping[str, Any] = details.get("ctx", {})
    if details["type"] in {"literal_error", "enum"}:
        return f"must be one of {context['expected']}"
    return message[:1].lower() + message[1:]


def _dotted(path: Path_) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
