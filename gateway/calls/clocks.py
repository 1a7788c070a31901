"""How far the server's clock is from the gateway's: bounds that tighten with every answer (law 9 of the differ)."""

from __future__ import annotations

import msgspec

from gateway.calls.snapshots import WallTime, Window
from gateway.contract.times import Ms

# Two undisciplined quartz clocks drift apart by up to 100 parts in a million.
_DRIFT_PPM = 100
# A balancer stamps Date from a clock that it reads once a loop.
_STAMP_SLACK: Ms = 50
# Whether a time or a duration is cut off or rounded is not documented: the truth is within a second either way.
ROUNDING: Ms = 1_000


class Skew(msgspec.Struct, frozen=True, array_like=True):
    """Server clock minus gateway clock lay within `low` … `high` (ms) at `at` (gateway clock)."""

    low: Ms
    high: Ms
    at: Ms

    @classmethod
    def of(cls, date: Ms, window: Window) -> Skew:
        """The bounds that one answer gives, made in `window` and stamped `date` (ms, cut to whole seconds, server clock)."""
        return cls(date - window.received - _STAMP_SLACK, date + 1_000 - window.sent + _STAMP_SLACK, window.received)

    def after(self, now: Ms) -> Skew:
        """The bounds as they stand at `now`: wider by what the clocks may have drifted."""
        drift = -(-abs(now - self.at) * _DRIFT_PPM // 1_000_000)
        return Skew(self.low - drift, self.high + drift, now)

    def narrowed(self, date: Ms, window: Window) -> Skew:
        """The bounds after an answer made in `window` was stamped `date`.

        Where the stamp contradicts the bounds a clock was set: the stamp alone counts.
        """
        sample = Skew.of(date, window)
        known = self.after(window.received)
        low, high = max(known.low, sample.low), min(known.high, sample.high)
        return Skew(low, high, window.received) if low <= high else sample

    def local(self, wall: WallTime) -> tuple[Ms, Ms, Ms]:
        """Bounds and best estimate, in the gateway's clock, of a server time that may be either of two instants."""
        low, _, guess = self.instant(wall.earliest)
        return low, self.instant(wall.latest)[1], guess

    def instant(self, shown: Ms) -> tuple[Ms, Ms, Ms]:
        """Bounds and best estimate, in the gateway's clock, of an instant that the server's clock shows in whole seconds.

        The clocks may have drifted since then.
        """
        low = shown - ROUNDING - self.after(shown - self.high).high
        high = shown + ROUNDING - self.after(shown - self.low).low
        # Most software cuts off, so half a second more than shown is the likeliest.
        guess = shown + ROUNDING // 2 - (self.low + self.high) // 2
        return low, high, guess


def unknown_skew(limit: Ms, at: Ms) -> Skew:
    """Nothing is known but that the clocks are at most `limit` ms apart."""
    return Skew(-limit, limit, at)
