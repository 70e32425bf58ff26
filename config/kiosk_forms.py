"""The kiosks' forms: what they ask for, in several languages, described in YAML.

A form has versions: a kiosk without a network may still show an older one, so old versions stay in the file until
no kiosk holds forms of them. The newest is the one that kiosks are given.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from config.taxonomy import LanguageTag, Taxonomy
from config.yaml_file import Fault, YamlDocument, load_yaml, refuse, validate_model

T = TypeVar("T")

DEFAULT_FORMS = Path(__file__).parent / "defaults" / "kiosk_forms.yaml"
EMAIL_PATTERN = r"^[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+$"
PHONE_PATTERN = r"^\+?[0-9][0-9 ()-]{4,22}$"
MAX_TEXT_CHARS = 20_000  # of a field whose schema says nothing

Texts = Mapping[LanguageTag, Annotated[str, Field(min_length=1, max_length=2000)]]
FormId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
FieldType = Literal["text", "multiline", "email", "phone", "number", "date", "choice", "choices", "checkbox", "files"]
FormRole = Literal["text", "subject", "topic", "name", "email", "phone", "address", "consent"]

ROLE_TYPES: Mapping[str, frozenset[str]] = {
    "text": frozenset({"text", "multiline"}),
    "subject": frozenset({"text", "choice"}),
    "topic": frozenset({"choice"}),
    "name": frozenset({"text"}),
    "email": frozenset({"email"}),
    "phone": frozenset({"phone"}),
    "address": frozenset({"text", "multiline"}),
    "consent": frozenset({"checkbox"}),
}
_LENGTHS = frozenset({"minLength", "maxLength", "pattern"})
RULES_OF_TYPE: Mapping[str, frozenset[str]] = {  # JSON Schema keywords that make sense for a type of field
    "text": _LENGTHS,
    "multiline": _LENGTHS,
    "email": _LENGTHS,
    "phone": _LENGTHS,
    "number": frozenset({"minimum", "maximum"}),
    "choices": frozenset({"minItems", "maxItems"}),
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    """Not `min_length`: pydantic would report a list whose only item has a fault as empty, too."""
    if not items:
        raise ValueError("there must be at least one")
    return items


class FieldSchema(_Part):
    """JSON Schema keywords (draft 2020-12, validation vocabulary) that narrow a field."""

    min_length: int | None = Field(default=None, ge=0, alias="minLength")
    max_length: int | None = Field(default=None, ge=1, alias="maxLength")
    pattern: str | None = None  # understood alike by Python and ECMAScript (flag u); searched, so anchor it
    minimum: float | None = None
    maximum: float | None = None
    min_items: int | None = Field(default=None, ge=0, alias="minItems")
    max_items: int | None = Field(default=None, ge=1, alias="maxItems")

    def keywords(self) -> dict[str, Any]:
        """Return the keywords that are set."""
        return self.model_dump(by_alias=True, exclude_none=True)


class FormChoice(_Part):
    """One of the values to choose from."""

    value: str = Field(min_length=1, max_length=200)
    title: Texts


class FileLimits(_Part):
    """How many scans and photos, how large, of which kinds."""

    max_files: int = Field(default=3, ge=1, le=20)
    max_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)  # each
    media_types: tuple[Annotated[str, Field(pattern=r"^[a-z]+/(\*|[a-z0-9.+-]+)$")], ...] = (
        "image/*",
        "application/pdf",
    )


class FormField(_Part):
    """One question."""

    name: FieldName
    type: FieldType
    title: Texts
    help: Texts = Field(default_factory=dict)
    role: FormRole | None = None  # what the answer is for the appeal
    required: bool = False
    schema_: FieldSchema = Field(default=FieldSchema(), alias="schema")
    choices: tuple[FormChoice, ...] = ()
    files: FileLimits = FileLimits()

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of an answer that was given; of a file field, that of its list of names."""
        values = [choice.value for choice in self.choices]
        kinds: dict[str, dict[str, Any]] = {
            "text": {"type": "string", "maxLength": MAX_TEXT_CHARS},
            "multiline": {"type": "string", "maxLength": MAX_TEXT_CHARS},
            "email": {"type": "string", "pattern": EMAIL_PATTERN, "maxLength": 320},
            "phone": {"type": "string", "pattern": PHONE_PATTERN},
            "number": {"type": "number"},
            "date": {"type": "string", "format": "date"},
            "choice": {"type": "string", "enum": values},
            "choices": {"type": "array", "items": {"enum": values}, "uniqueItems": True},
            "checkbox": {"type": "boolean"},
            "files": {"type": "array", "maxItems": self.files.max_files},
        }
        base = kinds[self.type]
        if self.required and self.type == "checkbox":
            base = base | {"const": True}
        return base | self.schema_.keywords()


class KioskForm(_Part):
    """One version of a form."""

    id: FormId
    version: int = Field(ge=1)
    title: Texts
    intro: Texts = Field(default_factory=dict)
    fields: Annotated[tuple[FormField, ...], AfterValidator(_not_empty)]

    def field_of(self, role: FormRole) -> FormField | None:
        """Return the field with that role."""
        return next((field for field in self.fields if field.role == role), None)

    def title_in(self, language: str | None) -> str:
        """Return the title in `language` (BCP 47), else in the file's first."""
        return text_in(self.title, language)


