"""The model: a linear classifier over text features, whose confidence means what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.svm import LinearSVC
from skops.io import dumps, get_untrusted_types, loads

from appeals.errors import ConfigurationError
from classifier.features import pack_vocabularies, prepare, unpack_vocabularies
from classifier.language import detect_language
from classifier.model_file import ModelCard, read_model_file, topic_priorities, write_model_file
from classifier.prediction import Prediction, TopicGuess

TRUSTED_TYPES = ("classifier.features.PieceVectorizer",)  # beside what skops knows as harmless in scikit-learn, NumPy
ALTERNATIVES = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A trained model. Deterministic: the same text gets the same answer."""

    card: ModelCard
    estimator: Pipeline = field(repr=False)
    priorities: Mapping[str, int]  # of every topic of the card

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return calibrated probabilities, float64 (n, n_topics) in the order of `card.topics`; rows sum to 1."""
        if not texts:
            return np.empty((0, len(self.card.topics)))
        scores = decision_values(self.estimator, [prepare(text) for text in texts])
        return np.asarray(softmax(scores * self.card.temperature, axis=1), dtype=np.float64)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return a prediction for each of `texts`, in their order. Any text will do: empty, huge, garbage."""
        rows = self.probabilities(texts)
        weights = np.array([self.priorities[topic] for topic in self.card.topics], dtype=np.float64)
        expected = np.rint(rows @ weights).astype(int)
        return [
            self._prediction(text, row, expected=int(mean))
            for text, row, mean in zip(texts, rows, expected, strict=True)
        ]

    def _prediction(self, text: str, row: NDArray[np.float64], *, expected: int) -> Prediction:
        best = np.argsort(-row, kind="stable")[:ALTERNATIVES]
        guesses = tuple(TopicGuess(topic=self.card.topics[i], confidence=float(row[i])) for i in best)
        return Prediction(
            topic=guesses[0].topic,
            confidence=guesses[0].confidence,
            alternatives=guesses,
            language=detect_language(text),
            priority=self.priorities[guesses[0].topic],
            expected_priority=expected,
        )

    def save(self, path: Path) -> None:
        """Write the model's file, replacing what is there in one step. Raises TransientError where the disk refuses."""
        features, linear = self.estimator.steps
        packed = Pipeline([(features[0], pack_vocabularies(features[1])), linear])
        write_model_file(path, self.card, estimator=dumps(packed))

    @classmethod
    def load(cls, path: Path, *, priorities: Mapping[str, int]) -> Self:
        """Read a model's file. `priorities`: base priority of each topic of the taxonomy.

        Nothing in the file is run: types other than those of the trusted list are refused.
        Raises ConfigurationError: no file, not a model, another scikit-learn, a topic the taxonomy does not have.
        """
        card, content = read_model_file(path)
        estimator = _load_estimator(content, path)
        if tuple(estimator.classes_) != card.topics:
            raise ConfigurationError(f"{path}: the card's topics are not the estimator's; train it again")
        return cls(card=card, estimator=estimator, priorities=topic_priorities(card, priorities, source=str(path)))


def decision_values(estimator: Pipeline, prepared: Sequence[str]) -> NDArray[np.float64]:
    """Return the raw scores, float64 (n, n_classes), also where there are but two classes."""
    scores = np.asarray(estimator.decision_function(prepared), dtype=np.float64)
    return np.column_stack((-scores, scores)) if scores.ndim == 1 else scores


def tune_layout(estimator: Pipeline) -> Pipeline:
    """Put the weights as float32 in Fortran order: one-by-one prediction was 25 times slower in C order."""
    linear = estimator[-1]
    linear.coef_ = np.asfortranarray(linear.coef_, dtype=np.float32)
    return estimator


def _load_estimator(content: bytes, path: Path) -> Pipeline:
    loaded = _load_trusted(content, path)
    shape = [type(step) for _, step in loaded.steps] if isinstance(loaded, Pipeline) else None
    if shape != [FeatureUnion, LinearSVC]:
        raise ConfigurationError(f"{path}: refused, the estimator is not one that Okno trains")
    try:
        unpack_vocabularies(loaded[0])
        loaded.decision_function([""])
        return tune_layout(loaded)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{path}: the estimator is not whole; train a new one") from error


def _load_trusted(content: bytes, path: Path) -> Any:
    untrusted: Sequence[str] = ()
    try:
        untrusted = [name for name in get_untrusted_types(data=content) if name not in TRUSTED_TYPES]
        loaded = None if untrusted else loads(content, trusted=list(TRUSTED_TYPES))
    except Exception as error:  # skops fails in as many ways as there are broken files
        raise ConfigurationError(f"{path}: the estimator cannot be read; train a new one") from error
    if untrusted:
        raise ConfigurationError(f"{path}: refused, it holds types that are no part of a model: {', '.join(untrusted)}")
    return loaded
