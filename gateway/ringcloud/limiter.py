"""The per-URL limiter: who may send next, and when, so that the server never sees two requests closer than its limit.

The proof. The server sees a request at some unknown moment between our sending it and our having its answer. So a
request that is sent no earlier than one interval after the answer to the one before it is seen at least one interval
after that one, whatever the network does to either. Where no answer comes (timeout, broken connection, cancellation)
the moment of giving up takes the answer's place, and half a second for what may still be under way: a proof only as
far as that is enough. The same goes for what another process sent until it lost the key. The price is one round trip an
interval: 0.2 % at 10 ms and 5 s. A server that takes seconds to answer costs its rate, and nothing that is provable can
be had for less.
"""

from __future__ import annotations

from collections import OrderedDict
from types import TracebackType

from gateway.ringcloud.clock import Clock, LoopClock
from gateway.ringcloud.errors import DeadlineExceeded
from gateway.ringcloud.turns import GUARD, LONG_AGO, UNDERWAY, Fate, Lane, Observer, Priority, Stats, Turns, Waiter

# An idle lane is forgotten this long after it could have been used again: what is left to remember by then is how often
# in a row it was refused.
_LINGER = 60.0
# How long it matters that another process may have used a key: longer than any interval.
_TAKEN_OVER = 300.0


class Slot:
    """One turn in a lane: `async with limiter.slot(...) as slot:`, with exactly one request sent inside.

    Entering waits for the turn and raises DeadlineExceeded where it cannot come in time. Leaving, however that comes
    about, passes the lane on. A slot is entered once.
    """

    __slots__ = ("_deadline", "_interval", "_lane", "_limiter", "_priority", "_turns", "_url", "_waiter")

    def __init__(
        self, limiter: Limiter, lane: Lane, interval: float, priority: Priority, deadline: float | None, url: str
    ) -> None:
        self._limiter = limiter
        self._lane = lane
        self._interval = interval
        self._priority = priority
        self._deadline = deadline
        self._url = url

    async def __aenter__(self) -> Slot:
        self._turns, self._waiter = self._limiter.enter(self._lane, self._interval, self._priority, self._deadline)
        try:
            fate = await self._waiter.future
        except BaseException:
            self._turns.abandon(self._waiter)
            raise
        if fate is Fate.EXPIRED:
            raise DeadlineExceeded(url=self._url)
        self._turns.begin(self._waiter)
        return self

    def answered(self, *, rate_limited: bool = False, retry_after: float | None = None) -> None:
        """The answer's head is here: the server saw the request no later than now. Only the first call counts.

        `rate_limited` says that it was a 429, `retry_after` what the server asked for (seconds; it only ever delays).
        """
        if self._waiter.open:
            self._turns.answered(self._waiter, rate_limited=rate_limited, retry_after=retry_after)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turns.leave(self._waiter)


class Limiter:
    """Spaces the requests of any number of lanes. One for all accounts; belongs to one event loop.

    - One request at a time in a lane, and never two closer than the interval (the proof is at the module's head).
    - Commands before polls, first come first served within each.
    - A 429 rests the lane for the interval doubled for each in a row (60 s at most, or what the server's Retry-After
      asks for); who waits goes on waiting.
    - A waiter that is cancelled takes nothing with it: a turn that it had been granted and not used goes to the next.
    - A lane costs about half a kilobyte and is forgotten a minute after its last use has stopped to matter.

    `assume_used=True`: other processes may have used any lane just before this one began (see `assume_used()`).
    Times are the clock's: monotonic seconds, deadlines too.
    """

    def __init__(
        self, clock: Clock | None = None, *, observer: Observer | None = None, assume_used: bool = False
    ) -> None:
        self.clock: Clock = clock or LoopClock()
        self.stats = Stats()
        self.observer = observer
        self._lanes: OrderedDict[Lane, Turns] = OrderedDict()  # the longest unused first
        self._sequence = 0
        self._assume_used = assume_used
        self._began = LONG_AGO  # with assume_used: when the first question came
        self._taken: OrderedDict[str, float] = OrderedDict()  # key -> when, the oldest first

    @property
    def lanes(self) -> int:
        """How many lanes are remembered."""
        return len(self._lanes)

    @property
    def rate_limited(self) -> int:
        """How many answers of 429 there were."""
        return self.stats.rate_limited

    def slot(
        self,
        lane: Lane,
        interval: float,
        *,
        priority: Priority = Priority.POLL,
        deadline: float | None = None,
        url: str = "",
    ) -> Slot:
        """A turn in `lane`, to be entered with `async with`; `interval` in seconds, `deadline` for its beginning, `url`
        what its error names (the lane's path unless told).

        A deadline that certainly cannot be met fails at once, one that turns out not to be fails when that is certain.
        """
        return Slot(self, lane, interval, priority, deadline, url or lane.path)

    def assume_used(self, key: str) -> None:
        """Another process may have used any URL of `key` until now: each rests for one interval from now, and half a
        second for what is under way.

        For who takes over an account. Kafka fences what a former owner writes there, not what it sends to RingCloud.
        """
        now = self._now()
        self._taken[key] = now
        self._taken.move_to_end(key)
        while now - next(iter(self._taken.values())) > _TAKEN_OVER:
            self._taken.popitem(last=False)

    def estimate(self, lane: Lane, interval: float, *, priority: Priority = Priority.COMMAND) -> float:
        """When a request that came now could begin, if all before it in the lane take their turns at once."""
        now = self._now()
        turns = self._lanes.get(lane)
        if turns is None:
            return max(now, self.rested(lane.key, interval))
        return turns.earliest(interval, now) + turns.ahead(priority) * (interval + GUARD)

    def enter(self, lane: Lane, interval: float, priority: Priority, deadline: float | None) -> tuple[Turns, Waiter]:
        """Join the lane's queue: what a Slot does first."""
        now = self._now()
        self._forget_idle(now)
        turns = self._lanes.get(lane)
        if turns is None:
            turns = self._lanes[lane] = Turns(lane, self)
        self._lanes.move_to_end(lane)
        self._sequence += 1
        waiter = Waiter(interval, (priority, self._sequence), deadline, now)
        turns.enter(waiter)
        return turns, waiter

    def rested(self, key: str, interval: float) -> float:
        """When a lane of `key` is free as far as its use by other processes goes."""
        return max(self._began, self._taken.get(key, LONG_AGO)) + UNDERWAY + interval + GUARD

    def _now(self) -> float:
        now = self.clock.now()
        if self._assume_used and self._began == LONG_AGO:
            self._began = now
        return now

    def _forget_idle(self, now: float) -> None:
        """Look at the two lanes that were unused the longest. Each entry does, so none is remembered for long."""
        for _ in range(min(2, len(self._lanes))):
            lane, turns = next(iter(self._lanes.items()))
            since = turns.idle_since()
            if since is None:
                self._lanes.move_to_end(lane)
            elif now < since + _LINGER:
                return
            else:
                del self._lanes[lane]
