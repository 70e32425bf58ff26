"""For operators and their tools: /healthz, /readyz, /metrics."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson
from aiohttp import web

from appeals.errors import TransientError
from connectors.base import Connector, HealthState
from okno.bootstrap import Parts
from queues.port import STREAMS


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that must work, and how it is."""

    name: str
    ok: bool
    detail: str = ""
    required: bool = True  # False: shown, but the process still takes traffic


ExtraChecks = Callable[[], Sequence[Check]]


class Operations:
    """Serves the process's health. /healthz: the process lives. /readyz: it can do its work; 503 if it can't."""

    def __init__(self, parts: Parts, connectors: Sequence[Connector], *, extra: ExtraChecks) -> None:
        self._parts = parts
        self._connectors = connectors
        self._extra = extra

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics),
        ]

    async def _healthz(self, _: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        checks = await self.checks()
        ready = all(check.ok for check in checks if check.required)
        body = {
            "status": "ready" if ready else "not ready",
            "checks": {check.name: {"ok": check.ok, "detail": check.detail} for check in checks},
        }
        return _json(body, status=200 if ready else 503)

    async def checks(self) -> list[Check]:
        """Ask everything now."""
        stores: Mapping[str, Callable[[], Awaitable[None]]] = {
            "registry": self._parts.registry.ping,
            "queues": self._parts.queues.ping,
        }
        checks = []
        for name, ping in stores.items():
            try:
                await ping()
                checks.append(Check(name=name, ok=True))
            except TransientError as error:
                checks.append(Check(name=name, ok=False, detail=str(error)))
        for connector in self._connectors:
            health = connector.health()
            ok = health.state in (HealthState.UP, HealthState.DEGRADED)
            detail = ", ".join(filter(None, (health.state.value, health.detail, *health.addresses)))
            checks.append(Check(name=f"connector.{connector.name}", ok=ok, detail=detail, required=False))
        if self._connectors:
            trouble = self._parts.screening.trouble
            checks.append(Check(name="screening", ok=not trouble, detail=trouble, required=False))
        return [*checks, *self._extra()]

    async def _metrics(self, _: web.Request) -> web.Response:
        metrics, parts = self._parts.metrics, self._parts
        try:
            for state, count in (await parts.registry.count_by_state()).items():
                metrics.appeals.labels(state.value).set(count)
            metrics.quarantine_held.set(await parts.registry.count_quarantined())
            for stream in STREAMS:
                depth = await parts.queues.depth(stream)
                metrics.stream_depth.labels(stream, "waiting").set(depth.waiting)
                metrics.stream_depth.labels(stream, "pending").set(depth.pending)
        except TransientError:
            pass  # a scrape during an outage gives the counters it can; /readyz tells about the outage
        for connector in self._connectors:
            metrics.connector_up.labels(connector.name).set(connector.health().state is HealthState.UP)
        return web.Response(body=metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4"})


def _json(body: object, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
