"""The model's file: a zip of `model.json`, the card, and `estimator.skops`, which holds no code (skops, not pickle)."""

import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from appeals.errors import ConfigurationError, TransientError

CARD_NAME = "model.json"
ESTIMATOR_NAME = "estimator.skops"
MAX_CARD_BYTES = 1024 * 1024
MAX_ESTIMATOR_BYTES = 1024 * 1024 * 1024  # unpacked; the default model has 12 MB: a larger one is not a model
_ZIP_ERRORS = (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError, ValueError)

Priority = Annotated[int, Field(ge=0, le=100)]


class ModelCard(BaseModel):
    """What a model says about itself. Published as `okno.model/1` within the model's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["okno.model/1"] = Field(default="okno.model/1", alias="schema")
    topics: tuple[str, ...] = Field(min_length=2)  # in the order of the estimator's classes
    priorities: Mapping[str, Priority] = Field(default_factory=dict)  # of topics whose examples carry priorities
    temperature: float = Field(gt=0, allow_inf_nan=False)  # confidence = softmax(temperature x decision values)
    threshold: float = Field(ge=0, le=1)  # confidence from which `precision_target` was reached on held-out folds
    precision_target: float = Field(ge=0, le=1)
    rows: int = Field(ge=2)
    data_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    recipe: int  # which version of our training code made it
    sklearn_version: str
    created_at: AwareDatetime
    metrics: Mapping[str, float] = Field(default_factory=dict)  # measured on folds the model had not seen


def sklearn_minor() -> str:
    """Return the minor version of the installed scikit-learn, such as `1.9`: models are good for that one only."""
    return ".".join(version("scikit-learn").split(".")[:2])


def read_card(path: Path) -> ModelCard:
    """Read a model's card without its estimator. Raises ConfigurationError: no such file, or not a model."""
    with _open(path) as archive:
        return _card(archive, path)


def read_model_file(path: Path) -> tuple[ModelCard, bytes]:
    """Return the card and the estimator's bytes. Raises ConfigurationError, also if scikit-learn has moved on."""
    with _open(path) as archive:
        card = _card(archive, path)
        if card.sklearn_version.split(".")[:2] != sklearn_minor().split("."):
            raise ConfigurationError(
                f"{path}: made with scikit-learn {card.sklearn_version}, but {version('scikit-learn')} is installed; "
                "train it again: okno classifier train"
            )
        return card, _member(archive, ESTIMATOR_NAME, path=path, max_bytes=MAX_ESTIMATOR_BYTES)


def topic_priorities(card: ModelCard, base: Mapping[str, int], *, source: str) -> dict[str, int]:
    """Return the priority of each topic of the card. Raises ConfigurationError naming topics that `base` has not."""
    missing = [topic for topic in card.topics if topic not in base]
    if missing:
        raise ConfigurationError(
            f"{source}: the model knows topics that the taxonomy has not: {', '.join(missing)}; "
            "add them to the taxonomy or train again: okno classifier train --data FILE"
        )
    return {topic: card.priorities.get(topic, base[topic]) for topic in card.topics}


def write_model_file(path: Path, card: ModelCard, *, estimator: bytes) -> None:
    """Write the file at once or not at all (a temporary file beside it, then a rename).

    Raises TransientError where the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(CARD_NAME, json.dumps(card.model_dump(mode="json"), indent=2))
                archive.writestr(ESTIMATOR_NAME, estimator)
            Path(name).chmod(0o644)  # mkstemp makes it private; a service user reads what root made at set-up
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TransientError(f"{path}: cannot be written: {error.strerror or error}") from error


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except _ZIP_ERRORS as error:
        raise _not_a_model(path, "not a model file of Okno") from error


def _card(archive: zipfile.ZipFile, path: Path) -> ModelCard:
    content = _member(archive, CARD_NAME, path=path, max_bytes=MAX_CARD_BYTES)
    try:
        return ModelCard.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise _not_a_model(path, f"{CARD_NAME}: {where}: {fault['msg']}") from error


def _member(archive: zipfile.ZipFile, name: str, *, path: Path, max_bytes: int) -> bytes:
    try:
        with archive.open(name) as member:
            content = member.read(max_bytes + 1)
    except (*_ZIP_ERRORS, OSError) as error:
        raise _not_a_model(path, f"{name} is missing or damaged") from error
    if len(content) > max_bytes:
        raise _not_a_model(path, f"{name} is larger than {max_bytes} bytes")
    return content


def _not_a_model(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {reason}; train a new one: okno classifier train")
