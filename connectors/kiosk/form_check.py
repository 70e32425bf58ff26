"""Checking a filled-in form against its description, with an error for each field in the citizen's language."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from appeals.envelope import Attachment
from config.kiosk_forms import FormField, KioskForm, KioskForms, is_date, text_in
from connectors.kiosk.form_messages import MESSAGES
from connectors.kiosk.submission import KioskSubmission

UNKNOWN_FORM = "unknown_form"  # mark: a version of a form that the form file does not have
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date")
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or is_date(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldError:
    """What is wrong with one field."""

    field: str
    code: str  # for programs: required, too_short, …; see form_messages
    message: str  # for the citizen


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rejection:
    code: str
    limit: Any = ""


_CODES: Mapping[str, str] = {  # JSON Schema keyword that failed -> our code
    "minLength": "too_short",
    "maxLength": "too_long",
    "minimum": "too_small",
    "maximum": "too_large",
    "minItems": "too_few",
    "maxItems": "too_many",
    "pattern": "pattern",
    "enum": "choice",
    "const": "required",
    "format": "date",
}


class FormChecks:
    """Checks submissions against the forms of the office's file."""

    def __init__(self, forms: KioskForms) -> None:
        self._forms = forms
        self._validators: dict[tuple[str, int, str], Draft202012Validator] = {}

    def check(
        self, submission: KioskSubmission, files: Mapping[str, Sequence[Attachment]]
    ) -> tuple[KioskForm | None, tuple[FieldError, ...], tuple[str, ...]]:
        """Return (the form, what is wrong, marks). No form: it is a form of the kiosk's maker and is taken as it is.

        A version that the file does not have any more cannot be checked: the mark `unknown_form` says so.
        """
        if submission.form_version is None:
            return None, (), ()
        form = self._forms.find(submission.form, submission.form_version)
        if form is None:
            return None, (), (UNKNOWN_FORM,)
        return form, self.errors(form, submission, files), ()

    def errors(
        self, form: KioskForm, submission: KioskSubmission, files: Mapping[str, Sequence[Attachment]]
    ) -> tuple[FieldError, ...]:
        """Return what is wrong, in the form's order. `files`: by the field they were given for."""
        language = submission.language
        found = [
            _error(field, rejection, language=language)
            for field in form.fields
            for rejection in self._rejections(form, field, submission.fields.get(field.name), files)
        ]
        known = {field.name: field.type for field in form.fields}
        strangers = [name for name in submission.fields if name not in known]
        strangers += [name for name in files if known.get(name) != "files"]
        return (
            *found,
            *(
                FieldError(field=name[:64], code="unknown_field", message=_message("unknown_field", "", language))
                for name in dict.fromkeys(strangers)
            ),
        )

    def _rejections(
        self, form: KioskForm, field: FormField, value: Any, files: Mapping[str, Sequence[Attachment]]
    ) -> Iterator[_Rejection]:
        if field.type == "files":
            yield from _file_rejections(field, files.get(field.name, ()))
            return
        given = value.strip() if isinstance(value, str) else value
        if given is None or given in ("", []) or (field.type == "checkbox" and given is False):
            if field.required:
                yield _Rejection(code="required")
            return
        fault: ValidationError | None = next(self._validator(form, field).iter_errors(given), None)
        if fault is not None:
            keyword = str(fault.validator)
            special = keyword == "pattern" and field.type in {"email", "phone"}
            yield _Rejection(code=field.type if special else _CODES.get(keyword, "type"), limit=fault.validator_value)

    def _validator(self, form: KioskForm, field: FormField) -> Draft202012Validator:
        key = (form.id, form.version, field.name)
        if key not in self._validators:
            self._validators[key] = Draft202012Validator(field.json_schema(), format_checker=FORMATS)
        return self._validators[key]


def _file_rejections(field: FormField, files: Sequence[Attachment]) -> Iterator[_Rejection]:
    limits = field.files
    if field.required and not files:
        yield _Rejection(code="required")
    if len(files) > limits.max_files:
        yield _Rejection(code="too_many_files", limit=limits.max_files)
    if any(file.size_bytes > limits.max_bytes for file in files):
        yield _Rejection(code="file_too_large", limit=f"{limits.max_bytes / 1024 / 1024:.3g}")
    if not all(_is_of(file.detected_media_type, limits.media_types) for file in files):
        yield _Rejection(code="file_type")


def _is_of(media_type: str, wanted: Sequence[str]) -> bool:
    family = media_type.partition("/")[0] + "/*"
    return media_type in wanted or family in wanted


def _error(field: FormField, rejection: _Rejection, *, language: str | None) -> FieldError:
    code = "consent" if field.role == "consent" and rejection.code == "required" else rejection.code
    return FieldError(field=field.name, code=code, message=_message(code, rejection.limit, language))


def _message(code: str, limit: Any, language: str | None) -> str:
    shown = f"{limit:g}" if isinstance(limit, float) else str(limit)
    return text_in(MESSAGES[code], language, otherwise="en").replace("{limit}", shown)