class KioskForms(_Part):
    """All forms, in all their versions."""

    version: Literal[1]
    languages: tuple[LanguageTag, ...] = Field(min_length=1)  # the first is the one the kiosk begins with
    forms: Annotated[tuple[KioskForm, ...], AfterValidator(_not_empty)]

    @cached_property
    def _by_version(self) -> dict[tuple[str, int], KioskForm]:
        return {(form.id, form.version): form for form in self.forms}

    def find(self, form_id: str, version: int) -> KioskForm | None:
        """Return that version of the form, None if the file has none."""
        return self._by_version.get((form_id, version))

    def current(self) -> tuple[KioskForm, ...]:
        """Return the newest version of each form, in the file's order."""
        newest: dict[str, KioskForm] = {}
        for form in self.forms:
            if form.id not in newest or form.version > newest[form.id].version:
                newest[form.id] = form
        return tuple(newest.values())


def unknown_topics(forms: KioskForms, taxonomy: Taxonomy) -> list[str]:
    """Return, in words, the choices of topic fields that the taxonomy does not have: they would be ignored."""
    return [
        f"form {form.id!r} version {form.version}: the taxonomy has no topic {choice.value!r}"
        for form in forms.forms
        for field in form.fields
        if field.role == "topic"
        for choice in field.choices
        if choice.value not in taxonomy.topics
    ]


def text_in(texts: Texts, language: str | None, *, otherwise: str = "") -> str:
    """Return the text in `language`, or its main language, or `otherwise`, else the first there is; "" without any."""
    wanted = language or ""
    main = wanted.split("-", maxsplit=1)[0]
    return texts.get(wanted) or texts.get(main) or texts.get(otherwise) or next(iter(texts.values()), "")


def is_date(text: str) -> bool:
    """Tell whether `text` is a day as RFC 3339 writes it (full-date)."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def load_kiosk_forms(path: Path | None = None) -> KioskForms:
    """Read the forms; None: those that come with Okno. Raises ConfigurationError with every fault in its place."""
    document = load_yaml(path or DEFAULT_FORMS)
    forms = validate_model(document, KioskForms)
    if faults := list(_faults(document, forms)):
        raise refuse(document.file, faults)
    return forms


def _faults(document: YamlDocument, forms: KioskForms) -> Iterator[Fault]:
    """Yield what the shape alone does not tell."""
    seen: set[tuple[str, int]] = set()
    for index, form in enumerate(forms.forms):
        path = ("forms", index)
        if (form.id, form.version) in seen:
            message = f"version {form.version} of form {form.id!r} stands here a second time"
            yield document.fault((*path, "version"), message, key=True)
        seen.add((form.id, form.version))
        yield from _missing_texts(document, (*path, "title"), form.title, forms.languages)
        yield from _missing_texts(document, (*path, "intro"), form.intro, forms.languages)
        yield from _form_faults(document, path, form, forms.languages)


def _form_faults(
    document: YamlDocument, path: tuple[str | int, ...], form: KioskForm, languages: tuple[str, ...]
) -> Iterator[Fault]:
    names: set[str] = set()
    roles: set[str] = set()
    for index, field in enumerate(form.fields):
        place = (*path, "fields", index)
        if field.name in names:
            yield document.fault((*place, "name"), f"a second field {field.name!r} in this form")
        names.add(field.name)
        if field.role is not None:
            if field.role in roles:
                yield document.fault((*place, "role"), f"a second field with the role {field.role!r} in this form")
            roles.add(field.role)
        yield from _field_faults(document, place, field)
        for key, texts in (("title", field.title), ("help", field.help)):
            yield from _missing_texts(document, (*place, key), texts, languages)
        for number, choice in enumerate(field.choices):
            yield from _missing_texts(document, (*place, "choices", number, "title"), choice.title, languages)


def _field_faults(document: YamlDocument, place: tuple[str | int, ...], field: FormField) -> Iterator[Fault]:
    if field.role is not None and field.type not in ROLE_TYPES[field.role]:
        wanted = " or ".join(sorted(ROLE_TYPES[field.role]))
        yield document.fault((*place, "role"), f"the role {field.role!r} needs a field of type {wanted}")
    if (field.type in {"choice", "choices"}) is not bool(field.choices):
        message = "needs `choices`" if not field.choices else f"a field of type {field.type} has no choices"
        yield document.fault((*place, "type"), message)
    values = [choice.value for choice in field.choices]
    for number, value in enumerate(values):
        if value in values[:number]:
            yield document.fault((*place, "choices", number, "value"), f"the value {value!r} is there already")
    for keyword in field.schema_.keywords():
        if keyword not in RULES_OF_TYPE.get(field.type, frozenset()):
            message = f"{keyword} says nothing about a field of type {field.type}"
            yield document.fault((*place, "schema", keyword), message, key=True)
    yield from _schema_faults(document, (*place, "schema"), field.schema_)


def _schema_faults(document: YamlDocument, place: tuple[str | int, ...], schema: FieldSchema) -> Iterator[Fault]:
    pairs = (
        ("minLength", schema.min_length, "maxLength", schema.max_length),
        ("minimum", schema.minimum, "maximum", schema.maximum),
        ("minItems", schema.min_items, "maxItems", schema.max_items),
    )
    for low_key, low, high_key, high in pairs:
        if low is not None and high is not None and low > high:
            yield document.fault((*place, low_key), f"{low_key} is above {high_key}: nothing would do")
    if schema.pattern is not None:
        try:
            re.compile(schema.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            offset = getattr(error, "pos", None)
            message = f"not a regular expression: {getattr(error, 'msg', error)}"
            yield document.fault((*place, "pattern"), message, offset=offset)


def _missing_texts(
    document: YamlDocument, place: tuple[str | int, ...], texts: Texts, languages: tuple[str, ...]
) -> Iterator[Fault]:
    missing = [language for language in languages if texts and language not in texts]
    if missing:
        yield document.fault(place, f"{place[-1]}: there is no text in {', '.join(missing)}", key=True)
