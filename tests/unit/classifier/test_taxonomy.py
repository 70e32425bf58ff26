"""The taxonomy that comes with Okno, and what is refused in others."""

from pathlib import Path

import pytest

from appeals.errors import ConfigurationError
from config.taxonomy import UNKNOWN, load_taxonomy


def test_default_taxonomy_is_whole() -> None:
    """Every topic has a Russian and an English title, and its first segment as skill; unknown goes to triage."""
    taxonomy = load_taxonomy()
    assert taxonomy.topics[UNKNOWN].skill == "triage"
    for code, topic in taxonomy.topics.items():
        assert set(topic.title) == {"ru", "en"}
        assert topic.skill == ("triage" if code == UNKNOWN else code.split(".")[0])


def test_titles_fall_back() -> None:
    """A title in a language that is not there is shown in one that is; an unknown code as itself."""
    taxonomy = load_taxonomy()
    assert taxonomy.title("housing.gas", "ru-RU") == "Газ"
    assert taxonomy.title("housing.gas", "fr") == "Газ"
    assert taxonomy.title("no.such", "ru") == "no.such"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("version: 1\ntopics: {a: {skill: a, priority: 1, title: {ru: x}}}\n", "there must be a topic 'unknown'"),
        ("version: 1\ntopics:\n  unknown: {skill: t, priority: 101, title: {ru: x}}\n", "taxonomy.yaml:3:"),
        ("version: 1\ntopics:\n  unknown: {skill: t, priority: 1, title: {}}\n", "taxonomy.yaml:3:"),
        ("version: 1\ntopics:\n  Unknown!: {skill: t, priority: 1, title: {ru: x}}\n", "taxonomy.yaml:3:"),
        ("version: 2\n", "taxonomy.yaml:1:"),
        ("", "taxonomy.yaml"),
    ],
)
def test_faults_are_placed(tmp_path: Path, text: str, reason: str) -> None:
    """No unknown, a priority of 101, no title, a code with a mark, another version: each with its line."""
    path = tmp_path / "taxonomy.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=reason.replace(".", r"\.")):
        load_taxonomy(path)
