"""The gateway's figures. No phone number, user name or key is ever a label."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from gateway.contract.events import CallEvent

ACTIVE_CALLS = Gauge("ringcloud_active_calls", "Calls that count as live, from the differ's state", ["account"])
EVENTS = Counter("ringcloud_events_committed", "Call events committed to Kafka", ["account", "type"])
NOTICES = Counter("ringcloud_notices_committed", "Gaps, degraded and recovered accounts told of", ["account", "type"])
POLLS = Counter(
    "ringcloud_polls",
    "Polls by what came back; everything but read and unchanged leaves the account's calls as they were",
    ["account", "list", "outcome"],
)
POLLS_ALLOWED = Gauge(
    "ringcloud_polls_allowed_per_second",
    "Polls a second that RingCloud's limit allows: keys / interval",
    ["account", "list"],
)
SNAPSHOT_AGE = Gauge("ringcloud_snapshot_age_seconds", "Age of the last readable answer", ["account", "list"])
RATE_LIMITED = Counter("ringcloud_rate_limited", "Answers of 429 Too Many Requests", ["method", "url"])
LIMITER_WAIT = Histogram(
    "ringcloud_limiter_wait_seconds",
    "From asking the limiter to its grant",
    ["kind"],
    buckets=(0.01, 0.1, 1, 2.5, 5, 10, 30, 60, 120),
)
SHARDS = Gauge("ringcloud_shards_owned", "Shards that this process owns")
LIMITER_EXPIRED = Counter("ringcloud_limiter_expired", "Requests whose deadline passed before their turn", ["kind"])
DIFF = Histogram(
    "ringcloud_diff_seconds",
    "From a list's rows to what they change: the differ alone",
    ["list"],
    buckets=(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2),
)
COMMIT_LATENCY = Histogram(
    "ringcloud_snapshot_to_commit_seconds",
    "From the answer that showed what happened to the commit of its call event; an exemplar names the call",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)


def committed(account: int, events: Iterable[CallEvent]) -> None:
    """These call events of the account were committed just now."""
    now = time.time()
    for event in events:
        EVENTS.labels(str(account), event.type).inc()
        # Negative where the clock was set back meanwhile.
        latency = max(0.0, now - event.data.observed_at.timestamp())
        COMMIT_LATENCY.observe(latency, {"call_id": event.data.call_id})
