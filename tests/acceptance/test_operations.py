"""What operators do to the daemon: stop it, start it twice, take its stores away, ask how it is."""

import asyncio
import resource
import smtplib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from okno.exit_codes import EXIT_CONFIGURATION, EXIT_ERROR
from okno.outside.city import City
from tests.acceptance.aftermath import check_history_is_whole, check_registered_exactly_once
from tests.acceptance.harness import START_TIMEOUT_S, DaemonProcess, eventually
from tests.acceptance.mail_load import MailLoad
from tests.servers import PostgresServer, RedisServer, free_port

UNDER_WAY = 50  # mails: the load runs
CLEAN_STOP_TIMEOUT_S = 30.0
CHANGE_TIMEOUT_S = 60.0
LARGE_MAIL_WORDS = 10_000  # so that its blob is not kept in the database
MEMORY_ONLY = {"delivery": {"acknowledge": False}}


async def _until_refused(daemon: DaemonProcess, *, exit_code: int = EXIT_CONFIGURATION) -> str:
    """Start a daemon that must refuse to; check that it does so in one clear line, and return that line."""
    daemon.start()
    assert await daemon.until_ended(timeout_s=START_TIMEOUT_S) == exit_code
    await daemon.until_no_orphans()
    (line,) = [line for line in daemon.log().splitlines() if not line.startswith("{")]
    assert line.startswith("okno: ")
    return line


# ---- stopping


async def test_sigterm_under_load_is_a_clean_stop(tmp_path: Path):
    """SIGTERM in the middle of mails: exit code 0 within 30 s, all that was answered with 250 is there, no trace."""
    daemon = DaemonProcess(tmp_path, settings=MEMORY_ONLY)
    async with daemon, MailLoad(port=daemon.smtp_port) as load:
        await eventually(lambda: len(load.accepted) >= UNDER_WAY, what="load", timeout_s=CHANGE_TIMEOUT_S)
        assert await daemon.stop(timeout_s=CLEAN_STOP_TIMEOUT_S) == 0
    assert all(answer.startswith("4") for answer in load.refusals), load.refusals
    assert daemon.entries("daemon.stopped")
    assert daemon.faults() == []
    async with daemon.registry() as registry:
        await check_registered_exactly_once(registry, load.accepted)
        await check_history_is_whole(registry)


async def test_sigterm_while_starting_is_a_clean_stop(tmp_path: Path):
    """SIGTERM as soon as it runs, its classifier not up yet: exit code 0, nothing left behind."""
    daemon = DaemonProcess(tmp_path, settings=MEMORY_ONLY)
    async with daemon:
        assert await daemon.stop(timeout_s=START_TIMEOUT_S) == 0  # a model that is being trained is finished first
        await daemon.until_no_orphans()
    assert daemon.faults() == []


async def test_sigterm_with_all_stores_away_is_a_clean_stop(
    office: DaemonProcess, own_postgres_server: PostgresServer, own_redis_server: RedisServer
):
    """With PostgreSQL and Redis down there is nothing to finish: exit code 0 within 30 s."""
    for server in (own_postgres_server, own_redis_server):
        server.kill()
    await _until_ready(office, 503)
    assert await office.stop(timeout_s=CLEAN_STOP_TIMEOUT_S) == 0
    assert office.faults() == []


# ---- refusing to start


async def test_a_second_daemon_on_memory_queues_is_refused(tmp_path: Path):
    """Two daemons on one data folder cannot share queues in memory: the second says so, the first goes on."""
    first = DaemonProcess(tmp_path, settings=MEMORY_ONLY)
    async with first:
        line = await _until_refused(DaemonProcess(tmp_path, settings=MEMORY_ONLY, name="second"))
        assert f"process {first.pid}" in line
        assert "queues.url" in line
        assert not first.has_ended()


async def test_a_role_of_its_own_on_memory_queues_is_refused(tmp_path: Path):
    """`--role intake` alone would register what nobody ever classifies."""
    assert "queues.url" in await _until_refused(DaemonProcess(tmp_path, settings=MEMORY_ONLY, roles=("intake",)))


@pytest.mark.parametrize("which", ["http", "smtp"])
async def test_a_taken_port_is_one_clear_line(tmp_path: Path, which: str):
    """A port that somebody else has is named, with what it was for."""
    daemon = DaemonProcess(tmp_path, settings=MEMORY_ONLY)
    port = daemon.http_port if which == "http" else daemon.smtp_port
    with socket.create_server(("127.0.0.1", port)):
        line = await _until_refused(daemon)
    assert which in line
    assert f"127.0.0.1:{port}" in line


@pytest.mark.parametrize("section", ["registry", "queues"])
async def test_a_store_that_is_not_there_is_one_clear_line(tmp_path: Path, section: str):
    """Without its database or Redis a daemon ends with exit code 1: whoever keeps it running tries again."""
    urls = {"registry": f"postgresql://okno@127.0.0.1:{free_port()}/okno", "queues": f"redis://127.0.0.1:{free_port()}"}
    daemon = DaemonProcess(tmp_path, settings={section: {"url": urls[section]}})
    assert {"registry": "database", "queues": "Redis"}[section] in await _until_refused(daemon, exit_code=EXIT_ERROR)


