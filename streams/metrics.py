"""The figures of the streams service, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.contract.deliveries import Attempt
from gateway.contract.events import CallEvent

# Seconds. Fine where a healthy receiver answers, and up to the longest an attempt may take.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)


class StreamsMetrics:
    """Counts of this process since it started. No label holds a URL or a phone number.

    Events are counted from committed records at least once: after a crash or a rebalance a few are read again.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register with `registry`, by default one of its own (`registry`)."""
        self.registry = registry or CollectorRegistry()
        self._events = Counter(
            "ringcloud_call_events_total",
            "Call events expanded into deliveries",
            ("account", "type", "direction"),
            registry=self.registry,
        )
        self._deliveries = Counter(
            "ringcloud_webhook_deliveries_total",
            "Deliveries made of call events",
            ("endpoint",),
            registry=self.registry,
        )
        self._attempts = Counter(
            "ringcloud_webhook_attempts_total",
            "Attempts at delivering a webhook",
            ("endpoint", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ringcloud_webhook_attempt_seconds",
            "Duration of an attempt, response body included",
            ("outcome",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("ringcloud_webhook_in_flight", "Attempts under way", registry=self.registry)
        self._spilled = Counter(
            "ringcloud_webhook_spilled_total",
            "Deliveries put off, unattempted: lane full, rate reached, circuit open, or an earlier event of the call not done",
            ("endpoint",),
            registry=self.registry,
        )
        self._circuits = Gauge(
            "ringcloud_webhook_circuit_open",
            "1 while an endpoint that fails is left alone but for probes",
            ("endpoint",),
            registry=self.registry,
        )
        self._dead_letters = Counter(
            "ringcloud_webhook_dead_letters_total",
            "Records given up: expired, gone, overflow, unknown_endpoint, unreadable, too_large",
            ("reason",),
            registry=self.registry,
        )

    def event(self, event: CallEvent) -> None:
        """A call event was expanded."""
        self._events.labels(str(event.data.account), event.type, event.data.direction or "unknown").inc()

    def delivery(self, endpoint: str) -> None:
        """A delivery was made."""
        self._deliveries.labels(endpoint).inc()

    def attempt(self, attempt: Attempt) -> None:
        """An attempt ended."""
        self._attempts.labels(attempt.endpoint, attempt.outcome).inc()
        self._seconds.labels(attempt.outcome).observe(attempt.duration)

    def spilled(self, endpoint: str) -> None:
        """A delivery was put off."""
        self._spilled.labels(endpoint).inc()

    def circuit(self, endpoint: str, *, is_open: bool) -> None:
        """An endpoint's circuit opened or closed."""
        self._circuits.labels(endpoint).set(is_open)

    def dead_letter(self, reason: str) -> None:
        """A record was given up; `reason` is one of a few words."""
        self._dead_letters.labels(reason).inc()
