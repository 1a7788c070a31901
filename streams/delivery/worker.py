"""The delivery worker: takes deliveries from Kafka, attempts each, and sees to what becomes of it."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from gateway.config import Config
from gateway.contract.deliveries import RETRY_DELAYS, Delivery
from gateway.contract.topics import Topics
from streams.delivery.addresses import AddressPolicy
from streams.delivery.attempt import Result, Sender
from streams.delivery.circuits import Pass
from streams.delivery.errands import Errands
from streams.delivery.errors import WorkerError
from streams.delivery.intake import Entry, Intake, Partition
from streams.delivery.ordering import Ordering
from streams.delivery.proxying import proxy_of
from streams.delivery.records import Records
from streams.delivery.routes import PATIENCE, Route, route_to
from streams.delivery.targets import targets_of
from streams.delivery.waiting import Waiting
from streams.metrics import StreamsMetrics
from streams.outbox import MAX_DELIVERY_BYTES, Outbox

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Seconds that attempts under way get to finish when their partitions are taken away, or the worker stops. An attempt
# that is cut off may have been received, and is made again.
REVOKE_GRACE = 1.0
STOP_GRACE = 5.0
# Seconds that the brokers get in any case to take what is left.
_LEAST_GRACE = 1.0
# Attempts' records are written in batches; nothing waits for them but the offset.
_LINGER_MS = 5

_decode = msgspec.json.Decoder(Delivery).decode


class DeliveryWorker:
    """Delivers at least once, under one webhook-id for all attempts of a delivery.

    A record's offset is committed only when what became of it is written: the attempt, and the retry or the dead
    letter where there is one. New deliveries and retries are read by two consumers, so that the hundred partitions of
    the retry topics cost the new ones nothing. Both have the same name in their groups, and so the same endpoints:
    what is known of one (its pace, its circuit) is known here, for as long as workers neither come nor go.
    """

    def __init__(
        self,
        config: Config,
        metrics: StreamsMetrics,
        *,
        delays: Sequence[int] = RETRY_DELAYS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: random.Random | None = None,
    ) -> None:
        """Take the configuration, the figures to keep, and the delays between attempts (seconds; each has its topic).

        Raises:
            ConfigError: An endpoint's secret is not there or is not one.
        """
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._delays = tuple(delays)
        self._topics = Topics(config.kafka.prefix, delays)
        self._records = Records(self._topics, clock)
        self._targets = targets_of(config.endpoints, allow_http=config.delivery.allow_http)
        self._policy = AddressPolicy(config.delivery.allow_networks)
        self._proxy = proxy_of(config.delivery)
        self._routes: dict[str, Route] = {}
        self._waiting: Waiting[Entry] = Waiting(clock, self._due)
        self._errands = Errands(self._fail)
        self._failure: asyncio.Future[None] | None = None
        self._grace = REVOKE_GRACE
        self._outbox = Outbox(config.kafka.bootstrap, f"{config.kafka.prefix}-webhook-delivery", linger_ms=_LINGER_MS)
        self._sender: Sender | None = None
        member = uuid.uuid4().hex
        self._ordering = Ordering(
            bootstrap=config.kafka.bootstrap,
            endpoints=[one.id for one in config.endpoints if one.ordering == "call"],
            enter=self._enter,
            put_off=self._put_off,
            fail=self._fail,
            clock=clock,
        )
        self._intakes = [
            self._intake("webhook-delivery", member, [self._topics.deliveries.name], max_wait_ms=100),
            self._intake(
                "webhook-retries", member, [topic.name for topic in self._topics.retries.values()], max_wait_ms=500
            ),
        ]

    async def start(self) -> None:
        """Connect and join the groups.

        Raises:
            KafkaError: No broker can be reached.
        """
        self._failure = asyncio.get_running_loop().create_future()
        self._sender = Sender(self._policy, self._clock, proxy=self._proxy)
        for endpoint_id, target in self._targets.items():
            self._routes[endpoint_id] = route_to(
                target, self._attempt, topics=self._delays, window=self._config.delivery.window, rng=self._rng
            )
        await self._outbox.start()
        for intake in self._intakes:
            await intake.start()

    async def ready(self) -> None:
        """Wait until the groups have given this worker its partitions."""
        for intake in self._intakes:
            await intake.assigned.wait()

    async def run(self) -> None:
        """Deliver until cancelled; `stop` must be called afterwards in any case.

        Raises:
            WorkerError: It cannot go on; the cause says why.
        """
        if self._failure is None:
            raise RuntimeError("the worker is not started")
        jobs = [asyncio.create_task(intake.run()) for intake in self._intakes]
        jobs.append(asyncio.create_task(self._sweep()))
        try:
            await asyncio.wait([*jobs, self._failure], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for job in jobs:
                job.cancel()
            results = await asyncio.gather(*jobs, return_exceptions=True)
        causes = [result for result in results if isinstance(result, Exception)]
        if self._failure.done() and self._failure.exception() is not None:
            causes.insert(0, self._failure.exception())  # type: ignore[arg-type]
        raise WorkerError("deliveries cannot go on") from (causes[0] if causes else None)

    async def stop(self, *, commit: bool = True) -> None:
        """End the attempts under way within 5 s, park what holds finished ones back, commit, disconnect.

        Without `commit` nothing more is written or committed, as after a crash.
        """
        self._grace = STOP_GRACE
        if self._failure is not None and self._failure.done():
            # What was written is not certain; a restart does it again.
            commit = False
            _ = self._failure.exception()
        if not commit:
            await self._abandon()
        try:
            await asyncio.gather(*(intake.stop(commit=commit) for intake in self._intakes))
        finally:
            await self._abandon()
            await self._outbox.stop()
            if self._sender is not None:
                await self._sender.close()

    def _intake(self, name: str, member: str, topics: list[str], max_wait_ms: int) -> Intake:
        intake = Intake(
            bootstrap=self._config.kafka.bootstrap,
            group=f"{self._config.kafka.prefix}-{name}",
            member=member,
            topics=topics,
            window=self._config.delivery.window,
            session_timeout=self._config.kafka.session_timeout,
            handler=self._handle,
            release=self._release,
            changed=self._changed,
            max_wait_ms=max_wait_ms,
        )
        self._ordering.read_by(intake, topics, new=topics == [self._topics.deliveries.name])
        return intake

    # What happens to a record: at once to its lane, or when it is due, or to the dead letters.

    def _handle(self, entry: Entry) -> None:
        value = entry.value or b""
        if len(value) > MAX_DELIVERY_BYTES + 4096:
            self._bury(entry, "too_large", f"a record of {len(value)} bytes", None)
            return
        try:
            delivery = _decode(value)
        except msgspec.MsgspecError as error:
            self._bury(entry, "unreadable", f"not a delivery: {error}", None, raw=value)
            return
        if delivery.endpoint not in self._routes:
            self._bury(entry, "unknown_endpoint", "no such endpoint in the configuration", delivery)
            return
        entry.data = delivery
        try:
            taken_in = self._ordering.arrived(entry)
        except ValueError as error:
            self._bury(entry, "unreadable", f"not in order: {error}", delivery)
            return
        if not taken_in:
            self._bury(entry, "overflow", "too many are outstanding at the endpoint to keep more in order", delivery)
        elif delivery.due_at is not None and delivery.due_at > self._clock():
            held_until = self._records.held_until(entry.partition.tp.topic, entry.written_at)
            self._waiting.add(min(delivery.due_at, held_until), entry)
        else:
            self._enter(entry)

    def _due(self, entry: Entry) -> None:
        """It has waited here for as long as it is to, or as it may."""
        if not entry.live:
            return
        delivery: Delivery = entry.data
        left = 0.0 if delivery.due_at is None else (delivery.due_at - self._clock()).total_seconds()
        if left > 0:
            self._errands.run(self._park(entry, left))
        else:
            self._enter(entry)

    def _enter(self, entry: Entry) -> None:
        delivery: Delivery = entry.data
        route = self._routes[delivery.endpoint]
        if not self._ordering.may_go(entry):
            self._ordering.wait(entry)
        elif route.circuit.shut:
            self._put_off(entry, route.circuit.wait())
        elif not route.offer(entry, first=delivery.due_at is None):
            self._put_off(entry, route.spill_wait())

    def _put_off(self, entry: Entry, wait: float | None) -> None:
        """There is no place for it, its endpoint is left alone, or its turn has not come. That is no attempt."""
        endpoint = entry.data.endpoint
        self._metrics.spilled(endpoint)
        self._errands.run(self._park(entry, self._routes[endpoint].schedule.park() if wait is None else wait))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(PATIENCE / 4)
            for route in self._routes.values():
                for entry in route.lane.overdue():
                    if entry.live:
                        self._put_off(entry, route.spill_wait())
            self._ordering.sweep()

    async def _attempt(self, route: Route, entry: Entry) -> None:
        """Make an attempt and write what came of it; the entry is done when that is written."""
        if not entry.live or self._sender is None:
            return
        if not self._ordering.may_go(entry):
            # The partition may have been lost and found again meanwhile.
            self._ordering.wait(entry)
            return
        leave = route.circuit.admit()
        if leave is None:
            self._put_off(entry, route.circuit.wait())
            return
        result: Result | None = None
        try:
            with self._metrics.in_flight.track_inprogress():
                result = await self._sender.send(route.target, entry.data)
        finally:
            if result is None:
                route.circuit.abandoned(leave)
        self._metrics.attempt(result.attempt)
        self._learn(route, leave, delivered=result.delivered)
        verdict = self._records.verdict(entry.data, result, route.schedule)
        if verdict.given_up is not None:
            self._metrics.dead_letter(verdict.given_up)
            _log.warning(
                "a delivery was given up",
                endpoint=entry.data.endpoint,
                delivery=entry.data.id,
                reason=verdict.given_up,
            )
        try:
            attempt = await self._outbox.enqueue(*self._records.attempt(result))
            moved = None if verdict.record is None else await self._outbox.enqueue(*verdict.record)
        except Exception as error:  # noqa: BLE001 - handed to run(), which ends the worker with it
            self._fail(error)
            return
        written = [attempt] if moved is None else [attempt, moved]
        self._errands.after(written, lambda: self._done(entry, None if moved is None else moved.result(), verdict.wait))

    def _done(self, entry: Entry, moved_to: Any = None, wait: float | None = None) -> None:
        """All is written of the entry; where it was moved, it waits for so many seconds."""
        if wait is not None:
            self._ordering.parked(entry, moved_to.topic, moved_to.partition, moved_to.offset, wait)
        entry.done()
        self._ordering.done(entry)

    def _learn(self, route: Route, leave: Pass, *, delivered: bool) -> None:
        """Tell the circuit of an attempt's outcome; what waits behind a circuit that opens is parked."""
        endpoint, circuit = route.target.endpoint.id, route.circuit
        before = circuit.is_open
        if delivered:
            circuit.succeeded()
        else:
            circuit.failed(leave)
        if circuit.is_open == before:
            return
        self._metrics.circuit(endpoint, is_open=circuit.is_open)
        if circuit.is_open:
            _log.warning("an endpoint fails and is left alone", endpoint=endpoint)
            for entry in route.lane.withdraw(lambda one: one.live):
                self._put_off(entry, circuit.wait())
        else:
            _log.info("an endpoint that failed is well again", endpoint=endpoint)

    async def _park(self, entry: Entry, wait: float) -> None:
        delivery: Delivery = entry.data
        record = self._records.parked(delivery, self._routes[delivery.endpoint].schedule, wait)
        self._done(entry, await (await self._outbox.enqueue(*record)), wait)

    def _bury(self, entry: Entry, code: str, reason: str, delivery: Delivery | None, raw: bytes | None = None) -> None:
        self._metrics.dead_letter(code)
        _log.warning("a record was given up", topic=entry.partition.tp.topic, offset=entry.offset, reason=code)
        record = self._records.dead_letter(reason, delivery, raw)

        async def write() -> None:
            await self._outbox.send(*record)
            self._done(entry)

        self._errands.run(write())

    def _changed(self) -> None:
        """We own other partitions, and another worker may have sent to their endpoints."""
        self._ordering.changed()
        for route in self._routes.values():
            if route.pace is not None:
                route.pace.used()

    # What ends the work.

    async def _release(self, entries: list[Entry]) -> None:
        """End the work on entries that are no longer ours: attempts may finish for a while, the rest is left or parked.

        Those that keep a finished one from being committed are parked: it would be delivered twice otherwise.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._grace
        mine = set(entries)
        # From here on none of them is begun.
        self._waiting.withdraw(mine.__contains__)
        self._ordering.withdraw(mine.__contains__)
        for route in self._routes.values():
            route.lane.withdraw(mine.__contains__)
        attempts = [task for route in self._routes.values() for task in route.lane.tasks(mine.__contains__)]
        if attempts:
            _, late = await asyncio.wait(attempts, timeout=self._grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        # Usually a few milliseconds; longer only where the brokers do not answer.
        left = max(deadline - loop.time(), _LEAST_GRACE)
        await self._errands.wait(left)
        # What attempts have handed over counts once it is written.
        await self._outbox.flush(left)
        await self._park_blockers({entry.partition for entry in entries})

    async def _park_blockers(self, partitions: set[Partition]) -> None:
        now = self._clock()
        parked: list[asyncio.Task[None]] = []
        for partition in partitions:
            for offset in partition.tracker.blockers():
                entry = partition.entries[offset]
                if entry.data is not None:
                    wait = max(((entry.data.due_at or now) - now).total_seconds(), 0.0)
                    parked.append(asyncio.create_task(self._park(entry, wait)))
        if not parked:
            return
        _, late = await asyncio.wait(parked, timeout=_LEAST_GRACE)
        for task in late:
            task.cancel()
        # An error here leaves offsets uncommitted, no more: what is not parked is read again.
        for error in await asyncio.gather(*parked, return_exceptions=True):
            if isinstance(error, Exception):
                _log.warning("a delivery was not parked", kind=type(error).__name__)

    async def _abandon(self) -> None:
        """Drop whatever is under way."""
        self._waiting.withdraw(lambda _: True)
        await self._ordering.stop()
        tasks = self._errands.cancel()
        for route in self._routes.values():
            route.lane.withdraw(lambda _: True)
            tasks += route.lane.tasks(lambda _: True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fail(self, error: BaseException) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)
