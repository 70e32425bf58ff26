"""The default model: trained on the texts that come with Okno, kept once an installation, made again when stale."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

import config
from appeals.errors import ConfigurationError
from classifier.dataset import LabelledText, data_hash, load_rows
from classifier.model_file import ModelCard, read_card, sklearn_minor
from classifier.recipe import RECIPE

logger = structlog.get_logger(__name__)

TRAINING_FOLDER = Path(config.__file__).parent / "defaults" / "training"
DEFAULT_TEXTS = TRAINING_FOLDER / "appeals.csv"
HELD_OUT_TEXTS = TRAINING_FOLDER / "held_out.csv"  # written apart, and never trained on
MODEL_NAME = "model.skops"


def default_model_path(data_dir: Path) -> Path:
    """Return where the default model is kept: in our own environment, or in `data_dir` where that is not writable.

    A model that is already in the environment is used even if it can't be rewritten, unless it is stale.
    """
    shared = Path(sys.prefix) / "share" / "okno" / MODEL_NAME
    isolated = sys.prefix != sys.base_prefix  # never write into a system's own Python
    if isolated and (_is_writable(shared.parent) or staleness(shared, load_rows(DEFAULT_TEXTS)) is None):
        return shared
    return data_dir / MODEL_NAME


def staleness(path: Path, rows: list[LabelledText]) -> str | None:
    """Return why the model at `path` must be made again from `rows`; None: it is as good as new."""
    try:
        card: ModelCard = read_card(path)
    except ConfigurationError:
        return "there is none that can be read" if path.exists() else "there is none yet"
    if card.sklearn_version.split(".")[:2] != sklearn_minor().split("."):
        return f"it was made with scikit-learn {card.sklearn_version}"
    if card.recipe != RECIPE:
        return "the training has changed"
    if card.data_sha256 != data_hash(rows):
        return "the labelled texts have changed"
    return None


def ensure_default_model(
    data_dir: Path, *, priorities: Mapping[str, int], progress: Callable[[str], None] = lambda _: None
) -> Path:
    """Return the path of a fresh default model, training it first where needed (about 15 seconds).

    Safe with several processes at once: each writes a whole file. Raises ConfigurationError if the taxonomy lacks a
    topic of the default model; TransientError where the disk refuses.
    """
    path = default_model_path(data_dir)
    rows = load_rows(DEFAULT_TEXTS, topics=priorities)
    reason = staleness(path, rows)
    if reason is not None:
        progress(f"training the default model: {reason}")
        logger.info("classifier.default_model_training", reason=reason)
        from classifier.training import train  # noqa: PLC0415 - scikit-learn, only when it is needed

        train(rows, priorities=priorities, progress=progress).save(path)
    return path


def _is_writable(folder: Path) -> bool:
    existing = next((place for place in (folder, *folder.parents) if place.exists()), None)
    return existing is not None and existing.is_dir() and os.access(existing, os.W_OK)
