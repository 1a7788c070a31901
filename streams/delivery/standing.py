"""How each endpoint stands, and what becomes of its deliveries by that. Pure.

What the endpoints' topic says holds; what a worker finds out by its attempts it applies at once, and writes there for
the others and for after a restart.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from gateway.contract.deliveries import Delivery
from gateway.contract.endpoints import EndpointStatus
from streams.delivery.retries import JITTER

# Seconds for which a paused endpoint's delivery is parked at a time, ±20 %: so much later than it is resumed at most it
# is attempted. It is one write each time.
PAUSE = 30.0
# Seconds from its making on for which a delivery waits for its endpoint to be declared here: the topic may be read
# later in this process than in the one that made it.
UNKNOWN_GRACE = 300.0
_FIRST_LOOK = 2.0  # seconds

Code = Literal["disabled", "removed", "unknown_endpoint"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a delivery is not attempted now: it is given up for a reason, or parked for some seconds."""

    wait: float = 0.0
    code: Code | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A status that is to be written, and the one before it."""

    endpoint: str
    status: EndpointStatus | None
    was: EndpointStatus | None


@dataclass(slots=True)
class _Written:
    """What was written of an endpoint and not read back yet, and whether another wrote something before it meanwhile."""

    ours: list[EndpointStatus | None] = field(default_factory=list)
    others: list[EndpointStatus | None] = field(default_factory=list)


class Standing:
    """The endpoints that there are, or were, and their statuses."""

    def __init__(
        self,
        endpoints: Iterable[str],
        *,
        disable_after: float,
        clock: Callable[[], datetime],
        rng: random.Random | None = None,
    ) -> None:
        """Take the endpoints that are known, for how many seconds one may fail, the clock and the source of jitter."""
        self._known = set(endpoints)
        self._removed: set[str] = set()
        self._statuses: dict[str, EndpointStatus] = {}
        # When the first of the failures was that came without a success since.
        self._failing: dict[str, datetime] = {}
        self._written: dict[str, _Written] = {}
        self._disable_after = timedelta(seconds=disable_after)
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter is no secret

    def status(self, endpoint: str) -> EndpointStatus | None:
        """How an endpoint stands; None: it is active and well, or unknown."""
        return self._statuses.get(endpoint)

    def is_active(self, endpoint: str) -> bool:
        """Whether an endpoint is known and delivered to."""
        status = self._statuses.get(endpoint)
        return endpoint in self._known and (status is None or status.state == "active")

    def is_paused(self, endpoint: str) -> bool:
        """Whether an endpoint is known and its deliveries wait."""
        status = self._statuses.get(endpoint)
        return endpoint in self._known and status is not None and status.state == "paused"

    def declared(self, endpoint: str) -> None:
        """There is such an endpoint."""
        self._known.add(endpoint)
        self._removed.discard(endpoint)

    def withdrawn(self, endpoint: str) -> None:
        """There is no such endpoint any more."""
        if endpoint in self._known:
            self._known.discard(endpoint)
            self._removed.add(endpoint)
        self._failing.pop(endpoint, None)

    def refusal(self, delivery: Delivery) -> Refusal | None:
        """What keeps a delivery from being attempted; None if nothing does."""
        endpoint = delivery.endpoint
        if endpoint not in self._known:
            return self._stray(delivery)
        status = self._statuses.get(endpoint)
        if status is None or status.state == "active":
            return None
        if status.state == "paused":
            return Refusal(wait=PAUSE * self._rng.uniform(1 - JITTER, 1 + JITTER))
        return Refusal(code="disabled", reason=f"the endpoint is disabled ({status.reason or 'asked'})")

    def _stray(self, delivery: Delivery) -> Refusal:
        if delivery.endpoint in self._removed:
            return Refusal(code="removed", reason="the endpoint was removed")
        age = (self._clock() - delivery.created_at).total_seconds()
        if age >= UNKNOWN_GRACE:
            return Refusal(code="unknown_endpoint", reason="there is no such endpoint")
        # Each time twice as old: soon there if it is only late, and seldom written if it never comes.
        return Refusal(wait=max(age, _FIRST_LOOK))

    def told(self, endpoint: str, status: EndpointStatus | None) -> Change | None:
        """The topic says how an endpoint stands. Gives back what is to be written because of that.

        What another wrote before our own record, and we had not read when we wrote, is written again: our record says
        how attempts went, and must not undo what somebody asked for.
        """
        written = self._written.get(endpoint)
        if written is None:
            self._set(endpoint, status)
            return None
        if status != written.ours[0]:
            written.others.append(status)
            return None
        del written.ours[0]
        if written.ours:
            return None
        del self._written[endpoint]
        if not written.others:
            return None
        return self._change(endpoint, written.others[-1])

    def failed(self, endpoint: str, at: datetime, *, is_open: bool) -> Change | None:
        """An attempt failed that began at `at`, and the circuit is open or not. What is to be written of it, if anything.

        It is written once that attempts fail, when the circuit is open; and that the endpoint is disabled, when they
        have failed for too long.
        """
        if not self.is_active(endpoint):
            return None
        first = self._failing.setdefault(endpoint, at)
        status = self._statuses.get(endpoint)
        since = None if status is None else status.failing_since
        if since is None:
            if not is_open:
                return None
            since = first
        if at - since >= self._disable_after:
            return self._disable(endpoint, "failing", since)
        if status is not None and status.failing_since is not None:
            return None
        began = self._clock() if status is None else status.since
        return self._change(endpoint, EndpointStatus(state="active", since=began, failing_since=since))

    def succeeded(self, endpoint: str) -> Change | None:
        """An attempt succeeded. What is to be written of it, if anything."""
        self._failing.pop(endpoint, None)
        status = self._statuses.get(endpoint)
        if status is None or status.failing_since is None or not self.is_active(endpoint):
            return None
        return self._change(endpoint, None)

    def gone(self, endpoint: str) -> Change | None:
        """The endpoint answered that it wants nothing any more. What is to be written of it."""
        if not self.is_active(endpoint):
            return None
        status = self._statuses.get(endpoint)
        return self._disable(endpoint, "gone", None if status is None else status.failing_since)

    def _disable(self, endpoint: str, reason: Literal["gone", "failing"], failing: datetime | None) -> Change:
        status = EndpointStatus(state="disabled", since=self._clock(), reason=reason, failing_since=failing)
        return self._change(endpoint, status)

    def _change(self, endpoint: str, status: EndpointStatus | None) -> Change:
        was = self._statuses.get(endpoint)
        self._set(endpoint, status)
        self._written.setdefault(endpoint, _Written()).ours.append(status)
        return Change(endpoint, status, was)

    def _set(self, endpoint: str, status: EndpointStatus | None) -> None:
        if status is None:
            self._statuses.pop(endpoint, None)
        else:
            self._statuses[endpoint] = status
        if status is None or status.failing_since is None:
            self._failing.pop(endpoint, None)
