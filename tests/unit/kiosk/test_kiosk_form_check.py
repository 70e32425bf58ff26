"""Checking a filled-in form against its description."""

from typing import Any

import pytest

from config.kiosk_forms import KioskForms
from connectors.kiosk.form_answers import fill_from_form, form_fields
from connectors.kiosk.form_check import FormChecks
from connectors.kiosk.submission import KioskSubmission
from connectors.media import describe_attachment

T = {"ru": "Поле", "en": "Field"}
FORMS = KioskForms.model_validate(
    {
        "version": 1,
        "languages": ["ru", "en"],
        "forms": [
            {
                "id": "appeal",
                "version": 1,
                "title": T,
                "fields": [
                    {"name": "message", "type": "multiline", "title": T, "role": "text", "required": True}
                    | {"schema": {"minLength": 3, "maxLength": 10}},
                    {"name": "mail", "type": "email", "title": T, "role": "email"},
                    {"name": "phone", "type": "phone", "title": T, "role": "phone"},
                    {"name": "flat", "type": "number", "title": T, "schema": {"minimum": 1, "maximum": 9}},
                    {"name": "day", "type": "date", "title": T},
                    {"name": "code", "type": "text", "title": T, "schema": {"pattern": "^[A-Z]{2}$"}},
                    {"name": "topic", "type": "choice", "title": T, "role": "topic"}
                    | {"choices": [{"value": "housing.heating", "title": {"ru": "Отопление", "en": "Heating"}}]},
                    {"name": "days", "type": "choices", "title": T, "schema": {"maxItems": 1}}
                    | {"choices": [{"value": "mo", "title": T}, {"value": "tu", "title": T}]},
                    {"name": "agree", "type": "checkbox", "title": T, "role": "consent", "required": True},
                    {"name": "scan", "type": "files", "title": T}
                    | {"files": {"max_files": 1, "max_bytes": 1024, "media_types": ["application/pdf"]}},
                ],
            }
        ],
    }
)
GOOD = {"message": "Мало света", "agree": True}
PDF = describe_attachment("a.pdf", "application/pdf", b"%PDF-1.4")


def faults(fields: dict[str, Any], files: dict[str, list[Any]] | None = None, language: str = "ru"):
    submission = KioskSubmission(id="f", form="appeal", form_version=1, language=language, fields=fields)
    _, errors, _ = FormChecks(FORMS).check(submission, files or {})
    return [(error.field, error.code) for error in errors], [error.message for error in errors]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"message": "  "}, [("message", "required")]),
        ({"message": "ab"}, [("message", "too_short")]),
        ({"message": "a" * 11}, [("message", "too_long")]),
        ({"message": 5}, [("message", "type")]),
        ({"mail": "anna@"}, [("mail", "email")]),
        ({"mail": "anna@example.org", "phone": "+7 921 123-45-67"}, []),
        ({"phone": "call me"}, [("phone", "phone")]),
        ({"flat": 10}, [("flat", "too_large")]),
        ({"flat": 0}, [("flat", "too_small")]),
        ({"flat": "five"}, [("flat", "type")]),
        ({"day": "2026-02-29"}, [("day", "date")]),
        ({"day": "2026-02-28"}, []),
        ({"code": "ab"}, [("code", "pattern")]),
        ({"topic": "roads"}, [("topic", "choice")]),
        ({"days": ["mo", "tu"]}, [("days", "too_many")]),
        ({"days": ["sa"]}, [("days", "choice")]),
        ({"agree": False}, [("agree", "consent")]),
        ({"agree": "yes"}, [("agree", "type")]),
        ({"other": "x"}, [("other", "unknown_field")]),
        (
            {"message": "", "mail": "x", "agree": None},
            [("message", "required"), ("mail", "email"), ("agree", "consent")],
        ),
    ],
)
def test_each_field_has_its_fault(changed: dict[str, Any], expected: list[tuple[str, str]]):
    """In the form's order, with a code for programs."""
    assert faults(GOOD | changed)[0] == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"scan": [PDF]}, []),
        ({"scan": [PDF, PDF]}, [("scan", "too_many_files")]),
        ({"scan": [describe_attachment("a.pdf", "application/pdf", b"MZ\x90" + bytes(40))]}, [("scan", "file_type")]),
        ({"scan": [describe_attachment("a.pdf", "x/y", b"%PDF-1.4" + bytes(1024))]}, [("scan", "file_too_large")]),
        ({"message": [PDF]}, [("message", "unknown_field")]),
        ({"": [PDF]}, [("", "unknown_field")]),
    ],
)
def test_files_are_judged_by_their_content(files: dict[str, list[Any]], expected: list[tuple[str, str]]):
    """Count, size and detected type, whatever the name says."""
    assert faults(GOOD, files)[0] == expected


def test_messages_speak_the_citizens_language():
    """Russian and English by the submission's tag; another language gets English, as on the page."""
    assert faults({**GOOD, "message": "ab"})[1] == ["Слишком коротко: не меньше 3 знаков."]
    assert faults({**GOOD, "message": "ab"}, language="en-GB")[1] == ["Too short: at least 3 characters."]
    assert faults({**GOOD, "message": "ab"}, language="de")[1] == ["Too short: at least 3 characters."]


def test_forms_of_others_are_not_checked():
    """Without a version it is the maker's own form; a version we do not have is marked."""
    own = KioskSubmission(id="f", form="appeal", fields={"anything": 1})
    assert FormChecks(FORMS).check(own, {}) == (None, (), ())
    gone = KioskSubmission(id="f", form="appeal", form_version=9)
    assert FormChecks(FORMS).check(gone, {}) == (None, (), ("unknown_form",))


def test_roles_make_the_appeal():
    """Text, subject, topic and contact come from the fields with these roles; the text is not kept twice."""
    fields = {**GOOD, "mail": "a@example.org", "topic": "housing.heating", "flat": 5}
    submission = KioskSubmission(id="f", form="appeal", form_version=1, language="en", fields=fields)
    (form,) = FORMS.forms
    filled = fill_from_form(form, submission)
    assert (filled.text, filled.subject, filled.citizen.email) == ("Мало света", "Heating", "a@example.org")
    assert form_fields(form, submission) == {
        "form": "appeal 1",
        "email": "a@example.org",
        "consent": "true",
        "topic": "housing.heating",
        "flat": "5",
    }
