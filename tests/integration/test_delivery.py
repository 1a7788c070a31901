"""The delivery worker on real brokers, against receivers that misbehave, and through crashes and rebalances."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from gateway.contract.deliveries import Attempt, DeadLetter, Delivery
from gateway.contract.endpoints import Endpoint
from gateway.dev.brokers import Broker
from streams.delivery.errors import WorkerError
from streams.delivery.standing import UNKNOWN_GRACE
from streams.delivery.worker import DeliveryWorker
from streams.metrics import StreamsMetrics
from tests.support.delivering import attempts_made, decoded, endpoint, lag, produce, working
from tests.support.kafka import read_all
from tests.support.waiting import eventually
from tests.support.webhooks import (
    QUICK,
    Receiver,
    answering,
    config_for,
    create_topics,
    hanging,
    produce_raw,
    receiver,
    secret_file,
)


def arrived(there: Receiver, least: int) -> bool:
    """so many requests arrived"""
    return there.arrived >= least


async def test_a_failure_is_retried_under_the_same_id(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(broker.bootstrap, prefix, [endpoint(there, tmp_path)])
        topics = await create_topics(config)
        there.behaviours["/e"] = answering(503, 200)
        async with working(config):
            (wanted,) = await produce(config, topics, "c", 1)
            await eventually(lambda: there.accepted() == [wanted])
        assert [one.id for one in there.received] == [wanted] * 2
        first, second = there.received
        assert first.body == second.body
        for one in there.received:
            one.verify()
        attempts = await decoded(config, topics.attempts.name, Attempt)
        assert [(one.delivery, one.number, one.outcome, one.status) for one in attempts] == [
            (wanted, 1, "refused", 503),
            (wanted, 2, "delivered", 200),
        ]
        assert await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0
        assert await lag(config, "webhook-retries", [one.name for one in topics.retries.values()]) == 0
        assert await read_all(config.kafka.bootstrap, topics.dead_letters.name) == []


async def test_retry_after_delays(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(embedded_broker.bootstrap, prefix, [endpoint(there, tmp_path)])
        topics = await create_topics(config)
        times: list[float] = []
        refuse = answering(429, 200, headers={"Retry-After": "3"})

        async def behave(request: web.Request, body: bytes) -> web.StreamResponse:
            times.append(time.monotonic())
            return await refuse(request, body)

        there.behaviours["/e"] = behave
        async with working(config):
            await produce(config, topics, "c", 1)
            await eventually(lambda: len(times) == 2)
        assert times[1] - times[0] >= 2.9


async def test_after_the_last_attempt_it_is_a_dead_letter(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(broker.bootstrap, prefix, [endpoint(there, tmp_path)])
        topics = await create_topics(config)
        there.behaviours["/e"] = answering(500)
        async with working(config):
            (wanted,) = await produce(config, topics, "c", 1)

            async def buried() -> list[DeadLetter]:
                return await decoded(config, topics.dead_letters.name, DeadLetter)

            (letter,) = await eventually(buried)
        assert [one.id for one in there.received] == [wanted] * 3
        assert letter.delivery is not None
        assert (letter.delivery.id, letter.delivery.attempts) == (wanted, 3)
        assert letter.reason == "not delivered in 3 attempts; last: HTTP 500"
        assert bytes(letter.delivery.event) == there.received[0].body


async def test_gone_is_a_dead_letter_at_once(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(embedded_broker.bootstrap, prefix, [endpoint(there, tmp_path)])
        topics = await create_topics(config)
        there.behaviours["/e"] = answering(410)
        async with working(config):
            await produce(config, topics, "c", 1)

            async def buried() -> list[DeadLetter]:
                return await decoded(config, topics.dead_letters.name, DeadLetter)

            (letter,) = await eventually(buried)
        assert "gone" in letter.reason
        assert len(there.received) == 1


async def test_a_backlog_is_no_reason_to_put_anything_off(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    names = [f"e{n}" for n in range(10)]
    async with receiver() as there:
        config = config_for(
            embedded_broker.bootstrap, prefix, [endpoint(there, tmp_path, name, concurrency=64) for name in names]
        )
        topics = await create_topics(config)
        wanted = {wanted for name in names for wanted in await produce(config, topics, "c", 250, to=name)}
        async with working(config) as metrics:
            await eventually(lambda: len(there.received) >= len(wanted), timeout=60)
        assert {one.id for one in there.received} == wanted
        # Each waits for longer than an endpoint is given to take what is there for it: it is we who are slow.
        spilled = [
            metrics.registry.get_sample_value("ringcloud_webhook_spilled_total", {"endpoint": name}) for name in names
        ]
        assert not any(spilled)


async def test_an_endpoint_that_hangs_stalls_no_other(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(
            broker.bootstrap,
            prefix,
            [endpoint(there, tmp_path, "hangs", concurrency=2, timeout=8.0), endpoint(there, tmp_path, "works")],
        )
        # One partition, so that they share everything that can be shared.
        topics = await create_topics(config, partitions=1)
        with hanging() as behaviour:
            there.behaviours["/hangs"] = behaviour
            async with working(config) as metrics:
                stuck = await produce(config, topics, "s", 200, to="hangs")
                began = time.monotonic()
                wanted = await produce(config, topics, "w", 200, to="works")
                await eventually(lambda: len(there.accepted("/works")) >= 200, timeout=6)
                assert time.monotonic() - began < 6
                assert sorted(there.accepted("/works")) == sorted(wanted)
                spilled = metrics.registry.get_sample_value("ringcloud_webhook_spilled_total", {"endpoint": "hangs"})
                assert spilled is not None
                assert spilled >= 150
                # What was answered may not have been read yet.
                await eventually(lambda: metrics.registry.get_sample_value("ringcloud_webhook_in_flight") == 2)
        # Nothing of what was put off counts as attempted, and nothing of it is lost.
        del there.behaviours["/hangs"]
        async with working(config):
            await eventually(lambda: set(there.accepted("/hangs")) >= set(stuck), timeout=30)
        assert await read_all(config.kafka.bootstrap, topics.dead_letters.name) == []
        assert max(one.number for one in await decoded(config, topics.attempts.name, Attempt)) <= 2


async def test_poison_goes_to_the_dead_letters_and_the_rest_goes_on(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        config = config_for(broker.bootstrap, prefix, [endpoint(there, tmp_path)])
        topics = await create_topics(config, partitions=1)
        async with working(config):
            await produce_raw(
                config.kafka.bootstrap, topics.deliveries.name, b"poison", None, b"{}", b"[" + b"1," * 480_000 + b"1]"
            )
            (stranger,) = await produce(config, topics, "c", 1, to="stranger", age=UNKNOWN_GRACE)
            (wanted,) = await produce(config, topics, "c", 1)
            await eventually(lambda: there.accepted() == [wanted])

            async def done() -> bool:
                """everything is committed"""
                return await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0

            await eventually(done)
        letters = await decoded(config, topics.dead_letters.name, DeadLetter)
        assert Counter(one.raw for one in letters if one.delivery is None) == Counter([b"poison", b"", b"{}", None])
        (unknown,) = [one for one in letters if one.delivery is not None]
        assert unknown.delivery is not None
        assert unknown.delivery.id == stranger
        assert "no such endpoint" in unknown.reason


async def test_a_crash_loses_nothing_and_repeats_under_the_same_ids(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        config = config_for(broker.bootstrap, prefix, [endpoint(there, tmp_path, concurrency=4)])
        topics = await create_topics(config)

        async def slowly(request: web.Request, body: bytes) -> web.StreamResponse:
            await asyncio.sleep(0.02)
            return web.Response()

        there.behaviours["/e"] = slowly
        wanted = await produce(config, topics, "c", 150)
        for least in (20, 60):
            async with working(config, crash=True):
                await eventually(partial(arrived, there, least))
        async with working(config):
            await eventually(lambda: set(there.accepted()) >= set(wanted), timeout=30)
        assert set(there.accepted()) == set(wanted)
        bodies: dict[str, bytes] = {}
        for one in there.received:
            assert bodies.setdefault(one.id, one.body) == one.body
        assert await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0


async def test_a_stop_and_a_start_repeat_nothing(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(broker.bootstrap, prefix, [endpoint(there, tmp_path, concurrency=2)])
        topics = await create_topics(config)

        async def slowly(request: web.Request, body: bytes) -> web.StreamResponse:
            await asyncio.sleep(0.02)
            return web.Response()

        there.behaviours["/e"] = slowly
        wanted = await produce(config, topics, "c", 100)
        for least in (10, 40):
            async with working(config):
                await eventually(partial(arrived, there, least))
        async with working(config):
            await eventually(lambda: len(there.accepted()) >= 100, timeout=30)
        assert sorted(there.accepted()) == sorted(wanted)


async def test_a_second_worker_takes_its_part_and_nothing_is_lost_or_repeated(
    apache_kafka: Broker, prefix: str, tmp_path: Path
) -> None:
    """Not on the embedded broker: it refuses commits while a group rebalances, and the group never settles again."""
    async with receiver() as there:
        names = [f"e{n}" for n in range(12)]
        config = config_for(
            apache_kafka.bootstrap, prefix, [endpoint(there, tmp_path, name, concurrency=64) for name in names]
        )
        topics = await create_topics(config, partitions=4)
        wanted: list[str] = []
        async with working(config) as first:
            for name in names:
                wanted += await produce(config, topics, "a", 30, to=name)
            async with working(config) as second:

                async def both_work() -> bool:
                    """both workers make attempts"""
                    for name in names:
                        wanted.extend(await produce(config, topics, f"b{len(wanted)}x", 2, to=name))
                    return attempts_made(first) > 0 and attempts_made(second) > 0

                await eventually(both_work, interval=0.3)
            for name in names:
                wanted += await produce(config, topics, "c", 10, to=name)
            await eventually(lambda: set(there.accepted()) >= set(wanted), timeout=30)
        assert Counter(there.accepted()) == Counter(wanted)


async def test_a_refused_address_is_retried_and_then_given_up(
    embedded_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        blocked = Endpoint(id="b", url=there.url("/b", host="localhost"), secrets=(secret_file(tmp_path),))
        config = config_for(embedded_broker.bootstrap, prefix, [blocked], allow=())
        topics = await create_topics(config)
        async with working(config):
            await produce(config, topics, "c", 1, to="b")

            async def buried() -> list[DeadLetter]:
                return await decoded(config, topics.dead_letters.name, DeadLetter)

            (letter,) = await eventually(buried)
        assert "is loopback" in letter.reason
        assert there.arrived == 0
        assert {one.outcome for one in await decoded(config, topics.attempts.name, Attempt)} == {"blocked"}


async def test_deliveries_wait_on_their_topic_until_due(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(embedded_broker.bootstrap, prefix, [endpoint(there, tmp_path)])
        topics = await create_topics(config, delays=(1, 600))
        there.behaviours["/e"] = answering(500, 500, 200)
        async with working(config, (1, 600)):
            await produce(config, topics, "c", 1)
            await eventually(lambda: len(there.received) == 2)

            async def waiting() -> list[Delivery]:
                return await decoded(config, topics.retries[600].name, Delivery)

            (parked,) = await eventually(waiting)
        assert parked.attempts == 2
        assert parked.due_at is not None
        assert 470 < (parked.due_at - datetime.now(UTC)).total_seconds() < 721


async def test_what_cannot_be_written_ends_the_worker(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(embedded_broker.bootstrap, prefix, [endpoint(there, tmp_path)])
        topics = await create_topics(config)
        worker = DeliveryWorker(config, StreamsMetrics(), delays=QUICK)
        await worker.start()
        running = asyncio.create_task(worker.run())
        try:
            await worker.ready()
            await worker._outbox.stop()
            await produce(config, topics, "c", 1)
            with pytest.raises(WorkerError):
                async with asyncio.timeout(20):
                    await running
        finally:
            running.cancel()
            await worker.stop()
        assert await lag(config, "webhook-delivery", [topics.deliveries.name]) == 1
        async with working(config):
            await eventually(lambda: len(there.accepted()) == 2)
