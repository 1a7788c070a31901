"""The gateway's figures. No phone number, user name or key is ever a label."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ACTIVE_CALLS = Gauge("ringcloud_active_calls", "Calls that count as live, from the differ's state", ["account"])
EVENTS = Counter("ringcloud_events_committed", "Call events committed to Kafka", ["account", "type"])
NOTICES = Counter("ringcloud_notices_committed", "Gaps, degraded and recovered accounts told of", ["account", "type"])
POLLS = Counter(
    "ringcloud_polls",
    "Polls by what came back; everything but read and unchanged leaves the account's calls as they were",
    ["account", "list", "outcome"],
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
