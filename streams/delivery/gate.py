"""Lets deliveries pass to endpoints as these are declared and stand, and sees to what waits where that changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from gateway.contract.deliveries import Delivery
from gateway.contract.endpoints import EndpointStatus
from streams.delivery.attempt import Result
from streams.delivery.circuits import Circuit, Pass
from streams.delivery.intake import Entry
from streams.delivery.ordering import Ordering
from streams.delivery.routes import Route, Routes
from streams.delivery.standing import Change, Code, Standing
from streams.delivery.targets import Target
from streams.delivery.waiting import Waiting
from streams.metrics import StreamsMetrics

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Gate:
    """Between what is read and the lanes: it may change for an endpoint at any time."""

    def __init__(
        self,
        *,
        routes: Routes,
        standing: Standing,
        ordering: Ordering,
        waiting: Waiting[Entry],
        put_off: Callable[[Entry, float], None],
        bury: Callable[[Entry, Code, str, Delivery], None],
        metrics: StreamsMetrics,
    ) -> None:
        """Take the places where entries wait, and what parks one (for so many seconds) or gives it up (code, reason)."""
        self._routes = routes
        self._standing = standing
        self._ordering = ordering
        self._waiting = waiting
        self._put_off = put_off
        self._bury = bury
        self._metrics = metrics

    def turns_away(self, entry: Entry) -> bool:
        """Whether an entry's endpoint takes nothing now; then it is parked, or given up."""
        refusal = self._standing.refusal(entry.data)
        if refusal is None:
            return False
        if refusal.code is None:
            self._put_off(entry, refusal.wait)
        else:
            self._bury(entry, refusal.code, refusal.reason, entry.data)
        return True

    def declare(self, endpoint: str, target: Target | None) -> None:
        """Lead to an endpoint as it is from now on; None: to it no more, and what waits for it is given up."""
        if target is None:
            self._standing.withdrawn(endpoint)
            waiting = self._routes.remove(endpoint)
            self._ordering.keep(endpoint, kept=False)
            self._look_again(endpoint, waiting)
            return
        with self._circuit_shown(endpoint):
            self._routes.put(target)
        self._standing.declared(endpoint)
        self._ordering.keep(endpoint, kept=target.endpoint.ordering == "call")

    def state(self, endpoint: str, status: EndpointStatus | None) -> Change | None:
        """Heed what the topic says of an endpoint; gives back what is to be written because of that, if anything is."""
        was_active = self._standing.is_active(endpoint)
        change = self._standing.told(endpoint, status)
        route = self._routes.get(endpoint)
        if route is None:
            return change
        if not self._standing.is_active(endpoint):
            # Also where it was paused and is disabled now.
            self._look_again(endpoint)
        elif not was_active:
            with self._circuit_shown(endpoint):
                route.forgive()
        return change

    def learn(self, route: Route, circuit: Circuit, leave: Pass, result: Result) -> Sequence[Change]:
        """Heed an attempt's outcome; gives back what is to be written of how the endpoint stands.

        What waits behind a circuit that opens is parked.
        """
        if circuit is not route.circuit:
            # It says nothing of the endpoint as it is now.
            return ()
        endpoint, before = route.target.endpoint.id, circuit.is_open
        if result.delivered:
            circuit.succeeded()
            change = self._standing.succeeded(endpoint)
        else:
            circuit.failed(leave)
            change = (
                self._standing.gone(endpoint)
                if result.gone
                else self._standing.failed(endpoint, result.attempt.at, is_open=circuit.is_open)
            )
        if circuit.is_open != before:
            self._metrics.circuit(endpoint, is_open=circuit.is_open)
            if circuit.is_open:
                _log.warning("an endpoint fails and is left alone", endpoint=endpoint)
                for entry in route.lane.withdraw(lambda one: one.live):
                    self._put_off(entry, circuit.wait())
            else:
                _log.info("an endpoint that failed is well again", endpoint=endpoint)
        if change is None:
            return ()
        if change.status is not None and change.status.state == "disabled":
            _log.warning("an endpoint was disabled", endpoint=endpoint, reason=change.status.reason)
            self._look_again(endpoint)
        return (change,)

    def _look_again(self, endpoint: str, waiting: Sequence[Entry] = ()) -> None:
        """Nothing of an endpoint is attempted now: see to what waits here for it."""

        def theirs(entry: Entry) -> bool:
            return isinstance(entry.data, Delivery) and entry.data.endpoint == endpoint

        found = [*waiting, *self._routes.withdraw(theirs), *self._ordering.withdraw(theirs)]
        if not self._standing.is_paused(endpoint):
            # What waits for its time does so as well while its endpoint is paused.
            found += self._waiting.withdraw(theirs)
        for entry in found:
            if entry.live:
                self.turns_away(entry)

    @contextmanager
    def _circuit_shown(self, endpoint: str) -> Iterator[None]:
        """Show it where what is done here closes an endpoint's circuit."""
        route = self._routes.get(endpoint)
        was_open = route is not None and route.circuit.is_open
        yield
        if was_open and route is not None and not route.circuit.is_open:
            self._metrics.circuit(endpoint, is_open=False)
