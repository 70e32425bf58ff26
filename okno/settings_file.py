"""Reads the settings: defaults, then `okno.yaml`, then the environment (`OKNO_EMAIL__SMTP_PORT=2525`)."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from appeals.errors import ConfigurationError
from config.settings import Settings
from config.yaml_file import Fault, YamlDocument, load_yaml, refuse, validation_faults

DEFAULT_FILE = Path("okno.yaml")
ENV_PREFIX = "OKNO_"
PATHS = (
    (None, "data_dir"),
    ("classifier", "model"),
    ("classifier", "taxonomy"),
    ("delivery", "templates"),
    ("fax", "spool_dir"),
    ("kiosk", "forms"),
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
    environment = _environment()
    merged = _merge(_merge(from_file, environment), overrides or {})
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise _refusal(error, document, environment) from error


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
    strangers = [name for name in os.environ if _is_misspelt(name)]
    if strangers:
        faults = tuple(f"{name}: there is no such section" for name in sorted(strangers))
        raise ConfigurationError("the environment has faults", faults=faults)
    try:
        return EnvSettingsSource(_Environment)()
    except SettingsError as error:
        found = re.search(r'field "(\w+)"', str(error))
        name = f"{ENV_PREFIX}{found[1].upper() if found else '…'}"
        raise ConfigurationError(f"{name}: neither JSON nor one key at a time, such as {name}__KEY=value") from error


def _is_misspelt(name: str) -> bool:
    """Tell whether a variable sets a key of no section. Others may be somebody else's: Kubernetes sets OKNO_PORT."""
    section, _, key = name.removeprefix(ENV_PREFIX).partition("__")
    return name.startswith(ENV_PREFIX) and bool(key) and section.lower() not in Settings.model_fields


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = _merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def _refusal(
    error: ValidationError, document: YamlDocument | None, environment: Mapping[str, Any]
) -> ConfigurationError:
    """Return the error with each fault where it was written: in a variable, in the file, else by its dotted name."""
    faults: list[str] = []
    in_file: list[Fault] = []
    shown = validation_faults(document, error) if document is not None else [None] * error.error_count()
    for item, place in zip(error.errors(), shown, strict=True):
        if name := _variable(item["loc"], environment):
            faults.append(f"{name}: {'there is no such key' if item['type'] == 'extra_forbidden' else item['msg']}")
        elif place is not None and document is not None and _is_written(item["loc"], document.data):
            in_file.append(place)
        else:
            faults.append(f"{'.'.join(map(str, item['loc']))}: {item['msg']}")
    if document is not None and in_file:
        faults = [*refuse(document.file, in_file).faults, *faults]
    what = document.file if document is not None and in_file else "the settings"
    return ConfigurationError(f"{what}: {len(faults)} fault{'s' if len(faults) > 1 else ''}", faults=tuple(faults))


def _variable(location: tuple[int | str, ...], environment: Mapping[str, Any]) -> str:
    """Return the name of the environment's variable that set what is at `location`; empty if none did."""
    names: list[str] = []
    value: Any = environment
    for part in location:
        if not isinstance(value, Mapping):
            break
        if part not in value:
            return ""
        value = value[part]
        names.append(str(part).upper())
    return "" if isinstance(value, Mapping) else ENV_PREFIX + "__".join(names)


def _is_written(location: tuple[int | str, ...], data: Any) -> bool:
    """Tell whether the file has anything of `location` (a missing key is shown at its section)."""
    return isinstance(data, Mapping) and bool(location) and location[0] in data
