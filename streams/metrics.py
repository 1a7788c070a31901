"""The figures of the streams service, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.contract.deliveries import Attempt, Delivery
from gateway.contract.events import CallEvent
from streams.call_figures import CallFigures
from streams.exemplars import Observed, ObservedSeries, Series

# Seconds. Fine where a healthy receiver answers, and up to the longest an attempt may take.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
# From the fan-out to a receiver's answer, retries of a day and more included.
_JOURNEYS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0)
# From RingCloud's answer to the deliveries it led to: what Kafka and the fan-out take.
_EXPANSIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)

_GIVEN_UP = ("expired", "gone", "disabled", "removed", "overflow", "unknown_endpoint", "unreadable", "too_large")


class Lane(Protocol):
    """What is shown of an endpoint's lane."""

    @property
    def waiting(self) -> int:
        """Deliveries that wait in it."""

    @property
    def running(self) -> int:
        """Attempts under way."""


class _Lanes(Collector):
    """Looks at the lanes when it is asked for them: to keep them shown would take longer the more endpoints there are."""

    given: Callable[[], Iterable[tuple[str, Lane]]] = staticmethod(tuple)

    def collect(self) -> Iterator[Metric]:
        """How full each endpoint's lane is by now; asked in the thread that serves metrics."""
        waiting = GaugeMetricFamily(
            "ringcloud_webhook_lane_waiting", "Deliveries that wait in a lane", labels=["endpoint"]
        )
        running = GaugeMetricFamily(
            "ringcloud_webhook_lane_running", "Attempts under way in a lane", labels=["endpoint"]
        )
        for endpoint, lane in self.given():
            waiting.add_metric([endpoint], lane.waiting)
            running.add_metric([endpoint], lane.running)
        yield waiting
        yield running


class StreamsMetrics:
    """Counts of this process since it started. No label holds a URL or a phone number.

    Events are counted from committed records at least once: after a crash or a rebalance a few are read again.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register with `registry`, by default one of its own (`registry`)."""
        self.registry = registry or CollectorRegistry()
        self._calls = CallFigures(self.registry)
        expansion = Histogram(
            "ringcloud_fanout_seconds",
            "From the answer of RingCloud's that showed what happened to the expansion of its call event",
            buckets=_EXPANSIONS,
            registry=self.registry,
        )
        self._expansion = Observed(expansion, _EXPANSIONS)
        deliveries = Counter(
            "ringcloud_webhook_deliveries_total",
            "Deliveries made of call events",
            ("endpoint",),
            registry=self.registry,
        )
        self._deliveries = Series(deliveries)
        attempts = Counter(
            "ringcloud_webhook_attempts_total",
            "Attempts at delivering a webhook",
            ("endpoint", "outcome"),
            registry=self.registry,
        )
        self._attempts = Series(attempts)
        seconds = Histogram(
            "ringcloud_webhook_attempt_seconds",
            "Duration of an attempt, response body included",
            ("outcome",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._seconds = ObservedSeries(seconds, _BUCKETS)
        self._in_flight = Gauge("ringcloud_webhook_in_flight", "Attempts under way", registry=self.registry)
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
        delivered = Histogram(
            "ringcloud_webhook_delivered_seconds",
            "From a delivery's making to its receiver's 2xx, by whether that came at the first attempt or a later one",
            ("attempt",),
            buckets=_JOURNEYS,
            registry=self.registry,
        )
        self._delivered = ObservedSeries(delivered, _JOURNEYS)
        self._lanes = _Lanes()
        self.registry.register(self._lanes)
        self._backlog = Gauge(
            "ringcloud_backlog_records",
            "Records of a topic that are not dealt with, in the partitions that this process owns",
            ("topic",),
            registry=self.registry,
        )
        self._dead_letters = Counter(
            "ringcloud_webhook_dead_letters_total",
            f"Records given up: {', '.join(_GIVEN_UP)}",
            ("reason",),
            registry=self.registry,
        )
        for reason in _GIVEN_UP:
            # From nothing to one is no increase to Prometheus.
            self._dead_letters.labels(reason)

    def event(self, event: CallEvent, now: datetime) -> None:
        """A call event was expanded."""
        self._calls.event(event)
        took = (now - event.data.observed_at).total_seconds()
        self._expansion.observe(max(took, 0.0), "call_id", event.data.call_id)

    def delivery(self, endpoint: str) -> None:
        """A delivery was made."""
        self._deliveries[endpoint,].inc()

    def attempt(self, attempt: Attempt) -> None:
        """An attempt ended."""
        self._attempts[attempt.endpoint, attempt.outcome].inc()
        self._seconds[attempt.outcome].observe(attempt.duration, "delivery", attempt.delivery)

    def delivered(self, delivery: Delivery, now: datetime) -> None:
        """A delivery's attempt succeeded."""
        took = (now - delivery.created_at).total_seconds()
        which = self._delivered["later" if delivery.attempts else "first"]
        which.observe(max(took, 0.0), "call_id", delivery.call_id)

    def show(self, lanes: Callable[[], Iterable[tuple[str, Lane]]], in_flight: Callable[[], int]) -> None:
        """Show the endpoints' lanes that `lanes` gives, and how many attempts are under way, whenever that is asked for."""
        self._lanes.given = lanes
        self._in_flight.set_function(in_flight)

    def backlog(self, topic: str, records: int) -> None:
        """So many records of a topic are not dealt with."""
        self._backlog.labels(topic).set(records)

    def spilled(self, endpoint: str) -> None:
        """A delivery was put off."""
        self._spilled.labels(endpoint).inc()

    def circuit(self, endpoint: str, *, is_open: bool) -> None:
        """An endpoint's circuit opened or closed."""
        self._circuits.labels(endpoint).set(is_open)

    def dead_letter(self, reason: str) -> None:
        """A record was given up; `reason` is one of a few words."""
        self._dead_letters.labels(reason).inc()
