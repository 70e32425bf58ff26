"""Measures: against scikit-learn's own, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from classifier.dataset import LabelledText
from classifier.evaluation import evaluate
from classifier.model import Model
from classifier.scores import calibration_error, macro_f1


@given(pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=50))
def test_macro_f1_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    """Our macro-F1 is the one of the library, for any labels."""
    truth, guess = (np.array(column) for column in zip(*pairs, strict=True))
    assert macro_f1(truth, guess) == pytest.approx(f1_score(truth, guess, average="macro", zero_division=0.0))


def test_calibration_error_by_hand() -> None:
    """Half the texts said with 0.9 and all right, half with 0.5 and none right: 0.5 x 0.1 + 0.5 x 0.5."""
    confidence = np.array([0.9, 0.9, 0.5, 0.5])
    right = np.array([True, True, False, False])
    assert calibration_error(confidence, right) == pytest.approx(0.3)
    assert calibration_error(np.empty(0), np.empty(0, dtype=bool)) == 0.0


def test_evaluation_counts_topics_and_confusions(small: Model) -> None:
    """Rows by topic, confusions by pair, a topic the model has never heard of as missed."""
    rows = [
        LabelledText(text="the radiator is cold", topic="heat"),
        LabelledText(text="potholes everywhere", topic="moon"),
    ]
    result = evaluate(small, rows, threshold=0.0)
    assert (result.rows, result.accuracy, result.coverage) == (2, 0.5, 1.0)
    assert [(c.truth, c.guess, c.rows) for c in result.confusions] == [("moon", "road", 1)]
    assert {score.topic: score.rows for score in result.topics} == {"heat": 1, "moon": 1, "road": 0}
    assert evaluate(small, rows, threshold=1.0).coverage == 0.0
    assert evaluate(small, [], threshold=0.5).accuracy == 0.0
