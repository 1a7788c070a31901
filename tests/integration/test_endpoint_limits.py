"""What governs how often an endpoint is tried, on real brokers: its rate, its circuit, its own retry schedule."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from gateway.config import Config
from gateway.contract.deliveries import Attempt, DeadLetter, Delivery
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker
from streams.delivery.circuits import THRESHOLD
from streams.delivery.relief import relieve
from streams.metrics import StreamsMetrics
from tests.support.delivering import decoded, endpoint, lag, park, produce, working
from tests.support.kafka import read_all
from tests.support.waiting import eventually
from tests.support.webhooks import answering, config_for, create_topics, receiver


def attempted(metrics: StreamsMetrics) -> Counter[str]:
    """How many attempts a worker has made at each endpoint."""
    found: Counter[str] = Counter()
    for metric in metrics.registry.collect():
        for sample in metric.samples:
            if sample.name == "ringcloud_webhook_attempts_total":
                found[sample.labels["endpoint"]] += int(sample.value)
    return found


def is_open(metrics: StreamsMetrics, name: str) -> bool:
    """Whether an endpoint's circuit is open, as its metric has it."""
    return metrics.registry.get_sample_value("ringcloud_webhook_circuit_open", {"endpoint": name}) == 1


async def all_committed(config: Config, topics: Topics) -> bool:
    """nothing is left to read"""
    return (
        await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0
        and await lag(config, "webhook-retries", [one.name for one in topics.retries.values()]) == 0
    )


