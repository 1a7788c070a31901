"""One node of a cluster: a machine of its own, on which it makes every change that the nodes' common log holds.

A step asks Redis once, and is done only for a node that knows every change so far; the others are told what they miss,
and plan again. So what was planned holds at the moment at which it is done, and all nodes agree on one order. Changes
are requests: made in the same order at the same times, they leave the machine of every node the same.
"""

import asyncio
import hashlib
import secrets
import traceback
from collections import Counter
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from sandbox.clock import StepClock
from sandbox.machine import Change, Machine
from sandbox.routes import Router
from sandbox.settings import SandboxSettings
from sandbox.shared.store import Answer, Behind, Done, Lost, Store, entry_of, read_entry, stamped
from sandbox.state import Order, StateAwayError, StateError, Step
from sandbox.stats import StatsReport

T = TypeVar("T")

_log = structlog.get_logger(__name__)
# Raised when a machine makes something else of the same log.
_RELEASE = 1


class RedisState:
    """The state of a node. Its settings have to be those of the nodes that are there already; one cluster a database.

    A Redis that has lost the log is a new cluster: its nodes begin anew, as a sandbox does that is started again.
    """

    machine: Machine
    clock: StepClock

    def __init__(self, url: str, settings: SandboxSettings, router: Router) -> None:
        """ValueError for a URL of another form than `redis://`, `rediss://` and `unix://` have."""
        self._store = Store(url)
        self._settings = settings
        self._router = router
        self._cluster = b""
        self._known = 0
        # This node's own changes that are on their way, by their names in the log.
        self._own: dict[bytes, _Own[Any]] = {}
        self._changing = asyncio.Lock()
        self._failures = 0
        self._beginning = asyncio.Lock()
        self._answers: Counter[Answer] = Counter()
        self._counting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Join the cluster or begin it, and make all changes so far; StateError when that cannot be."""
        try:
            await self._begin()
            await self.step(_Look())
        except StateAwayError:
            raise StateError(f"no Redis answers at {self._store.shown}") from None

    async def close(self) -> None:
        """Count what was answered, and close the connections."""
        if self._counting is not None:
            await self._counting
        await self._store.close()

    async def step(self, step: Step[T]) -> T:
        """See State."""
        if step.plan(self.machine).change is None:
            return await self._attempt(step)
        # One change at a time: each makes all others that are on their way plan again.
        failures = self._failures
        async with self._changing:
            if self._failures != failures:
                # Who has waited for one that found Redis away does not wait for its own turn to find the same.
                raise StateAwayError
            return await self._attempt(step)

    def answered(self, method: str, template: str, status: int) -> None:
        """See State; what is counted follows the answer by a moment."""
        self._answers[method, template, status] += 1
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(self._count())

    async def report(self) -> StatsReport:
        """See State: of the whole cluster."""
        return await self._store.report()

    async def _attempt(self, step: Step[T]) -> T:
        try:
            return await self._do(step)
        except StateAwayError:
            self._failures += 1
            raise

    async def _do(self, step: Step[T]) -> T:
        admitted = False
        while True:
            machine, known = self.machine, self._known
            order = step.plan(machine)
            if admitted:
                order = Order(change=order.change)
            name, entry, own = b"", b"", _Own(step, machine)
            if order.change is not None:
                name = secrets.token_bytes(12)
                entry = entry_of(name, order.change)
                self._own[name] = own
            try:
                reply = await self._store.step(self._cluster, known, order, entry)
                if isinstance(reply, Lost):
                    await self._begin_anew(machine)
                elif self.machine is not machine:
                    # This node has begun anew in the meantime; what was done is of the past.
                    if isinstance(reply, Done):
                        raise StateAwayError
                elif isinstance(reply, Behind):
                    self._catch_up(known, reply.entries)
                elif reply.accepted and entry:
                    self._catch_up(known, [stamped(reply.at_us, entry)])
                    return own.answer()
                elif reply.accepted and self._known != known and step.plan(machine).change is not None:
                    # Others changed the machine while the reply was on its way, and now it needs a change as well.
                    admitted = True
                else:
                    with self.clock.at(reply.at_us):
                        return step.act(machine, accepted=reply.accepted)
            finally:
                self._own.pop(name, None)

    async def _count(self) -> None:
        while self._answers:
            answers, self._answers = self._answers, Counter()
            try:
                await self._store.count(answers)
            except StateAwayError:
                # They wait for the next answer.
                self._answers.update(answers)
                return

    async def _begin(self) -> None:
        mine = _digests(self._settings)
        cluster = await self._store.join(secrets.token_hex(8).encode(), msgspec.json.encode(mine))
        theirs = msgspec.json.decode(cluster.settings, type=dict[str, str])
        others = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        if others:
            raise StateError(f"the nodes at {self._store.shown} have other settings: {', '.join(others)}")
        self._cluster, self._known = cluster.id, 0
        self.clock = StepClock()
        with self.clock.at(cluster.start_us):
            self.machine = Machine(self._settings, self.clock, self._router)

    async def _begin_anew(self, machine: Machine) -> None:
        async with self._beginning:
            if self.machine is not machine:
                return
            try:
                await self._begin()
            except StateError as error:
                _log.error("not of this cluster any more", error=str(error))
                raise StateAwayError from None
            _log.warning("the shared state was lost: the sandbox begins anew", state=self._store.shown)

    def _catch_up(self, known: int, entries: list[bytes]) -> None:
        """Make the changes of the log from `known` on, but for those that were made since."""
        for stored in entries[self._known - known :]:
            at_us, name, change = read_entry(stored, Change)
            self._known += 1
            own = self._own.get(name)
            with self.clock.at(at_us):
                if own is not None:
                    own.act()
                    continue
                try:
                    self.machine.repeat(change)
                except Exception:  # noqa: BLE001 - who asked for it was told; this request is another's
                    _log.error("a change failed", traceback=traceback.format_exc())


class _Own(Generic[T]):
    """A step whose change may be met in the log by any other request of this node; it is answered there."""

    def __init__(self, step: Step[T], machine: Machine) -> None:
        self._step = step
        self._machine = machine
        self._answer: T
        self._error: Exception | None = None

    def act(self) -> None:
        try:
            self._answer = self._step.act(self._machine, accepted=True)
        except Exception as error:  # noqa: BLE001 - it is raised where it belongs
            self._error = error

    def answer(self) -> T:
        if self._error is not None:
            raise self._error
        return self._answer


class _Look:
    """Asks for nothing: afterwards every change has been made."""

    def plan(self, machine: Machine) -> Order:  # noqa: ARG002 - as Step has it
        return Order()

    def act(self, machine: Machine, *, accepted: bool) -> None:
        pass


def _digests(settings: SandboxSettings) -> dict[str, str]:
    """Each setting as a digest, so that nodes can compare them and keep their passwords to themselves."""
    # By their types: 0 and 0.0 are one rate.
    typed = msgspec.convert(msgspec.to_builtins(settings), SandboxSettings)
    values = {name: getattr(typed, name) for name in typed.__struct_fields__} | {"release": _RELEASE}
    return {name: hashlib.sha256(msgspec.json.encode(value)).hexdigest()[:16] for name, value in values.items()}
