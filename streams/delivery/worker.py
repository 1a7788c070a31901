"""The delivery worker: takes deliveries from Kafka, attempts each, and sees to what becomes of it."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.config import Config
from gateway.contract.deliveries import RETRY_DELAYS, Delivery
from gateway.contract.endpoints import Endpoint, EndpointStatus
from gateway.contract.topics import Topics
from gateway.runtime.sealing import Seals
from gateway.runtime.security import security_settings
from gateway.runtime.tracing import NO_TRACES, Traces, trace_headers
from streams.delivery import telling
from streams.delivery.addresses import AddressPolicy
from streams.delivery.attempt import Result, Sender
from streams.delivery.ending import STOP_GRACE, Ending
from streams.delivery.errands import Errands
from streams.delivery.errors import WorkerError
from streams.delivery.gate import Gate
from streams.delivery.intake import Entry, Intake
from streams.delivery.ordering import Ordering
from streams.delivery.proxying import proxy_of
from streams.delivery.records import Records
from streams.delivery.relief import relieve
from streams.delivery.retries import Schedule
from streams.delivery.routes import PATIENCE, Route, Routes
from streams.delivery.standing import Standing
from streams.delivery.targets import target_of, targets_of
from streams.delivery.waiting import Waiting
from streams.metrics import StreamsMetrics
from streams.outbox import MAX_DELIVERY_BYTES, Outbox

# Attempts' records are written in batches; nothing waits for them but the offset.
_LINGER_MS = 20
# More than the retry topics are given in half a second, the longest that the broker waits.
_RETRIES_BYTES = 1 << 20

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
        traces: Traces = NO_TRACES,
    ) -> None:
        """Take the configuration, the figures to keep, and the delays between attempts (seconds; each has its topic).

        To be made within the running loop.

        Raises:
            ConfigError: A secret of an endpoint, or of the brokers, is not there or is not one.
        """
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._traces = traces
        self._topics = Topics(config.kafka.prefix, delays)
        self._records = Records(self._topics, clock)
        self._parking = Schedule(delays, rng)
        self._standing = Standing(
            [one.id for one in config.endpoints],
            disable_after=config.delivery.disable_after,
            clock=clock,
            rng=rng,
        )
        self._policy = AddressPolicy(config.delivery.allow_networks)
        self._proxy = proxy_of(config.delivery)
        self._routes = Routes(
            lambda target: Route(target, self._attempt, topics=delays, window=config.delivery.window, rng=rng)
        )
        self._read = Seals(config.delivery.sealing_keys).read
        allow_http = config.delivery.allow_http
        for target in targets_of(config.endpoints, clock, allow_http=allow_http, read=self._read).values():
            self._routes.put(target)
        self._under_way = 0
        metrics.show(
            lambda: [(route.target.endpoint.id, route.lane) for route in self._routes], lambda: self._under_way
        )
        self._waiting: Waiting[Entry] = Waiting(clock, self._due)
        self._errands = Errands(self._fail)
        self._failure: asyncio.Future[None] | None = None
        self._security = security_settings(config.kafka)
        self._outbox = Outbox(
            config.kafka.bootstrap,
            f"{config.kafka.prefix}-webhook-delivery",
            linger_ms=_LINGER_MS,
            security=self._security,
        )
        self._sender: Sender | None = None
        member = uuid.uuid4().hex
        self._ordering = Ordering(
            bootstrap=config.kafka.bootstrap,
            endpoints=[one.id for one in config.endpoints if one.ordering == "call"],
            enter=self._enter,
            put_off=self._put_off,
            fail=self._fail,
            clock=clock,
            security=self._security,
        )
        self._gate = Gate(
            routes=self._routes,
            standing=self._standing,
            ordering=self._ordering,
            waiting=self._waiting,
            put_off=self._put_off,
            bury=self._bury,
            metrics=metrics,
        )
        self._ending = Ending(
            routes=self._routes,
            ordering=self._ordering,
            waiting=self._waiting,
            errands=self._errands,
            outbox=self._outbox,
            park=self._park,
            clock=clock,
        )
        self._intakes = [
            self._intake("webhook-delivery", member, [self._topics.deliveries.name], max_wait_ms=30),
            # None is due within seconds. To ask for a hundred partitions as often as one has a record, which a hanging
            # endpoint makes dozens a second, was felt by all.
            self._intake(
                "webhook-retries",
                member,
                [topic.name for topic in self._topics.retries.values()],
                max_wait_ms=500,
                min_bytes=_RETRIES_BYTES,
            ),
        ]

    async def start(self) -> None:
        """Connect and join the groups.

        Raises:
            KafkaError: No broker can be reached.
        """
        self._failure = asyncio.get_running_loop().create_future()
        self._sender = Sender(self._policy, self._clock, proxy=self._proxy, traces=self._traces)
        await self._outbox.start()
        for intake in self._intakes:
            await intake.start()

    @property
    def intakes(self) -> Sequence[Intake]:
        """What it reads through: new deliveries, and retries."""
        return self._intakes

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
        jobs.append(asyncio.create_task(relieve(self._intakes, self._waiting, self._park_again)))
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
        self._ending.grace = STOP_GRACE
        if self._failure is not None and self._failure.done():
            # What was written is not certain; a restart does it again.
            commit = False
            _ = self._failure.exception()
        if not commit:
            await self._ending.abandon()
        try:
            await asyncio.gather(*(intake.stop(commit=commit) for intake in self._intakes))
        finally:
            await self._ending.abandon()
            await self._outbox.stop()
            if self._sender is not None:
                await self._sender.close()

    def _intake(self, name: str, member: str, topics: list[str], max_wait_ms: int, min_bytes: int = 1) -> Intake:
        intake = Intake(
            bootstrap=self._config.kafka.bootstrap,
            group=f"{self._config.kafka.prefix}-{name}",
            member=member,
            topics=topics,
            window=self._config.delivery.window,
            session_timeout=self._config.kafka.session_timeout,
            handler=self._handle,
            release=self._ending.release,
            changed=self._changed,
            max_wait_ms=max_wait_ms,
            min_bytes=min_bytes,
            security=self._security,
        )
        self._ordering.read_by(intake, topics, new=topics == [self._topics.deliveries.name])
        return intake

    def declare(self, endpoint: str, as_: Endpoint | None) -> None:
        """Deliver to an endpoint as it is from now on; None: to it no more, and what there is for it is given up.

        Attempts under way finish as they began; what waits goes where it now leads.

        Raises:
            ConfigError: It can't be reached as it says; what was there before stands.
        """
        target = None
        if as_ is not None:
            allow_http = self._config.delivery.allow_http
            target = target_of(as_, self._clock(), allow_http=allow_http, read=self._read)
        self._gate.declare(endpoint, target)

    def state(self, endpoint: str, status: EndpointStatus | None) -> None:
        """Heed how an endpoint stands from now on, by its topic; None: it is active and well."""
        change = self._gate.state(endpoint, status)
        for record in () if change is None else self._records.status(change):
            self._errands.run(self._outbox.send(*record))

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
        entry.data = delivery
        refusal = self._standing.refusal(delivery)
        if refusal is not None and refusal.code is not None:
            self._bury(entry, refusal.code, refusal.reason, delivery)
            return
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
        if self._left(entry) > 0:
            self._park_again(entry)
        else:
            self._enter(entry)

    def _left(self, entry: Entry) -> float:
        """Seconds until it is due."""
        due: datetime | None = entry.data.due_at
        return 0.0 if due is None else max((due - self._clock()).total_seconds(), 0.0)

    def _park_again(self, entry: Entry) -> None:
        """It waits elsewhere, for as long as before."""
        if entry.live:
            self._errands.run(self._park(entry, self._left(entry)))

    def _enter(self, entry: Entry) -> None:
        delivery: Delivery = entry.data
        route = self._routes.get(delivery.endpoint)
        if self._gate.turns_away(entry) or route is None:
            return
        if not self._ordering.may_go(entry):
            self._ordering.wait(entry)
        elif route.circuit.shut:
            self._put_off(entry, route.circuit.wait())
        elif not route.offer(entry, first=delivery.due_at is None):
            self._put_off(entry, route.spill_wait())

    def _put_off(self, entry: Entry, wait: float | None) -> None:
        """There is no place for it, its endpoint is left alone, or its turn has not come. That is no attempt."""
        self._metrics.spilled(entry.data.endpoint)
        self._errands.run(self._park(entry, self._parking.park() if wait is None else wait))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(PATIENCE / 4)
            for route in self._routes:
                for entry in route.lane.overdue():
                    if entry.live:
                        self._put_off(entry, route.spill_wait())
            self._ordering.sweep()

    async def _attempt(self, route: Route, entry: Entry) -> None:
        """Make an attempt and write what came of it; the entry is done when that is written."""
        if not entry.live or self._sender is None or self._gate.turns_away(entry):
            return
        if not self._ordering.may_go(entry):
            # The partition may have been lost and found again meanwhile.
            self._ordering.wait(entry)
            return
        # The route may change while the attempt is under way.
        circuit = route.circuit
        leave = circuit.admit()
        if leave is None:
            self._put_off(entry, circuit.wait())
            return
        result: Result | None = None
        self._under_way += 1
        try:
            result = await self._sender.send(route.target, entry.data, entry.traceparent)
        finally:
            self._under_way -= 1
            if result is None:
                circuit.abandoned(leave)
        self._metrics.attempt(result.attempt)
        if result.delivered:
            self._metrics.delivered(entry.data, self._clock())
        changes = self._gate.learn(route, circuit, leave, result)
        verdict = self._records.verdict(entry.data, result, route.schedule, self._standing.refusal(entry.data))
        if verdict.given_up is not None:
            self._metrics.dead_letter(verdict.given_up)
        if not result.delivered:
            telling.attempt_failed(entry.data, result.attempt, verdict.given_up)
        try:
            trace = trace_headers(entry.traceparent)
            attempt = await self._outbox.enqueue(*self._records.attempt(result))
            moved = None if verdict.record is None else await self._outbox.enqueue(*verdict.record, trace)
            written = [await self._outbox.enqueue(*one) for change in changes for one in self._records.status(change)]
        except Exception as error:  # noqa: BLE001 - handed to run(), which ends the worker with it
            self._fail(error)
            return
        written += [attempt] if moved is None else [attempt, moved]
        self._errands.after(written, lambda: self._done(entry, None if moved is None else moved.result(), verdict.wait))

    def _done(self, entry: Entry, moved_to: Any = None, wait: float | None = None) -> None:
        """All is written of the entry; where it was moved, it waits for so many seconds."""
        if wait is not None:
            self._ordering.parked(entry, moved_to.topic, moved_to.partition, moved_to.offset, wait)
        entry.done()
        self._ordering.done(entry)

    async def _park(self, entry: Entry, wait: float) -> None:
        delivery: Delivery = entry.data
        record = self._records.parked(delivery, self._parking, wait)
        written = await self._outbox.enqueue(*record, trace_headers(entry.traceparent))
        self._done(entry, await written, wait)

    def _bury(self, entry: Entry, code: str, reason: str, delivery: Delivery | None, raw: bytes | None = None) -> None:
        self._metrics.dead_letter(code)
        telling.record_given_up(entry.partition.tp.topic, entry.offset, code, delivery)
        record = self._records.dead_letter(reason, delivery, raw)

        async def write() -> None:
            await self._outbox.send(*record, trace_headers(entry.traceparent))
            self._done(entry)

        self._errands.run(write())

    def _changed(self) -> None:
        """We own other partitions, and another worker may have sent to their endpoints."""
        self._ordering.changed()
        for route in self._routes:
            if route.pace is not None:
                route.pace.used()

    def _fail(self, error: BaseException) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)
