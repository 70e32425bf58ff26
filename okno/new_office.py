"""`okno init`: the files an admin starts from."""

import os
import secrets
from importlib.resources import files
from pathlib import Path

from appeals.errors import ConfigurationError

TEMPLATE = "okno.yaml"
RULES = "routing.yaml"


def write_settings_file(path: Path, *, force: bool) -> list[Path]:
    """Write `path` with a fresh secret key (readable by its owner only), and routing.yaml beside it.

    Raises ConfigurationError if one is there and `force` is not given: an admin's work is never overwritten unasked.
    """
    rules_path = path.parent / RULES
    for file in (path, rules_path):
        if file.exists() and not force:
            raise ConfigurationError(f"{file} is there already; --force overwrites it")
    defaults = files("config") / "defaults"
    template = (defaults / TEMPLATE).read_text(encoding="utf-8")
    _write(path, template.replace("{secret_key}", secrets.token_hex(32)).replace("{rules}", RULES))
    _write(rules_path, (defaults / RULES).read_text(encoding="utf-8"))
    return [path, rules_path]


def _write(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror})") from error
