"""Language: plain cases by script, the others by py3langid, never an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier.language import LANGUAGES, UNDETERMINED, detect_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("нет воды", "ru"),
        ("Ау", "ru"),
        ("when is the bus", "en"),
        ("help", "en"),
        ("Немає гарячої води вже третій день", "uk"),
        ("Wann kommt der Bus endlich, wir warten seit Stunden", "de"),
        ("net vody uzhe tretiy den", "ru"),
        ("Письмо about both, но больше по-русски", "ru"),
        ("", UNDETERMINED),
        ("12345 !!! 👍", UNDETERMINED),
        ("你好，没有水", UNDETERMINED),
    ],
)
def test_language_is_found(text: str, language: str) -> None:
    """Short and long texts, Russian in Latin letters, scripts we do not answer in, no letters at all."""
    assert detect_language(text) == language


@given(text=st.text())
def test_any_text_has_a_language(text: str) -> None:
    """Any text gets a code we know."""
    assert detect_language(text) in {*LANGUAGES, UNDETERMINED}
