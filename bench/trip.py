"""`python -m bench.trip`: from the bytes of RingCloud's answer to the webhook's receipt, all parts being real processes.

Targets: p50 of 30 ms and p99 of 80 ms at 200 events a second over 200 accounts, the waits for group commit and fetches
included. An event says when the gateway had the answer that showed it (`observed_at`), the receiver notes when the
webhook is there, by the same machine's clock; that is how `dev` measures it too, and as exact as a millisecond.

The gateway and the streams share a core; the sandbox, the broker, a real Apache Kafka, and the receiver share the other.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import click
import uvloop

from bench.harness import Sample, Subject, at_most, conclude, measure
from bench.hooks import Hooks, hook_server
from bench.polling import accounts_section, sandbox_of
from bench.rig import Broker, broker, configuration, metrics, service, spread
from bench.servers import Server, Watch, cores, serving
from gateway.config import load

_ACCOUNTS = 200
_EVENTS = 200.0
# Calls a minute for an event a second, as the sandbox's profile makes them: some calls are answered, some end updated.
_CALLS_PER_MINUTE = 60 / 2.7
# A new owner rests for one interval, and everything has been asked for twice.
_WARM_SECONDS = 18.0
# In which what the broker's stop for its garbage held up is gone.
_REST_SECONDS = 2.0
_COMMITS = "ringcloud_snapshot_to_commit_seconds"


async def _run(folder: Path, kafka: Broker, events: float, seconds: float) -> Sample:
    """p99 in ms; beside it the other quantiles, and how far the commit was."""
    other, core = cores()
    async with AsyncExitStack() as stack:
        enter = stack.enter_context
        sandbox = enter(serving(other, sandbox_of, _ACCOUNTS, events * _CALLS_PER_MINUTE))
        receiver = enter(serving(other, hook_server, 1))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        hooks = Hooks(receiver.url, http)
        endpoint: dict[str, Any] = {
            "id": "e",
            "url": hooks.endpoint(0),
            "secrets": [f"file:{folder}/secret"],
            "concurrency": 64,
        }
        path = configuration(
            folder,
            kafka.bootstrap,
            ringcloud={"base_url": sandbox.url},
            accounts=accounts_section(folder, _ACCOUNTS),
            endpoints=[endpoint],
        )
        listen = load(path).metrics
        start = stack.enter_async_context
        gateway = await start(service(["poll", str(path)], listen.gateway, {core}, folder / "gateway.log"))
        streams = await start(service(["streams", str(path)], listen.streams, {core}, folder / "streams.log"))
        await asyncio.sleep(_WARM_SECONDS)
        await kafka.collect()
        await asyncio.sleep(_REST_SECONDS)
        watch = Watch({"gateway": gateway, "streams": streams, "broker": Server("", kafka.pid or 0)})
        before = await metrics(http, listen.gateway)
        await hooks.keep()
        await hooks.take()
        await asyncio.sleep(seconds)
        arrivals = await hooks.take()
        after = await metrics(http, listen.gateway)
        used = watch.read()
    first: dict[str, float] = {}
    for one in arrivals:
        assert one.observed_at is not None
        first.setdefault(one.id, 1000 * (one.at - datetime.fromisoformat(one.observed_at).timestamp()))
    late = list(first.values())
    p50, p95, p99 = spread(late)
    made = {name: after[name] - before[name] for name in (f"{_COMMITS}_sum", f"{_COMMITS}_count")}
    return Sample(
        p99,
        {
            "p50": p50,
            "p95": p95,
            "most": max(late),
            "commit, on average": 1000 * made[f"{_COMMITS}_sum"] / max(1.0, made[f"{_COMMITS}_count"]),
            "webhooks/s": len(late) / seconds,
            **{f"{name}'s core": share for name, share in used.items()},
        },
    )


async def _bench(runs: int, seconds: float, *, short: bool) -> None:
    other, _ = cores()
    os.sched_setaffinity(0, {other})
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        async with broker(folder, {other}) as kafka:

            def trip(events: float, *targets: Any) -> Subject:
                return Subject(
                    name=f"{events:g} events/s over {_ACCOUNTS} accounts",
                    run=lambda: _run(folder, kafka, events, seconds),
                    targets=targets,
                )

            figures = await measure(
                [trip(_EVENTS, at_most(80), at_most(30, "p50")), *([] if short else [trip(_EVENTS / 4)])], runs
            )
    conclude(
        "trip",
        "p99 from the answer's bytes at the gateway to the receipt of the webhook; `commit` is from the same moment to the "
        "event's commit, by the gateway's own figures",
        "ms",
        figures,
        short=short,
        settings={"runs": runs, "seconds": seconds, "accounts": _ACCOUNTS, "shards": 64, "partitions": 12},
        packages=("aiohttp", "httpx", "aiokafka", "faust-streaming", "uvloop", "msgspec"),
    )


@click.command()
@click.option("--short", is_flag=True, help="One run of 15 s: shows that it works, proves little.")
def main(short: bool) -> None:
    """Measure the whole trip, and write bench/results/trip.json."""
    uvloop.run(_bench(1 if short else 3, 15.0 if short else 40.0, short=short))


if __name__ == "__main__":
    main()
