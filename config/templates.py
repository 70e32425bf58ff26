"""What Okno writes to citizens by itself: the acknowledgement, and the frame around answers and notices.

An admin's file says only what differs from the texts that come with Okno; a language that these lack must say all.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.taxonomy import LanguageTag
from config.yaml_file import Fault, Path_, YamlDocument, load_yaml, refuse, validation_faults

DEFAULT_TEMPLATES = Path(__file__).parent / "defaults" / "templates.yaml"
FALLBACK_LANGUAGE = "en"  # for citizens whose language has no texts

Text = Annotated[str, Field(min_length=1, max_length=20_000)]
Line = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\r\n]+$")]

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_ACKNOWLEDGEMENT = frozenset({"number", "code", "deadline", "url", "office"})
_FRAME = frozenset({"text", "number", "url", "office"})
_ALLOWED = {  # by message and part: what may stand there, and what must
    ("date", ""): (frozenset({"day", "month", "year"}), frozenset({"day", "month", "year"})),
    ("acknowledgement", "subject"): (frozenset({"number", "office"}), frozenset()),
    ("acknowledgement", "text"): (_ACKNOWLEDGEMENT, frozenset({"number"})),
    ("acknowledgement", "short"): (_ACKNOWLEDGEMENT, frozenset({"number"})),
    ("answer", "text"): (_FRAME, frozenset({"text"})),
    ("answer", "short"): (_FRAME, frozenset({"text"})),
    ("notice", "text"): (_FRAME, frozenset({"text"})),
    ("notice", "short"): (_FRAME, frozenset({"text"})),
}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AcknowledgementTexts(_Record):
    """The first message to a citizen."""

    subject: Line
    text: Text
    short: Text  # where every character costs: SMS


class FrameTexts(_Record):
    """What stands around an answer's or a notice's own words, `{text}`."""

    text: Text  # mail
    short: Text  # all other channels


class LanguageTexts(_Record):
    """All texts in one language."""

    date: Line  # how `{deadline}` is written: {day}, {month}, {year}
    acknowledgement: AcknowledgementTexts
    answer: FrameTexts
    notice: FrameTexts


class MessageTemplates(_Record):
    """All texts, by language."""

    version: Literal[1]
    languages: Mapping[LanguageTag, LanguageTexts] = Field(min_length=1)

    def language(self, wanted: str, *, default: str = FALLBACK_LANGUAGE) -> str:
        """Return the language to write in: `wanted` (BCP 47; its first part counts) if there are texts in it."""
        for name in (wanted, wanted.split("-", maxsplit=1)[0], default, FALLBACK_LANGUAGE):
            if name in self.languages:
                return name
        return next(iter(self.languages))

    def date(self, day: date, language: str) -> str:
        """Return a day as it is written in `language`, one of `languages`."""
        words = {"day": f"{day.day:02}", "month": f"{day.month:02}", "year": f"{day.year:04}"}
        return fill(self.languages[language].date, words)


def fill(template: str, words: Mapping[str, str]) -> str:
    """Return `template` with its placeholders replaced; what is put in is not looked at again."""
    return _PLACEHOLDER.sub(lambda match: words[match[1]] if match[1] is not None else match[0][0], template)


def load_templates(path: Path | None = None) -> MessageTemplates:
    """Read an admin's file over the texts that come with Okno; None: these alone.

    Raises ConfigurationError with every fault in its place: unknown keys, placeholders that are unknown or missing.
    """
    defaults = load_yaml(DEFAULT_TEMPLATES)
    document = load_yaml(path) if path is not None else defaults
    faults = list(_placeholder_faults(document))
    merged = _merge(defaults.data, document.data or {}) if path is not None else defaults.data
    try:
        templates = MessageTemplates.model_validate(merged)
    except ValidationError as error:
        raise refuse(document.file, [*faults, *validation_faults(document, error)]) from error
    if faults:
        raise refuse(document.file, faults)
    return templates


@lru_cache(maxsize=1)
def default_templates() -> MessageTemplates:
    """Return the texts that come with Okno."""
    return load_templates()


def _merge(base: Any, over: Any) -> Any:
    """Return `over` on `base`, mapping by mapping."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**base, **{key: _merge(base.get(key), value) for key, value in over.items()}}
    return over


def _texts(document: YamlDocument) -> Iterator[tuple[Path_, tuple[str, str], str]]:
    """Yield each text with its path and what it is, (message, part)."""
    languages = document.data.get("languages") if isinstance(document.data, Mapping) else None
    for language, messages in languages.items() if isinstance(languages, Mapping) else ():
        for message, value in messages.items() if isinstance(messages, Mapping) else ():
            parts = value.items() if isinstance(value, Mapping) else [("", value)]
            for part, text in parts:
                path = ("languages", language, message, part) if part else ("languages", language, message)
                if isinstance(text, str):
                    yield path, (message, part), text


def _placeholder_faults(document: YamlDocument) -> Iterator[Fault]:
    for path, what, text in _texts(document):
        if what not in _ALLOWED:
            continue  # an unknown key: the model says so
        allowed, needed = _ALLOWED[what]
        found = set()
        for match in _PLACEHOLDER.finditer(text):
            if match[0] in ("{{", "}}"):
                continue
            name = match[1]
            found.add(name)
            if name is None:
                yield document.fault(path, "a brace of its own is written twice: {{ or }}", offset=match.start())
            elif name not in allowed:
                yield document.fault(path, _unknown(name, allowed), offset=match.start())
        for name in sorted(needed - found):
            yield document.fault(path, f"{{{name}}} is missing: the text is of no use without it")


def _unknown(name: str, allowed: frozenset[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = (
        f"did you mean {{{near[0]}}}?" if near else f"there are {', '.join(f'{{{item}}}' for item in sorted(allowed))}"
    )
    return f"there is no placeholder {{{name}}} here: {hint}"
