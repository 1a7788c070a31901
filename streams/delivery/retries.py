"""When a delivery that failed is attempted again, and on which topic it waits until then."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gateway.contract.deliveries import RETRY_DELAYS

JITTER = 0.2
# Nobody may put off a delivery for longer than this with one answer, in seconds.
RETRY_AFTER_CAP = 24 * 3600.0
# The statuses whose Retry-After counts (RFC 9110, RFC 6585).
RETRY_AFTER_STATUSES = frozenset({429, 503})


class Schedule:
    """The delays between attempts, each ±20 % so that what failed together does not come back together."""

    def __init__(
        self, topics: Sequence[int] = RETRY_DELAYS, rng: random.Random | None = None, delays: Sequence[int] = ()
    ) -> None:
        """Take the delays that have a topic, in seconds, the source of the jitter, and the delays between attempts.

        Without `delays` they are those of the topics.

        Raises:
            ValueError: There is no topic, or one's delay is less than 1.6 times the one before: the jittered ones would
                overlap, and no more tell which topic they belong to.
        """
        if not topics or topics[0] < 1 or any(b < a * 1.6 for a, b in itertools.pairwise(topics)):
            raise ValueError("delays must begin at 1 s or more and grow by a factor of 1.6 or more")
        self._topics = tuple(topics)
        self.delays = tuple(delays) or self._topics
        self._rng = rng or random.Random()  # noqa: S311 - jitter is no secret

    def wait(self, attempts: int, retry_after: float | None = None) -> float | None:
        """Seconds from now to the next attempt after `attempts` (1 or more) were made; None when that was the last.

        What the receiver asked for (`retry_after`, seconds) only ever delays, by no more than 24 h.
        """
        if attempts > len(self.delays):
            return None
        wait = self.delays[attempts - 1] * self._rng.uniform(1 - JITTER, 1 + JITTER)
        return wait if retry_after is None else max(wait, min(retry_after, RETRY_AFTER_CAP))

    def park(self) -> float:
        """Seconds from now at which a delivery is taken up again that found no place in its lane."""
        return self._topics[0] * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def topic_delay(self, wait: float) -> int:
        """The delay whose topic a delivery waits on for `wait` seconds: the longest that does not make it late.

        So the records of a topic fall due nearly in their order.
        """
        return max((delay for delay in self._topics if delay * (1 - JITTER) <= wait), default=self._topics[0])


def longest_hold(topic_delay: int) -> float:
    """For how many seconds a record may wait on the topic of a delay; what has longer to wait is written anew.

    It is as long as the topic's own delay can take. With that no record holds up those behind it that were written to
    wait for the topic's own delay, whatever schedules and Retry-After make of others.
    """
    return topic_delay * (1 + JITTER)


def retry_after(status: int | None, header: str | None, now: datetime) -> float | None:
    """Seconds that an answer asks to wait: from its status and its Retry-After, in seconds or as an HTTP date.

    None where it does not ask, or not in a way that can be read. Never negative, at most 24 h.
    """
    if status not in RETRY_AFTER_STATUSES or header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        # A longer one is beyond the cap, and Python refuses to read thousands of digits.
        return min(float(text), RETRY_AFTER_CAP) if len(text) <= 10 else RETRY_AFTER_CAP
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), RETRY_AFTER_CAP)
