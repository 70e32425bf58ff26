"""How good a model is on labelled texts it has not seen."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from classifier.dataset import LabelledText
from classifier.model import Model
from classifier.prediction import Prediction
from classifier.scores import calibration_error, f1_by_class, macro_f1


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicScore:
    """One topic's quality, all 0..1 but `rows`."""

    topic: str
    rows: int  # that truly are of this topic
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """How often one topic was taken for another."""

    truth: str
    guess: str
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """All measures 0..1. Those at the threshold speak of what is not sent to triage."""

    rows: int
    accuracy: float
    macro_f1: float
    top_3: float  # the truth is among the best three
    calibration_error: float  # expected calibration error, ten bins
    threshold: float
    coverage: float  # share of texts whose confidence reaches the threshold
    accuracy_above: float  # accuracy among these; 0.0 if there are none
    topics: tuple[TopicScore, ...]
    confusions: tuple[Confusion, ...]  # most frequent first


def evaluate(model: Model, rows: Sequence[LabelledText], *, threshold: float | None = None) -> Evaluation:
    """Measure `model` on `rows`. `threshold`: None takes the model's own. Topics the model lacks count as missed."""
    limit = model.card.threshold if threshold is None else threshold
    predictions = model.predict([row.text for row in rows])
    right = np.array([p.topic == row.topic for p, row in zip(predictions, rows, strict=True)], dtype=bool)
    confidence = np.array([p.confidence for p in predictions], dtype=np.float64)
    above = confidence >= limit
    names = sorted({*model.card.topics, *(row.topic for row in rows)})
    truth = np.array([names.index(row.topic) for row in rows], dtype=np.intp)
    guess = np.array([names.index(p.topic) for p in predictions], dtype=np.intp)
    return Evaluation(
        rows=len(rows),
        accuracy=_mean(right),
        macro_f1=macro_f1(truth, guess),
        top_3=_mean(np.array([_among(p, row) for p, row in zip(predictions, rows, strict=True)], dtype=bool)),
        calibration_error=calibration_error(confidence, right),
        threshold=limit,
        coverage=_mean(above),
        accuracy_above=_mean(right[above]),
        topics=_topic_scores(names, truth, guess),
        confusions=_confusions(names, truth, guess),
    )


def _mean(flags: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    return float(flags.mean()) if flags.size else 0.0


def _among(prediction: Prediction, row: LabelledText) -> bool:
    return any(guess.topic == row.topic for guess in prediction.alternatives)


def _topic_scores(
    names: Sequence[str],
    truth: np.ndarray[tuple[int], np.dtype[np.intp]],
    guess: np.ndarray[tuple[int], np.dtype[np.intp]],
) -> tuple[TopicScore, ...]:
    scores = []
    for index, f1 in f1_by_class(truth, guess).items():
        hit, real, said = (
            int(flags.sum()) for flags in ((truth == index) & (guess == index), truth == index, guess == index)
        )
        scores.append(
            TopicScore(
                topic=names[index],
                rows=real,
                precision=hit / said if said else 0.0,
                recall=hit / real if real else 0.0,
                f1=f1,
            )
        )
    return tuple(scores)


def _confusions(
    names: Sequence[str],
    truth: np.ndarray[tuple[int], np.dtype[np.intp]],
    guess: np.ndarray[tuple[int], np.dtype[np.intp]],
) -> tuple[Confusion, ...]:
    pairs = Counter((int(t), int(g)) for t, g in zip(truth, guess, strict=True) if t != g)
    return tuple(Confusion(truth=names[t], guess=names[g], rows=n) for (t, g), n in pairs.most_common())
