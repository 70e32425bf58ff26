"""Metrics for Prometheus, counted in one process."""

import time
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from appeals.envelope import AppealEnvelope
from appeals.errors import OknoError
from appeals.intake import Intake
from appeals.registration import Contents, QuarantineItem, Registration

REGISTRATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The process's own collector registry: nothing is registered at import."""

    def __init__(self) -> None:
        self.collector = CollectorRegistry()
        self.registered = Counter(
            "okno_messages_registered_total",
            "Messages committed",
            ["channel", "outcome"],  # opened, joined, duplicate
            registry=self.collector,
        )
        self.refused = Counter(
            "okno_messages_refused_total",
            "Messages not registered, by the error's type",
            ["channel", "error"],
            registry=self.collector,
        )
        self.quarantined = Counter(
            "okno_messages_quarantined_total", "Messages put into quarantine", ["channel"], registry=self.collector
        )
        self.registration_seconds = Histogram(
            "okno_registration_seconds",
            "From hand-over to commit",
            buckets=REGISTRATION_BUCKETS_S,
            registry=self.collector,
        )
        self.appeals = Gauge("okno_appeals", "Appeals by state", ["state"], registry=self.collector)
        self.stream_depth = Gauge(
            "okno_stream_items", "Items of a work stream", ["stream", "kind"], registry=self.collector
        )
        self.connector_up = Gauge(
            "okno_connector_up", "1 when the connector works in full", ["connector"], registry=self.collector
        )
        self.quarantine_held = Gauge(
            "okno_quarantine_held", "Quarantine entries that wait for a person", registry=self.collector
        )
        self.leader = Gauge("okno_router_leader", "1 when this process leads the router", registry=self.collector)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.collector)


class MeteredIntake:
    """The intake that connectors get: counts what passes, changes nothing."""

    def __init__(self, intake: Intake, metrics: Metrics) -> None:
        self._intake = intake
        self._metrics = metrics

    async def register(self, envelope: AppealEnvelope, contents: Contents) -> Registration:
        """Register; see `connectors.base.Intake`."""
        began = time.perf_counter()
        try:
            registration = await self._intake.register(envelope, contents)
        except OknoError as error:
            self._metrics.refused.labels(envelope.channel.value, type(error).__name__).inc()
            raise
        self._metrics.registration_seconds.observe(time.perf_counter() - began)
        self._metrics.registered.labels(envelope.channel.value, _outcome(registration)).inc()
        return registration

    def is_pressed(self) -> bool:
        """Tell whether the intake has its hands full; see `appeals.intake.Intake`."""
        return self._intake.is_pressed()

    async def quarantine(self, item: QuarantineItem, content: bytes) -> UUID:
        """Quarantine; see `connectors.base.Intake`."""
        entry_id = await self._intake.quarantine(item, content)
        self._metrics.quarantined.labels(item.channel.value).inc()
        return entry_id


def _outcome(registration: Registration) -> str:
    if registration.duplicate:
        return "duplicate"
    return "joined" if registration.joined else "opened"
