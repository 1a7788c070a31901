"""Keeps a call's deliveries in order at endpoints that want it, whatever topics they wait on and whoever had them.

A delivery is attempted only by a worker that owns its partition of the deliveries' topic and of every retry topic, and
knows of all that is outstanding there. All of an endpoint's records have its id as their key, so that partition has the
same number on each topic, and nobody else can own all of it.

1. Whoever comes to own it reads each retry topic's partition from the committed offset to the end, and holds what is
   there to be outstanding. Nothing can be missing: what was written there was written before its old offset was
   committed. The deliveries' own topic has each call in order, so it is enough to have come to its end of that time
   before anything of a retry topic goes: what is earlier in the call was met by then.
2. What comes is held as it is read, and what is parked as it is acknowledged, before its old record is let go.
3. A delivery goes when nothing earlier of its call is outstanding. Otherwise it waits a moment here, then on a retry
   topic, behind what blocks it; so offsets go on.

A worker that has lost the partition and does not know yet can repeat, and leave a second record behind; the first is
still there, for it could not commit. What is repeated is the call's again from there on, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from gateway.contract.deliveries import Delivery
from gateway.contract.times import UtcTime
from gateway.runtime.kafka import stop_consumer
from streams.delivery.errands import Errands
from streams.delivery.intake import Entry, Intake
from streams.delivery.order import Call, Order, Place, Position
from streams.delivery.routes import PATIENCE

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Deliveries of an endpoint that may be outstanding: some 70 MB of memory. What comes beyond is given up.
MOST_OUTSTANDING = 100_000
# Seconds by which a delivery comes later than what it waits for, which then has usually been attempted.
_BEHIND = 1.0
_RETRY = 1.0  # seconds; when the brokers did not answer
_LEAVE = 5.0  # seconds that a consumer gets to disconnect at a stop
_LOOK = 0.1  # seconds; how often it is asked how far the new deliveries are read


class _Event(msgspec.Struct, frozen=True):
    sequence: str


class _Seen(msgspec.Struct, frozen=True):
    endpoint: str
    call_id: str
    event: _Event
    due_at: UtcTime | None = None


_event = msgspec.json.Decoder(_Event).decode
_seen = msgspec.json.Decoder(_Seen).decode


class Ordering:
    """Says of each delivery whether it may go, and keeps those that may not."""

    def __init__(
        self,
        *,
        bootstrap: str,
        endpoints: Collection[str],
        enter: Callable[[Entry], None],
        put_off: Callable[[Entry, float | None], None],
        fail: Callable[[BaseException], None],
        clock: Callable[[], datetime],
        security: Mapping[str, Any] | None = None,
    ) -> None:
        """Take what is to be kept in order and what becomes of it.

        Args:
            bootstrap: `host:port,…`
            endpoints: Those that want order.
            enter: Takes an entry that may go, or is to ask again.
            put_off: Parks an entry for so many seconds, None: for as short as possible.
            fail: Gets an error that ends the work.
            clock: The wall clock.
            security: What aiokafka needs besides to be let in.
        """
        self._bootstrap = bootstrap
        self._security = security or {}
        self._endpoints = set(endpoints)
        self._enter = enter
        self._put_off = put_off
        self._clock = clock
        self._order = Order()
        self._waiting: dict[Call, list[tuple[float, Entry]]] = {}
        # Partitions of which all that waits is known, and those where the new deliveries were met as well.
        self._ready: frozenset[int] = frozenset()
        self._met: set[int] = set()
        self._surveys = Errands(fail)
        self._survey: asyncio.Task[None] | None = None
        self._intakes: dict[str, Intake] = {}
        self._new: frozenset[str] = frozenset()

    def read_by(self, intake: Intake, topics: Sequence[str], *, new: bool) -> None:
        """These topics are read by this intake, and have new deliveries or retries; to be said before they are read."""
        self._intakes |= dict.fromkeys(topics, intake)
        if new:
            self._new |= frozenset(topics)

    def keeps(self, delivery: Delivery) -> bool:
        """Whether the delivery's endpoint wants order."""
        return delivery.endpoint in self._endpoints

    def keep(self, endpoint: str, *, kept: bool) -> None:
        """From now on an endpoint wants order, or does not.

        What is under way there goes on. What is outstanding has to be learnt first, as with partitions that are new.
        """
        if kept == (endpoint in self._endpoints):
            return
        if kept:
            self._endpoints.add(endpoint)
            for intake in {id(one): one for one in self._intakes.values()}.values():
                for entry in intake.entries():
                    if isinstance(entry.data, Delivery) and entry.data.endpoint == endpoint:
                        with suppress(ValueError):
                            self.arrived(entry)
            self.changed()
        else:
            self._endpoints.discard(endpoint)
            self._order.drop(endpoint)
            for call in [one for one in self._waiting if one.endpoint == endpoint]:
                self._wake(call)

    def arrived(self, entry: Entry) -> bool:
        """An entry was read; False if there is no place for it any more.

        Raises:
            ValueError: Its event has no sequence.
        """
        delivery: Delivery = entry.data
        if not self.keeps(delivery):
            return True
        try:
            sequence = int(_event(delivery.event).sequence)
        except msgspec.MsgspecError:
            raise ValueError("no sequence") from None
        place = Place(_call(delivery), sequence, delivery.due_at)
        known = self._order.count(delivery.endpoint)
        self._order.hold(_position(entry), place)
        return delivery.due_at is not None or known < MOST_OUTSTANDING

    def may_go(self, entry: Entry) -> bool:
        """Whether the entry may be attempted now."""
        if not self.keeps(entry.data):
            return True
        at = _position(entry)
        if at.partition not in (self._ready if at.topic in self._new else self._met):
            return False
        for other in self._order.earlier(at):
            if not self._outstanding(other):
                self._order.release(other)
        return not self._order.earlier(at)

    def wait(self, entry: Entry) -> None:
        """Keep an entry that may not go until what it waits for is done, or longer than is good for the others."""
        at = _position(entry)
        until = self._order.blocked_until(at) if self._order.place(at) else None
        left = 0.0 if until is None else (until - self._clock()).total_seconds()
        if left > PATIENCE:
            self._put_off(entry, left + _BEHIND)
        else:
            since = asyncio.get_running_loop().time()
            self._waiting.setdefault(_call(entry.data), []).append((since, entry))

    def sweep(self) -> None:
        """Put off what has waited here for too long; to be called several times a second."""
        latest = asyncio.get_running_loop().time() - PATIENCE
        late = {entry for waiting in self._waiting.values() for since, entry in waiting if since <= latest}
        if late:
            for entry in self.withdraw(late.__contains__):
                if entry.live:
                    self._put_off(entry, None)

    def parked(self, entry: Entry, topic: str, partition: int, offset: int, wait: float) -> None:
        """The entry's delivery was written to a topic, to wait there; before `done` of the entry."""
        tp = TopicPartition(topic, partition)
        intake = self._intakes.get(topic)
        # What was begun already is held by itself, or done.
        if not self.keeps(entry.data) or intake is None or tp not in intake.owned or offset <= intake.begun(tp):
            return
        at = _position(entry)
        if (place := self._order.place(at)) is not None:
            due = datetime.fromtimestamp(self._clock().timestamp() + wait, UTC)
            self._order.hold(Position(topic, partition, offset), Place(place.call, place.sequence, due))

    def done(self, entry: Entry) -> None:
        """The entry is done: what waited for it may go, or waits for something else."""
        if isinstance(entry.data, Delivery) and self.keeps(entry.data):
            call = self._order.release(_position(entry))
            if call is not None:
                self._wake(call)

    def withdraw(self, condition: Callable[[Entry], bool]) -> list[Entry]:
        """Give back the waiting entries for which the condition holds."""
        found: list[Entry] = []
        for call, waiting in list(self._waiting.items()):
            found += [entry for _, entry in waiting if condition(entry)]
            left = [one for one in waiting if not condition(one[1])]
            if left:
                self._waiting[call] = left
            else:
                del self._waiting[call]
        return found

    def changed(self) -> None:
        """What this worker owns has changed."""
        if not self._endpoints:
            return
        self._unknow()
        self._look_no_further()
        owned = {tp for intake in self._intakes.values() for tp in intake.owned}
        self._order.forget(lambda at: TopicPartition(at.topic, at.partition) not in owned)
        whole = [
            number
            for number in {tp.partition for tp in owned}
            if all(TopicPartition(topic, number) in owned for topic in self._intakes)
        ]
        if whole:
            self._survey = self._surveys.run(self._look(frozenset(whole)))

    async def stop(self) -> None:
        """Look no further."""
        self._unknow()
        self._waiting.clear()
        self._look_no_further()
        await self._surveys.wait(_LEAVE)

    def _look_no_further(self) -> None:
        # Cancelled once: it has a consumer to stop, and to cut that off would leave its connections open.
        if self._survey is not None:
            self._survey.cancel()
            self._survey = None

    def _unknow(self) -> None:
        self._ready = frozenset()
        self._met.clear()

    async def _look(self, numbers: frozenset[int]) -> None:
        """Learn what is outstanding in these partitions of all topics; then deliveries may go."""
        while True:
            try:
                async with self._reader() as consumer:
                    ends = await consumer.end_offsets(
                        [TopicPartition(topic, n) for topic in self._new for n in numbers]
                    )
                    await self._read(
                        consumer,
                        [
                            TopicPartition(topic, n)
                            for topic in self._intakes
                            for n in numbers
                            if topic not in self._new
                        ],
                    )
                self._ready = numbers
                self._wake_all()
                await self._meet(ends)
            except KafkaError as error:
                _log.warning("what is outstanding could not be read", kind=type(error).__name__)
                self._unknow()
                await asyncio.sleep(_RETRY)
            else:
                return

    async def _meet(self, ends: dict[TopicPartition, int]) -> None:
        """Let retries go where the new deliveries were read up to these offsets."""
        while ends:
            for tp, end in list(ends.items()):
                if await self._intakes[tp.topic].read_up_to(tp) >= end:
                    del ends[tp]
            met = self._ready - {tp.partition for tp in ends}
            if met - self._met:
                self._met |= met
                self._wake_all()
            if ends:
                await asyncio.sleep(_LOOK)
        _log.info("deliveries in order may go", partitions=len(self._ready), outstanding=len(self._order))

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap.split(","),
            **self._security,
            isolation_level="read_committed",
            fetch_max_wait_ms=100,
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            await stop_consumer(consumer)

    async def _read(self, consumer: AIOKafkaConsumer, tps: list[TopicPartition]) -> None:
        consumer.assign(tps)
        begins = await consumer.beginning_offsets(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            committed = await self._intakes[tp.topic].committed(tp)
            consumer.seek(tp, max(committed or 0, begins[tp]))
        left = set(tps)
        while left:
            for tp in list(left):
                if await consumer.position(tp) >= ends[tp]:
                    left.discard(tp)
                    consumer.pause(tp)
            if left:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        self._saw(record)

    def _saw(self, record: ConsumerRecord) -> None:
        tp = TopicPartition(record.topic, record.partition)
        if record.offset <= self._intakes[tp.topic].begun(tp):
            return
        try:
            seen = _seen(record.value or b"")
            sequence = int(seen.event.sequence)
        except (msgspec.MsgspecError, ValueError):
            # No delivery. The intake will meet it and give it up.
            return
        if seen.endpoint in self._endpoints:
            at = Position(record.topic, record.partition, record.offset)
            self._order.hold(at, Place(Call(seen.endpoint, seen.call_id), sequence, seen.due_at))

    def _outstanding(self, at: Position) -> bool:
        """Whether the intake will come to this record, or works on it. It passes over what retention has deleted."""
        tp, intake = TopicPartition(at.topic, at.partition), self._intakes[at.topic]
        return at.offset > intake.begun(tp) or intake.works_on(tp, at.offset)

    def _wake_all(self) -> None:
        for call in list(self._waiting):
            self._wake(call)

    def _wake(self, call: Call) -> None:
        for _, entry in self._waiting.pop(call, ()):
            if entry.live:
                self._enter(entry)


def _position(entry: Entry) -> Position:
    tp = entry.partition.tp
    return Position(tp.topic, tp.partition, entry.offset)


def _call(delivery: Delivery) -> Call:
    return Call(delivery.endpoint, delivery.call_id)
