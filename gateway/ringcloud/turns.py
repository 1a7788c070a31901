"""The turns of one lane: a state machine that is whole between any two of its steps, none of which waits.

Who wants to send waits for `Waiter.future`; everything else is told by method calls, in this order for a turn that is
taken: `enter`, `begin`, `answered`, `leave`; `abandon` instead of `begin` for one who went away while waiting.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol

from gateway.ringcloud.clock import Clock, Timer

# Added to every interval: what a clock read in whole milliseconds can lag, and the drift of two clocks over a minute.
GUARD = 0.002
# How long a request that nobody waits for any more may still be under way to the server: written and then given up, it
# lies in a buffer, or was lost and is sent again. A connection that breaks by itself is not told apart from that.
UNDERWAY = 0.5
# A timer may fire this much early (uvloop rounds to whole milliseconds). Smaller than GUARD, so nothing is lost by it.
_EARLY = 0.0005
# RingCloud's penalty for a 429 is not documented: back off doubling, up to this.
MAX_BACKOFF = 60.0
# A Retry-After longer than this is not believed.
MAX_RETRY_AFTER = 300.0

LONG_AGO = float("-inf")


class Priority(IntEnum):
    """Who goes first; within one, who came first."""

    COMMAND = 0
    POLL = 1


class Lane(NamedTuple):
    """What RingCloud counts by: a key, and within it each URL. The path as it is sent, without the query."""

    key: str
    method: str
    path: str

    def __repr__(self) -> str:
        return f"Lane({self.method} {self.path})"


class Observer(Protocol):
    """Is told what the limiter does, for metrics. Called in line: it must be quick and must not raise."""

    def granted(self, method: str, path: str, priority: Priority, waited: float) -> None:
        """A slot was given after `waited` seconds."""

    def expired(self, method: str, path: str, priority: Priority) -> None:
        """A request was not sent, for its deadline could not be met."""

    def rate_limited(self, method: str, path: str, backoff: float) -> None:
        """The server answered 429; the lane rests for `backoff` seconds."""


class Stats:
    """Totals since the limiter was made."""

    __slots__ = ("cancelled", "expired", "granted", "rate_limited", "waited")

    def __init__(self) -> None:
        self.granted = 0
        self.expired = 0
        self.cancelled = 0  # while waiting
        self.rate_limited = 0  # answers of 429
        self.waited = 0.0  # seconds, of those granted


class House(Protocol):
    """What a limiter's lanes share."""

    clock: Clock
    stats: Stats
    observer: Observer | None

    def rested(self, key: str, interval: float) -> float:
        """When a lane of `key` is free as far as its use by other processes goes."""


class Fate(Enum):
    """How waiting ended."""

    GRANTED = 1
    EXPIRED = 2


class Waiter:
    """One who waits for a turn, has it, or was refused one."""

    __slots__ = ("deadline", "future", "interval", "open", "rank", "since", "timer")

    def __init__(self, interval: float, rank: tuple[Priority, int], deadline: float | None, since: float) -> None:
        self.interval = interval
        self.rank = rank
        self.deadline = deadline
        self.since = since
        self.future: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        self.timer: Timer | None = None
        self.open = False  # it has begun, and no answer is here yet


def _rank(waiter: Waiter) -> tuple[Priority, int]:
    return waiter.rank


