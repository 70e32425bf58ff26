"""A real Dovecot on loopback, with users and Maildirs of its own: found, started, killed and restarted."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import trustme

from tests.servers import ChildProcess, ServerNotFoundError, free_port

PASSWORD = "пароль✓"  # everybody's
_CONFIG = """
protocols = imap
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
auth_mechanisms = plain login
auth_failure_delay = 0
disable_plaintext_auth = no
ssl = yes
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
mail_location = maildir:~/Maildir
mail_fsync = never
mailbox_list_index = no
maildir_stat_dirs = yes
imap_idle_notify_interval = 2 mins
mail_max_userip_connections = 50
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
  }}
}}
service anvil {{
  chroot =
  # No pauses for everybody after one test's wrong password.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""


def find_dovecot() -> Path:
    """Return a Dovecot 2.3 that runs here."""
    for candidate in filter(None, (os.environ.get("OKNO_TEST_DOVECOT"), shutil.which("dovecot"), "/usr/sbin/dovecot")):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run([candidate, "--version"], capture_output=True, text=True, timeout=30, check=True)
            if re.match(r"2\.3\.", done.stdout):
                return Path(candidate)
    raise ServerNotFoundError("no Dovecot 2.3: install dovecot-imapd")


class DovecotServer(ChildProcess):
    """A Dovecot with Maildirs. Its mail stays over `kill` and `restart`."""

    def __init__(self, folder: Path, *, program: Path, user: str) -> None:
        super().__init__(folder, user=user if os.geteuid() == 0 else None, death_signal=signal.SIGTERM)
        self._program = program
        self._owner = user
        self.port, self.tls_port = free_port(), free_port()
        self.ca_file = folder / "ca.pem"

    def prepare(self) -> None:
        """Write its files."""
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(self.ca_file)
        certificate.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")
        certificate.private_key_pem.write_to_path(self.folder / "key.pem")
        group = pwd.getpwnam(self._owner).pw_gid
        text = _CONFIG.format(
            folder=self.folder,
            password=PASSWORD,
            user=self._owner,
            group=_group_name(group),
            port=self.port,
            tls_port=self.tls_port,
        )
        (self.folder / "dovecot.conf").write_text(text)
        for name in ("run", "state", "mail"):
            (self.folder / name).mkdir()
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, self._owner, group)

    def start(self) -> None:
        """Start it and wait until it greets."""
        self._spawn([self._program, "-F", "-c", self.folder / "dovecot.conf"], start_new_session=True)
        self._wait_ready(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            return connection.recv(4) == b"* OK"
        return False

    def kill(self) -> None:
        """End it with all its processes and connections at once (SIGKILL)."""
        if self._process is None or self._exited():
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(30)

    def restart(self) -> None:
        """Kill it if it runs and start it on the same ports."""
        self.kill()
        shutil.rmtree(self.folder / "run")
        (self.folder / "run").mkdir()
        self._give(self.folder / "run")
        self.start()

    def add_user(self) -> "MailUser":
        """Return a new user with an empty INBOX."""
        name = f"user-{uuid4().hex[:10]}"
        user = MailUser(self, name)
        for sub in ("cur", "new", "tmp"):
            (user.maildir() / sub).mkdir(parents=True)
        for path in (user.maildir().parent, user.maildir(), *user.maildir().iterdir()):
            self._give(path)
        return user

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, self._owner, pwd.getpwnam(self._owner).pw_gid)


class MailUser:
    """One user's mailbox, into which mail is put as a delivery agent does: a file in `new`, moved there whole."""

    def __init__(self, server: DovecotServer, name: str) -> None:
        self._server = server
        self.name = name
        self._count = 0

    def maildir(self, folder: str = "INBOX") -> Path:
        """Return the folder's Maildir (Maildir++ naming)."""
        root = self._server.folder / "mail" / self.name / "Maildir"
        return root if folder == "INBOX" else root / f".{folder}"

    def deliver(self, content: bytes, *, folder: str = "INBOX", received_at: float | None = None) -> None:
        """Put a mail into a folder; `received_at` (Unix time) becomes its INTERNALDATE."""
        self._count += 1
        maildir = self.maildir(folder)
        name = f"{int(received_at or time.time())}.M{time.monotonic_ns()}P{self._count}.test"
        temporary = maildir / "tmp" / name
        temporary.write_bytes(content)
        self._server._give(temporary)
        if received_at is not None:
            os.utime(temporary, (received_at, received_at))
        temporary.rename(maildir / "new" / name)

    def destroy(self, folder: str = "INBOX") -> None:
        """Throw the folder's index and UIDVALIDITY away, as a rebuilt server does; the mails stay."""
        for path in self.maildir(folder).glob("dovecot*"):
            path.unlink()

    def files(self, folder: str = "INBOX") -> list[Path]:
        """Return the files of all mails; what follows `:2,` in a name are its flags (S: seen)."""
        maildir = self.maildir(folder)
        return [path for sub in ("new", "cur") for path in sorted((maildir / sub).glob("*"))]


def _group_name(gid: int) -> str:
    import grp  # noqa: PLC0415 - not there on Windows, where this module is not used

    return grp.getgrgid(gid).gr_name


@contextlib.contextmanager
def running_dovecot() -> Iterator[DovecotServer]:
    """Run a Dovecot with a new folder, which is removed at the end. Raises ServerNotFoundError."""
    program = find_dovecot()
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with tempfile.TemporaryDirectory(prefix="okno-dovecot-", ignore_cleanup_errors=True) as name:
        server = DovecotServer(Path(name), program=program, user=user)
        server.prepare()
        server.start()
        try:
            yield server
        finally:
            server.kill()
