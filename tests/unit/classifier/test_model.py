"""The model: what it promises about its answers, whatever the text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifier.dataset import LabelledText
from classifier.model import Model
from classifier.training import train
from tests.unit.classifier.conftest import PRIORITIES, small_rows

GARBAGE = [
    "",
    " \n\t",
    "\0" * 100,
    "👍" * 5000,
    "\ud800\udfff",
    "x" * 5_000_000,
    "1 2 3",
    "%PDF-1.7 \x01\x02",
    "你好",
    "\u202e" * 50,
]


def test_confidence_is_a_probability(small: Model) -> None:
    """Rows of probabilities are within 0..1 and sum to 1, for ordinary texts and for none."""
    rows = small.probabilities(["cold radiator", "", "a hole in the road"])
    assert rows.shape == (3, 3)
    assert rows.min() >= 0
    assert rows.max() <= 1
    np.testing.assert_allclose(rows.sum(axis=1), 1.0)
    assert small.probabilities([]).shape == (0, 3)
    assert small.predict([]) == []


def test_prediction_is_consistent(small: Model) -> None:
    """The topic is the first alternative, alternatives fall in confidence, the priority is the topic's."""
    said = small.predict(["the radiator is cold and nobody comes"])[0]
    assert said.topic == "heat"
    assert said.alternatives[0].topic == said.topic
    assert [guess.confidence for guess in said.alternatives] == sorted(
        (guess.confidence for guess in said.alternatives), reverse=True
    )
    assert said.priority == 70
    assert 30 <= said.expected_priority <= 70
    assert said.language == "en"


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_never_raises(small: Model, text: str) -> None:
    """NULs, emojis, lone surrogates, five megabytes, nothing: each gets an answer."""
    said = small.predict([text])[0]
    assert said.topic in small.card.topics
    assert 0 <= said.confidence <= 1


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(), max_size=5))
def test_any_texts_get_answers_in_order(small: Model, texts: list[str]) -> None:
    """A batch is answered as its texts are one by one, in their order."""
    together = small.predict(texts)
    alone = [small.predict([text])[0] for text in texts]
    assert [said.topic for said in together] == [said.topic for said in alone]
    np.testing.assert_allclose([s.confidence for s in together], [s.confidence for s in alone], rtol=1e-5)


def test_training_is_deterministic(small: Model) -> None:
    """The same rows make the same model, bit for bit in its weights and temperature."""
    again = train(small_rows(), priorities=PRIORITIES)
    np.testing.assert_array_equal(again.estimator[-1].coef_, small.estimator[-1].coef_)
    assert again.card.temperature == small.card.temperature
    assert again.card.data_sha256 == small.card.data_sha256


def test_weights_are_in_fortran_order(small: Model) -> None:
    """Weights are float32 in Fortran order: C order made single predictions 25 times slower."""
    weights = small.estimator[-1].coef_
    assert weights.flags["F_CONTIGUOUS"]
    assert weights.dtype == np.float32


def test_two_topics_work() -> None:
    """Two topics, for which a linear model has one score only, still get probabilities that sum to 1."""
    rows = [row for row in small_rows() if row.topic != "unknown"]
    model = train(rows, priorities=PRIORITIES)
    np.testing.assert_allclose(model.probabilities(["radiator"]).sum(), 1.0)
    assert model.predict(["no heating, the radiator is cold", "pothole in the road"])[0].topic == "heat"


def test_labelled_priorities_win() -> None:
    """Where most rows of a topic carry a priority, their median stands instead of the taxonomy's."""
    rows = [
        LabelledText(text=row.text, topic=row.topic, priority=88 if row.topic == "heat" else None)
        for row in small_rows()
    ]
    model = train(rows, priorities=PRIORITIES)
    assert model.card.priorities == {"heat": 88}
    assert model.priorities["heat"] == 88
    assert model.priorities["road"] == 40
