"""The model's file: what is written is read back; whatever is not a model is refused with a reason."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression
from skops.io import dumps

from appeals.errors import ConfigurationError
from classifier.model import Model
from classifier.model_file import CARD_NAME, ESTIMATOR_NAME, read_card
from tests.unit.classifier.conftest import PRIORITIES

TEXTS = ["the radiator is cold", "спасибо", "hole in the road", ""]


class NotOurs:
    """A type that no model of ours holds."""

    def __init__(self) -> None:
        self.path = "/etc/passwd"


@pytest.fixture
def saved(small: Model, tmp_path: Path) -> Path:
    path = tmp_path / "model.skops"
    small.save(path)
    return path


def rewrite(path: Path, *, card: dict[str, Any] | None = None, estimator: bytes | None = None) -> None:
    with zipfile.ZipFile(path) as archive:
        old_card, old_estimator = json.loads(archive.read(CARD_NAME)), archive.read(ESTIMATOR_NAME)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(CARD_NAME, json.dumps({**old_card, **(card or {})}))
        archive.writestr(ESTIMATOR_NAME, old_estimator if estimator is None else estimator)


def test_round_trip_gives_equal_predictions(small: Model, saved: Path) -> None:
    """A loaded model says exactly what the saved one said, and its card is the same."""
    loaded = Model.load(saved, priorities=PRIORITIES)
    assert loaded.predict(TEXTS) == small.predict(TEXTS)
    assert loaded.card == small.card == read_card(saved)
    assert list(saved.parent.iterdir()) == [saved]


def test_foreign_types_are_refused(saved: Path) -> None:
    """A file with a type that scikit-learn and NumPy do not have is refused by its name, and not built."""
    rewrite(saved, estimator=dumps(NotOurs()))
    with pytest.raises(ConfigurationError, match=r"refused.*NotOurs"):
        Model.load(saved, priorities=PRIORITIES)


def test_another_estimator_is_refused(saved: Path) -> None:
    """A harmless scikit-learn object that is not our pipeline is refused too."""
    rewrite(saved, estimator=dumps(LogisticRegression()))
    with pytest.raises(ConfigurationError, match="not one that Okno trains"):
        Model.load(saved, priorities=PRIORITIES)


def test_damage_is_refused(saved: Path) -> None:
    """Any cut, and any changed byte of the weights, is found: an error that says what to do, never a traceback."""
    whole = saved.read_bytes()
    for size in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:size])
        with pytest.raises(ConfigurationError, match="okno classifier train"):
            Model.load(saved, priorities=PRIORITIES)
    at = whole.index(ESTIMATOR_NAME.encode()) + 5000
    saved.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    with pytest.raises(ConfigurationError, match="missing or damaged"):
        Model.load(saved, priorities=PRIORITIES)


@pytest.mark.parametrize(
    "content", [b"not a zip", b"\x80\x04\x95pickle", os.urandom(5000)], ids=["text", "pickle", "noise"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """Text, a pickle and noise are no models."""
    path = tmp_path / "model.skops"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a model file"):
        Model.load(path, priorities=PRIORITIES)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A model that is not there is named with the reason; so is a folder."""
    with pytest.raises(ConfigurationError, match=r"none\.skops: cannot be read"):
        Model.load(tmp_path / "none.skops", priorities=PRIORITIES)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Model.load(tmp_path, priorities=PRIORITIES)


def test_another_scikit_learn_asks_to_train_again(saved: Path) -> None:
    """A model of another minor version of scikit-learn says so before anything of it is built."""
    rewrite(saved, card={"sklearn_version": "1.2.2"}, estimator=b"")
    with pytest.raises(ConfigurationError, match=r"scikit-learn 1\.2\.2.*okno classifier train"):
        Model.load(saved, priorities=PRIORITIES)


@pytest.mark.parametrize(
    "card",
    [{"schema": "okno.model/2"}, {"temperature": -1}, {"topics": ["heat"]}, {"extra": 1}, {"threshold": 7}],
    ids=lambda card: next(iter(card)),
)
def test_bad_cards_are_refused(saved: Path, card: dict[str, Any]) -> None:
    """Each fault of a card is named with its place."""
    rewrite(saved, card=card)
    with pytest.raises(ConfigurationError, match=rf"model\.json: {next(iter(card))}"):
        read_card(saved)


def test_card_and_estimator_must_agree(saved: Path) -> None:
    """A card of other topics than the estimator's is refused: answers would carry the wrong names."""
    rewrite(saved, card={"topics": ["heat", "unknown", "road"]})
    with pytest.raises(ConfigurationError, match="not the estimator's"):
        Model.load(saved, priorities=PRIORITIES)


def test_topics_beyond_the_taxonomy_are_named(saved: Path) -> None:
    """A model that knows a topic which the taxonomy has not is refused, naming it."""
    with pytest.raises(ConfigurationError, match="the taxonomy has not: road"):
        Model.load(saved, priorities={"heat": 1, "unknown": 2})
