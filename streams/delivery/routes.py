"""An endpoint with all that governs what goes to it: its lane, its pace, its schedule and its circuit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from streams.delivery.circuits import Circuit
from streams.delivery.intake import Entry
from streams.delivery.lanes import Lane
from streams.delivery.pace import Pace
from streams.delivery.retries import RETRY_AFTER_CAP, Schedule
from streams.delivery.targets import Target

# Seconds a delivery may wait in its lane before it is put off: what a hanging endpoint can hold up its neighbours on
# the same partition.
PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Route:
    """The way to an endpoint."""

    target: Target
    schedule: Schedule
    circuit: Circuit
    pace: Pace | None
    lane: Lane[Entry] = field(repr=False)

    def offer(self, entry: Entry, *, first: bool) -> bool:
        """Take an entry into the lane if there is a place for it.

        One that comes for the `first` time goes behind those that have booked a place already: it would take theirs.
        """
        if first and self.pace is not None and self.pace.backlog() > PATIENCE:
            return False
        return self.lane.offer(entry)

    def spill_wait(self) -> float:
        """Seconds for which a delivery is put off that found no place in the lane; 24 h at most."""
        if self.pace is None:
            return self.schedule.park()
        booked = self.pace.book()
        # Where attempts hang it is not the pace that decides.
        return min(max(booked, self.schedule.park()) if self.lane.crowded else booked, RETRY_AFTER_CAP)


def route_to(
    target: Target,
    attempt: Callable[[Route, Entry], Awaitable[None]],
    *,
    topics: Sequence[int],
    window: int,
    rng: random.Random | None,
) -> Route:
    """The route to an endpoint; to be made within the running loop.

    Args:
        target: The endpoint.
        attempt: Makes an attempt at an entry on a route; must not raise.
        topics: The delays, in seconds, that have a retry topic.
        window: Records of a partition that may be unfinished.
        rng: The source of jitter.
    """
    clock = asyncio.get_running_loop().time
    endpoint = target.endpoint
    pace = None if endpoint.rate is None else Pace(endpoint.rate, clock)

    async def run(entry: Entry) -> None:
        await attempt(route, entry)

    lane = Lane(
        run,
        concurrency=endpoint.concurrency,
        # Half a window, so that one lane never fills the partition that it shares.
        capacity=max(1, window // 2),
        patience=PATIENCE,
        clock=clock,
        pace=pace,
    )
    route = Route(target, Schedule(topics, rng, endpoint.retries), Circuit(clock, rng), pace, lane)
    return route
