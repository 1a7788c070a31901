"""Makes the records that are written about a delivery: an attempt, a place on a retry topic, a dead letter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from gateway.contract.deliveries import DeadLetter, Delivery
from gateway.contract.events import Header
from gateway.contract.topics import Topics
from gateway.runtime.endpoints import status_records
from streams.delivery.attempt import Result
from streams.delivery.retries import Schedule, longest_hold
from streams.delivery.standing import Change, Refusal
from streams.delivery.standing import Code as Unwanted
from streams.outbox import MAX_DELIVERY_BYTES

# Why a delivery is given up, as the metrics have it.
Code = Literal["gone", "expired"] | Unwanted
Record = tuple[str, bytes | None, bytes]  # topic, key, value
# With headers; a value of None withdraws what the key said.
Statement = tuple[str, bytes, bytes | None, Sequence[Header]]

# Seconds. Older than any hold, and nothing that a datetime cannot do.
_LONGEST_AGE = 7 * 86_400.0

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of an attempt: the record that is written of its delivery, if any is needed, and why."""

    record: Record | None = None
    wait: float | None = None  # seconds until the next attempt, where there is one
    given_up: Code | None = None


class Records:
    """The records' topics, keys and values. All of an endpoint have its id as their key, so one partition has them."""

    def __init__(self, topics: Topics, clock: Callable[[], datetime]) -> None:
        """Take the topics, and the clock for due times and letters."""
        self._topics = topics
        self._clock = clock
        self._holds = {topic.name: longest_hold(delay) for delay, topic in topics.retries.items()}

    def held_until(self, topic: str, written_at: float) -> datetime:
        """Until when a record of a topic may be kept waiting that was written there at `written_at` (Unix seconds).

        Only retry topics are for waiting. Clocks may differ, and anything may be claimed, so ours bounds it as well.
        """
        now = self._clock()
        age = min(max(now.timestamp() - written_at, 0.0), _LONGEST_AGE)
        return now + timedelta(seconds=self._holds.get(topic, 0.0) - age)

    def attempt(self, result: Result) -> Record:
        """An attempt and what came of it."""
        return self._topics.attempts.name, result.attempt.endpoint.encode(), _encode(result.attempt)

    def parked(self, delivery: Delivery, schedule: Schedule, wait: float) -> Record:
        """The delivery, to be taken up again in `wait` seconds."""
        due = msgspec.structs.replace(delivery, due_at=self._clock() + timedelta(seconds=wait))
        topic = self._topics.retries[schedule.topic_delay(wait)].name
        return topic, delivery.endpoint.encode(), _encode(due)

    def dead_letter(self, reason: str, delivery: Delivery | None, raw: bytes | None = None) -> Record:
        """A delivery, or a record that is none, that is given up."""
        letter = DeadLetter(at=self._clock(), reason=reason, delivery=delivery, raw=raw)
        value = _encode(letter)
        if len(value) > MAX_DELIVERY_BYTES + 8192:
            # base64 makes it a third larger than what was read.
            letter = DeadLetter(at=letter.at, reason=f"{reason}; too large to be kept", delivery=None)
            value = _encode(letter)
        return self._topics.dead_letters.name, None if delivery is None else delivery.endpoint.encode(), value

    def status(self, change: Change) -> Sequence[Statement]:
        """How an endpoint stands from now on, and what is told of that."""
        records = status_records(self._topics, change.endpoint, change.status, change.was, self._clock())
        return [(one.topic, one.key, one.value, one.headers) for one in records]

    def verdict(
        self, delivery: Delivery, result: Result, schedule: Schedule, refusal: Refusal | None = None
    ) -> Verdict:
        """What becomes of a delivery after an attempt; `refusal` is what would keep the next one from being made."""
        if result.delivered:
            return Verdict()
        counted = msgspec.structs.replace(delivery, attempts=delivery.attempts + 1)
        if refusal is not None and refusal.code is not None and not result.gone:
            letter = self.dead_letter(f"{refusal.reason}; last: {result.attempt.error}", counted)
            return Verdict(letter, given_up=refusal.code)
        wait = None if result.gone else schedule.wait(counted.attempts, result.retry_after)
        if wait is not None:
            return Verdict(self.parked(counted, schedule, wait), wait)
        why = "the endpoint is gone (410)" if result.gone else f"not delivered in {counted.attempts} attempts"
        letter = self.dead_letter(f"{why}; last: {result.attempt.error}", counted)
        return Verdict(letter, given_up="gone" if result.gone else "expired")
