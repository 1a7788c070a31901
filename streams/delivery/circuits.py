"""Decides when an endpoint that fails is left alone, and when it is tried again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

# Failures in a row that open a circuit. One bad event and its retry, or a receiver's restart that cuts off a few
# requests, should not; an endpoint that is down reaches them within a second of traffic.
THRESHOLD = 5
# Seconds from the opening to the first probe, which is the first retry's delay, and the most between two, doubling in
# between: so much later than the endpoint at most is it known to be well again.
FIRST_PROBE = 5.0
LAST_PROBE = 300.0
# What is parked comes back after the time of the probe by up to this part of its wait: spread, so that an endpoint that
# has just come back does not get all of it at once.
_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class Pass:
    """Leave for one attempt. What comes of the attempt is to be told with it."""

    era: int
    probe: bool


class Circuit:
    """Closed: attempts pass. Open: none does, but one probe each time that an interval has passed.

    A success closes it, whoever's it is. Failures of attempts that began before the last change of state say nothing
    new and count for nothing.
    """

    def __init__(self, clock: Callable[[], float], rng: random.Random | None = None) -> None:
        """Take a clock (seconds) that only goes forward, and the source of the spread."""
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - a spread is no secret
        self._era = 0
        self._failures = 0
        self._interval: float | None = None
        self._probe_at = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is left alone."""
        return self._interval is not None

    @property
    def shut(self) -> bool:
        """Whether no attempt may begin now, not even a probe."""
        return self.is_open and (self._probing or self._clock() < self._probe_at)

    def admit(self) -> Pass | None:
        """Leave for an attempt that begins now, or None: the delivery is to be parked for `wait()`."""
        if self.shut:
            return None
        self._probing = self.is_open
        return Pass(self._era, self._probing)

    def wait(self) -> float:
        """Seconds for which a delivery is parked that is not admitted: until the next probe, and a little longer."""
        left = self._probe_at - self._clock()
        if self._interval is not None and (self._probing or left <= 0):
            # The outcome of the probe under way is not known; if it fails this is when the next one is.
            left = self._interval
        return max(left, 1.0) * self._rng.uniform(1, 1 + _SPREAD)

    def succeeded(self) -> None:
        """An attempt succeeded."""
        self._failures = 0
        if self.is_open:
            self._interval = None
            self._probing = False
            self._era += 1

    def failed(self, leave: Pass) -> None:
        """The attempt that had this leave failed."""
        if leave.era != self._era:
            return
        if leave.probe:
            self._probing = False
            self._open(min((self._interval or FIRST_PROBE) * 2, LAST_PROBE))
        elif self._interval is None:
            self._failures += 1
            if self._failures >= THRESHOLD:
                self._open(FIRST_PROBE)

    def abandoned(self, leave: Pass) -> None:
        """The attempt that had this leave was cut off, and it is not known what would have come of it."""
        if leave.probe and leave.era == self._era:
            self._probing = False

    def _open(self, interval: float) -> None:
        if self._interval is None:
            self._era += 1
            self._failures = 0
        self._interval = interval
        self._probe_at = self._clock() + interval
