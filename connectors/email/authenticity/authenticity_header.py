"""Authentication-Results: what a front MTA of ours found out about a mail (RFC 8601)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

MAX_RESULTS = 20  # of one field
MAX_VALUE_CHARS = 16 * 1024

_RESULTS = {  # how some say it → RFC 8601 §2.7
    **{word: word for word in ("pass", "fail", "softfail", "neutral", "none", "temperror", "permerror")},
    "hardfail": "fail",
    "policy": "neutral",
    "discard": "fail",
    "nxdomain": "none",
    "bestguesspass": "none",  # Exchange: no record, a guess
    "unknown": "permerror",
    "error": "temperror",
}
_METHODS = frozenset({"spf", "dkim", "dmarc"})
_WORD = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s;"])+|;', re.DOTALL)
_RESULT = re.compile(r"([A-Za-z][A-Za-z0-9-]*)(?:/\d+)?=([A-Za-z]+)")
_PROPERTY = re.compile(r"([a-z]+\.[a-z0-9_-]+)=(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class StatedResult:
    """What the field says about one method."""

    method: str  # spf, dkim, dmarc
    result: str
    properties: dict[str, str] = field(default_factory=dict)  # "header.d", lower case → value

    def domain(self, *names: str) -> str:
        """Return the domain of the first property that is there, lower case."""
        for name in names:
            value = self.properties.get(name, "")
            if value:
                return value.rpartition("@")[2].lower().rstrip(".")
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class StatedResults:
    """One field."""

    authserv_id: str  # lower case; "" where the server does not name itself (Exchange Online)
    results: tuple[StatedResult, ...]


def trusted_results(fields: Iterable[str], *, patterns: Sequence[str]) -> StatedResults | None:
    """Return the topmost of the fields whose server is ours; None if there is none.

    Those below it came with the mail or are older, and prove nothing (§5). `patterns`: authserv-ids, `*` for a part.
    """
    for value in fields:
        stated = parse_results(value)
        if any(fnmatchcase(stated.authserv_id, pattern.lower()) for pattern in patterns):
            return stated
    return None


def parse_results(value: str) -> StatedResults:
    """Return the field read. What is not in the grammar is left out; never raises."""
    groups: list[list[str]] = [[]]
    for word in _joined(_WORD.findall(_without_comments(value[:MAX_VALUE_CHARS]))):
        if word == ";":
            groups.append([])
        else:
            groups[-1].append(word)
    first = groups[0][0] if groups[0] else ""
    has_id = "=" not in first
    results = [_result(group) for group in (groups[1:] if has_id else groups)]
    return StatedResults(
        authserv_id=_unquoted(first).lower() if has_id else "",
        results=tuple(result for result in results if result is not None)[:MAX_RESULTS],
    )


def _result(words: list[str]) -> StatedResult | None:
    match = _RESULT.fullmatch(words[0]) if words else None
    if match is None or match[1].lower() not in _METHODS or match[2].lower() not in _RESULTS:
        return None
    properties: dict[str, str] = {}
    for word in words[1:]:
        found = _PROPERTY.fullmatch(word)
        if found:
            properties.setdefault(found[1].lower(), _unquoted(found[2]))
    return StatedResult(method=match[1].lower(), result=_RESULTS[match[2].lower()], properties=properties)


def _joined(words: list[str]) -> list[str]:
    """Join what white space around `=` and quotes have taken apart."""
    joined: list[str] = []
    for word in words:
        if joined and word != ";" and joined[-1] != ";" and (joined[-1].endswith("=") or word.startswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _without_comments(value: str) -> str:
    """Return `value` with a space for each comment, nested ones too (RFC 5322 §3.2.2)."""
    kept: list[str] = []
    depth, quoted, escaped = 0, False, False
    for char in value:
        if escaped:
            escaped = False
        elif char == "\\" and (quoted or depth):
            escaped = True
        elif quoted:
            quoted = char != '"'
        elif char == "(":
            depth += 1
            continue
        elif char == ")" and depth:
            depth -= 1
            kept.append(" ")
            continue
        elif char == '"' and not depth:
            quoted = True
        if not depth:
            kept.append(char)
    return "".join(kept)


def _unquoted(text: str) -> str:
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    return text
