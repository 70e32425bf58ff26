"""The data folder, and the lock that keeps a second daemon off memory queues."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appeals.errors import ConfigurationError


def prepare_data_folder(path: Path) -> Path:
    """Make the folder if need be; only its owner may look in. Raises ConfigurationError."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"data_dir: {path} cannot be made ({error.strerror})") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigurationError(f"data_dir: {path} cannot be written by this user")
    return path


@contextmanager
def only_process(data_dir: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises ConfigurationError if another daemon holds it; the kernel frees a dead one's."""
    path = data_dir / "okno.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise ConfigurationError(
                f"another okno (process {file.read().strip() or '?'}) runs on {data_dir} with queues in memory; "
                "stop it, or set queues.url to a Redis for several processes"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
