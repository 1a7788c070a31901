"""Counts calls, of all accounts, from their events."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.contract.events import CallEvent, Direction, Evidence
from streams.exemplars import exemplar

# Seconds. From a call that is hung up at once to one of two hours.
_DURATIONS = (5, 10, 20, 30, 45, 60, 120, 180, 300, 600, 1200, 1800, 3600, 7200)
# Where neither is known yet, or the list of completed calls never told.
UNKNOWN = "unknown"
DIRECTIONS: tuple[str, ...] = get_args(Direction)
DISPOSITIONS = ("ANSWERED", "NO ANSWER", "BUSY", "FAILED")
_OTHER = "other"


class CallFigures:
    """Counters of calls by account. A call is counted when its event is expanded, with what was known then.

    Until its completed row is there a call has no direction: those that are seen live start, and are answered, with
    `unknown`. Their end has it. What `call.updated` mends later is not counted anew.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register with `registry`."""
        by_direction = ("account", "direction")
        self._started = Counter("ringcloud_calls_started", "Calls that began", by_direction, registry=registry)
        self._answered = Counter(
            "ringcloud_calls_answered", "Calls that were answered", by_direction, registry=registry
        )
        self._ended = Counter(
            "ringcloud_calls_ended", "Calls that ended", ("account", "direction", "disposition"), registry=registry
        )
        self._updated = Counter(
            "ringcloud_calls_updated", "Changes that were told after the end", ("account",), registry=registry
        )
        self._unobserved = Counter(
            "ringcloud_calls_unobserved",
            "Calls never seen live: the list of completed calls alone told of them",
            ("account",),
            registry=registry,
        )
        self._absent = Counter(
            "ringcloud_calls_absent",
            "Calls that ended by absence: no completed row came within the grace period",
            ("account",),
            registry=registry,
        )
        self._ambiguous = Counter(
            "ringcloud_calls_ambiguous",
            "Calls that ended and could not be told from another of their account",
            ("account",),
            registry=registry,
        )
        self._answered_seconds = Counter(
            "ringcloud_answered_call_seconds",
            "Durations of answered calls, ringing included, added up",
            by_direction,
            registry=registry,
        )
        self._durations = Histogram(
            "ringcloud_answered_call_duration_seconds",
            "Answered-call duration incl. ringing: RingCloud's figure begins at dialling; not talk time",
            ("direction",),
            buckets=_DURATIONS,
            registry=registry,
        )
        self._accounts: set[str] = set()

    def event(self, event: CallEvent) -> None:
        """Count an event."""
        data = event.data
        account, direction = str(data.account), data.direction or UNKNOWN
        if account not in self._accounts:
            self._begin(account)
        if event.type == "call.started":
            self._started.labels(account, direction).inc()
            if data.evidence is Evidence.COMPLETE:
                self._unobserved.labels(account).inc()
        elif event.type == "call.answered":
            self._answered.labels(account, direction).inc()
        elif event.type == "call.updated":
            self._updated.labels(account).inc()
        else:
            self._end(event, account, direction)

    def _end(self, event: CallEvent, account: str, direction: str) -> None:
        data = event.data
        disposition = data.disposition or UNKNOWN
        # It is RingCloud's word; the documented ones are four, and labels must not be any number.
        self._ended.labels(account, direction, disposition if disposition in _WORDS else _OTHER).inc()
        if data.evidence is Evidence.ABSENCE:
            self._absent.labels(account).inc()
        if data.ambiguous:
            self._ambiguous.labels(account).inc()
        if data.answered and data.duration is not None:
            self._answered_seconds.labels(account, direction).inc(max(data.duration, 0))
            self._durations.labels(direction).observe(data.duration, exemplar("call_id", data.call_id))

    def _begin(self, account: str) -> None:
        """Let an account's usual series all begin at 0: an increase from nothing is none to Prometheus."""
        self._accounts.add(account)
        for direction in (*DIRECTIONS, UNKNOWN):
            self._started.labels(account, direction)
            self._answered.labels(account, direction)
        for direction in DIRECTIONS:
            self._answered_seconds.labels(account, direction)
            for disposition in DISPOSITIONS:
                self._ended.labels(account, direction, disposition)
        self._ended.labels(account, UNKNOWN, UNKNOWN)
        for counter in (self._updated, self._unobserved, self._absent, self._ambiguous):
            counter.labels(account)


_WORDS = frozenset((*DISPOSITIONS, UNKNOWN))
