"""Where each character of a YAML text stands in the file, whatever the quoting or folding."""

from ruamel.yaml.nodes import ScalarNode

_ESCAPE_DIGITS = {"x": 2, "u": 4, "U": 8}  # YAML 1.2 §5.7
_SPACE = " \t\n"


def scalar_offsets(text: str, node: ScalarNode) -> list[int]:
    """Return for each character of `node.value`, and for its end, the index in `text` where it is written.

    Exact for everything but white space that YAML folds or indents away, which stands at the next visible place.
    """
    place, end = _content_start(text, node), node.end_mark.index
    offsets = []
    for character in node.value:
        start, place = _next(text, place, character=character, style=node.style, end=end)
        offsets.append(start)
    offsets.append(offsets[-1] + 1 if offsets else node.start_mark.index)
    return offsets


def _content_start(text: str, node: ScalarNode) -> int:
    start: int = node.start_mark.index
    if node.style in {"'", '"'}:
        return start + 1
    if node.style in {"|", ">"}:
        return text.find("\n", start) + 1  # after the header: indicators and a comment
    return start


def _next(text: str, place: int, *, character: str, style: str | None, end: int) -> tuple[int, int]:
    """Return (where `character` is written, where to go on)."""
    if style == '"' and text[place : place + 2] == "\\\n":
        place += 2  # an escaped line break says nothing
    if character in _SPACE and not (style == '"' and text[place : place + 1] == "\\"):
        return place, place + 1 if text[place : place + 1] == character else place
    while place < end and text[place] in _SPACE:
        place += 1
    if style == '"' and text[place : place + 1] == "\\":
        return place, place + 2 + _ESCAPE_DIGITS.get(text[place + 1 : place + 2], 0)
    if style == "'" and character == "'":
        return place, place + 2
    return place, place + 1