async def test_a_rate_is_kept_and_what_waits_for_it_is_no_attempt(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(
            broker.bootstrap, prefix, [endpoint(there, tmp_path, rate=8), endpoint(there, tmp_path, "f")]
        )
        topics = await create_topics(config, partitions=1)
        async with working(config) as metrics:
            wanted = await produce(config, topics, "c", 40)
            free = await produce(config, topics, "d", 40, to="f")
            await eventually(lambda: len(there.accepted("/f")) >= 40)
            await eventually(lambda: len(there.accepted("/e")) >= 40, timeout=40)
            spilled = metrics.registry.get_sample_value("ringcloud_webhook_spilled_total", {"endpoint": "e"})
        assert sorted(there.accepted("/e")) == sorted(wanted)
        assert sorted(there.accepted("/f")) == sorted(free)
        assert spilled is not None
        assert spilled > 0
        attempts = [one for one in await decoded(config, topics.attempts.name, Attempt) if one.endpoint == "e"]
        assert {one.number for one in attempts} == {1}
        # 40 of them at 8 a second, less what the loop may have been late with the first.
        times = sorted(one.at for one in attempts)
        assert (times[-1] - times[0]).total_seconds() > 3.9
        assert await all_committed(config, topics)


async def test_a_failing_endpoint_is_left_alone_until_a_probe_succeeds(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        config = config_for(
            broker.bootstrap, prefix, [endpoint(there, tmp_path, concurrency=1), endpoint(there, tmp_path, "f")]
        )
        topics = await create_topics(config, partitions=1)
        down = True

        async def behave(request: web.Request, body: bytes) -> web.StreamResponse:
            return web.Response(status=500 if down else 200)

        there.behaviours["/e"] = behave
        async with working(config) as metrics:
            wanted = await produce(config, topics, "c", 60)
            await eventually(lambda: is_open(metrics, "e"))
            # One at a time, so no more were under way; all the others are parked, their offsets free to be committed.
            assert len(there.at("/e")) == THRESHOLD

            async def none_held_up() -> bool:
                """the new deliveries are all committed"""
                return await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0

            await eventually(none_held_up)
            others = await produce(config, topics, "d", 60, to="f")
            await eventually(lambda: len(there.accepted("/f")) >= 60)
            assert not is_open(metrics, "f")
            # The first probe fails, the second does not.
            await eventually(lambda: len(there.at("/e")) > THRESHOLD)
            assert len(there.at("/e")) == THRESHOLD + 1
            assert is_open(metrics, "e")
            down = False
            await eventually(lambda: len(there.accepted("/e")) >= 60, timeout=60)
            assert not is_open(metrics, "e")
        assert sorted(there.accepted("/e")) == sorted(wanted)
        assert sorted(there.accepted("/f")) == sorted(others)
        attempts = [one for one in await decoded(config, topics.attempts.name, Attempt) if one.endpoint == "e"]
        assert len(attempts) == 60 + THRESHOLD + 1
        assert await read_all(config.kafka.bootstrap, topics.dead_letters.name) == []


async def test_an_endpoint_has_a_retry_schedule_of_its_own(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(
            broker.bootstrap,
            prefix,
            [endpoint(there, tmp_path, "long", retries=[1, 1, 4]), endpoint(there, tmp_path, "short", retries=[1])],
        )
        topics = await create_topics(config)
        there.behaviours["/long"] = answering(500, 500, 500, 200)
        there.behaviours["/short"] = answering(500)
        async with working(config):
            (wanted,) = await produce(config, topics, "c", 1, to="long")
            (given_up,) = await produce(config, topics, "c", 1, to="short")
            await eventually(lambda: there.accepted("/long") == [wanted])

            async def buried() -> list[DeadLetter]:
                return await decoded(config, topics.dead_letters.name, DeadLetter)

            (letter,) = await eventually(buried)
        assert letter.reason == "not delivered in 2 attempts; last: HTTP 500"
        assert [one.id for one in there.at("/short")] == [given_up] * 2
        assert len(there.at("/long")) == 4
        # 4 s are longer than any topic is for, so it was written anew, due as before and not counted.
        waiting = [one for topic in topics.retries.values() for one in await decoded(config, topic.name, Delivery)]
        dues = [one.due_at for one in waiting if one.id == wanted and one.attempts == 3 and one.due_at is not None]
        assert len(dues) > 1
        assert (max(dues) - min(dues)).total_seconds() < 0.5


async def test_what_waits_long_on_a_topic_holds_nobody_up(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    """More than a window of deliveries, due in a minute, where another's are due in a second."""
    async with receiver() as there:
        config = config_for(
            embedded_broker.bootstrap, prefix, [endpoint(there, tmp_path, "late"), endpoint(there, tmp_path, "soon")]
        )
        topics = await create_topics(config, partitions=1)
        await park(config, topics, topics.retries[1].name, "late", 3 * config.delivery.window, 60.0)
        there.behaviours["/soon"] = answering(500, 200)
        async with working(config):
            wanted = await produce(config, topics, "c", 1, to="soon")
            await eventually(lambda: there.accepted("/soon") == wanted)
        assert there.at("/late") == []


async def test_what_waits_long_does_not_make_a_crash_repeat_what_is_done(
    embedded_broker: Broker, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.delivery.worker.relieve", partial(relieve, every=0.2))
    delays = (1, 600)
    async with receiver() as there:
        config = config_for(
            embedded_broker.bootstrap, prefix, [endpoint(there, tmp_path, "late"), endpoint(there, tmp_path, "soon")]
        )
        topics = await create_topics(config, delays, partitions=1)
        await park(config, topics, topics.retries[600].name, "late", 1, 400.0)
        await park(config, topics, topics.retries[600].name, "soon", 1, 0.5)
        (due,) = {
            one.due_at for one in await decoded(config, topics.retries[600].name, Delivery) if one.endpoint == "late"
        }
        async with working(config, delays, crash=True):
            await eventually(lambda: len(there.accepted("/soon")) == 1)

            async def committed() -> bool:
                """both are, though one is not due"""
                return await lag(config, "webhook-retries", [topics.retries[600].name]) == 0

            await eventually(committed)
        assert there.at("/late") == []
        # It is written anew, due as it was and not counted.
        (again, *_) = await decoded(config, topics.retries[1].name, Delivery)
        assert (again.endpoint, again.attempts) == ("late", 1)
        assert due is not None
        assert again.due_at is not None
        assert abs((again.due_at - due).total_seconds()) < 0.5


async def test_one_worker_has_all_of_an_endpoint(apache_kafka: Broker, prefix: str, tmp_path: Path) -> None:
    """First attempts and retries alike, or its rate would be kept and its circuit known by none of them."""
    async with receiver() as there:
        names = [f"e{n}" for n in range(12)]
        config = config_for(apache_kafka.bootstrap, prefix, [endpoint(there, tmp_path, name) for name in names])
        topics = await create_topics(config, partitions=6)
        # Three, so that it is hardly by chance.
        async with working(config) as first, working(config) as second, working(config) as third:
            for name in names:
                there.behaviours[f"/{name}"] = answering(*[500] * 4, 200)
            wanted = [one for name in names for one in await produce(config, topics, "c", 4, to=name)]
            await eventually(lambda: sorted(there.accepted()) == sorted(wanted), timeout=30)
            has = [attempted(metrics) for metrics in (first, second, third)]
        assert all(has)
        assert sum(len(one) for one in has) == len(names)
        assert sum(has, Counter()) == Counter(dict.fromkeys(names, 8))
