"""Faults on demand: requests of an account are answered badly, the next so many or by probability and schedule."""

import random
from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from sandbox.clock import Clock

FaultKind = Literal["error500", "error429", "html200", "truncated", "empty_list", "hang", "drop"]
RuleKind = Literal["error500", "error429", "html200", "truncated", "empty_list", "hang", "drop", "delay"]
ANY_URL = "*"
_MAX_DELAY_MS = 600_000


class FaultOrder(msgspec.Struct):
    """`count` requests of `account` for the route named `url` are to fail by `kind`; count 0 takes back what waits."""

    account: int
    url: str
    kind: FaultKind
    count: int = 1


class FaultRule(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of `account` for the route named `url` (`*`: any) fail by `kind` with a `probability` of 0..1.

    It holds from `start_seconds` after it was set, for `for_seconds` (None: for good), and again every
    `every_seconds` (None: once). `delay_ms` bounds what `delay` waits. ValueError when these make no sense.
    """

    account: int
    kind: RuleKind
    url: str = ANY_URL
    probability: float = 1.0
    start_seconds: float = 0
    for_seconds: float | None = None
    every_seconds: float | None = None
    delay_ms: tuple[int, int] = (100, 2_000)

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError("probability lies between 0 and 1")
        if not self.start_seconds >= 0 or (self.for_seconds is not None and not self.for_seconds > 0):
            raise ValueError("start_seconds is not negative, for_seconds is positive")
        if self.every_seconds is not None and not 0 < (self.for_seconds or 0) <= self.every_seconds:
            raise ValueError("every_seconds needs a for_seconds that is not longer")
        if not 0 <= self.delay_ms[0] <= self.delay_ms[1] <= _MAX_DELAY_MS:
            raise ValueError(f"delay_ms is a range within 0 and {_MAX_DELAY_MS}, the lower first")

    def holds(self, elapsed: float) -> bool:
        """Whether its schedule has it hold `elapsed` seconds after it was set."""
        since = elapsed - self.start_seconds
        if since < 0:
            return False
        if self.every_seconds is not None:
            since %= self.every_seconds
        return self.for_seconds is None or since < self.for_seconds


class Trouble(NamedTuple):
    """What is to befall a request: a fault or none, and by how many ms its answer is held back."""

    kind: FaultKind | None
    delay_ms: int = 0


class Faults:
    """The faults that wait for their requests, served in the order in which they were asked for, and the rules.

    The same seed, rules and requests give the same faults.
    """

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._waiting: dict[tuple[int, str], deque[FaultOrder]] = {}
        self._rules: list[tuple[FaultRule, int]] = []
        self._rng = random.Random(f"{seed}/faults")  # noqa: S311 - reproducible by intent, guards nothing

    def order(self, order: FaultOrder) -> None:
        """Queue an order; one with count 0 clears all that wait for its account and URL. ValueError when negative."""
        if order.count < 0:
            raise ValueError("count is not negative")
        if order.count == 0:
            self._waiting.pop((order.account, order.url), None)
        else:
            self._waiting.setdefault((order.account, order.url), deque()).append(order)

    def set_rules(self, rules: Sequence[FaultRule]) -> None:
        """Put these rules in place of all that held; their schedules begin now."""
        now = self._clock.monotonic_ns()
        self._rules = [(rule, now) for rule in rules]

    def rules(self) -> list[FaultRule]:
        """The rules as they were set."""
        return [rule for rule, _ in self._rules]

    def concern(self, account: int, url: str) -> bool:
        """Whether a request could be befallen, or a rule draw for it: then `take` leaves things other than they were."""
        if not self._waiting and not self._rules:
            return False
        return (account, url) in self._waiting or any(
            rule.account == account and rule.url in (ANY_URL, url) for rule, _ in self._rules
        )

    def take(self, account: int, url: str) -> Trouble:
        """What befalls this request. A fault that was ordered is used up by it and comes before what rules say."""
        kind: FaultKind | None = self._ordered(account, url) if self._waiting else None
        delay_ms = 0
        for rule, set_at in self._rules:
            if rule.account != account or rule.url not in (ANY_URL, url):
                continue
            if not rule.holds((self._clock.monotonic_ns() - set_at) / 1e9) or self._rng.random() >= rule.probability:
                continue
            if rule.kind == "delay":
                delay_ms += self._rng.randint(*rule.delay_ms)
            elif kind is None:
                kind = rule.kind
        return Trouble(kind, delay_ms)

    def waiting(self) -> list[FaultOrder]:
        """What has not been used up."""
        return [order for queue in self._waiting.values() for order in queue]

    def _ordered(self, account: int, url: str) -> FaultKind | None:
        queue = self._waiting.get((account, url))
        if queue is None:
            return None
        order = queue[0]
        order.count -= 1
        if order.count == 0:
            queue.popleft()
            if not queue:
                del self._waiting[account, url]
        return order.kind
