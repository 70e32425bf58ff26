"""What `okno classifier train | evaluate | predict` do. The command line prints what these return."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.dataset import load_rows
from classifier.default_model import DEFAULT_TEXTS, HELD_OUT_TEXTS, default_model_path, ensure_default_model, staleness
from classifier.model_file import ModelCard, read_card
from classifier.prediction import Prediction
from config.settings import Settings
from config.taxonomy import Taxonomy, load_taxonomy

if TYPE_CHECKING:
    from classifier.evaluation import Evaluation

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingReport:
    """What came of a training."""

    path: Path  # of the model
    trained: bool  # False: the model there was fresh and `if_missing` was asked for
    seconds: float
    card: ModelCard  # topics, rows, threshold, metrics on unseen folds, …


def train_model(
    settings: Settings,
    *,
    data: Path | None = None,
    out: Path | None = None,
    if_missing: bool = False,
    progress: Progress = lambda _: None,
) -> TrainingReport:
    """Train on `data` (None: the labelled texts that come with Okno) and save to `out`.

    `out` None: where `okno run` looks for its model, that is `classifier.model`, else the default model's place.
    `if_missing`: do nothing where a model of the same texts, training and scikit-learn is there already.
    Raises ConfigurationError with `file:line` of every fault of `data`; TransientError where the disk refuses.
    """
    started_at = time.monotonic()
    taxonomy = load_taxonomy(settings.classifier.taxonomy)
    path = out or settings.classifier.model or default_model_path(settings.data_dir)
    rows = load_rows(data or DEFAULT_TEXTS, topics=taxonomy.topics)
    trained = not if_missing or staleness(path, rows) is not None
    if trained:
        from classifier.training import train  # noqa: PLC0415 - scikit-learn takes a second to import

        train(rows, priorities=taxonomy.priorities, progress=progress).save(path)
    return TrainingReport(path=path, trained=trained, seconds=time.monotonic() - started_at, card=read_card(path))


def evaluate_model(
    settings: Settings, *, data: Path | None = None, model: Path | None = None, progress: Progress = lambda _: None
) -> "Evaluation":
    """Measure a model (None: the one `okno run` uses) at the configured threshold on labelled texts it has not seen.

    `data` None: the held-out texts that come with Okno. Raises ConfigurationError for a faulty file or model.
    """
    from classifier.evaluation import evaluate  # noqa: PLC0415 - scikit-learn takes a second to import
    from classifier.model import Model  # noqa: PLC0415

    taxonomy = load_taxonomy(settings.classifier.taxonomy)
    rows = load_rows(data or HELD_OUT_TEXTS, topics=taxonomy.topics)
    path = model or model_path(settings, taxonomy=taxonomy, progress=progress)
    loaded = Model.load(path, priorities=taxonomy.priorities)
    progress(f"judging {len(rows)} texts")
    return evaluate(loaded, rows, threshold=settings.classifier.threshold)


def predict_texts(
    settings: Settings, texts: Sequence[str], *, model: Path | None = None, progress: Progress = lambda _: None
) -> list[Prediction]:
    """Return what a model (None: the one `okno run` uses) says of each text. Raises ConfigurationError."""
    from classifier.model import Model  # noqa: PLC0415 - scikit-learn takes a second to import

    taxonomy = load_taxonomy(settings.classifier.taxonomy)
    path = model or model_path(settings, taxonomy=taxonomy, progress=progress)
    return Model.load(path, priorities=taxonomy.priorities).predict(texts)


def model_path(settings: Settings, *, taxonomy: Taxonomy, progress: Progress = lambda _: None) -> Path:
    """Return the model that `okno run` uses: the configured one, else the default one, made first where needed."""
    if settings.classifier.model is not None:
        return settings.classifier.model
    return ensure_default_model(settings.data_dir, priorities=taxonomy.priorities, progress=progress)
