"""Endpoints, each with all that governs what goes to it: its lane, its pace, its schedule and its circuit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence

from streams.delivery.circuits import Circuit
from streams.delivery.intake import Entry
from streams.delivery.lanes import Lane
from streams.delivery.pace import Pace
from streams.delivery.retries import RETRY_AFTER_CAP, Schedule
from streams.delivery.targets import Target

# Seconds a delivery may wait in its lane before it is put off: what a hanging endpoint can hold up its neighbours on
# the same partition.
PATIENCE = 1.0


# What decides how, and whether, an endpoint is reached: once it changes, failures of before say nothing any more.
_REACH = ("url", "secrets", "headers", "ca", "client_certificate", "client_key", "timeout", "body")


class Route:
    """The way to an endpoint. It may change under what is on it: attempts take what they need when they begin."""

    def __init__(
        self,
        target: Target,
        attempt: Callable[[Route, Entry], Awaitable[None]],
        *,
        topics: Sequence[int],
        window: int,
        rng: random.Random | None,
    ) -> None:
        """Take the endpoint; to be made within the running loop.

        Args:
            target: The endpoint.
            attempt: Makes an attempt at an entry on a route; must not raise.
            topics: The delays, in seconds, that have a retry topic.
            window: Records of a partition that may be unfinished.
            rng: The source of jitter.
        """
        self._topics = topics
        self._rng = rng
        self._clock = asyncio.get_running_loop().time
        endpoint = target.endpoint
        self.target = target
        self.schedule = Schedule(topics, rng, endpoint.retries)
        self.circuit = Circuit(self._clock, rng)
        self.pace = None if endpoint.rate is None else Pace(endpoint.rate, self._clock)

        async def run(entry: Entry) -> None:
            await attempt(self, entry)

        self.lane: Lane[Entry] = Lane(
            run,
            concurrency=endpoint.concurrency,
            # Half a window, so that one lane never fills the partition that it shares.
            capacity=max(1, window // 2),
            patience=PATIENCE,
            clock=self._clock,
            pace=self.pace,
        )

    def change(self, target: Target) -> None:
        """Lead to the endpoint as it is now. What is known of it stays as far as it can still hold."""
        before, now = self.target.endpoint, target.endpoint
        self.target = target
        self.schedule = Schedule(self._topics, self._rng, now.retries)
        if any(getattr(before, name) != getattr(now, name) for name in _REACH):
            self.forgive()
        if before.rate != now.rate:
            self.pace = None if now.rate is None else Pace(now.rate, self._clock)
        self.lane.change(now.concurrency, self.pace)

    def forgive(self) -> None:
        """Forget how it has failed: it is tried at once."""
        self.circuit = Circuit(self._clock, self._rng)

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


class Routes:
    """The ways to all endpoints that are known, by their ids."""

    def __init__(self, make: Callable[[Target], Route]) -> None:
        """Take what makes a route."""
        self._make = make
        self._routes: dict[str, Route] = {}
        # Of endpoints that are no more, while attempts are under way there.
        self._left: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        """Those of the endpoints that there are."""
        return iter(list(self._routes.values()))

    def get(self, endpoint: str) -> Route | None:
        """The way to an endpoint; None where there is no such endpoint."""
        return self._routes.get(endpoint)

    def put(self, target: Target) -> None:
        """Lead to an endpoint, or to one that is known as it is from now on."""
        route = self._routes.get(target.endpoint.id)
        if route is None:
            self._routes[target.endpoint.id] = self._make(target)
        else:
            route.change(target)

    def remove(self, endpoint: str) -> list[Entry]:
        """Lead to an endpoint no more; gives back what waits there. What is under way goes on."""
        route = self._routes.pop(endpoint, None)
        if route is None:
            return []
        self._left = [one for one in self._left if one.lane.running]
        self._left.append(route)
        return route.lane.withdraw(lambda _: True)

    def withdraw(self, condition: Callable[[Entry], bool]) -> list[Entry]:
        """Take out of all lanes what waits and for which the condition holds."""
        return [entry for route in self._routes.values() for entry in route.lane.withdraw(condition)]

    def tasks(self, condition: Callable[[Entry], bool]) -> list[asyncio.Task[None]]:
        """The attempts under way for whose entries the condition holds."""
        return [task for route in (*self._routes.values(), *self._left) for task in route.lane.tasks(condition)]
