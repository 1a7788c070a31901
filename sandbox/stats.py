"""What was asked of the sandbox: counts of answers, and how close the requests of a lane came."""

from collections import Counter

import msgspec

from sandbox.limits import Lane

MAX_LANES = 50_000


class RequestCount(msgspec.Struct):
    """How often `method` on the path template was answered with `status` (0: no whole answer, by a fault)."""

    method: str
    path: str
    status: int
    count: int


class LaneStats(msgspec.Struct):
    """One lane. Times are ms of the monotonic clock; `min_gap_ms` counts refused requests too (None: fewer than two)."""

    key: str
    method: str
    path: str
    limit_ms: int
    accepted: int
    rejected: int
    min_gap_ms: float | None
    first_at_ms: float
    last_at_ms: float


class StatsReport(msgspec.Struct):
    """The answer of `/_sandbox/stats`."""

    requests: list[RequestCount]
    rate_limited: int
    lanes: list[LaneStats]


class Stats:
    """Collects; lanes beyond a fixed number are not recorded, so memory stays bounded."""

    def __init__(self) -> None:
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._lanes: dict[Lane, LaneStats] = {}

    def answered(self, method: str, template: str, status: int) -> None:
        """Count one answer."""
        self._answers[method, template, status] += 1

    def arrived(self, lane: Lane, limit_ms: int, at_ns: int, *, accepted: bool) -> None:
        """Record a request that reached the limiter, `at_ns` by the monotonic clock."""
        at_ms = at_ns / 1_000_000
        stats = self._lanes.get(lane)
        if stats is None:
            if len(self._lanes) >= MAX_LANES:
                return
            stats = self._lanes[lane] = LaneStats(*lane, limit_ms, 0, 0, None, at_ms, at_ms)
        else:
            gap = at_ms - stats.last_at_ms
            if stats.min_gap_ms is None or gap < stats.min_gap_ms:
                stats.min_gap_ms = gap
            stats.last_at_ms = at_ms
        if accepted:
            stats.accepted += 1
        else:
            stats.rejected += 1

    def report(self) -> StatsReport:
        """Everything so far."""
        return StatsReport(
            requests=[RequestCount(*answer, count) for answer, count in sorted(self._answers.items())],
            rate_limited=sum(count for (_, _, status), count in self._answers.items() if status == 429),
            lanes=list(self._lanes.values()),
        )
