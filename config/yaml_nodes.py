"""From composed YAML nodes to plain values, and what may be wrong with the nodes themselves."""

from collections.abc import Iterator
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_VALUES = 200_000  # with aliases written out: a "billion laughs" file ends here
MAX_DEPTH = 64

_PREFIX = "tag:yaml.org,2002:"
_MERGE = _PREFIX + "merge"
_KNOWN = frozenset(
    _PREFIX + name for name in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map", "merge")
)


def node_faults(root: Node | None) -> list[tuple[Node, str]]:
    """Return every (node, message) that no model could make sense of: tags, doubled keys, endless aliases."""
    if root is None:
        return []
    endless = _endless_alias(root)
    if endless is not None:
        return [endless]
    seen: set[int] = set()
    return list(_walk(root, seen))


def construct(node: Node | None) -> Any:
    """Return the plain value of a node that `node_faults` finds nothing wrong with."""
    if node is None:
        return None
    if isinstance(node, SequenceNode):
        return [construct(item) for item in node.value]
    if isinstance(node, MappingNode):
        return _construct_mapping(node)
    return _construct_scalar(str(node.tag), node.value)


def _construct_mapping(node: MappingNode) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    own: dict[Any, Any] = {}
    for key, value in node.value:
        if key.tag != _MERGE:
            own[construct(key)] = construct(value)
            continue
        for source in value.value if isinstance(value, SequenceNode) else [value]:
            result = {**construct(source), **result}  # the first of several merged mappings wins
    return {**result, **own}


def _construct_scalar(tag: str, text: str) -> Any:
    if tag == _PREFIX + "null":
        return None
    if tag == _PREFIX + "bool":
        return text.lower() == "true"
    try:
        if tag == _PREFIX + "int":
            return _integer(text)
        if tag == _PREFIX + "float":
            return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text  # the model says what it wants instead
    return text


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    return int(digits, 0) if digits.lstrip("+-")[:2].lower() in {"0x", "0o", "0b"} else int(digits)


def _walk(node: Node, seen: set[int]) -> Iterator[tuple[Node, str]]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if str(node.tag) not in _KNOWN:
        yield node, f"the tag {node.tag} is not known here"
    if isinstance(node, SequenceNode):
        for item in node.value:
            yield from _walk(item, seen)
    elif isinstance(node, MappingNode):
        yield from _walk_mapping(node, seen)


def _walk_mapping(node: MappingNode, seen: set[int]) -> Iterator[tuple[Node, str]]:
    keys: dict[Any, int] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            yield key, "a key must be plain text"
            continue
        if key.tag == _MERGE:
            sources = value.value if isinstance(value, SequenceNode) else [value]
            if not all(isinstance(source, MappingNode) for source in sources):
                yield value, "only mappings can be merged with <<"
        elif (name := construct(key)) in keys:
            yield key, f"the key {name!r} stands here a second time; the first is in line {keys[name]}"
        else:
            keys[name] = key.start_mark.line + 1
        yield from _walk(value, seen)


def _endless_alias(root: Node) -> tuple[Node, str] | None:
    """Find an alias that contains itself, or aliases that multiply without bound; both would never end."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def measure(node: Node, depth: int) -> tuple[Node, str] | int:
        if id(node) in open_nodes:
            return node, "an alias may not contain itself"
        if id(node) in sizes:
            return sizes[id(node)]
        if depth > MAX_DEPTH:
            return node, f"nested deeper than {MAX_DEPTH} levels"
        open_nodes.add(id(node))
        total = 1
        for child in _children(node):
            part = measure(child, depth + 1)
            if isinstance(part, tuple):
                return part
            total += part
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total if total <= MAX_VALUES else (node, f"more than {MAX_VALUES} values once aliases are written out")

    result = measure(root, 0)
    return result if isinstance(result, tuple) else None


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, SequenceNode):
        yield from node.value
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            yield key
            yield value
