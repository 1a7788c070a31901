"""Where the state of a sandbox lives: a request is one step on it, and nothing else happens in between."""

from typing import NamedTuple, Protocol, TypeVar

from sandbox.clock import Clock
from sandbox.limits import Lane, Limiter
from sandbox.machine import Change, Machine
from sandbox.replies import ApiError
from sandbox.routes import Router
from sandbox.settings import SandboxSettings
from sandbox.stats import Stats, StatsReport

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class StateError(Exception):
    """A state cannot be shared: out of reach at the start, or others use it with other settings."""


class StateAwayError(ApiError):
    """The shared state cannot be reached; what was asked may have been done or not."""

    def __init__(self) -> None:
        super().__init__(500, "the shared state is out of reach")


class Order(NamedTuple):
    """What a step asks of the state: a slot on a lane, one in `interval_ms`, and that a change be kept."""

    lane: Lane | None = None
    interval_ms: int = 0
    change: Change | None = None


class Step(Protocol[T_co]):
    """A request in two halves. `plan` may run several times, on a machine that others change in between."""

    def plan(self, machine: Machine) -> Order:
        """What is needed, as the machine stands; changes nothing."""
        ...

    def act(self, machine: Machine, *, accepted: bool) -> T_co:
        """Answer, on the machine that `plan` saw last; `accepted` tells whether the lane had a slot.

        A change is made only when it was planned and accepted.
        """
        ...


class State(Protocol):
    """A machine, its clock, and the limits. `open` comes first and `close` last."""

    @property
    def machine(self) -> Machine:
        """The machine as this process knows it."""
        ...

    @property
    def clock(self) -> Clock:
        """What the machine's time is taken from."""
        ...

    async def open(self) -> None:
        """Get ready; StateError when that cannot be."""
        ...

    async def close(self) -> None:
        """Let go of what `open` took."""
        ...

    async def step(self, step: Step[T]) -> T:
        """Plan, admit and act as one; StateAwayError when nobody can tell how things stand."""
        ...

    def answered(self, method: str, template: str, status: int) -> None:
        """Count an answer, as `Stats` does."""
        ...

    async def report(self) -> StatsReport:
        """What was asked so far; StateAwayError as in `step`."""
        ...


class MemoryState:
    """The state of one process."""

    def __init__(self, settings: SandboxSettings, clock: Clock, router: Router) -> None:
        self.clock = clock
        self.machine = Machine(settings, clock, router)
        self._limiter = Limiter()
        self.stats = Stats()
        self.answered = self.stats.answered

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def step(self, step: Step[T]) -> T:
        """See State: it never waits, so nothing comes in between."""
        order = step.plan(self.machine)
        accepted = True
        if order.lane is not None:
            at_ns = self.clock.monotonic_ns()
            accepted = self._limiter.admit(order.lane, order.interval_ms, at_ns)
            self.stats.arrived(order.lane, order.interval_ms, at_ns, accepted=accepted)
        return step.act(self.machine, accepted=accepted)

    async def report(self) -> StatsReport:
        """See State."""
        return self.stats.report()
