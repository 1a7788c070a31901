"""How soon webhooks arrive while events come at a steady rate, and whether one bad endpoint is felt by the others."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.harness import RATIO, Sample, Subject, at_most, conclude, measure
from bench.hooks import DRIPS, HANGS, POURS, RESETS, WELL, Arrival, Hooks, host_of
from bench.rig import Broker, RigError, account_of, call_event, configuration, endpoints, service, spread, until
from bench.servers import Server, Watch, cores, serving
from gateway.config import Config, load
from gateway.contract.deliveries import delivery_id
from gateway.contract.events import encode_data, headers_of
from gateway.contract.topics import Topics
from gateway.dev.brokers import free_port
from gateway.runtime.kafka import ensure_topics

_SIZE = 1024
_STEADY = 200.0
_PACKAGES = ("aiohttp", "aiokafka", "faust-streaming", "uvloop", "msgspec")
_WARM_SECONDS = 4.0
# Beyond the time that an attempt may take: by then all that a hanging endpoint can hold is held.
_WARM_BESIDE_BAD = 17.0
_GOOD = 100
_BAD_EVERY = 10  # every tenth event is the bad endpoint's
_DRAIN_SECONDS = 60.0
_DOWN = "down"
_IS_WELL = "is well"


class Steady:
    """A streams service on a core of its own, and events that come for its endpoints at a steady rate."""

    def __init__(self, folder: Path, kafka: Broker, hooks: Hooks) -> None:
        self._folder = folder
        self._kafka = kafka
        self._hooks = hooks

    async def config(self, urls: Sequence[str]) -> tuple[Path, Config]:
        """A configuration of its own with these endpoints, its topics made."""
        path = configuration(
            self._folder, self._kafka.bootstrap, kafka={"shards": 1}, endpoints=endpoints(self._folder, urls)
        )
        config = load(path)
        await ensure_topics(config.kafka)
        return path, config

    async def run(
        self,
        urls: Sequence[str],
        rate: float,
        warm: float,
        seconds: float,
        of: Callable[[int], int],
        *,
        counted: int | None = None,
        bare: bool = False,
    ) -> Sample:
        """p99 in ms of what came in these seconds, after the `warm` ones; the n-th event is for the endpoint `of(n)`.

        Only what is for one of the first `counted` endpoints counts; by default, for any. With `bare` it is not the streams
        service that sends them on, but the least that can.
        """
        path, config = await self.config(urls)
        core = cores()[1]
        async with AsyncExitStack() as stack:
            if bare:
                topic = Topics(config.kafka.prefix).calls.name
                streams = stack.enter_context(serving(core, relay, config.kafka.bootstrap, topic, list(urls)))
            else:
                listen, log = config.metrics.streams, self._folder / "streams.log"
                streams = await stack.enter_async_context(service(["streams", str(path)], listen, {core}, log))
            await self._kafka.collect()
            await self._hooks.keep()
            await self._hooks.take()
            sent: dict[str, float] = {}
            worst = await self._send(config, rate, warm, of, {})
            watch = Watch(
                {"streams": streams, "broker": Server("", self._kafka.pid or 0), "load": Server("", os.getpid())}
            )
            worst = max(worst, await self._send(config, rate, seconds, of, sent))
            used = watch.read()
            wanted = {event for event in sent if counted is None or _endpoint(event) < counted}
            came = await self._all_of(wanted)
        late = [1000 * (came[event] - sent[event]) for event in wanted]
        p50, p95, p99 = spread(late)
        return Sample(
            p99,
            {
                "p50": p50,
                "p95": p95,
                "most": max(late),
                "webhooks": float(len(late)),
                **{f"{name}'s core": share for name, share in used.items()},
                "load late by, ms": worst,
            },
            late,
        )

    async def _send(
        self, config: Config, rate: float, seconds: float, of: Callable[[int], int], sent: dict[str, float]
    ) -> float:
        """Send events at an even pace, whatever becomes of them; returns by how many ms the pace was missed at worst."""
        topic = Topics(config.kafka.prefix).calls.name
        worst = 0.0
        written: list[asyncio.Future[object]] = []
        # Made before: the load has its share of the core that the broker and the receiver have.
        records = []
        first = time.time_ns() // 1_000_000 % 10**9 * 10
        for n in range(int(rate * seconds)):
            event = call_event(first + n, account_of(of(n)), _SIZE)
            name = delivery_id(event.id, f"e{of(n)}")
            records.append((name, event.subject.encode(), encode_data(event), headers_of(event)))
        async with AIOKafkaProducer(bootstrap_servers=self._kafka.bootstrap) as producer:
            began = time.perf_counter()
            for n, (name, key, value, headers) in enumerate(records):
                wait = began + n / rate - time.perf_counter()
                if wait > 0:
                    await asyncio.sleep(wait)
                else:
                    worst = max(worst, -1000 * wait)
                # From here, not from the broker's word: what the append itself takes is in it.
                sent[name] = time.time()
                written.append(await producer.send(topic, value=value, key=key, headers=headers))
            await asyncio.gather(*written)
        return worst

    async def _all_of(self, wanted: set[str]) -> dict[str, float]:
        came: dict[str, float] = {}

        async def all_came() -> bool:
            arrivals: list[Arrival] = await self._hooks.take()
            for one in arrivals:
                came.setdefault(one.id, one.at)
            return wanted <= came.keys()

        try:
            await until(all_came, "every webhook came", _DRAIN_SECONDS, every=0.5)
        except RigError as error:
            raise RigError(f"{error}: {len(wanted - came.keys())} of {len(wanted)} did not") from None
        return came


@asynccontextmanager
async def relay(bootstrap: str, topic: str, urls: Sequence[str]) -> AsyncIterator[str]:
    """The least that can send events on: aiokafka's consumer and aiohttp's client, nothing kept, nothing signed."""
    async with (
        AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, fetch_max_wait_ms=100) as consumer,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        posting: set[asyncio.Task[None]] = set()

        async def post(event: str, endpoint: int, value: bytes) -> None:
            name = delivery_id(event, f"e{endpoint}")
            async with session.post(urls[endpoint], data=value, headers={"webhook-id": name}) as answer:
                await answer.read()

        async def read() -> None:
            async for record in consumer:
                headers = dict(record.headers)
                account = int(headers["ce_source"].rpartition(b"/")[2])
                task = asyncio.create_task(post(headers["ce_id"].decode(), account - account_of(0), record.value))
                posting.add(task)
                task.add_done_callback(posting.discard)

        reading = asyncio.create_task(read())
        try:
            yield ""
        finally:
            for task in (reading, *posting):
                task.cancel()
            await asyncio.gather(reading, *posting, return_exceptions=True)


async def latencies(
    folder: Path, kafka: Broker, hooks: Hooks, rates: Mapping[int, float | None], *, short: bool
) -> None:
    """At so many endpoints: 200 events a second, and half of the rate that is sustained, where it is known."""
    steady = Steady(folder, kafka, hooks)
    seconds = 5.0 if short else 15.0
    subjects: list[Subject] = []

    def add(count: int, rate: float, what: str, ceiling: str | None, limit: float | None = None) -> None:
        urls = [hooks.endpoint(n) for n in range(count)]
        bare = limit is None
        name = f"{count:,} endpoint{'s' if count > 1 else ''}, {what}"
        subjects.append(
            Subject(
                name=f"bare relay, {name}" if bare else name,
                run=lambda: steady.run(urls, rate, _WARM_SECONDS, seconds, lambda n: n % count, bare=bare),
                ceiling=ceiling,
                targets=() if limit is None else (at_most(limit),),
            )
        )

    steadily, half = f"{_STEADY:g} events/s", "half of what is sustained"
    floors = {what: f"bare relay, {_GOOD} endpoints, {what}" for what in (steadily, half)}
    for count, sustained in rates.items():
        add(count, _STEADY, steadily, floors[steadily], 25)
        if sustained is not None:
            add(count, sustained / 2, half, floors[half], 100)
    add(_GOOD, _STEADY, steadily, None)
    if (sustained := rates.get(_GOOD)) is not None:
        add(_GOOD, sustained / 2, half, None)
    runs = 1 if short else 3
    conclude(
        "webhooks-latency",
        "p99 from handing a call event to the producer to the receipt of its webhook: fan-out and delivery in one process "
        "on one core; the broker, the receiver and the load on the other. The relay is aiokafka's consumer and aiohttp's client, "
        "and no more",
        "ms",
        await measure(subjects, runs),
        short=short,
        settings={
            "runs": runs,
            "seconds": seconds,
            "bytes of a webhook": _SIZE,
            **{f"half the rate at {n} endpoints": round(rate / 2) for n, rate in rates.items() if rate is not None},
        },
        packages=_PACKAGES,
    )


async def isolated(folder: Path, kafka: Broker, hooks: Hooks, *, short: bool) -> None:
    """A hundred well endpoints beside one more, which is well too, or misbehaves in one of the ways there are."""
    steady = Steady(folder, kafka, hooks)
    seconds = 5.0 if short else 15.0

    def of(n: int) -> int:
        return _GOOD if n % _BAD_EVERY == 0 else n % _GOOD

    def beside(behaviour: str, words: str) -> Subject:
        one_more = hooks.endpoint(_GOOD, behaviour)
        if behaviour == _DOWN:
            one_more = f"http://{host_of(_GOOD)}:{free_port()}/{_DOWN}/{_GOOD}"
        urls = [*(hooks.endpoint(n) for n in range(_GOOD)), one_more]
        return Subject(
            name=f"beside one that {words}",
            run=lambda: steady.run(urls, _STEADY, 3.0 if short else _WARM_BESIDE_BAD, seconds, of, counted=_GOOD),
            ceiling=None if words == _IS_WELL else f"beside one that {_IS_WELL}",
            targets=() if behaviour == WELL else (at_most(1.1, RATIO), at_most(25)),
            of_all=lambda late: spread(late)[2],
        )

    # The p99 of one and the same case differs by a third from run to run: a tenth shows in many of them, taken together.
    runs = 1 if short else 10
    conclude(
        "webhooks-isolation",
        f"p99 of all runs' webhooks to {_GOOD} well endpoints at {_STEADY:g} events/s, of which one in {_BAD_EVERY} is for one "
        f"more endpoint; the broker collects its garbage before each run, and not within",
        "ms",
        await measure(
            [
                beside(WELL, _IS_WELL),
                # How far apart two are that do not differ.
                beside(WELL, "is well, once more"),
                beside(HANGS, "hangs"),
                beside(DRIPS, "answers a byte a second"),
                beside(POURS, "answers 10 GB"),
                beside(RESETS, "resets its connections"),
                beside(_DOWN, "is down"),
            ],
            runs,
        ),
        short=short,
        settings={"runs": runs, "seconds": seconds, "bytes of a webhook": _SIZE},
        packages=_PACKAGES,
    )


def _endpoint(delivery: str) -> int:
    return int(delivery.rpartition("-e")[2])
