"""What benchmarks of whole services share: a broker on a core, configurations, services as processes, records on topics."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.servers import Server
from gateway.config import KafkaConfig, load
from gateway.contract.events import CallData, CallEvent, Evidence, source_of
from gateway.dev.brokers import ApacheKafka, Child, free_port
from gateway.runtime import logs
from gateway.runtime.garbage import spare_the_collector
from gateway.runtime.metrics import READY
from streams.delivery.worker import DeliveryWorker
from streams.metrics import StreamsMetrics

SECRET = "whsec_" + "A" * 43 + "="
START_SECONDS = 90.0
_STOP_SECONDS = 15.0
_PREFIXES = itertools.count()
_AT = datetime(2026, 11, 24, 20, 21, 11, tzinfo=UTC)

Record = tuple[str, bytes, bytes, list[tuple[str, bytes]]]  # topic, key, value, headers


# Topics that were made just now have no leader yet, which it would tell of for every partition.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


class RigError(Exception):
    """What was to be measured did not come about."""


class Broker(ApacheKafka):
    """A real Apache Kafka with room for the garbage of a whole run.

    With the little heap that tests have, its collector stops it for 12 ms every second at 200 events a second: that, and
    nothing of ours, is then what a p99 shows.
    """

    def _more_options(self) -> list[str]:
        return ["-Xms3g", "-Xmx3g", "-Xmn2g", "-XX:+AlwaysPreTouch"]

    async def collect(self) -> None:
        """Let it collect its garbage now, so that it need not while something is measured.

        Raises:
            RigError: It was not told, for which Java's development kit is needed.
        """
        try:
            telling = await asyncio.create_subprocess_exec(
                "jcmd", str(self.pid), "GC.run", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except FileNotFoundError:
            raise RigError(
                "jcmd, of Java's development kit, is not there to let the broker collect its garbage"
            ) from None
        said, _ = await telling.communicate()
        if telling.returncode:
            raise RigError(f"the broker did not collect its garbage: {said.decode(errors='replace').strip()}")


@asynccontextmanager
async def broker(folder: Path, cores: set[int]) -> AsyncIterator[Broker]:
    """A real Apache Kafka on these cores."""
    async with Broker(folder / "broker") as one:
        assert one.pid is not None
        pin(one.pid, cores)
        yield one


def pin(pid: int, cores: set[int]) -> None:
    """Keep a process, its threads included, on these cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def configuration(folder: Path, bootstrap: str, **sections: Any) -> Path:
    """Write a configuration with topics of its own, whose endpoints may be on loopback; `sections` go over what is here."""
    number = next(_PREFIXES)
    (folder / "secret").write_text(SECRET, encoding="utf-8")
    document: dict[str, Any] = {
        "kafka": {"bootstrap": bootstrap, "prefix": f"bench-{time.time_ns()}-{number}", "replication_factor": 1},
        "delivery": {"allow_networks": ["127.0.0.0/8"], "allow_http": True},
        "metrics": {"gateway": f"127.0.0.1:{free_port()}", "streams": f"127.0.0.1:{free_port()}"},
        "log": {"format": "json", "level": "error"},
    }
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section} if isinstance(section, dict) else section
    path = folder / f"{number}.toml"
    path.write_bytes(msgspec.toml.encode(document))
    return path


def endpoints(folder: Path, urls: Iterable[str], **more: Any) -> list[dict[str, Any]]:
    """An endpoint for each URL. The n-th wants the events of the n-th account (`account_of`) alone."""
    return [
        {"id": f"e{n}", "url": url, "secrets": [f"file:{folder}/secret"], "accounts": [account_of(n)], **more}
        for n, url in enumerate(urls)
    ]


def account_of(endpoint: int) -> int:
    """The account whose events go to the n-th endpoint."""
    return 1000 + endpoint


