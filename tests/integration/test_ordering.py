"""Endpoints that keep a call's events in order, on real brokers: through failures, crashes and rebalances."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from gateway.config import Config
from gateway.contract.deliveries import Attempt, DeadLetter
from gateway.contract.endpoints import Endpoint
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker
from streams.delivery import ordering
from streams.fanout import expand
from tests.support.delivering import Witness, decoded, endpoint, lag, park, working
from tests.support.kafka import read_all
from tests.support.waiting import eventually
from tests.support.webhooks import call_event, config_for, create_topics, produce_raw, receiver


async def produce_calls(
    config: Config, topics: Topics, to: str, calls: Sequence[str], sequences: Sequence[int]
) -> None:
    """Put deliveries of these events of each call on their topic, the calls' mingled."""
    found = Endpoint(id=to, url="http://unused/", secrets=("env:S",))
    async with AIOKafkaProducer(bootstrap_servers=config.kafka.bootstrap, acks="all") as producer:
        for sequence in sequences:
            for call in calls:
                (one,) = expand(call_event(call, sequence), [found], datetime.now(UTC))
                await producer.send(topics.deliveries.name, msgspec.json.encode(one), key=to.encode())
        await producer.flush()


async def all_committed(config: Config, topics: Topics) -> bool:
    """nothing is left to read"""
    return (
        await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0
        and await lag(config, "webhook-retries", [one.name for one in topics.retries.values()]) == 0
    )


