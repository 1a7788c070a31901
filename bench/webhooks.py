"""`python -m bench.webhooks`: how many webhooks one delivery worker delivers on one core, and how soon they arrive.

Targets: 3,000 deliveries a second of events of 1 KiB, and half of what the bare aiohttp client does with the same
headers, signed the same way; p99 from the event's append to its receipt of 25 ms at 200 events a second and of 100 ms at
half the rate that fan-out and delivery sustain together; an endpoint that hangs, answers a byte a second or 10 GB,
resets its connections or is down changes the others' p99 by 10 % at most.

The worker (or the whole streams service, or the bare client) has one core to itself; the broker, a real Apache Kafka, and
the receiver share the other. Each endpoint has a host of its own, so nobody's connections serve another's. What is
delivered is on its topic before the clock starts, and there is more when it stops.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aiohttp
import click
import msgspec
import uvloop

from bench.harness import RATIO, Sample, Subject, at_least, conclude, measure
from bench.hooks import Hooks, hook_server
from bench.latency import isolated, latencies
from bench.load import throughput
from bench.rig import (
    SECRET,
    START_SECONDS,
    Broker,
    Record,
    RigError,
    account_of,
    broker,
    call_event,
    configuration,
    delivery_worker,
    endpoints,
    ends,
    left,
    service,
    until,
    write,
)
from bench.servers import Server, Watch, cores, serving
from gateway.config import Config, load
from gateway.contract.deliveries import Delivery, delivery_id
from gateway.contract.events import encode_data, headers_of
from gateway.contract.topics import Topics
from gateway.runtime.kafka import ensure_topics
from streams.delivery.attempt import CONTENT_TYPE
from streams.delivery.signing import Signer
from streams.outbox import partition_of

SIZE = 1024
PACKAGES = ("aiohttp", "aiokafka", "faust-streaming", "uvloop", "msgspec")
_COUNTS = (1, 100, 1000)
# More than is delivered in a second, so that there is always more to deliver.
_MOST = 20_000
_WARM_SECONDS = 1.5
# Until a second worker has its partitions, the first goes on alone.
_START_UP_SECONDS = 3.0
# About as many as fan-out and delivery do in a second together.
_SOME = 1_500
# What the bare client has under way at once: with more it does no better.
_BARE_WORKERS = 64
_encode = msgspec.json.Encoder().encode


@dataclass
class Case:
    """A configuration with its endpoints, and what was put on its topics."""

    name: str
    path: Path
    config: Config
    count: int
    urls: list[str]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def topics(self) -> Topics:
        """Its topics."""
        return Topics(self.config.kafka.prefix)

    def endpoints_of(self) -> dict[int, list[int]]:
        """The endpoints whose deliveries each partition has."""
        found: dict[int, list[int]] = defaultdict(list)
        for n in range(self.count):
            found[partition_of(_key(n), range(self.config.kafka.partitions), [])].append(n)
        return found


class Bench:
    """What all subjects share: the broker, the receiver and where things run."""

    def __init__(self, folder: Path, kafka: Broker, hooks: Hooks, receiver: Server, seconds: float) -> None:
        self.folder = folder
        self.kafka = kafka
        self.hooks = hooks
        self.receiver = receiver
        self.seconds = seconds
        self.core = cores()[1]

    async def case(self, name: str, count: int, **endpoint: object) -> Case:
        """A configuration of its own with so many endpoints, its topics made."""
        urls = [self.hooks.endpoint(n) for n in range(count)]
        path = configuration(
            self.folder,
            self.kafka.bootstrap,
            kafka={"shards": 1},
            endpoints=endpoints(self.folder, urls, **endpoint),
        )
        config = load(path)
        await ensure_topics(config.kafka)
        return Case(name, path, config, count, urls)

    async def delivery(self, case: Case) -> Sample:
        """Deliveries a second of one delivery worker, their records being on the topic."""
        await self.fill(case)
        with serving(self.core, delivery_worker, str(case.path)) as worker:
            return await self.watched(case, {"worker": worker})

    async def together(self, case: Case) -> Sample:
        """Deliveries a second of the streams service, from the first to the last of the call events on their topic.

        Fan-out runs ahead of delivery as long as it may, so only the whole of it tells what both sustain.
        """
        count = int(_SOME * self.seconds)
        await write(self.kafka.bootstrap, _event_records(case, count))
        log = self.folder / "streams.log"
        first = await self.hooks.count()

        async def came(more: int) -> bool:
            return await self.hooks.count() >= first + more

        async with service(["streams", str(case.path)], case.config.metrics.streams, {self.core}, log) as streams:
            await until(partial(came, 1), f"{case.name}: webhooks arrive", START_SECONDS, every=0.005)
            begun, began = await self.hooks.count() - first, time.perf_counter()
            watch = Watch(self._processes({"worker": streams}))
            await until(partial(came, count), f"{case.name}: all webhooks arrived", 20 * self.seconds, every=0.02)
            took = time.perf_counter() - began
            used = watch.read()
        return self._sample(count - begun, took, used, ["worker"])

    async def bare(self, case: Case) -> Sample:
        """POSTs a second of aiohttp's client: the same bodies, headers and signatures, and nothing besides."""
        bodies = itertools.cycle([_encode(call_event(n, account_of(n), SIZE)) for n in range(100)])
        urls = itertools.cycle(enumerate(case.urls))
        signer = Signer.of([SECRET])
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=15),
            skip_auto_headers=("Accept", "Accept-Encoding"),
            headers={"content-type": CONTENT_TYPE, "user-agent": "ringcloud-gateway/bench"},
        ) as session:

            async def once() -> None:
                number, url = next(urls)
                body = next(bodies)
                signed = signer.headers(f"{number}-e{number}", int(time.time()), body)
                async with session.post(url, data=body, headers=signed, allow_redirects=False) as answer:
                    await answer.read()
                    answer.raise_for_status()

            sample = await throughput(self.receiver, once, _BARE_WORKERS, self.seconds)
        cost = 1e6 * sample.seen["client's core"] / sample.value
        return Sample(sample.value, {**sample.seen, "µs of sender": cost})

    async def fill(self, case: Case) -> None:
        """See to it that there is more on the topic than can be delivered, and in each of its partitions as much."""
        wanted = int(_MOST * (self.seconds + _WARM_SECONDS + _START_UP_SECONDS))
        there = await self._left(case)
        missing = {partition: wanted // len(there) - count for partition, count in there.items()}
        await write(self.kafka.bootstrap, _delivery_records(case, missing))

    async def watched(self, case: Case, workers: Mapping[str, Server]) -> Sample:
        """Deliveries a second of these workers, which have begun.

        A member that takes partitions over delivers again what was not committed: it is counted, as it is work.
        """
        first = await self.hooks.count()

        async def begun() -> bool:
            return await self.hooks.count() > first

        retries = [topic.name for topic in case.topics.retries.values()]
        spilled = await ends(case.config.kafka, retries)
        await until(begun, f"{case.name}: webhooks arrive", START_SECONDS)
        await asyncio.sleep(_WARM_SECONDS)
        watch = Watch(self._processes(workers))
        before, began = await self.hooks.count(), time.perf_counter()
        await asyncio.sleep(self.seconds)
        after, took = await self.hooks.count(), time.perf_counter() - began
        used = watch.read()
        there = await self._left(case)
        if len(there) * min(there.values()) < _MOST:
            raise RigError(f"{case.name}: nearly all was delivered before the time was over")
        put_off = await ends(case.config.kafka, retries) - spilled
        return self._sample(after - before, took, used, list(workers), **{"put off": put_off / max(1, after - first)})

    async def _left(self, case: Case) -> dict[int, int]:
        """How many records there are in each partition that endpoints have."""
        kafka = case.config.kafka
        there = await left(kafka, f"{kafka.prefix}-webhook-delivery", case.topics.deliveries.name)
        return {partition: there[partition] for partition in case.endpoints_of()}

    def _processes(self, workers: Mapping[str, Server]) -> dict[str, Server]:
        return {**workers, "receiver": self.receiver, "broker": Server("", self.kafka.pid or 0)}

    @staticmethod
    def _sample(done: int, took: float, used: Mapping[str, float], workers: list[str], **more: float) -> Sample:
        of_workers = sum(used[name] for name in workers) * took
        cores_used = {f"{name}'s core": share for name, share in used.items()}
        return Sample(done / took, {**cores_used, "µs of sender": 1e6 * of_workers / max(1, done), **more})


def _key(endpoint: int) -> bytes:
    return f"e{endpoint}".encode()


def _delivery_records(case: Case, missing: Mapping[int, int]) -> Iterator[Record]:
    """Deliveries, so many for each partition, in turn for these and for each one's endpoints.

    Their bodies are a hundred, made before: the making is not measured.
    """
    topic, endpoints = case.topics.deliveries.name, case.endpoints_of()
    bodies = [msgspec.Raw(_encode(call_event(n, account_of(n), SIZE))) for n in range(100)]
    turns = ((turn, partition) for turn in range(max(missing.values())) for partition in missing)
    for turn, partition in turns:
        if turn >= missing[partition]:
            continue
        number = endpoints[partition][turn % len(endpoints[partition])]
        n, endpoint = next(case.numbers), f"e{number}"
        call = f"01M87KG21TW90VCS{n:010}"
        delivery = Delivery(
            id=delivery_id(f"{call}-3", endpoint),
            endpoint=endpoint,
            event_type="call.ended",
            account=account_of(number),
            call_id=call,
            event=bodies[n % 100],
            created_at=datetime.now(UTC),
        )
        yield topic, _key(number), _encode(delivery), []


def _event_records(case: Case, count: int) -> Iterator[Record]:
    topic = case.topics.calls.name
    for n in itertools.islice(case.numbers, count):
        event = call_event(n, account_of(n % case.count), SIZE)
        yield topic, event.subject.encode(), encode_data(event), headers_of(event)


async def _rates(bench: Bench, counts: tuple[int, ...], runs: int, *, short: bool) -> dict[int, float]:
    """Measure, and return what fan-out and delivery sustain together, by the number of endpoints."""
    subjects: list[Subject] = []
    sustained: dict[int, str] = {}
    for count in counts:
        said = f"{count:,} endpoint" + ("s" if count > 1 else "")
        cases = {said: await bench.case(said, count)}
        if count == 1:
            # Half a window waits beside so many attempts: nothing is put off, which takes 5 s at least.
            said += " of 256 attempts at once"
            cases[said] = await bench.case(said, count, concurrency=256)
        both = await bench.case(said, count, concurrency=256 if count == 1 else 16)
        bare = f"aiohttp client, bare, {said}" if count > 1 else "aiohttp client, bare, 1 endpoint"
        sustained[count] = f"fan-out and delivery, {said}"
        targets = (at_least(3_000), at_least(0.5, RATIO))
        subjects += [
            Subject(name=f"delivery worker, {name}", run=partial(bench.delivery, case), ceiling=bare, targets=targets)
            for name, case in cases.items()
        ]
        subjects += [
            Subject(name=sustained[count], run=partial(bench.together, both), ceiling=bare),
            Subject(name=bare, run=partial(bench.bare, both)),
        ]
    figures = await measure(subjects, runs)
    conclude(
        "webhooks",
        f"Webhooks delivered a second: one process on one core, the broker and the receiver on the other, {SIZE:,} bytes "
        "each, signed; `µs of sender` is the processor time a webhook costs what sends it; `put off` are records parked on a "
        "retry topic, to one that was delivered",
        "deliveries/s",
        figures,
        short=short,
        settings={"runs": runs, "seconds": bench.seconds, "bytes of a webhook": SIZE, "partitions": 12, "window": 500},
        packages=PACKAGES,
    )
    values = {figure.name: figure.value for figure in figures}
    return {count: values[name] for count, name in sustained.items()}


async def _bench(parts: tuple[str, ...], *, short: bool) -> None:
    other, core = cores()
    counts = _COUNTS[:2] if short else _COUNTS
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        kafka = await stack.enter_async_context(broker(folder, {other}))
        receiver = stack.enter_context(serving(other, hook_server, _COUNTS[-1] + 1))
        os.sched_setaffinity(0, {core})
        http = await stack.enter_async_context(aiohttp.ClientSession())
        bench = Bench(folder, kafka, Hooks(receiver.url, http), receiver, 2.0 if short else 6.0)
        sustained: dict[int, float] = {}
        if "rates" in parts:
            sustained = await _rates(bench, counts, 1 if short else 3, short=short)
        # The load comes from this process, which is not to take the service's time.
        os.sched_setaffinity(0, {other})
        if "latency" in parts:
            await latencies(folder, kafka, bench.hooks, {n: sustained.get(n) for n in counts}, short=short)
        if "isolation" in parts:
            await isolated(folder, kafka, bench.hooks, short=short)


_PARTS = ("rates", "latency", "isolation")


@click.command()
@click.option("--short", is_flag=True, help="One run of each, short ones: shows that it works, proves little.")
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(_PARTS), default=_PARTS, help="Only this; repeatable."
)
def main(short: bool, parts: tuple[str, ...]) -> None:
    """Measure delivery, and write webhooks.json, webhooks-latency.json and webhooks-isolation.json in bench/results."""
    uvloop.run(_bench(parts, short=short))


if __name__ == "__main__":
    main()
