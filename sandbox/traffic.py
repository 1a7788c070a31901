"""Seeded draws: when calls arrive, between whom, and what becomes of them."""

import random
from typing import NamedTuple

from sandbox.calls import Direction, Disposition
from sandbox.settings import TrafficProfile

_MS_PER_MINUTE = 60_000


class Outcome(NamedTuple):
    """What becomes of a call once the called party rings; `talk_ms` is None unless it is answered."""

    ring_ms: int
    talk_ms: int | None
    disposition: Disposition
    no_recording: str | None


class Plan(NamedTuple):
    """A call to place at `at` (epoch ms)."""

    at: int
    src: str
    dst: str
    direction: Direction
    outcome: Outcome


class OutcomeSource:
    """Outcomes by a traffic profile. The same seed text gives the same sequence."""

    def __init__(self, seed: str, profile: TrafficProfile) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - reproducible by intent, guards nothing
        self._profile = profile

    def between(self, bounds: tuple[int, int]) -> int:
        """A whole number within the inclusive bounds."""
        return self.rng.randint(*bounds)

    def draw(self) -> Outcome:
        """The next outcome."""
        profile, rng = self._profile, self.rng
        disposition = self._disposition()
        # The API shows a missing recording in two ways, and a client has to read both.
        no_recording = "None" if rng.random() < 0.5 else None
        if rng.random() < profile.short_share:
            whole = self.between(profile.instant_ms if rng.random() < profile.instant_share else profile.short_ms)
            ring = rng.randint(0, whole // 2)
            if disposition == "ANSWERED":
                return Outcome(ring, whole - ring, disposition, no_recording)
            return Outcome(whole, None, disposition, no_recording)
        if disposition == "ANSWERED":
            shortest, longest = profile.talk_ms
            talk = min(longest, shortest + round(rng.expovariate(1 / max(1, profile.talk_mean_ms))))
            return Outcome(self.between(profile.ring_ms), talk, disposition, no_recording)
        bounds = profile.no_answer_ms if disposition == "NO ANSWER" else profile.refused_ms
        return Outcome(self.between(bounds), None, disposition, no_recording)

    def _disposition(self) -> Disposition:
        profile, point = self._profile, self.rng.random()
        if point < profile.answered:
            return "ANSWERED"
        if point < profile.answered + profile.no_answer:
            return "NO ANSWER"
        if point < profile.answered + profile.no_answer + profile.busy:
            return "BUSY"
        return "FAILED"


class Arrivals:
    """The Poisson process of one account. Draws depend on the seed and on rate changes, never on who asks when."""

    def __init__(self, account: int, seed: int, profile: TrafficProfile, extensions: list[str]) -> None:
        self._outcomes = OutcomeSource(f"{seed}/{account}/traffic", profile)
        self._profile = profile
        self._extensions = extensions
        self._rate_per_ms = 0.0
        self._next_at: float | None = None

    def set_rate(self, calls_per_minute: float, now: int) -> None:
        """From `now` (epoch ms) on, place calls at this mean rate; 0 places none."""
        self._rate_per_ms = calls_per_minute / _MS_PER_MINUTE
        # A Poisson process has no memory: the wait for the next arrival may be drawn anew.
        self._next_at = None if calls_per_minute <= 0 else now + self._gap()

    def until(self, now: int) -> list[Plan]:
        """The calls whose arrival came up to `now` (epoch ms), each once, in order of arrival.

        The twins of an arrival may lie up to a second in the future.
        """
        plans: list[Plan] = []
        while self._next_at is not None and self._next_at <= now:
            plans += self._arrival(int(self._next_at))
            self._next_at += self._gap()
        return plans

    def _gap(self) -> float:
        return self._outcomes.rng.expovariate(self._rate_per_ms)

    def _arrival(self, at: int) -> list[Plan]:
        rng, profile = self._outcomes.rng, self._profile
        src, dst = rng.sample(self._extensions, 2)
        direction: Direction = "internal"
        point = rng.random()
        if point < profile.inbound:
            src, direction = self._external(), "incoming"
        elif point < profile.inbound + profile.outbound:
            dst, direction = self._external(), "outgoing"
        plans = [Plan(at, src, dst, direction, self._outcomes.draw())]
        if rng.random() < profile.twin_share:
            rest_of_second = 999 - at % 1000
            for _ in range(rng.choice((1, 2))):
                twin_at = at + rng.randint(0, rest_of_second)
                plans.append(Plan(twin_at, src, dst, direction, self._outcomes.draw()))
        return plans

    def _external(self) -> str:
        # Both ranges begin with zeros after the area code, where nobody's number lies.
        return f"{self._outcomes.rng.choice(('7495000', '7812000'))}{self._outcomes.rng.randrange(10_000):04d}"
