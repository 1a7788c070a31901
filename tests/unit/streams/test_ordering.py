"""Order kept over what an intake reads: without a broker, for what no broker does when asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from aiokafka import ConsumerRecord, TopicPartition

from gateway.contract.endpoints import Endpoint
from streams.delivery.intake import Entry, Intake, Partition
from streams.delivery.ordering import Ordering
from streams.fanout import expand
from tests.support.webhooks import call_event

NOW = datetime(2026, 11, 25, tzinfo=UTC)
ENDPOINT = Endpoint(id="e", url="http://unused/", secrets=("env:S",), ordering="call")
RETRIES, DELIVERIES = TopicPartition("retries", 0), TopicPartition("deliveries", 0)


@dataclass
class Read:
    """As much of an intake as says what was read."""

    owned: frozenset[TopicPartition]
    at: int = -1
    working_on: set[int] = field(default_factory=set)

    def begun(self, tp: TopicPartition) -> int:
        return self.at

    def works_on(self, tp: TopicPartition, offset: int) -> bool:
        return offset in self.working_on

    def finished(self, entry: Entry) -> None:
        self.working_on.discard(entry.offset)


class Ground:
    """An endpoint's partition of two topics, all of which is known."""

    def __init__(self) -> None:
        self.entered: list[Entry] = []
        self.put_off: list[tuple[Entry, float | None]] = []
        self.retries, self.deliveries = Read(frozenset({RETRIES})), Read(frozenset({DELIVERIES}))
        self.ordering = Ordering(
            bootstrap="nowhere:1",
            endpoints=["e"],
            enter=self.entered.append,
            put_off=lambda entry, wait: self.put_off.append((entry, wait)),
            fail=lambda error: None,
            clock=lambda: NOW,
        )
        self.ordering.read_by(cast("Intake", self.retries), ["retries"], new=False)
        self.ordering.read_by(cast("Intake", self.deliveries), ["deliveries"], new=True)
        self.ordering._ready = frozenset({0})
        self.ordering._met = {0}

    def entry(self, tp: TopicPartition, offset: int, sequence: int) -> Entry:
        """The intake begins a record."""
        (delivery,) = expand(call_event("c", sequence), [ENDPOINT], NOW)
        read = self.retries if tp == RETRIES else self.deliveries
        partition = Partition(tp, 10)
        record: Any = ConsumerRecord(tp.topic, tp.partition, offset, 0, 0, b"e", b"", None, 0, 0, ())
        entry = partition.entries[offset] = Entry(cast("Intake", read), partition, record)
        entry.data = delivery
        read.at = offset
        read.working_on.add(offset)
        assert self.ordering.arrived(entry)
        return entry

    def done(self, entry: Entry) -> None:
        entry.partition.entries.clear()
        (self.retries if entry.partition.tp == RETRIES else self.deliveries).working_on.discard(entry.offset)
        self.ordering.done(entry)


async def test_the_next_one_goes_when_the_one_before_is_done() -> None:
    ground = Ground()
    first, second, third = (ground.entry(DELIVERIES, n, n) for n in (1, 2, 3))
    assert [ground.ordering.may_go(one) for one in (first, second, third)] == [True, False, False]
    ground.ordering.wait(second)
    ground.ordering.wait(third)
    ground.done(first)
    assert ground.entered == [second, third]
    assert [ground.ordering.may_go(one) for one in (second, third)] == [True, False]


async def test_what_was_parked_holds_back_from_where_it_is_now() -> None:
    ground = Ground()
    first, second = (ground.entry(DELIVERIES, n, n) for n in (1, 2))
    ground.ordering.parked(first, "retries", 0, 7, 30.0)
    ground.done(first)
    assert not ground.ordering.may_go(second)
    ground.ordering.wait(second)
    ((entry, wait),) = ground.put_off
    assert entry is second
    assert wait is not None
    assert 30.0 < wait < 35.0


async def test_what_the_intake_has_done_already_holds_nothing_back() -> None:
    """The acknowledgement of a record may come after the record itself."""
    ground = Ground()
    first, second = (ground.entry(DELIVERIES, n, n) for n in (1, 2))
    ground.done(ground.entry(RETRIES, 7, 1))
    ground.ordering.parked(first, "retries", 0, 7, 30.0)
    ground.done(first)
    assert ground.ordering.may_go(second)


async def test_what_retention_has_deleted_holds_nothing_back() -> None:
    ground = Ground()
    first, second = (ground.entry(DELIVERIES, n, n) for n in (1, 2))
    ground.ordering.parked(first, "retries", 0, 7, 30.0)
    ground.done(first)
    assert not ground.ordering.may_go(second)
    # Read past it, and it never came.
    ground.retries.at = 8
    assert ground.ordering.may_go(second)


async def test_a_retry_waits_until_the_new_deliveries_were_met() -> None:
    """What is earlier of its call may be among them, and be unread."""
    ground = Ground()
    ground.ordering._met.clear()
    retry = ground.entry(RETRIES, 7, 2)
    new = ground.entry(DELIVERIES, 1, 1)
    assert not ground.ordering.may_go(retry)
    assert ground.ordering.may_go(new)


async def test_nothing_goes_while_not_all_is_known() -> None:
    ground = Ground()
    entry = ground.entry(DELIVERIES, 1, 1)
    ground.retries.owned = frozenset()
    ground.ordering.changed()
    assert not ground.ordering.may_go(entry)
    ground.ordering.wait(entry)
    assert ground.put_off == []
    await asyncio.sleep(0)
    await ground.ordering.stop()
