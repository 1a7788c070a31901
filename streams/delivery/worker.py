"""The delivery worker: takes deliveries from Kafka, attempts each, and sees to what becomes of it."""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog

from gateway.config import Config
from gateway.contract.deliveries import RETRY_DELAYS, DeadLetter, Delivery
from gateway.contract.topics import Topics
from streams.delivery.addresses import AddressPolicy
from streams.delivery.attempt import Result, Sender
from streams.delivery.errors import WorkerError
from streams.delivery.intake import Entry, Intake, Partition
from streams.delivery.lanes import Lane
from streams.delivery.retries import Schedule
from streams.delivery.targets import Target, targets_of
from streams.metrics import StreamsMetrics
from streams.outbox import MAX_DELIVERY_BYTES, Outbox

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Seconds a delivery may wait in its lane before it is put off: what a hanging endpoint can hold up its neighbours on
# the same partition.
PATIENCE = 1.0
# Seconds that attempts under way get to finish when their partitions are taken away, or the worker stops. An attempt
# that is cut off may have been received, and is made again.
REVOKE_GRACE = 1.0
STOP_GRACE = 5.0
# Seconds that the brokers get in any case to take what is left.
_LEAST_GRACE = 1.0
# Attempts' records are written in batches; nothing waits for them but the offset.
_LINGER_MS = 5

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Delivery).decode


