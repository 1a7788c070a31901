"""Exemplars: of which call or delivery a figure is, for who looks closer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import inf
from time import monotonic

from prometheus_client import Counter, Histogram

# OpenMetrics lets an exemplar's names and values have 128 characters in all.
_LONGEST = 128
# Seconds. A bucket shows its last exemplar, and nobody looks more often; to keep one costs more than to count.
_EVERY = 1.0


class Series(dict[tuple[str, ...], Counter]):
    """The series of a counter by the values of its labels. prometheus-client's own way to one costs more than to count."""

    def __init__(self, counter: Counter) -> None:
        """Take the counter, of which no series is ever removed."""
        super().__init__()
        self._counter = counter

    def __missing__(self, values: tuple[str, ...]) -> Counter:
        made = self[values] = self._counter.labels(*values)
        return made

    def begin(self, *values: str) -> None:
        """Let a series begin at 0: an increase from nothing is none to Prometheus."""
        self.__missing__(values)


class Observed:
    """A series of a histogram of which each bucket has an exemplar, and takes another once a second at most."""

    def __init__(self, series: Histogram, bounds: Sequence[float]) -> None:
        """Take the series and the upper bounds of its buckets."""
        self._series = series
        self._bounds = bounds
        self._kept = [-inf] * (len(bounds) + 1)

    def observe(self, value: float, name: str, id_: str) -> None:
        """Count `value`, which is of what has this id."""
        bucket, now = bisect_left(self._bounds, value), monotonic()
        # Ids of records that others wrote may be anything.
        if now - self._kept[bucket] < _EVERY or len(name) + len(id_) > _LONGEST:
            self._series.observe(value)
            return
        self._kept[bucket] = now
        self._series.observe(value, {name: id_})


class ObservedSeries(dict[str, Observed]):
    """The series of a histogram with one label, by its value."""

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        """Take the histogram, of which no series is ever removed, and the upper bounds of its buckets."""
        super().__init__()
        self._histogram = histogram
        self._bounds = bounds

    def __missing__(self, value: str) -> Observed:
        made = self[value] = Observed(self._histogram.labels(value), self._bounds)
        return made
