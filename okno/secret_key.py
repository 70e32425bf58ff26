"""The key that signs reply tokens, citizens' codes and sessions."""

import os
import secrets
from pathlib import Path

from appeals.errors import ConfigurationError
from config.settings import Settings

KEY_BYTES = 32


def load_secret_key(settings: Settings) -> bytes:
    """Return the configured key, or the one in the data folder, made on first use and readable by its owner only.

    Several hosts must share one: set `secret_key`. Raises ConfigurationError if a configured one is too short.
    """
    configured = settings.secret_key.get_secret_value()
    if configured:
        if len(configured) < KEY_BYTES:
            raise ConfigurationError(
                f"secret_key: at least {KEY_BYTES} characters, please; `openssl rand -hex 32` makes one"
            )
        return configured.encode()
    path = settings.data_dir / "secret.key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    return _read(path)


def _read(path: Path) -> bytes:
    key = path.read_bytes().strip()
    if len(key) < KEY_BYTES:
        raise ConfigurationError(f"{path} is damaged: put the key back from a backup; codes and tokens depend on it")
    return key