@asynccontextmanager
async def service(words: Sequence[str], listen: str, cores: set[int], log: Path) -> AsyncIterator[Server]:
    """`ringcloud-gateway <words>` on these cores, once it says at `listen` that it is ready; ended with the block."""
    child = Child(words[0], [sys.executable, "-m", "gateway.cli", *words], log)
    child.spawn()
    try:
        assert child.pid is not None
        pin(child.pid, cores)
        async with aiohttp.ClientSession() as http:
            await until(lambda: _ready(http, listen, child), f"{words[0]} is ready", START_SECONDS)
        yield Server("", child.pid)
    finally:
        await child.stop(_STOP_SECONDS)


async def _ready(http: aiohttp.ClientSession, listen: str, child: Child) -> bool:
    if not child.running:
        raise child.failure("ended by itself")
    try:
        async with http.get(f"http://{listen}/metrics") as answer:
            return f"{READY} 1.0" in await answer.text()
    except aiohttp.ClientError:
        return False


async def metrics(http: aiohttp.ClientSession, listen: str) -> dict[str, float]:
    """What a service says of itself: each sample by its name and labels."""
    async with http.get(f"http://{listen}/metrics") as answer:
        text = await answer.text()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


async def until(condition: Callable[[], Awaitable[Any]], what: str, seconds: float, every: float = 0.05) -> None:
    """Wait until it is so. Raises RigError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise RigError(f"not so after {seconds:g} s: {what}")
        await asyncio.sleep(every)


@asynccontextmanager
async def delivery_worker(config: str) -> AsyncIterator[str]:
    """A delivery worker of the configuration at this path, in this process; for `serving`. It has its partitions."""
    loaded = load(Path(config))
    logs.set_up(loaded.log.format, loaded.log.level)
    spare_the_collector()
    worker = DeliveryWorker(loaded, StreamsMetrics())
    await worker.start()
    running = asyncio.create_task(worker.run())
    try:
        await worker.ready()
        yield ""
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await worker.stop()


async def write(bootstrap: str, records: Iterable[Record]) -> None:
    """Write all of them, as fast as it goes."""
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=512 * 1024, max_request_size=4 * 1024 * 1024
    ) as producer:
        for topic, key, value, headers in records:
            await producer.send(topic, value=value, key=key, headers=headers)
        await producer.flush()


async def ends(kafka: KafkaConfig, topics: Sequence[str]) -> int:
    """How many records were ever written to these topics, which are as wide as `partitions` says."""
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap) as consumer:
        tps = [TopicPartition(topic, number) for topic in topics for number in range(kafka.partitions)]
        return sum((await consumer.end_offsets(tps)).values())


async def left(kafka: KafkaConfig, group: str, topic: str) -> list[int]:
    """How many records of each partition of a topic, as wide as `partitions` says, a group has not committed."""
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False
    ) as consumer:
        tps = [TopicPartition(topic, number) for number in range(kafka.partitions)]
        consumer.assign(tps)
        last = await consumer.end_offsets(tps)
        return [last[tp] - (await consumer.committed(tp) or 0) for tp in tps]


def call_event(number: int, account: int, size: int) -> CallEvent:
    """The n-th event: the end of a call of its own, as a webhook of `size` bytes."""
    call = f"01M87KG21TW90VCS{number:010}"
    event = CallEvent(
        id=f"{call}-3",
        source=source_of(account),
        type="call.ended",
        subject=call,
        time=_AT,
        sequence="3",
        data=CallData(
            account=account,
            call_id=call,
            sequence=3,
            src="400",
            dst="74950001122",
            direction="outgoing",
            not_before=_AT - timedelta(seconds=2),
            not_after=_AT + timedelta(seconds=1),
            observed_at=_AT + timedelta(seconds=2),
            evidence=Evidence.COMPLETE,
            ambiguous=False,
            answered=True,
            disposition="ANSWERED",
            duration=73,
            rec_file="",
        ),
    )
    missing = size - len(msgspec.json.encode(event))
    return msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, rec_file="r" * missing))


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """p50, p95 and p99."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[94], cuts[98]