async def test_a_call_waits_for_its_earlier_events_and_no_other_call_does(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        kept = endpoint(there, tmp_path, ordering="call", retries=[1] * 20)
        config = config_for(broker.bootstrap, prefix, [kept])
        topics = await create_topics(config, partitions=1)
        there.behaviours["/e"] = witness = Witness()
        witness.failing.add("stuck")
        others = [f"c{n}" for n in range(30)]
        async with working(config):
            await produce_calls(config, topics, "e", ["stuck", *others], [1, 2, 3])
            await eventually(lambda: witness.whole(others, 3))
            assert set(witness.times) == {("stuck", 1)} | {(call, n) for call in others for n in (1, 2, 3)}

            async def none_held_up() -> bool:
                """the new deliveries are all committed"""
                return await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0

            await eventually(none_held_up)
            # What comes while the earlier ones wait on a retry topic waits as well.
            await produce_calls(config, topics, "e", ["stuck"], [4])
            await eventually(none_held_up)
            assert not witness.taken["stuck"]
            witness.failing.clear()
            await eventually(lambda: witness.whole(["stuck"], 4), timeout=40)
        assert witness.early == []
        attempts = [one for one in await decoded(config, topics.attempts.name, Attempt) if "stuck-" in one.delivery]
        assert {one.number for one in attempts if not one.delivery.startswith("stuck-1-")} == {1}
        assert await read_all(config.kafka.bootstrap, topics.dead_letters.name) == []


async def test_what_was_given_up_holds_nothing_back(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        kept = endpoint(there, tmp_path, ordering="call", retries=[1])
        config = config_for(embedded_broker.bootstrap, prefix, [kept])
        topics = await create_topics(config)
        there.behaviours["/e"] = witness = Witness()
        witness.failing.add("c")
        async with working(config):
            await produce_calls(config, topics, "e", ["c"], [1, 2])
            await eventually(lambda: witness.times["c", 2] == 2)
        assert [msgspec.json.decode(one.body)["data"]["sequence"] for one in there.received] == [1, 1, 2, 2]
        assert len(await read_all(config.kafka.bootstrap, topics.dead_letters.name)) == 2


async def test_after_a_crash_a_later_event_waits_for_an_earlier_one_on_a_retry_topic(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    """The new worker has never seen the earlier one: it is committed, and lies behind more than is read of the topic."""
    async with receiver() as there:
        kept = endpoint(there, tmp_path, ordering="call", retries=[8] * 20)
        config = config_for(broker.bootstrap, prefix, [kept, endpoint(there, tmp_path, "late")])
        topics = await create_topics(config, partitions=1)
        there.behaviours["/e"] = witness = Witness()
        witness.failing.add("c")
        before = 3 * config.delivery.window
        await park(config, topics, topics.retries[2].name, "late", before, 90.0)
        async with working(config, crash=True):
            await produce_calls(config, topics, "e", ["c"], [1])

            async def parked() -> bool:
                """the failed one is on a retry topic alone"""
                return (
                    await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0
                    and await lag(config, "webhook-retries", [topics.retries[2].name]) > before
                )

            await eventually(parked)
        witness.failing.clear()
        await produce_calls(config, topics, "e", ["c"], [2, 3])
        async with working(config):
            await produce_calls(config, topics, "e", ["d"], [1])
            await eventually(lambda: witness.whole(["d"], 1))
            await eventually(lambda: witness.whole(["c"], 3), timeout=60)
        assert witness.early == []


async def test_what_is_too_much_to_remember_is_given_up(
    embedded_broker: Broker, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "MOST_OUTSTANDING", 3)
    async with receiver() as there:
        kept = endpoint(there, tmp_path, ordering="call", retries=[2] * 20)
        config = config_for(embedded_broker.bootstrap, prefix, [kept])
        topics = await create_topics(config, partitions=1)
        there.behaviours["/e"] = witness = Witness()
        witness.failing.add("c")
        async with working(config):
            await produce_calls(config, topics, "e", ["c"], [1, 2, 3, 4, 5])

            async def given_up() -> bool:
                """what is beyond the bound is given up"""
                return len(await read_all(config.kafka.bootstrap, topics.dead_letters.name)) >= 2

            await eventually(given_up)
            witness.failing.clear()
            await eventually(lambda: witness.taken["c"] == {1, 2, 3}, timeout=40)
        letters = await decoded(config, topics.dead_letters.name, DeadLetter)
        assert [one.delivery and one.delivery.id for one in letters] == ["c-4-e", "c-5-e"]
        assert all("too many" in one.reason for one in letters)
        assert witness.early == []


async def test_what_has_no_place_in_its_call_is_given_up(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(embedded_broker.bootstrap, prefix, [endpoint(there, tmp_path, ordering="call")])
        topics = await create_topics(config, partitions=1)
        there.behaviours["/e"] = witness = Witness()
        (good,) = expand(call_event("c", 1), config.endpoints, datetime.now(UTC))
        bad = [
            msgspec.structs.replace(good, event=msgspec.Raw(body))
            for body in (b"{}", b'{"sequence":"first"}', b'{"sequence":1}', b"[]")
        ]
        values = [msgspec.json.encode(one) for one in (*bad, good)]
        await produce_raw(config.kafka.bootstrap, topics.deliveries.name, *values, key=b"e")
        async with working(config):
            await eventually(lambda: witness.whole(["c"], 1))
            await eventually(partial(all_committed, config, topics))
        letters = await decoded(config, topics.dead_letters.name, DeadLetter)
        assert [one.reason.partition(":")[0] for one in letters] == ["not in order"] * len(bad)


async def test_order_holds_through_crashes_and_rebalances(apache_kafka: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        names = ["a", "b", "c"]
        config = config_for(
            apache_kafka.bootstrap,
            prefix,
            [endpoint(there, tmp_path, name, ordering="call", retries=[1] * 20, concurrency=4) for name in names],
        )
        topics = await create_topics(config, partitions=3)
        witnesses = {name: Witness(fails=0.25, seed=n) for n, name in enumerate(names)}
        there.behaviours |= {f"/{name}": witness for name, witness in witnesses.items()}
        calls = [f"c{n}" for n in range(25)]

        async def more(*sequences: int) -> None:
            for name in names:
                await produce_calls(config, topics, name, calls, sequences)

        def arrived(least: int) -> bool:
            """so many requests arrived"""
            return there.arrived >= least

        await more(1)
        async with working(config, crash=True):
            await eventually(lambda: arrived(20))
            await more(2)
            await eventually(lambda: arrived(60))
        async with AsyncExitStack() as first:
            await first.enter_async_context(working(config))
            await more(3)
            async with working(config, crash=True):
                before = there.arrived
                await eventually(lambda: arrived(before + 20))
            await more(4)
            async with working(config):
                await eventually(lambda: arrived(before + 60), timeout=40)
                # The first stops in order, and the second gets all.
                await first.aclose()
                await eventually(lambda: all(one.whole(calls, 4) for one in witnesses.values()), timeout=90)
        assert {name: witness.early for name, witness in witnesses.items()} == {name: [] for name in names}
        assert await read_all(config.kafka.bootstrap, topics.dead_letters.name) == []
