"""Reads records through a consumer group, keeps track of what is done with each, and commits what may be committed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from gateway.runtime.kafka import METADATA_AGE_MS, stop_consumer
from gateway.runtime.tracing import traceparent_of
from streams.delivery.offsets import OffsetTracker

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

COMMIT_INTERVAL = 0.25  # seconds; what a crash makes be delivered twice
_COMMIT_TIMEOUT = 5.0  # seconds; aiokafka would try for as long as the brokers are away
_POLL_MS = 500  # only how soon a stop is seen: records end the wait
# How soon it is seen that there is place again in a partition that was left aside: a window lasts longer.
_HELD_MS = 10
_NONE = TopicPartition("", 0)  # asked for, it brings nothing; to ask for no partition is to ask for all
# Records that are begun in one turn of the event loop, so that no more is under way than the loop keeps up with. A backlog
# begun at once makes each attempt take as long as all of them: lanes then look too slow, and spill what only waits for us.
_SLICE = 4


class Partition:
    """One assigned partition: what was read of it and is not done."""

    def __init__(self, tp: TopicPartition, window: int) -> None:
        self.tp = tp
        self.tracker = OffsetTracker(window)
        self.overflow: deque[Any] = deque()
        self.entries: dict[int, Entry] = {}
        self.committed: int | None = None
        self.held = False
        self.revoked = False


class Entry:
    """A record that is being worked on. `written_at` is what its producer claims (Unix s); `data` is its handler's own."""

    __slots__ = ("_intake", "data", "offset", "partition", "traceparent", "value", "written_at")

    def __init__(self, intake: Intake, partition: Partition, record: ConsumerRecord) -> None:
        self._intake = intake
        self.partition = partition
        self.offset: int = record.offset
        self.value: bytes | None = record.value
        self.written_at: float = record.timestamp / 1000
        self.traceparent = traceparent_of(record.headers)
        self.data: Any = None

    @property
    def live(self) -> bool:
        """Whether it is still ours to work on and not done."""
        return not self.partition.revoked and self.offset in self.partition.entries

    def done(self) -> None:
        """It is dealt with, or parked where it will be taken up again: its offset may be committed."""
        if self.live:
            self._intake.finished(self)


Handler = Callable[[Entry], None]
# Gets the unfinished entries of partitions that are taken away or given up; afterwards those are committed.
Release = Callable[[list[Entry]], Awaitable[None]]


