"""Training: features and a linear model on all rows, calibrated on folds that the judging model had not seen."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median_low
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn import __version__ as sklearn_version
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from appeals.errors import ConfigurationError
from classifier.dataset import LabelledText, data_hash
from classifier.features import build_features, prepare
from classifier.model import Model, decision_values, tune_layout
from classifier.model_file import ModelCard, topic_priorities
from classifier.recipe import RECIPE
from classifier.scores import calibration_error, macro_f1

REGULARISATION = 1.0  # C of the linear model; 0.3 gives the same accuracy on the held-out texts within 1%
FOLDS = 4
ONE_FOLD_FROM_ROWS = 20_000  # above it one fold is judged, not all: enough to calibrate, a quarter of the time
PRECISION_TARGET = 0.9  # of what is not sent to triage
DEFAULT_TEMPERATURE = 4.0  # where there is too little to calibrate on
TEMPERATURES = (0.2, 40.0)  # searched between
MIN_TOPICS = 2

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """What models that had not seen them say of some rows."""

    scores: NDArray[np.float64]  # (n, n_topics)
    truth: NDArray[np.intp]  # (n,) indexes of topics


def train(
    rows: Sequence[LabelledText],
    *,
    priorities: Mapping[str, int],
    precision_target: float = PRECISION_TARGET,
    now: datetime | None = None,
    progress: Progress = lambda _: None,
) -> Model:
    """Train a model. Same rows, same model. `priorities`: base priority of each topic of the taxonomy.

    Raises ConfigurationError if there are fewer than two topics, a topic has no base priority, or no text has words.
    """
    topics = tuple(sorted({row.topic for row in rows}))
    if len(topics) < MIN_TOPICS:
        raise ConfigurationError(f"training needs texts of at least two topics, not {len(topics)}")
    texts = [prepare(row.text) for row in rows]
    truth = np.array([topics.index(row.topic) for row in rows], dtype=np.intp)
    progress(f"learning {len(topics)} topics from {len(rows)} texts")
    estimator = tune_layout(_fit(texts, np.array(topics)[truth]))
    judged = _judge_folds(texts, truth, groups=_groups(rows), n_topics=len(topics), progress=progress)
    temperature = _temperature(judged)
    card = ModelCard(
        topics=topics,
        priorities=_labelled_priorities(rows),
        temperature=temperature,
        threshold=_threshold(judged, temperature, target=precision_target),
        precision_target=precision_target,
        rows=len(rows),
        data_sha256=data_hash(rows),
        recipe=RECIPE,
        sklearn_version=sklearn_version,
        created_at=now or datetime.now(UTC),
        metrics=_metrics(judged, temperature),
    )
    return Model(
        card=card, estimator=estimator, priorities=topic_priorities(card, priorities, source="the labelled texts")
    )


def _fit(texts: Sequence[str], labels: NDArray[Any]) -> Pipeline:
    linear = LinearSVC(C=REGULARISATION, random_state=0)
    estimator = Pipeline([("features", build_features()), ("linear", linear)])
    try:
        estimator.fit(texts, labels)
    except ValueError as error:
        raise ConfigurationError(f"nothing to learn from: {error}") from error
    return estimator


def _groups(rows: Sequence[LabelledText]) -> NDArray[np.intp]:
    """Return the number of each row's group: rows of one group, or of one text, are never split."""
    numbers: dict[str, int] = {}
    names = (row.group or f"text:{prepare(row.text)}" for row in rows)
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)


def _judge_folds(
    texts: Sequence[str], truth: NDArray[np.intp], *, groups: NDArray[np.intp], n_topics: int, progress: Progress
) -> _Judged:
    n_groups = len(set(groups.tolist()))
    scores: list[NDArray[np.float64]] = []
    judged: list[NDArray[np.intp]] = []
    if n_groups >= FOLDS:
        split = GroupKFold(n_splits=FOLDS, shuffle=True, random_state=0).split(texts, truth, groups)
        for number, (seen, unseen) in enumerate(split, start=1):
            if len(set(truth[seen].tolist())) < MIN_TOPICS:
                continue
            progress(f"calibrating on fold {number} of {FOLDS}")
            scores.append(_judge_fold(texts, truth, seen=seen, unseen=unseen, n_topics=n_topics))
            judged.append(truth[unseen])
            if len(texts) >= ONE_FOLD_FROM_ROWS:
                break
    if not scores:
        return _Judged(scores=np.empty((0, n_topics)), truth=np.empty(0, dtype=np.intp))
    return _Judged(scores=np.concatenate(scores), truth=np.concatenate(judged))


def _judge_fold(
    texts: Sequence[str], truth: NDArray[np.intp], *, seen: NDArray[np.intp], unseen: NDArray[np.intp], n_topics: int
) -> NDArray[np.float64]:
    """Return scores (len(unseen), n_topics) of a model that learnt from `seen`; topics it never saw score lowest."""
    estimator = _fit([texts[i] for i in seen], truth[seen])
    partial = decision_values(estimator, [texts[i] for i in unseen])
    scores = np.full((len(unseen), n_topics), partial.min() - 1.0)
    scores[:, estimator.classes_] = partial
    return scores


def _temperature(judged: _Judged) -> float:
    """Return the temperature of least log loss (Guo et al. 2017, On Calibration of Modern Neural Networks)."""
    if not len(judged.truth):
        return DEFAULT_TEMPERATURE
    at = np.arange(len(judged.truth))

    def log_loss(temperature: float) -> float:
        return float(-log_softmax(judged.scores * temperature, axis=1)[at, judged.truth].mean())

    return float(minimize_scalar(log_loss, bounds=TEMPERATURES, method="bounded").x)


def _threshold(judged: _Judged, temperature: float, *, target: float) -> float:
    """Return the least confidence from which on `target` of the best guesses are right; 1.0 if never."""
    if not len(judged.truth):
        return 0.5
    chances = softmax(judged.scores * temperature, axis=1)
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == judged.truth
    order = np.argsort(-confidence, kind="stable")
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(precision >= target)
    return float(confidence[order][enough[-1]]) if len(enough) else 1.0


def _metrics(judged: _Judged, temperature: float) -> dict[str, float]:
    if not len(judged.truth):
        return {}
    chances = softmax(judged.scores * temperature, axis=1)
    guess = chances.argmax(axis=1)
    right = guess == judged.truth
    return {
        "accuracy": float(right.mean()),
        "macro_f1": macro_f1(judged.truth, guess),
        "calibration_error": calibration_error(chances.max(axis=1), right),
    }


def _labelled_priorities(rows: Sequence[LabelledText]) -> dict[str, int]:
    """Return the median priority of the topics most of whose rows carry one."""
    given: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        if row.priority is not None:
            given[row.topic].append(row.priority)
    counts = Counter(row.topic for row in rows)
    return {topic: median_low(values) for topic, values in given.items() if 2 * len(values) > counts[topic]}