class Turns:
    """Who waits in a lane, who has it, and when it is free again."""

    __slots__ = ("_alarm", "_free_at", "_holder", "_house", "_lane", "_refused", "_waiting")

    def __init__(self, lane: Lane, house: House) -> None:
        self._lane = lane
        self._house = house
        self._free_at = LONG_AGO
        self._holder: Waiter | None = None
        self._waiting: list[Waiter] = []  # in the order of their turns
        self._refused = 0  # answers of 429 in a row
        self._alarm: Timer | None = None

    def idle_since(self) -> float | None:
        """Since when the lane has been free with nobody in it (maybe a time to come); None while somebody is."""
        return self._free_at if self._holder is None and not self._waiting else None

    def ahead(self, priority: Priority) -> int:
        """How many of those who wait go before one of `priority` that came now."""
        return sum(1 for waiter in self._waiting if waiter.rank[0] <= priority)

    def earliest(self, interval: float, now: float) -> float:
        """When the lane can be free at the earliest, even if everybody who waits went away."""
        earliest = max(now, self._free_at, self._house.rested(self._lane.key, interval))
        if self._holder is not None and self._holder.open:
            earliest = max(earliest, now + self._holder.interval + GUARD)
        return earliest

    def enter(self, waiter: Waiter) -> None:
        """`waiter` wants a turn. It is refused one at once where its deadline certainly cannot be met."""
        if waiter.deadline is not None and waiter.deadline < self.earliest(waiter.interval, waiter.since):
            self._expire(waiter)
            return
        insort(self._waiting, waiter, key=_rank)
        self._pump()
        if waiter.deadline is not None and not waiter.future.done():
            waiter.timer = self._house.clock.call_at(waiter.deadline, lambda: self._deadline_passed(waiter))

    def begin(self, waiter: Waiter) -> None:
        """`waiter` has taken the turn that it was granted."""
        now = self._house.clock.now()
        waited = now - waiter.since
        waiter.open = True
        self._house.stats.granted += 1
        self._house.stats.waited += waited
        if self._house.observer is not None:
            self._house.observer.granted(self._lane.method, self._lane.path, waiter.rank[0], waited)
        self._expire_hopeless(now)

    def answered(self, waiter: Waiter, *, rate_limited: bool, retry_after: float | None) -> None:
        """The server saw the request no later than now."""
        waiter.open = False
        rest = waiter.interval
        if rate_limited:
            self._refused += 1
            doubled = min(rest * 2 ** min(self._refused, 16), MAX_BACKOFF)
            asked = min(max(retry_after or 0.0, 0.0), MAX_RETRY_AFTER)
            rest = max(rest, doubled, asked)
            self._house.stats.rate_limited += 1
            if self._house.observer is not None:
                self._house.observer.rate_limited(self._lane.method, self._lane.path, rest)
        else:
            self._refused = 0
        self._free_at = self._house.clock.now() + rest + GUARD

    def leave(self, waiter: Waiter) -> None:
        """`waiter` is done. Where no answer came the server counts as seeing the request only a moment later."""
        now = self._house.clock.now()
        if waiter.open:
            waiter.open = False
            self._free_at = now + UNDERWAY + waiter.interval + GUARD
        self._holder = None
        self._expire_hopeless(now)
        self._pump()

    def abandon(self, waiter: Waiter) -> None:
        """`waiter` was cancelled while it waited, maybe with a turn granted that it never heard of."""
        self._house.stats.cancelled += 1
        if waiter.timer is not None:
            waiter.timer.cancel()
        if self._holder is waiter:
            # Nothing was sent: the lane is as free as it was, and the next has it.
            self._holder = None
        else:
            self._remove(waiter)
        self._pump()

    def _pump(self) -> None:
        """Grant the turn to whose it is, or set the alarm for when that can be."""
        while self._holder is None and self._waiting:
            now = self._house.clock.now()
            first = self._waiting[0]
            free_at = max(self._free_at, self._house.rested(self._lane.key, first.interval))
            if now < free_at - _EARLY:
                # An alarm that is set comes no later than this: what it was set for can only have moved on since.
                if self._alarm is None:
                    self._alarm = self._house.clock.call_at(free_at, self._ring)
                return
            del self._waiting[0]
            if first.timer is not None:
                first.timer.cancel()
            if first.future.done():  # cancelled, and not yet awake to say so
                continue
            if first.deadline is not None and first.deadline < now:
                self._expire(first)
            else:
                self._holder = first
                first.future.set_result(Fate.GRANTED)
        self._disarm()

    def _ring(self) -> None:
        self._alarm = None
        self._pump()

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _deadline_passed(self, waiter: Waiter) -> None:
        # A turn that falls due at the very moment of the deadline still meets it.
        self._pump()
        if not waiter.future.done():
            self._remove(waiter)
            self._expire(waiter)
            self._pump()

    def _expire_hopeless(self, now: float) -> None:
        """Refuse those whose deadline is certain to pass before the lane is free again."""
        hopeless = [
            waiter
            for waiter in self._waiting
            if waiter.deadline is not None and waiter.deadline < self.earliest(waiter.interval, now)
        ]
        for waiter in hopeless:
            self._remove(waiter)
            if waiter.timer is not None:
                waiter.timer.cancel()
            if not waiter.future.done():
                self._expire(waiter)

    def _expire(self, waiter: Waiter) -> None:
        self._house.stats.expired += 1
        if self._house.observer is not None:
            self._house.observer.expired(self._lane.method, self._lane.path, waiter.rank[0])
        waiter.future.set_result(Fate.EXPIRED)

    def _remove(self, waiter: Waiter) -> None:
        at = bisect_left(self._waiting, waiter.rank, key=_rank)
        if at < len(self._waiting) and self._waiting[at] is waiter:
            del self._waiting[at]
