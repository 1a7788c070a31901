"""The seeded plan of a run: who is hit, when, how, and for how long; and what the API is made to do meanwhile."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sandbox.faults import FaultRule, RuleKind

Victim = Literal["gateway-1", "gateway-2", "streams", "broker"]
# `both` kills both gateways, `stop` is SIGSTOP and SIGCONT, `term` is SIGTERM.
Kind = Literal["kill", "both", "stop", "term"]

# Seconds after which the group misses a member; a gateway that is stopped for longer wakes up as a zombie.
SESSION = 6.0


@dataclass(frozen=True)
class Habit:
    """How a victim is treated: seconds between two blows, and the deck that the kinds are dealt from."""

    every: tuple[float, float]
    deck: tuple[Kind, ...]


HABITS: dict[Victim, Habit] = {
    "gateway-1": Habit((18, 32), ("kill", "stop", "kill", "both", "term", "kill", "stop", "kill")),
    "gateway-2": Habit((18, 32), ("kill", "stop", "kill", "kill", "term", "kill", "stop", "kill")),
    "streams": Habit((12, 22), ("kill", "stop", "kill", "term", "kill")),
    # Its absence and the sessions that run out after it stop everything: more of it would leave nothing to kill.
    "broker": Habit((45, 85), ("kill", "term", "kill")),
}
FAULTS: tuple[RuleKind, ...] = (
    "error500",
    "truncated",
    "html200",
    "hang",
    "drop",
    "empty_list",
    "delay",
    "error429",
)


@dataclass(frozen=True)
class Blow:
    """At `at` seconds a victim is hit, and is down or stopped for `seconds`."""

    at: float
    victim: Victim
    kind: Kind
    seconds: float


@dataclass(frozen=True)
class Bout:
    """From `at` seconds on the API has these faults and no others."""

    at: float
    rules: tuple[FaultRule, ...]


def blows(seed: int, seconds: float) -> list[Blow]:
    """All blows of a run of so many seconds, in order of time. The same seed gives the same."""
    found = [blow for victim in HABITS for blow in _blows_on(victim, seed, seconds)]
    return sorted(found, key=lambda blow: blow.at)


def bouts(seed: int, seconds: float, accounts: Sequence[int]) -> list[Bout]:
    """The faults of the API over a run of so many seconds."""
    rng = random.Random(f"{seed}/faults")
    kinds = _dealt(rng, FAULTS)
    found: list[Bout] = []
    at = rng.uniform(2, 6)
    while at < seconds:
        lasts = rng.uniform(3, 12)
        hit = rng.sample(accounts, min(len(accounts), rng.randint(3, 8)))
        found.append(Bout(at, tuple(_rule(rng, account, next(kinds), lasts) for account in hit)))
        at += lasts + rng.uniform(0, 5)
    return found


def _rule(rng: random.Random, account: int, kind: RuleKind, lasts: float) -> FaultRule:
    return FaultRule(
        account=account, kind=kind, probability=rng.choice((0.3, 0.7, 1.0)), for_seconds=lasts, delay_ms=(200, 6_000)
    )


def _blows_on(victim: Victim, seed: int, seconds: float) -> Iterator[Blow]:
    rng = random.Random(f"{seed}/{victim}")
    habit = HABITS[victim]
    kinds = _dealt(rng, habit.deck)
    at = rng.uniform(3, habit.every[1])
    while at < seconds:
        kind = next(kinds)
        # Half of those that are stopped wake up in time, the others as zombies.
        lasts = rng.choice((rng.uniform(1, SESSION - 2), rng.uniform(SESSION + 1, 2.5 * SESSION)))
        yield Blow(at, victim, kind, lasts if kind == "stop" else rng.uniform(0, 5))
        at += rng.uniform(*habit.every)


def _dealt(rng: random.Random, deck: Sequence[RuleKind] | Sequence[Kind]) -> Iterator:  # type: ignore[type-arg]
    """The cards of a deck, shuffled, again and again: a short run too has some of most."""
    while True:
        yield from rng.sample(deck, len(deck))
