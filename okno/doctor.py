"""`okno doctor`: looks at everything Okno needs, and says what to do."""

import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path

from appeals.errors import OknoError
from config.section import MIB
from config.settings import Settings
from connectors.email.smtp.smtp_tls import TlsCertificate
from connectors.recognition.worker import describe_tesseract
from okno.bootstrap import CONNECTOR_GROUP, check_rooms, make_registry, missing_file
from okno.settings_check import check_settings
from queues.factory import open_queues

LOW_DISK_BYTES = 1024 * MIB
SLOW_FSYNC_MS = 20.0
FSYNC_PROBES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


async def diagnose(settings: Settings, *, history: bool) -> list[Finding]:
    """Look at settings, folders, registry, queues, connectors, and on request the whole history."""
    report = check_settings(settings)
    findings = [
        Finding(
            name="settings",
            ok=not report.faults,
            detail="; ".join(report.faults) or f"no faults, {len(report.warnings)} warnings",
            advice="run `okno check`",
        ),
        _look_at_rooms(),
        _look_at_disk(settings),
        _look_at_fsync(settings),
    ]
    findings.append(await _attempt("queues", lambda: _look_at_queues(settings), "is Redis running? see queues.url"))
    findings += await _look_at_registry(settings, history=history)
    findings.append(_look_at_connectors(settings))
    findings.append(_look_at_certificate(settings))
    findings.append(await _look_at_recognition(settings))
    return findings


async def _attempt(name: str, look: Callable[[], Awaitable[str]], advice: str) -> Finding:
    try:
        return Finding(name=name, ok=True, detail=await look())
    except OknoError as error:
        return Finding(name=name, ok=False, detail=str(error), advice=advice)


def _look_at_rooms() -> Finding:
    try:
        check_rooms()
    except OknoError as error:
        return Finding(name="installation", ok=False, detail=str(error), advice="install into a fresh environment")
    return Finding(name="installation", ok=True, detail="all parts are ours")


def _nearest_folder(path: Path) -> Path:
    """Return the data folder, or where it will be made: looking makes nothing."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _look_at_disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(_nearest_folder(settings.data_dir)).free
    return Finding(
        name="disk",
        ok=free > LOW_DISK_BYTES,
        detail=f"{free // MIB} MiB free in {settings.data_dir}",
        advice="free some space: with a full disk every message is refused until there is room",
    )


def _look_at_fsync(settings: Settings) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=_nearest_folder(settings.data_dir)) as file:
            began = time.perf_counter()
            for _ in range(FSYNC_PROBES):
                file.write(b"x" * 4096)
                file.flush()
                os.fsync(file.fileno())
            took_ms = (time.perf_counter() - began) / FSYNC_PROBES * 1000
    except OSError as error:
        detail = f"{settings.data_dir} cannot be written ({error.strerror})"
        return Finding(name="fsync", ok=False, detail=detail, advice="see data_dir, its owner and the disk's space")
    return Finding(
        name="fsync",
        ok=took_ms < SLOW_FSYNC_MS,
        detail=f"{took_ms:.2f} ms",
        advice="the disk is slow to make writes durable; intake waits for it with every group of messages",
    )


async def _look_at_queues(settings: Settings) -> str:
    queues = open_queues(settings.queues)
    await queues.start()
    try:
        await queues.ping()
    finally:
        await queues.stop()
    return "in this process's memory" if settings.queues.url.startswith("memory:") else "answer"


async def _look_at_registry(settings: Settings, *, history: bool) -> list[Finding]:
    findings = []
    try:
        if path := missing_file(settings):
            return [Finding(name="registry", ok=True, detail=f"{path} is not there yet; `okno run` makes it")]
        registry = make_registry(settings)
    except OknoError as error:
        return [Finding(name="registry", ok=False, detail=str(error), advice="see registry.url")]
    try:
        missing = await registry.missing_migrations()
        if missing:
            detail = f"not set up yet: {len(missing)} migrations to run"
            return [Finding(name="registry", ok=True, detail=f"{detail}; `okno run` does it")]
        counts = await registry.count_by_state()
        detail = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count) or "no appeals yet"
        findings.append(Finding(name="registry", ok=True, detail=detail))
        held = await registry.count_quarantined()
        findings.append(
            Finding(name="quarantine", ok=held == 0, detail=f"{held} held", advice="see `okno quarantine list`")
        )
        if history:
            checked = await registry.check_history()
            detail = "; ".join(checked.faults) or f"{checked.events} events in {checked.chains} chains, all whole"
            advice = "somebody changed the registry by hand, or a backup is mixed with a newer state"
            findings.append(Finding(name="history", ok=not checked.faults, detail=detail, advice=advice))
    except OknoError as error:
        findings.append(Finding(name="registry", ok=False, detail=str(error), advice="is the database running?"))
    finally:
        await registry.close()
    return findings


def _look_at_connectors(settings: Settings) -> Finding:
    names = ("email", "sms", "telegram", "kiosk", "fax", "web", "paper")
    enabled = [name for name in names if getattr(settings, name).enabled] + list(settings.connectors)
    installed = {point.name for point in entry_points(group=CONNECTOR_GROUP)}
    missing = [name for name in enabled if name not in installed]
    return Finding(
        name="connectors",
        ok=not missing and bool(enabled),
        detail=f"enabled: {', '.join(enabled) or 'none'}"
        + (f"; not installed: {', '.join(missing)}" if missing else ""),
        advice="enable at least one channel" if not enabled else "install the package that brings it",
    )


async def _look_at_recognition(settings: Settings) -> Finding:
    works, detail = await describe_tesseract(settings.recognition)
    return Finding(
        name="recognition",
        ok=works or not settings.fax.enabled,  # without faxes few pages come: agents type them in
        detail=detail,
        advice="install Tesseract with its language data (Debian: tesseract-ocr tesseract-ocr-rus)",
    )


def _look_at_certificate(settings: Settings) -> Finding:
    advice = "renew it; a running daemon reads the new files by itself"
    try:
        certificate = TlsCertificate.of(settings.email) if settings.email.enabled else None
    except OknoError as error:
        return Finding(name="mail certificate", ok=False, detail=str(error), advice=advice)
    trouble = certificate.health(datetime.now(UTC)) if certificate is not None else ""
    detail = trouble or ("no TLS is set up" if certificate is None else "valid")
    return Finding(name="mail certificate", ok=not trouble, detail=detail, advice=advice)
