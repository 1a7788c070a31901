"""What a run is asked for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """A run: minutes of traffic, and what it looks like.

    `longest` bounds how long a call talks (s); `twin_share` of the arrivals bring calls that nothing tells apart.
    """

    minutes: float = 10.0
    seed: int = 1
    calls_per_second: float = 20.0
    accounts: int = 50
    twin_share: float = 0.03
    longest: float = 60.0