# ---- stores that go away


@pytest.fixture
async def city() -> AsyncIterator[City]:
    async with City() as opened:
        yield opened


@pytest.fixture
async def office(
    city: City, tmp_path: Path, own_postgres_server: PostgresServer, own_redis_server: RedisServer
) -> AsyncIterator[DaemonProcess]:
    settings = {
        **city.settings(spool_dir=tmp_path),
        "registry": {"url": own_postgres_server.create_database()},
        "queues": {"url": own_redis_server.url, "sweep_interval_s": 0.5, "stale_after_s": 2.0},
    }
    daemon = DaemonProcess(tmp_path, settings=settings)
    async with daemon:
        city.daemon_is_at(daemon.url, smtp_port=daemon.smtp_port)
        yield daemon


async def _get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def _mail_code(city: City, name: str, *, text: str = "The lift is broken.") -> int:
    """Send a mail from `name`; return the code of the answer to its data."""
    try:
        await city.write_email(sender=f"{name}@citizens.example", subject=name, text=text)
    except smtplib.SMTPDataError as error:
        return error.smtp_code
    return 250


async def _until_ready(daemon: DaemonProcess, status: int) -> None:
    async def is_so() -> bool:
        return (await _get(f"{daemon.url}/readyz"))[0] == status

    await eventually(is_so, what=f"/readyz {status}", timeout_s=CHANGE_TIMEOUT_S)


async def test_health_tells_of_stores_that_are_down(
    office: DaemonProcess, own_postgres_server: PostgresServer, own_redis_server: RedisServer
):
    """/readyz is 503 while Redis or PostgreSQL is down and 200 when it is back; /healthz is 200 all the time."""
    await _until_ready(office, 200)
    for server in (own_redis_server, own_postgres_server):
        server.kill()
        await _until_ready(office, 503)
        assert (await _get(f"{office.url}/healthz"))[0] == 200
        await asyncio.to_thread(server.restart)
        await _until_ready(office, 200)


async def test_metrics_count_what_came_in(city: City, office: DaemonProcess):
    """/metrics has Prometheus' text format, with a mail that was registered."""
    assert await _mail_code(city, "anna") == 250
    status, text = await _get(f"{office.url}/metrics")
    assert status == 200
    assert 'okno_messages_registered_total{channel="email",outcome="opened"} 1.0' in text


async def test_without_postgresql_senders_are_asked_to_come_again(
    city: City, office: DaemonProcess, own_postgres_server: PostgresServer
):
    """PostgreSQL down: SMTP 451, hooks 503, nothing half done; when it is back, both are taken in again."""
    own_postgres_server.kill()
    form = {"subject": "Lift", "text": "The lift is broken.", "name": "Boris"}
    assert await _mail_code(city, "anna") == 451
    assert (await city.write_at_kiosk(**form))[0] == 503
    assert await city.write_sms(sender="+79215551111", text="The lift is broken.") == 503
    await asyncio.to_thread(own_postgres_server.restart)
    await _until_ready(office, 200)
    assert await _mail_code(city, "anna") == 250
    assert (await city.write_at_kiosk(**form))[0] == 200
    assert await city.write_sms(sender="+79215551111", text="The lift is broken.") == 200
    async with office.registry() as registry:
        assert sum((await registry.count_by_state()).values()) == 3
        await check_history_is_whole(registry)
    assert not office.has_ended()


async def test_on_a_full_disk_senders_are_asked_to_come_again(city: City, tmp_path: Path):
    """No file can grow, not even the log: SMTP 451, hook 503, nothing half done; with room again both are taken in."""
    daemon = DaemonProcess(tmp_path, settings=city.settings(spool_dir=tmp_path))
    form = {"subject": "Lift", "text": "The lift is broken.", "name": "Boris"}
    async with daemon:
        city.daemon_is_at(daemon.url, smtp_port=daemon.smtp_port)
        assert await _mail_code(city, "anna") == 250
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        assert await _mail_code(city, "boris") == 451
        assert await _mail_code(city, "vera", text="The lift is broken. " * LARGE_MAIL_WORDS) == 451
        assert (await city.write_at_kiosk(**form))[0] == 503
        assert (await _get(f"{daemon.url}/healthz"))[0] == 200
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert await _mail_code(city, "boris") == 250
        assert await _mail_code(city, "vera", text="The lift is broken. " * LARGE_MAIL_WORDS) == 250
        assert (await city.write_at_kiosk(**form))[0] == 200
        assert await daemon.stop() == 0
    async with daemon.registry() as registry:
        assert sum((await registry.count_by_state()).values()) == 4
        await check_history_is_whole(registry)


async def test_without_redis_mail_is_taken_and_routed_later(
    city: City, office: DaemonProcess, own_redis_server: RedisServer
):
    """Redis down: the registry is enough to take mail in; it is classified when Redis is back."""
    own_redis_server.kill()
    assert await _mail_code(city, "anna") == 250
    await asyncio.to_thread(own_redis_server.restart)
    await office.until_logged("classifier.appeals_classified", timeout_s=START_TIMEOUT_S)
