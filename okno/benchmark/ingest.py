"""`okno bench ingest`: from SMTP to durable registration, and from SMTP 250 to the agent's screen."""

import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from argon2 import PasswordHasher

from agent_console.session import CSRF_HEADER
from appeals.agent import Agent
from appeals.errors import OknoError, TransientError
from config.settings import Settings
from config.taxonomy import load_taxonomy
from okno.bootstrap import make_lifecycle, opened_registry
from okno.outside.smtp_relay import SmtpRelay
from okno.settings_file import load_settings

AGENT, PASSWORD = "bench", "bench-password"
ENDLESS_UNITS = 1_000_000_000
START_TIMEOUT_S = 120.0
ROUTED_TIMEOUT_S = 300.0
POLL_S = 0.05
TELL_EVERY = 1_000  # messages

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestResult:
    """Figures of one run. Rates are messages a second; latencies are milliseconds from SMTP 250 to the websocket."""

    messages: int
    connections: int
    limit_per_s: float  # a bare aiosmtpd that only counts, as it comes: on asyncio's own event loop
    messages_per_s: float  # from SMTP to durable registration
    ratio: float  # of the two
    end_to_end_per_s: float  # sustained until each is classified, routed and on the agent's websocket
    end_to_end_ratio: float
    uvloop_limit_per_s: float  # the bare aiosmtpd on uvloop, the event loop that Okno runs on
    uvloop_ratio: float  # messages_per_s over that
    paced_per_s: float  # the rate at which latencies were measured
    p50_ms: float
    p99_ms: float
    profile: dict[str, float]  # share of the daemon's processor time by stage, over the whole run


