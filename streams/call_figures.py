"""Counts calls, of all accounts, from their events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.contract.events import CallEvent, Direction, Evidence
from streams.exemplars import ObservedSeries, Series

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

        def counter(name: str, documentation: str, labels: Sequence[str]) -> Series:
            return Series(Counter(name, documentation, labels, registry=registry))

        self._started = counter("ringcloud_calls_started", "Calls that began", by_direction)
        self._answered = counter("ringcloud_calls_answered", "Calls that were answered", by_direction)
        self._ended = counter("ringcloud_calls_ended", "Calls that ended", ("account", "direction", "disposition"))
        self._updated = counter("ringcloud_calls_updated", "Changes that were told after the end", ("account",))
        self._unobserved = counter(
            "ringcloud_calls_unobserved",
            "Calls never seen live: the list of completed calls alone told of them",
            ("account",),
        )
        self._absent = counter(
            "ringcloud_calls_absent",
            "Calls that ended by absence: no completed row came within the grace period",
            ("account",),
        )
        self._ambiguous = counter(
            "ringcloud_calls_ambiguous",
            "Calls that ended and could not be told from another of their account",
            ("account",),
        )
        self._answered_seconds = counter(
            "ringcloud_answered_call_seconds", "Durations of answered calls, ringing included, added up", by_direction
        )
        durations = Histogram(
            "ringcloud_answered_call_duration_seconds",
            "Answered-call duration incl. ringing: RingCloud's figure begins at dialling; not talk time",
            ("direction",),
            buckets=_DURATIONS,
            registry=registry,
        )
        self._durations = ObservedSeries(durations, _DURATIONS)
        self._accounts: set[str] = set()

    def event(self, event: CallEvent) -> None:
        """Count an event."""
        data = event.data
        account, direction = str(data.account), data.direction or UNKNOWN
        if account not in self._accounts:
            self._begin(account)
        if event.type == "call.started":
            self._started[account, direction].inc()
            if data.evidence is Evidence.COMPLETE:
                self._unobserved[account,].inc()
        elif event.type == "call.answered":
            self._answered[account, direction].inc()
        elif event.type == "call.updated":
            self._updated[account,].inc()
        else:
            self._end(event, account, direction)

    def _end(self, event: CallEvent, account: str, direction: str) -> None:
        data = event.data
        disposition = data.disposition or UNKNOWN
        # It is RingCloud's word; the documented ones are four, and labels must not be any number.
        self._ended[account, direction, disposition if disposition in _WORDS else _OTHER].inc()
        if data.evidence is Evidence.ABSENCE:
            self._absent[account,].inc()
        if data.ambiguous:
            self._ambiguous[account,].inc()
        if data.answered and data.duration is not None:
            self._answered_seconds[account, direction].inc(max(data.duration, 0))
            self._durations[direction].observe(data.duration, "call_id", data.call_id)

    def _begin(self, account: str) -> None:
        """Let an account's usual series all begin at 0."""
        self._accounts.add(account)
        for direction in (*DIRECTIONS, UNKNOWN):
            self._started.begin(account, direction)
            self._answered.begin(account, direction)
        for direction in DIRECTIONS:
            self._answered_seconds.begin(account, direction)
            for disposition in DISPOSITIONS:
                self._ended.begin(account, direction, disposition)
        self._ended.begin(account, UNKNOWN, UNKNOWN)
        for counter in (self._updated, self._unobserved, self._absent, self._ambiguous):
            counter.begin(account)


_WORDS = frozenset((*DISPOSITIONS, UNKNOWN))
