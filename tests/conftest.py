"""Fixtures every room's tests use: real servers on loopback, each with a free port and a folder of its own.

A server that is not there skips its tests on a developer's machine and fails them in CI (environment CI set).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests import servers
from tests.clamd import ClamdServer, running_clamd
from tests.dovecot import DovecotServer, running_dovecot
from tests.postfix import PostfixServer, running_postfix
from tests.servers import PostgresServer, RedisServer, ServerNotFoundError
from tests.tesseract import find_tesseract

# No property is about how long it takes: a busy machine must not make it fail.
settings.register_profile("okno", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("okno")


def _missing(error: ServerNotFoundError) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{error} (in CI it must be there)")
    pytest.skip(str(error))


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Print logs with plain tracebacks: structlog's default, with rich, takes half a second for each."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    processors = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, renderer]
    structlog.configure(processors=processors)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis (or Valkey) 7+ for the run: `.url .flushall() .kill() .restart()`.

    Tests share it: use `redis_url`, which begins empty, and `own_redis_server` to kill it.
    """
    try:
        with servers.running_redis(tmp_path_factory.mktemp("redis")) as server:
            yield server
    except ServerNotFoundError as error:
        _missing(error)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of the shared Redis, emptied for this test."""
    redis_server.flushall()
    return redis_server.url


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis of this test's own, to kill and restart at will."""
    folder = tmp_path / "redis"
    folder.mkdir()
    try:
        with servers.running_redis(folder) as server:
            yield server
    except ServerNotFoundError as error:
        _missing(error)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL 14+ for the run: `.url`, `.create_database() -> url`. Tests share it: do not kill it."""
    try:
        with servers.running_postgres() as server:
            yield server
    except ServerNotFoundError as error:
        _missing(error)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """URL of a fresh, empty database: postgresql://…."""
    return postgres_server.create_database()


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL of this test's own (takes a second or two), to `kill()` and `restart()` at will."""
    try:
        with servers.running_postgres() as server:
            yield server
    except ServerNotFoundError as error:
        _missing(error)


@pytest.fixture(scope="session")
def dovecot_server() -> Iterator[DovecotServer]:
    """One Dovecot for the run: `.port .tls_port .add_user()`. Tests share it, each with users of its own."""
    try:
        with running_dovecot() as server:
            yield server
    except ServerNotFoundError as error:
        _missing(error)


@pytest.fixture
def own_dovecot_server() -> Iterator[DovecotServer]:
    """Run a Dovecot of this test's own, to `kill()` and `restart()` at will."""
    try:
        with running_dovecot() as server:
            yield server
    except ServerNotFoundError as error:
        _missing(error)


@pytest.fixture
def own_clamd_server() -> Iterator[ClamdServer]:
    """Run a clamd of this test's own (it takes a tenth of a second), to kill at will."""
    try:
        with running_clamd() as server:
            yield server
    except ServerNotFoundError as error:
        _missing(error)


@pytest.fixture
def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on now."""
    return servers.free_port()


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """Return a Chromium for playwright: `launch(executable_path=str(…), args=["--no-sandbox", "--disable-gpu"])`."""
    try:
        return servers.find_chromium()
    except ServerNotFoundError as error:
        _missing(error)


@pytest.fixture(scope="session")
def swaks_path() -> Path:
    """Return swaks, the SMTP test client."""
    try:
        return servers.find_swaks()
    except ServerNotFoundError as error:
        _missing(error)


@pytest.fixture(scope="session")
def postfix_server() -> Iterator[PostfixServer]:
    """One Postfix for the run: it hands mail for its domain to `.lmtp_port`, where a test's own server listens."""
    try:
        with running_postfix() as server:
            yield server
    except ServerNotFoundError as error:
        _missing(error)


@pytest.fixture(scope="session")
def tesseract_path() -> Path:
    """Return a Tesseract with Russian and English."""
    try:
        return find_tesseract()
    except ServerNotFoundError as error:
        _missing(error)
