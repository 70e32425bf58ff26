"""Provide what tests need beyond pip: Chromium, Redis, PostgreSQL, Dovecot, ClamAV, swaks, Tesseract.

Run by `make setup-dev`; quick when all is there.

It prints one line a thing and never fails the set-up: what is missing is skipped by the tests on a developer's
machine and fails them in CI.
"""

# ruff: noqa: T201 - a program that reports to its user
import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a script; the modules import each other

from tests.clamd import find_clamd
from tests.dovecot import find_dovecot
from tests.postfix import find_postfix
from tests.servers import ServerNotFoundError, find_chromium, find_postgres_bin, find_redis_server, find_swaks
from tests.tesseract import find_tesseract

APT_TIMEOUT_S = 900


@functools.cache  # once a run, however many packages follow
def _apt_update() -> bool:
    return _run(["apt-get", "update", "-q"])


def _apt_install(package: str) -> bool:
    """Install a Debian package, if this is Debian and we may."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    return _apt_update() and _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "--no-remove", package])


def _install_postfix() -> bool:
    """Install Postfix unconfigured, so that it does not become this machine's mail server."""
    choice = "postfix postfix/main_mailer_type select No configuration\n"
    with contextlib.suppress(OSError):
        subprocess.run(["debconf-set-selections"], input=choice, text=True, capture_output=True, check=False)
    return _apt_install("postfix")


def _install_playwright_chromium() -> bool:
    return _run([sys.executable, "-m", "playwright", "install", "chromium"])


def _run(command: Sequence[str]) -> bool:
    """Run a command quietly; on failure print the end of what it said."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=APT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"    {' '.join(command)}: {error}")
        return False
    if done.returncode != 0:
        print(f"    {' '.join(command)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.returncode == 0


def _provide(name: str, find: Callable[[], Path], installs: Sequence[Callable[[], bool]]) -> None:
    """Print where `name` is; if nowhere, try each way to install it until it is found."""
    for install in (None, *installs):
        if install is not None and not install():
            continue
        try:
            print(f"  {name}: {find()}")
        except ServerNotFoundError:
            continue
        return
    print(f"  {name}: NOT FOUND. Its tests are skipped here and fail in CI. Install it and run this again.")


def main() -> None:
    """Look for each thing and install what is missing."""
    print("Servers for the tests:")
    _provide("Redis", find_redis_server, [lambda: _apt_install("redis-server")])
    _provide("PostgreSQL", find_postgres_bin, [lambda: _apt_install("postgresql")])
    _provide("swaks", find_swaks, [lambda: _apt_install("libnet-ssleay-perl") and _apt_install("swaks")])
    _provide("Postfix", find_postfix, [_install_postfix])
    _provide("Dovecot", find_dovecot, [lambda: _apt_install("dovecot-imapd")])
    _provide("ClamAV", find_clamd, [lambda: _apt_install("clamav-daemon")])
    _provide("Tesseract", find_tesseract, [lambda: _apt_install("tesseract-ocr") and _apt_install("tesseract-ocr-rus")])
    _provide("Chromium", find_chromium, [lambda: _apt_install("chromium"), _install_playwright_chromium])


if __name__ == "__main__":
    main()
