"""A real Postfix on loopback as a front MTA: it takes mail by SMTP and hands it to Okno by LMTP, with XFORWARD."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers import ChildProcess, ServerNotFoundError, free_port, wait_until

DOMAIN = "appeals.example.gov"
_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
import_environment = MAIL_CONFIG
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.gov
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
relay_domains = {domain}
relay_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, permit_auth_destination, reject
smtpd_authorized_xclient_hosts = 127.0.0.1
transport_maps = inline:{{ {domain}=lmtp:inet:[127.0.0.1]:{lmtp_port} }}
recipient_delimiter = +
lmtp_send_xforward_command = yes
default_transport = discard
bounce_queue_lifetime = 1d
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
smtpd_client_connection_rate_limit = 0
hopcount_limit = 100
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def find_postfix() -> Path:
    """Return Postfix's command. It starts as root only, and needs its own user."""
    program = shutil.which("postfix") or shutil.which("postfix", path="/usr/sbin")
    with contextlib.suppress(KeyError):
        if program is not None and pwd.getpwnam("postfix") and _daemons().exists():
            return Path(program)
    raise ServerNotFoundError("no Postfix: install postfix")


def _daemons() -> Path:
    return next(filter(Path.exists, map(Path, ("/usr/lib/postfix/sbin", "/usr/libexec/postfix"))), Path("/nonexistent"))


class PostfixServer(ChildProcess):
    """A Postfix whose queue and log are in its folder."""

    def __init__(self, folder: Path, *, program: Path) -> None:
        super().__init__(folder, death_signal=signal.SIGTERM)
        self._program = program
        self.port, self.lmtp_port = free_port(), free_port()

    def prepare(self) -> None:
        """Write its files."""
        for name in ("conf", "queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        main = _MAIN.format(folder=self.folder, daemons=_daemons(), domain=DOMAIN, lmtp_port=self.lmtp_port)
        (self.folder / "conf" / "main.cf").write_text(main)
        (self.folder / "conf" / "master.cf").write_text(_MASTER.format(port=self.port))

    def start(self) -> None:
        """Start it and wait until it greets."""
        self._spawn([self._program, "-c", self.folder / "conf", "start-fg"], start_new_session=True)
        self._wait_ready(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            return connection.recv(4) == b"220 "
        return False

    def kill(self) -> None:
        """End it with all its processes at once."""
        if self._process is None or self._exited():
            return
        master = self.folder / "queue" / "pid" / "master.pid"
        for pid in {self.pid, *(int(word) for word in master.read_text().split()[:1] if master.exists())}:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        self._process.wait(30)

    def log(self) -> str:
        """Return what it has logged."""
        path = self.folder / "mail.log"
        return path.read_text(errors="replace") if path.exists() else self.log_tail()

    def wait_for(self, *words: str) -> str:
        """Return the first line of the log that holds all of `words`."""
        found: list[str] = []

        def has_said() -> bool:
            found[:] = [line for line in self.log().splitlines() if all(word in line for word in words)]
            return bool(found)

        wait_until(has_said, what=f"Postfix to say {words}")
        return found[0]


@contextlib.contextmanager
def running_postfix() -> Iterator[PostfixServer]:
    """Run a Postfix that hands mail for DOMAIN to its `lmtp_port`. Raises ServerNotFoundError."""
    program = find_postfix()
    if os.geteuid() != 0:
        raise ServerNotFoundError("Postfix starts as root only")
    with tempfile.TemporaryDirectory(prefix="okno-postfix-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = PostfixServer(folder, program=program)
        server.prepare()
        server.start()
        try:
            yield server
        finally:
            server.kill()
