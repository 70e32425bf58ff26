"""A real clamd on a Unix socket and a TCP port of its own, with a signature base that knows nothing but EICAR's test."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers import ChildProcess, ServerNotFoundError, free_port

# Not written out: virus scanners would take this file for the test virus (https://www.eicar.org).
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-" + b"TEST-FILE!$H+H*"
SIGNATURE = "Eicar-Test"
STREAM_MAX_BYTES = 1024 * 1024
_CONFIG = """
DatabaseDirectory {folder}/base
LocalSocket {folder}/clamd.ctl
TCPSocket {port}
TCPAddr 127.0.0.1
Foreground yes
LogFile {folder}/clamd.log
TemporaryDirectory {folder}
MaxThreads 4
StreamMaxLength {stream_max_bytes}
SelfCheck 0
"""


def find_clamd() -> Path:
    """Return a clamd that runs here."""
    for candidate in filter(None, (os.environ.get("OKNO_TEST_CLAMD"), shutil.which("clamd"), "/usr/sbin/clamd")):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run([candidate, "--version"], capture_output=True, timeout=30, check=True)
            return Path(candidate)
    raise ServerNotFoundError("no clamd: install clamav-daemon")


class ClamdServer(ChildProcess):
    """A clamd that finds EICAR's test file."""

    def __init__(self, folder: Path, *, program: Path, user: str | None) -> None:
        super().__init__(folder, user=user, death_signal=signal.SIGTERM)
        self._program = program
        self.port = free_port()
        self._write_files(user)

    def _write_files(self, user: str | None) -> None:
        config = _CONFIG.format(folder=self.folder, port=self.port, stream_max_bytes=STREAM_MAX_BYTES)
        (self.folder / "clamd.conf").write_text(config)
        (self.folder / "base").mkdir()
        # Name, any file type, any place, the bytes in hex.
        (self.folder / "base" / "test.ndb").write_text(f"{SIGNATURE}:0:*:{EICAR.hex()}\n")
        if user is not None:
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, user)

    @property
    def addresses(self) -> tuple[str, str]:
        """How it is reached, by `attachments.clamav`."""
        return f"unix:{self.folder}/clamd.ctl", f"tcp://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._spawn([self._program, "--config-file", self.folder / "clamd.conf"])
        self._wait_ready(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(b"zPING\0")
            return connection.recv(8) == b"PONG\0"
        return False


@contextlib.contextmanager
def running_clamd() -> Iterator[ClamdServer]:
    """Run a clamd; killed at the end. Raises ServerNotFoundError."""
    program = find_clamd()
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="okno-clamd-", ignore_cleanup_errors=True) as name:
        server = ClamdServer(Path(name), program=program, user=user)
        server.start()
        try:
            yield server
        finally:
            server.kill()
