"""Reads the settings: defaults, then `okno.yaml`, then the environment (`OKNO_EMAIL__SMTP_PORT=2525`)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from appeals.errors import ConfigurationError
from config.settings import Settings
from config.yaml_file import YamlDocument, load_yaml, refuse, validation_faults

DEFAULT_FILE = Path("okno.yaml")
ENV_PREFIX = "OKNO_"
PATHS = (
    (None, "data_dir"),
    ("classifier", "model"),
    ("classifier", "taxonomy"),
    ("fax", "spool_dir"),
    ("routing", "rules"),
)


class _Environment(Settings, BaseSettings):
    """Only for reading the environment by the settings' own types."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)


def find_settings_file(given: Path | None) -> Path | None:
    """Return the file to read: as given, by OKNO_CONFIG, or ./okno.yaml; None: defaults and environment only."""
    if given is not None:
        return given
    if named := os.environ.get("OKNO_CONFIG"):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load_settings(path: Path | None, *, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings. `overrides` come last (command-line options). Raises ConfigurationError with every fault."""
    document = load_yaml(path) if path is not None else None
    if document is not None and document.data is not None and not isinstance(document.data, dict):
        raise ConfigurationError(f"{path}: settings are sections with keys, such as `email:` with `smtp_port: 2525`")
    from_file = _anchored(document.data or {}, Path(document.file).parent) if document is not None else {}
    merged = _merge(_merge(from_file, _environment()), overrides or {})
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise _refusal(error, document) from error


def _anchored(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the file's data with relative paths counted from the file's folder, not from where a command runs."""
    anchored = dict(data)
    for section, key in PATHS:
        holder = anchored if section is None else anchored.get(section)
        if isinstance(holder, Mapping) and isinstance(holder.get(key), str):
            changed = {**holder, key: str(folder / holder[key])}
            anchored = changed if section is None else {**anchored, section: changed}
    return anchored


def _environment() -> dict[str, Any]:
    try:
        return EnvSettingsSource(_Environment)()
    except (ValueError, ValidationError) as error:
        raise ConfigurationError(f"an environment variable {ENV_PREFIX}… cannot be read: {error}") from error


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = _merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def _refusal(error: ValidationError, document: YamlDocument | None) -> ConfigurationError:
    if document is not None:
        return refuse(document.file, validation_faults(document, error))
    faults = tuple(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return ConfigurationError("the settings have faults", faults=faults)
