"""The form file: what it may say, and the line and column of what it may not."""

from pathlib import Path

import pytest

from appeals.errors import ConfigurationError
from config.kiosk_forms import load_kiosk_forms
from config.taxonomy import load_taxonomy
from connectors.kiosk.form_messages import MESSAGES

HEAD = (
    "version: 1\nlanguages: [ru, en]\nforms:\n  - id: appeal\n    version: 1\n    title: {ru: О, en: A}\n    fields:\n"
)
FIELD = "      - {name: message, type: multiline, title: {ru: Т, en: T}"


@pytest.fixture
def load(tmp_path: Path):
    def load_text(text: str):
        path = tmp_path / "forms.yaml"
        path.write_text(text, encoding="utf-8")
        return load_kiosk_forms(path)

    return load_text


def test_the_forms_that_come_with_okno():
    """They load, speak three languages, and their topics are codes of the taxonomy that comes with them."""
    forms = load_kiosk_forms()
    assert forms.languages == ("ru", "en", "kk")
    topic = forms.current()[0].field_of("topic")
    assert topic is not None
    assert {choice.value for choice in topic.choices} <= set(load_taxonomy().topics)


def test_the_newest_version_is_current_and_the_old_ones_are_found(load):
    """A kiosk that was offline names the version that it showed."""
    second = HEAD.partition("forms:\n")[2].replace("version: 1", "version: 2")
    forms = load(f"{HEAD}{FIELD}}}\n{second}{FIELD}, required: true}}\n")
    (current,) = forms.current()
    assert (current.version, current.fields[0].required) == (2, True)
    old = forms.find("appeal", 1)
    assert old is not None
    assert not old.fields[0].required
    assert forms.find("appeal", 3) is None


@pytest.mark.parametrize(
    ("field", "place", "message"),
    [
        (FIELD + ", requird: true}", "8:65", "there is no such key"),
        (FIELD.replace("multiline", "essay") + "}", "8:31", "must be one of"),
        (FIELD.replace(", en: T", "") + "}", "8:42", "no text in en"),
        (FIELD + ", role: email}", "8:71", "needs a field of type email"),
        (FIELD + ", choices: [{value: a, title: {ru: а, en: a}}]}", "8:31", "has no choices"),
        (FIELD + ', schema: {pattern: "a(b"}}', "8:85", "not a regular expression"),
        (FIELD + ", schema: {minimum: 3}}", "8:74", "says nothing about"),
        (FIELD + ", schema: {minLength: 9, maxLength: 3}}", "8:85", "above maxLength"),
        (FIELD + ", schema: {minLength: many}}", "8:85", "valid integer"),
        (FIELD + "}\n" + FIELD + "}", "9:16", "a second field"),
    ],
)
def test_a_fault_is_shown_where_it_is(load, field: str, place: str, message: str):
    """File, line, column, the words, and a caret under the place."""
    with pytest.raises(ConfigurationError) as caught:
        load(f"{HEAD}{field}\n")
    told = str(caught.value)
    assert f"forms.yaml:{place}: " in told
    assert message in told
    assert told.count("forms.yaml:") == 2  # the head, and this one fault
    assert told.rstrip().endswith("^")


def test_every_message_for_citizens_is_there_in_every_language():
    """No code lacks a language."""
    assert {frozenset(texts) for texts in MESSAGES.values()} == {frozenset({"ru", "en", "kk"})}


def test_the_page_and_the_daemon_say_the_same_of_a_fault():
    """The page's messages are those of the daemon, word for word."""
    page = (Path(__file__).parents[3] / "connectors/kiosk/page/texts.js").read_text(encoding="utf-8")
    missing = [text for code, texts in MESSAGES.items() if code != "unknown_field" for text in texts.values()]
    assert [text for text in missing if f'"{text}"' not in page] == []