class DeliveryWorker:
    """Delivers at least once, under one webhook-id for all attempts of a delivery.

    A record's offset is committed only when what became of it is written: the attempt, and the retry or the dead
    letter where there is one. New deliveries and retries are read by two consumers, so that the hundred partitions of
    the retry topics cost the new ones nothing.
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
        self._schedule = Schedule(delays, rng)
        self._topics = Topics(config.kafka.prefix, delays)
        self._targets = targets_of(config.endpoints)
        self._policy = AddressPolicy(config.delivery.allow_networks)
        self._lanes: dict[str, Lane[Entry]] = {}
        self._due: list[tuple[datetime, int, Entry]] = []
        self._order = itertools.count()
        self._alarm: asyncio.TimerHandle | None = None
        self._errands: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] | None = None
        self._grace = REVOKE_GRACE
        self._outbox = Outbox(config.kafka.bootstrap, f"{config.kafka.prefix}-webhook-delivery", linger_ms=_LINGER_MS)
        self._sender: Sender | None = None
        self._intakes = [
            self._intake("webhook-delivery", [self._topics.deliveries.name], max_wait_ms=100),
            self._intake("webhook-retries", [topic.name for topic in self._topics.retries.values()], max_wait_ms=500),
        ]

    async def start(self) -> None:
        """Connect and join the groups.

        Raises:
            KafkaError: No broker can be reached.
        """
        loop = asyncio.get_running_loop()
        self._failure = loop.create_future()
        self._sender = Sender(self._policy, self._clock)
        for endpoint_id, target in self._targets.items():
            self._lanes[endpoint_id] = Lane(
                functools.partial(self._attempt, target),
                concurrency=target.endpoint.concurrency,
                # Half a window, so that one lane never fills the partition that it shares.
                capacity=max(1, self._config.delivery.window // 2),
                patience=PATIENCE,
                clock=loop.time,
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

    def _intake(self, name: str, topics: list[str], max_wait_ms: int) -> Intake:
        return Intake(
            bootstrap=self._config.kafka.bootstrap,
            group=f"{self._config.kafka.prefix}-{name}",
            topics=topics,
            window=self._config.delivery.window,
            session_timeout=self._config.kafka.session_timeout,
            handler=self._handle,
            release=self._release,
            max_wait_ms=max_wait_ms,
        )

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
        if delivery.endpoint not in self._targets:
            self._bury(entry, "unknown_endpoint", "no such endpoint in the configuration", delivery)
            return
        entry.data = delivery
        if delivery.due_at is not None and delivery.due_at > self._clock():
            heapq.heappush(self._due, (delivery.due_at, next(self._order), entry))
            self._set_alarm()
        else:
            self._enter(entry)

    def _enter(self, entry: Entry) -> None:
        delivery: Delivery = entry.data
        if not self._lanes[delivery.endpoint].offer(entry):
            self._spill(entry)

    def _spill(self, entry: Entry) -> None:
        """No place in the lane, which is no attempt: it goes to the end of the shortest queue there is."""
        delivery: Delivery = entry.data
        self._metrics.spilled(delivery.endpoint)
        self._errand(self._park(entry, delivery, self._schedule.park()))

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._due:
            # Looked at once a second at least, for the wall clock may be set.
            wait = min(max((self._due[0][0] - self._clock()).total_seconds(), 0.0), 1.0)
            self._alarm = asyncio.get_running_loop().call_later(wait, self._ring)

    def _ring(self) -> None:
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            entry = heapq.heappop(self._due)[2]
            if entry.live:
                self._enter(entry)
        self._set_alarm()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(PATIENCE / 4)
            for lane in self._lanes.values():
                for entry in lane.overdue():
                    if entry.live:
                        self._spill(entry)

    async def _attempt(self, target: Target, entry: Entry) -> None:
        """Make an attempt and write what came of it; the entry is done when that is written."""
        if not entry.live or self._sender is None:
            return
        with self._metrics.in_flight.track_inprogress():
            result = await self._sender.send(target, entry.data)
        self._metrics.attempt(result.attempt)
        try:
            written = [await self._outbox.enqueue(*record) for record in self._records(entry.data, result)]
        except Exception as error:  # noqa: BLE001 - handed to run(), which ends the worker with it
            self._fail(error)
            return
        left = len(written)

        def one_written(future: asyncio.Future[Any]) -> None:
            nonlocal left
            if future.cancelled():
                return
            error = future.exception()
            if error is not None:
                self._fail(error)
                return
            left -= 1
            if not left:
                entry.done()

        for future in written:
            future.add_done_callback(one_written)

    def _records(self, delivery: Delivery, result: Result) -> list[tuple[str, bytes, bytes]]:
        """What is written after an attempt: topic, key, value."""
        key = delivery.endpoint.encode()
        records = [(self._topics.attempts.name, key, _encode(result.attempt))]
        if result.delivered:
            return records
        counted = msgspec.structs.replace(delivery, attempts=delivery.attempts + 1)
        wait = None if result.gone else self._schedule.wait(counted.attempts, result.retry_after)
        if wait is not None:
            records.append(self._parked(counted, wait))
            return records
        code = "gone" if result.gone else "expired"
        why = "the endpoint is gone (410)" if result.gone else f"not delivered in {counted.attempts} attempts"
        self._metrics.dead_letter(code)
        _log.warning("a delivery was given up", endpoint=delivery.endpoint, delivery=delivery.id, reason=code)
        letter = DeadLetter(at=self._clock(), reason=f"{why}; last: {result.attempt.error}", delivery=counted)
        records.append((self._topics.dead_letters.name, key, _encode(letter)))
        return records

    def _parked(self, delivery: Delivery, wait: float) -> tuple[str, bytes, bytes]:
        due = msgspec.structs.replace(delivery, due_at=self._clock() + timedelta(seconds=wait))
        topic = self._topics.retries[self._schedule.topic_delay(wait)].name
        return topic, delivery.endpoint.encode(), _encode(due)

    async def _park(self, entry: Entry, delivery: Delivery, wait: float) -> None:
        await self._outbox.send(*self._parked(delivery, wait))
        entry.done()

    def _bury(self, entry: Entry, code: str, reason: str, delivery: Delivery | None, raw: bytes | None = None) -> None:
        self._metrics.dead_letter(code)
        _log.warning("a record was given up", topic=entry.partition.tp.topic, offset=entry.offset, reason=code)
        letter = DeadLetter(at=self._clock(), reason=reason, delivery=delivery, raw=raw)
        if len(_encode(letter)) > MAX_DELIVERY_BYTES + 8192:
            # base64 makes it a third larger than what was read.
            letter = DeadLetter(at=letter.at, reason=f"{reason}; too large to be kept", delivery=None)
        key = None if delivery is None else delivery.endpoint.encode()

        async def write() -> None:
            await self._outbox.send(self._topics.dead_letters.name, key, _encode(letter))
            entry.done()

        self._errand(write())

    # What ends the work.

    async def _release(self, entries: list[Entry]) -> None:
        """End the work on entries that are no longer ours: attempts may finish for a while, the rest is left or parked.

        Those that keep a finished one from being committed are parked: it would be delivered twice otherwise.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._grace
        mine = set(entries)
        # From here on none of them is begun.
        self._due = [item for item in self._due if item[2] not in mine]
        heapq.heapify(self._due)
        for lane in self._lanes.values():
            lane.withdraw(mine.__contains__)
        attempts = [task for lane in self._lanes.values() for task in lane.tasks(mine.__contains__)]
        if attempts:
            _, late = await asyncio.wait(attempts, timeout=self._grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        # Usually a few milliseconds; longer only where the brokers do not answer.
        left = max(deadline - loop.time(), _LEAST_GRACE)
        if self._errands:
            await asyncio.wait(self._errands, timeout=left)
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
                    parked.append(asyncio.create_task(self._park(entry, entry.data, wait)))
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
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._due.clear()
        for lane in self._lanes.values():
            lane.withdraw(lambda _: True)
        tasks = [*self._errands, *(task for lane in self._lanes.values() for task in lane.tasks(lambda _: True))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _errand(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._errands.add(task)
        task.add_done_callback(self._errand_done)

    def _errand_done(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)