class Intake:
    """A consumer that finishes records in any order, within a window for each partition.

    Offsets are committed four times a second, and when partitions are taken away or the intake stops. Only a partition whose
    whole window is unfinished is left aside: what was fetched of it waits in the consumer. It is not paused, for aiokafka
    throws away what it has of a partition that is, and asks for it again only once the answer for all others is there.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        group: str,
        member: str,
        topics: Sequence[str],
        window: int,
        session_timeout: float,
        handler: Handler,
        release: Release,
        changed: Callable[[], None],
        max_wait_ms: int,
        min_bytes: int = 1,
        security: Mapping[str, Any] | None = None,
    ) -> None:
        """Take what to read and who works on it.

        Args:
            bootstrap: `host:port,…`
            group: The consumer group.
            member: A name in the group that no other has, of one length with theirs. Partitions are dealt out in its
                order, so members with the same names in two groups have the same partitions of both groups' topics.
            topics: What is read.
            window: Records of a partition that may be unfinished.
            session_timeout: Seconds after which the group takes a silent member for dead.
            handler: Begins the work on an entry; must not block, raise, or call the entry's `done` at once.
            release: Ends the work on entries that are no longer ours.
            changed: Called when `owned` has changed. What came may have been another's until now, and nothing is read
                of it yet; the work on what went is about to be ended.
            max_wait_ms: For how long the broker holds an empty answer back.
            min_bytes: What the broker waits for within `max_wait_ms`: with more than one, records come in lots.
            security: What aiokafka needs besides to be let in.
        """
        self._bootstrap = bootstrap
        self._security = security or {}
        self._group = group
        self._member = member
        self._topics = tuple(topics)
        self._window = window
        self._session_timeout = session_timeout
        self._handler = handler
        self._release = release
        self._changed = changed
        self.owned: frozenset[TopicPartition] = frozenset()
        self._max_wait_ms = max_wait_ms
        self._min_bytes = min_bytes
        self._partitions: dict[TopicPartition, Partition] = {}
        self._consumer: AIOKafkaConsumer | None = None
        # Revocation and the timer must not commit across each other.
        self._committing = asyncio.Lock()
        self.assigned = asyncio.Event()
        self._failure: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Join the group.

        Raises:
            KafkaError: No broker can be reached.
        """
        self._failure = asyncio.get_running_loop().create_future()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap.split(","),
            **self._security,
            group_id=self._group,
            # The broker makes the member's id of it, and the assignor goes by that.
            client_id=f"{self._member}-{self._group}",
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=self._window,
            metadata_max_age_ms=METADATA_AGE_MS,
            fetch_max_wait_ms=self._max_wait_ms,
            fetch_min_bytes=self._min_bytes,
            session_timeout_ms=int(self._session_timeout * 1000),
            heartbeat_interval_ms=int(self._session_timeout * 1000 / 5),
            partition_assignment_strategy=[RangePartitionAssignor],
        )
        consumer.subscribe(self._topics, listener=_Listener(self))
        try:
            await consumer.start()
        except BaseException:
            await stop_consumer(consumer)
            raise
        self._consumer = consumer

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            KafkaError: Reading cannot go on.
            Exception: What `release` raised.
        """
        consumer, failure = self._consumer, self._failure
        if consumer is None or failure is None:
            raise RuntimeError("the intake is not started")
        jobs = [asyncio.create_task(self._read(consumer)), asyncio.create_task(self._commit_regularly())]
        try:
            await asyncio.wait([*jobs, failure], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for job in jobs:
                job.cancel()
            results = await asyncio.gather(*jobs, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result
        failure.result()

    async def stop(self, *, commit: bool = True) -> None:
        """Give up what is unfinished, commit what may be, and leave the group. `run` must have ended.

        Without `commit` nothing more is committed, as after a crash.
        """
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        self._own(())
        try:
            if commit:
                await self._give_up(consumer, list(self._partitions))
        finally:
            self._partitions.clear()
            await stop_consumer(consumer)

    def finished(self, entry: Entry) -> None:
        """The entry is done: begin what waited for its place in the window."""
        partition = entry.partition
        del partition.entries[entry.offset]
        partition.tracker.done(entry.offset)
        if partition.held:
            self._begin(partition, 1)
            self._hold(partition)

    def begun(self, tp: TopicPartition) -> int:
        """The offset of the last record that was begun of a partition; -1 where none was since it became ours."""
        partition = self._partitions.get(tp)
        return -1 if partition is None else partition.tracker.last

    def entries(self) -> list[Entry]:
        """What is begun and not done."""
        return [entry for partition in self._partitions.values() for entry in partition.entries.values()]

    def blockers(self) -> list[Entry]:
        """What keeps something that is done from being committed."""
        return [
            partition.entries[offset]
            for partition in self._partitions.values()
            for offset in partition.tracker.blockers()
        ]

    def works_on(self, tp: TopicPartition, offset: int) -> bool:
        """Whether a record is begun and not done."""
        partition = self._partitions.get(tp)
        return partition is not None and offset in partition.entries

    async def committed(self, tp: TopicPartition) -> int | None:
        """The offset that the group has committed for a partition that is owned; None where it has none.

        Raises:
            KafkaError: It could not be asked.
        """
        if self._consumer is None:
            raise RuntimeError("the intake is not started")
        offset: int | None = await self._consumer.committed(tp)
        return offset

    async def read_up_to(self, tp: TopicPartition) -> int:
        """The offset of the next record to be begun of a partition that is owned, or of where it will be written.

        Raises:
            KafkaError: It is not owned any more.
        """
        if self._consumer is None:
            raise RuntimeError("the intake is not started")
        position: int = await self._consumer.position(tp)
        partition = self._partitions.get(tp)
        return partition.overflow[0].offset if partition is not None and partition.overflow else position

    def partitions(self) -> int | None:
        """How many partitions are owned; None while the group has not decided."""
        return len(self.owned) if self.assigned.is_set() else None

    async def backlog(self) -> dict[str, int]:
        """How many records of each topic are not dealt with, of the partitions that are owned.

        Raises:
            KafkaError: The brokers did not say, or the partitions were taken away meanwhile.
        """
        consumer, found = self._consumer, dict.fromkeys(self._topics, 0)
        if consumer is None or not self.owned:
            return found
        for tp, end in (await consumer.end_offsets(list(self.owned))).items():
            position: int = await consumer.position(tp)
            partition = self._partitions.get(tp)
            taken = 0 if partition is None else len(partition.tracker) + len(partition.overflow)
            # The two were asked one after the other: what was written in between may be read already.
            found[tp.topic] += max(end - position, 0) + taken
        return found

    def _own(self, tps: Iterable[TopicPartition]) -> None:
        self.owned = frozenset(tps)
        self._changed()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for tp, records in (await self._more(consumer)).items():
                self._partition(tp).overflow.extend(records)
            while ready := [one for one in self._partitions.values() if one.overflow and not one.tracker.full]:
                for partition in ready:
                    self._begin(partition, 1 if partition.tracker.half_full else max(1, _SLICE // len(ready)))
                await asyncio.sleep(0)
            for partition in self._partitions.values():
                self._hold(partition)

    async def _more(self, consumer: AIOKafkaConsumer) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        """What there is next of all partitions but those that are held."""
        held = {one.tp for one in self._partitions.values() if one.held}
        # Also where all are held: who does not ask for five minutes is taken out of the group.
        asked, wait = (self.owned - held or {_NONE}, _HELD_MS) if held else ((), _POLL_MS)
        found: Mapping[TopicPartition, Sequence[ConsumerRecord]] = await consumer.getmany(*asked, timeout_ms=wait)
        return found

    def _partition(self, tp: TopicPartition) -> Partition:
        found = self._partitions.get(tp)
        if found is None:
            found = self._partitions[tp] = Partition(tp, self._window)
        return found

    def _begin(self, partition: Partition, most: int) -> None:
        tracker, overflow = partition.tracker, partition.overflow
        while most and overflow and not tracker.full:
            most -= 1
            record = overflow.popleft()
            tracker.begin(record.offset)
            entry = partition.entries[record.offset] = Entry(self, partition, record)
            self._handler(entry)

    def _hold(self, partition: Partition) -> None:
        """Leave a partition aside while it has no place for more; what is done there begins the next."""
        partition.held = partition.tracker.full or bool(partition.overflow)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_INTERVAL)
            if self._consumer is not None:
                await self._commit(self._consumer, list(self._partitions))

    async def _commit(self, consumer: AIOKafkaConsumer, tps: Iterable[TopicPartition]) -> None:
        async with self._committing:
            offsets: dict[TopicPartition, int] = {}
            for tp in tps:
                partition = self._partitions.get(tp)
                offset = partition.tracker.committable() if partition else None
                if partition is not None and offset is not None and offset != partition.committed:
                    offsets[tp] = offset
            if not offsets:
                return
            try:
                async with asyncio.timeout(_COMMIT_TIMEOUT):
                    await consumer.commit(offsets)
            except (KafkaError, TimeoutError) as error:
                # The next commit says the same and more. If the partitions went to another member, what we did is done
                # again there: at least once.
                _log.warning("offsets were not committed", group=self._group, kind=type(error).__name__)
                return
            for tp, offset in offsets.items():
                if tp in self._partitions:
                    self._partitions[tp].committed = offset

    async def _give_up(self, consumer: AIOKafkaConsumer, tps: Iterable[TopicPartition]) -> None:
        given_up = [self._partitions[tp] for tp in tps if tp in self._partitions]
        for partition in given_up:
            partition.overflow.clear()
        await self._release([entry for partition in given_up for entry in list(partition.entries.values())])
        await self._commit(consumer, [partition.tp for partition in given_up])
        for partition in given_up:
            partition.revoked = True
            self._partitions.pop(partition.tp, None)

    def on_assigned(self, tps: Iterable[TopicPartition]) -> None:
        """The group has given this member its partitions."""
        self._own(tps)
        self.assigned.set()

    async def on_revoked(self, tps: Iterable[TopicPartition]) -> None:
        """The group takes partitions away: end the work on them and commit before another member begins."""
        if self._consumer is None:
            return
        self.assigned.clear()
        self._own(self.owned.difference(tps))
        try:
            await self._give_up(self._consumer, tps)
        except Exception as error:
            # aiokafka logs what a listener raises and goes on; we must not.
            if self._failure is not None and not self._failure.done():
                self._failure.set_exception(error)
            raise


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._intake.on_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._intake.on_assigned(assigned)
