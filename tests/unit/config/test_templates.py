"""The texts to citizens: an admin's file over the defaults, and every fault in its place."""

import contextlib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import ConfigurationError
from config.templates import default_templates, fill, load_templates


def _load(folder: Path, text: str):
    file = folder / "templates.yaml"
    file.write_text(text, encoding="utf-8")
    return load_templates(file)


def _faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        _load(folder, text)
    return [fault.split("\n")[0].removeprefix(f"{folder}/") for fault in refused.value.faults]


def test_the_defaults():
    """What comes with Okno has every text in Russian and English."""
    templates = default_templates()
    assert set(templates.languages) == {"ru", "en"}
    assert templates.date(date(2025, 3, 4), "ru") == "04.03.2025"
    assert templates.date(date(2025, 3, 4), "en") == "2025-03-04"


def test_a_file_says_only_what_differs(tmp_path: Path):
    """One text of one language changes, all others stay; an empty file changes nothing."""
    changed = _load(tmp_path, 'version: 1\nlanguages:\n  ru:\n    answer:\n      text: "{text}\\n\\n{office}"\n')
    assert changed.languages["ru"].answer.text == "{text}\n\n{office}"
    assert changed.languages["ru"].answer.short == default_templates().languages["ru"].answer.short
    assert changed.languages["en"] == default_templates().languages["en"]
    assert _load(tmp_path, "") == default_templates()


def test_another_language_must_be_whole(tmp_path: Path):
    """A language that does not come with Okno needs every text; then it is used for its citizens."""
    assert _faults(tmp_path, "version: 1\nlanguages:\n  tt:\n    date: '{day}.{month}.{year}'\n") == [
        "templates.yaml:3:3: languages.tt.acknowledgement: is missing",
        "templates.yaml:3:3: languages.tt.answer: is missing",
        "templates.yaml:3:3: languages.tt.notice: is missing",
    ]
    whole = "version: 1\nlanguages:\n  tt:\n    date: '{year}/{month}/{day}'\n    acknowledgement: {subject: a, text: '{number}', short: '{number}'}\n"
    whole += "    answer: &frame {text: '{text}', short: '{text}'}\n    notice: *frame\n"
    templates = _load(tmp_path, whole)
    assert templates.language("tt-RU") == "tt"
    assert templates.language("de", default="ru") == "ru"
    assert templates.language("und", default="und") == "en"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('answer: {text: "{text} {numbr}"}', "5:28: there is no placeholder {numbr} here: did you mean {number}?"),
        (
            'answer: {text: "{text} {code}"}',
            "5:28: there is no placeholder {code} here: there are {number}, {office}, {text}, {url}",
        ),
        ('answer: {text: "{text} {x.y}"}', "5:28: there is no placeholder {x.y} here"),
        ('answer: {text: "{text!r}"}', "5:21: there is no placeholder {text!r} here: did you mean {text}?"),
        ('answer: {text: "Hello"}', "5:20: {text} is missing: the text is of no use without it"),
        ('answer: {text: "{text} }"}', "5:28: a brace of its own is written twice: {{ or }}"),
        ('answer: {text: "{text} { x"}', "5:28: a brace of its own is written twice: {{ or }}"),
        ('acknowledgement: {short: "accepted"}', "5:30: {number} is missing"),
        ('acknowledgement: {subject: "two\\nlines"}', "5:32: languages.ru.acknowledgement.subject"),
        ('date: "{day}.{month}"', "5:11: {year} is missing"),
        ("anser: {text: '{text}'}", "5:5: languages.ru.anser: there is no such key"),
    ],
)
def test_faults_have_their_place(tmp_path: Path, line: str, fault: str):
    """Unknown and missing placeholders, braces and keys are refused with file, line and column."""
    faults = _faults(tmp_path, f"version: 1\n# texts of our office\nlanguages:\n  ru:\n    {line}\n")
    assert any(item.startswith(f"templates.yaml:{fault}") for item in faults), faults


def test_braces_written_twice(tmp_path: Path):
    """Two braces are one; what is put in is not looked at again."""
    assert fill("{{x}} {text}", {"text": "{number} {{"}) == "{x} {number} {{"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_an_agents_words_go_out_as_they_are(text: str):
    """Whatever an agent writes stands in the frame letter by letter."""
    assert fill("<{text}>", {"text": text}) == f"<{text}>"


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="{} \n:-xtext\"'&*[]", max_size=60))
def test_any_file_is_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str):
    """Any file is either taken or refused as a configuration fault."""
    folder = tmp_path_factory.getbasetemp()
    with contextlib.suppress(ConfigurationError):
        _load(folder, f"version: 1\nlanguages:\n  ru:\n    answer:\n      text: {text}\n")