async def bench_ingest(*, messages: int, connections: int, paced_per_s: float, progress: Progress) -> IngestResult:
    """Measure the limit, then a fresh daemon on embedded defaults with the same load. Raises OknoError."""
    limit = await _limit(messages=messages, connections=connections)
    progress(f"limit: a bare aiosmtpd takes {limit:,.0f} messages a second")
    uvloop_limit = await _limit("uvloop", messages=messages, connections=connections)
    progress(f"       and {uvloop_limit:,.0f} on uvloop, the event loop that Okno runs on")
    with tempfile.TemporaryDirectory(prefix="okno-bench-") as folder:
        async with SmtpRelay() as relay, _daemon(Path(folder), relay) as (url, smtp_port), _screen(url) as seen:
            await _load(smtp_port, messages=messages // 10, connections=connections, tag="warm")
            await _until_seen(seen, messages // 10, "warm", progress)
            report = await _load(smtp_port, messages=messages, connections=connections, tag="full")
            rate = _rate(report)
            progress(f"okno: {rate:,.0f} messages a second to durable registration, {rate / limit:.2f} of the limit")
            ended_s = await _until_seen(seen, messages, "full", progress)
            whole = messages / (ended_s - report["began_s"])
            progress(f"okno: {whole:,.0f} a second until on the agent's websocket, {whole / limit:.2f} of the limit")
            paced = round(paced_per_s * 20)
            report = await _load(smtp_port, messages=paced, connections=connections, per_second=paced_per_s, tag="pace")
            await _until_seen(seen, paced, "pace", progress)
        profile = _shares(Path(folder) / "samples")
    delays = sorted((seen[key] - at) * 1000 for key, at in report["accepted_at"].items())
    return IngestResult(
        messages=messages,
        connections=connections,
        limit_per_s=limit,
        messages_per_s=rate,
        ratio=rate / limit,
        end_to_end_per_s=whole,
        end_to_end_ratio=whole / limit,
        uvloop_limit_per_s=uvloop_limit,
        uvloop_ratio=rate / uvloop_limit,
        paced_per_s=paced_per_s,
        p50_ms=statistics.median(delays),
        p99_ms=delays[min(len(delays) - 1, round(len(delays) * 0.99))],
        profile=profile,
    )


async def _limit(*arguments: str, messages: int, connections: int) -> float:
    async with _process("-m", "okno.benchmark.bare_server", *arguments) as bare:
        port = int(await _first_line(bare))
        await _load(port, messages=messages // 10, connections=connections, tag="warm")
        return _rate(await _load(port, messages=messages, connections=connections, tag="limit"))


def _shares(path: Path) -> dict[str, float]:
    """Return each stage's share of the daemon's processor time after its start, largest first."""
    counts: dict[str, int] = orjson.loads(path.read_bytes())
    busy = {stage: count for stage, count in counts.items() if stage != "starting"}
    whole = max(sum(busy.values()), 1)
    return {stage: round(busy[stage] / whole, 3) for stage in sorted(busy, key=lambda name: -busy[name])}


def _rate(report: dict[str, Any]) -> float:
    if report["refused"]:
        raise OknoError(f"{report['refused']} messages were refused: the figures would mean nothing")
    return float(report["sent"] / (report["ended_s"] - report["began_s"]))


# ---- processes
@asynccontextmanager
async def _process(*arguments: str, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, limit=1 << 26, **options
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def _first_line(process: asyncio.subprocess.Process) -> str:
    if process.stdout is None:
        raise TransientError("the process has no output")
    return (await process.stdout.readline()).decode()


async def _load(
    port: int, *, messages: int, connections: int, tag: str, per_second: float | None = None
) -> dict[str, Any]:
    order = {"port": port, "messages": messages, "connections": connections, "per_second": per_second, "tag": tag}
    async with _process("-m", "okno.benchmark.smtp_load", json.dumps(order)) as process:
        output, _ = await process.communicate()
    if process.returncode:
        raise TransientError("the load could not be sent")
    report: dict[str, Any] = orjson.loads(output)
    return report


@asynccontextmanager
async def _daemon(folder: Path, relay: SmtpRelay) -> AsyncIterator[tuple[str, int]]:
    """Start `okno run` with one agent of endless capacity; yields its URL and SMTP port."""
    settings = {
        "data_dir": str(folder / "data"),
        "http": {"port": 0},
        "email": {"smtp_port": 0, "relay_port": relay.port},
        "routing": {"offer_timeout_s": 3600},
        "delivery": {"acknowledge": False},
        "log": {"format": "json", "level": "info"},
    }
    path = folder / "okno.yaml"
    path.write_bytes(orjson.dumps(settings))  # JSON is YAML
    await _add_agent(load_settings(path))
    with (folder / "log").open("wb") as log:
        async with _process(
            "-m",
            "okno.benchmark.sampled_run",
            str(folder / "samples"),
            "run",
            "-c",
            str(path),
            stderr=log,
            env=dict(os.environ),
            start_new_session=True,
        ):
            yield await _addresses(folder / "log")


async def _add_agent(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True)
    skills = dict.fromkeys(load_taxonomy().skills, 5)
    agent = Agent(
        id=AGENT, name=AGENT, capacity_units=ENDLESS_UNITS, skills=skills, languages=frozenset({"ru", "en", "und"})
    )
    async with opened_registry(settings) as registry:
        await make_lifecycle(settings, registry).put_agent(agent, PasswordHasher().hash(PASSWORD))


async def _addresses(log: Path) -> tuple[str, int]:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            smtp = url = ""
            for line in log.read_bytes().splitlines():  # noqa: ASYNC240 - a local file of some lines
                entry = orjson.loads(line) if line.startswith(b"{") else {}
                if entry.get("event") == "connector.started" and entry.get("connector") == "email":
                    smtp = entry["addresses"][0]
                if entry.get("event") == "daemon.running":
                    url = entry["url"]
            if smtp and url:
                return url, int(smtp.rpartition(":")[2])
            await asyncio.sleep(POLL_S)


# ---- the agent's screen
@asynccontextmanager
async def _screen(url: str) -> AsyncIterator[dict[str, float]]:
    """Log in, become available, and note when each subject's offer comes over the websocket."""
    seen: dict[str, float] = {}
    async with aiohttp.ClientSession(headers={CSRF_HEADER: "1"}, cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.post(f"{url}/api/v1/session", json={"agent_id": AGENT, "password": PASSWORD}) as response:
            response.raise_for_status()
        async with http.ws_connect(f"{url}/ws/agent", origin=url, max_msg_size=1 << 26) as websocket:
            await websocket.send_json({"type": "hello", "request_id": "1", "after_id": None})
            await websocket.send_json({"type": "set_status", "request_id": "2", "status": "available"})
            reading = asyncio.create_task(_read(websocket, seen))
            try:
                yield seen
            finally:
                reading.cancel()


async def _read(websocket: aiohttp.ClientWebSocketResponse, seen: dict[str, float]) -> None:
    async for message in websocket:
        at = time.monotonic()
        content = orjson.loads(message.data)
        if content["type"] == "offer":
            seen.setdefault(content.get("offer", content)["subject"], at)


async def _until_seen(seen: dict[str, float], count: int, tag: str, progress: Progress) -> float:
    """Wait until all subjects of `tag` are on the screen; returns when the last one came."""
    last = 0
    async with asyncio.timeout(ROUTED_TIMEOUT_S):
        while True:
            times = [at for subject, at in seen.items() if subject.startswith(f"{tag}-")]
            if len(times) >= count:
                return max(times)
            if len(times) - last >= TELL_EVERY:
                last = len(times)
                progress(f"  on the agent's websocket: {last} of {count}")
            await asyncio.sleep(POLL_S)
