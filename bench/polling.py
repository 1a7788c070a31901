"""`python -m bench.polling`: how many accounts one gateway process polls at the full allowed rate.

Targets: 2,000 accounts (800 requests a second), at least 97 % of the allowed polls made, no answer of 429, and at most
70 % of a core. The gateway has one core to itself; the sandbox and the broker share the other. A poll ends with its
commit, so the same runs tell what group commit does. The embedded broker writes all that it keeps to the disk about once
a second: commits wait for that, and the longer the busier the disk is.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import click
import msgspec

from bench.harness import Sample, Subject, conclude, measure
from bench.servers import Server, cores, serving
from gateway.dev.brokers import ApacheKafka, Child, EmbeddedBroker, free_port
from gateway.runtime.metrics import READY
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings

_FIRST = 1000
_INTERVAL = 5.0
_LISTS = 2
_START_SECONDS = 60.0
# Beyond a gateway's first interval, in which it asks for nothing, everything has been asked for twice.
_WARM_SECONDS = 15.0
_CALLS_PER_MINUTE = 600.0


@asynccontextmanager
async def _sandbox(accounts: int, calls_per_minute: float) -> AsyncIterator[str]:
    settings = SandboxSettings(_keys(accounts), calls_per_minute=calls_per_minute, profile="live")
    async with SandboxServer(settings) as server:
        yield server.url


def _keys(accounts: int) -> list[KeySpec]:
    return [KeySpec(f"{account}_bench", "bench") for account in range(_FIRST, _FIRST + accounts)]


def _config(folder: Path, bootstrap: str, url: str, accounts: int, listen: str) -> Path:
    (folder / "password").write_text("bench", encoding="utf-8")
    document: dict[str, Any] = {
        "kafka": {"bootstrap": bootstrap, "prefix": f"bench-{accounts}-{time.time_ns()}", "replication_factor": 1},
        "ringcloud": {"base_url": url},
        "accounts": [],
        "metrics": {"gateway": listen},
        "log": {"format": "json", "level": "warning"},
    }
    for spec in _keys(accounts):
        (folder / f"{spec.account}.key").write_text(spec.key, encoding="utf-8")
        key = {"key": f"file:{folder}/{spec.account}.key", "password": f"file:{folder}/password"}
        document["accounts"].append({"id": spec.account, "keys": [key]})
    path = folder / "gateway.toml"
    path.write_bytes(msgspec.toml.encode(document))
    return path


async def _ready(http: aiohttp.ClientSession, listen: str, child: Child) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        assert child.running, child.failure("ended by itself")
        assert time.monotonic() < deadline, child.failure("did not get ready")
        try:
            async with http.get(f"http://{listen}/metrics") as answer:
                if f"{READY} 1.0" in await answer.text():
                    return
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)


async def _figures(http: aiohttp.ClientSession, url: str, listen: str) -> dict[str, float]:
    """What the sandbox let pass, and what the gateway says of its transactions."""
    async with http.get(f"{url}/_sandbox/stats") as answer:
        stats = msgspec.json.decode(await answer.read())
    async with http.get(f"http://{listen}/metrics") as answer:
        text = await answer.text()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {
        "polls": float(sum(lane["accepted"] for lane in stats["lanes"])),
        "429": float(stats["rate_limited"]),
        **{
            name: float(samples[f"ringcloud_{name}"])
            for name in (
                "transaction_seconds_count",
                "transaction_records_sum",
                "commit_wait_seconds_sum",
                "commit_wait_seconds_count",
            )
        },
    }


async def _run(broker: ApacheKafka | EmbeddedBroker, accounts: int, seconds: float, commits: list[Sample]) -> Sample:
    """How much of what is allowed was polled; what is seen of commits meanwhile goes to `commits`."""
    other, core = cores()
    listen = f"127.0.0.1:{free_port()}"
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        serving(other, _sandbox, accounts, _CALLS_PER_MINUTE) as sandbox,
    ):
        folder = Path(name)
        config = _config(folder, broker.bootstrap, sandbox.url, accounts, listen)
        child = Child("the gateway", [sys.executable, "-m", "gateway.cli", "poll", str(config)], folder / "log")
        child.spawn()
        try:
            assert child.pid is not None
            os.sched_setaffinity(child.pid, {core})
            async with aiohttp.ClientSession() as http:
                await _ready(http, listen, child)
                await asyncio.sleep(_WARM_SECONDS)
                gateway = Server("", child.pid)
                before, cpu, began = await _figures(http, sandbox.url, listen), gateway.cpu_seconds(), time.monotonic()
                await asyncio.sleep(seconds)
                after, used, took = (
                    await _figures(http, sandbox.url, listen),
                    gateway.cpu_seconds() - cpu,
                    time.monotonic() - began,
                )
        finally:
            await child.stop(10.0)
    made = {name: after[name] - before[name] for name in after}
    transactions = made["transaction_seconds_count"] or 1.0
    waits = made["commit_wait_seconds_count"] or 1.0
    commits.append(
        Sample(
            1000 * made["commit_wait_seconds_sum"] / waits,
            {"transactions/s": transactions / took, "records each": made["transaction_records_sum"] / transactions},
        )
    )
    return Sample(
        100 * made["polls"] / (accounts * _LISTS * took / _INTERVAL),
        {"429": after["429"], "% of a core": 100 * used / took, "CPU, ms a poll": 1000 * used / made["polls"]},
    )


async def _bench(kind: str, counts: tuple[int, ...], runs: int, seconds: float, *, short: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        make = ApacheKafka if kind == "kafka" else EmbeddedBroker
        async with make(Path(folder) / "broker") as broker:
            if broker.pid is not None:
                os.sched_setaffinity(broker.pid, {cores()[0]})

            commits: dict[int, list[Sample]] = {count: [] for count in counts}

            def polling(accounts: int) -> Subject:
                return Subject(
                    name=f"{accounts:,} accounts",
                    run=lambda: _run(broker, accounts, seconds, commits[accounts]),
                    target=97.0,
                )

            async def seen(accounts: int) -> Sample:
                return commits[accounts].pop()

            def committing(accounts: int) -> Subject:
                return Subject(name=f"{accounts:,} accounts", run=lambda: seen(accounts))

            polls = await measure([polling(count) for count in counts], runs)
            waits = await measure([committing(count) for count in counts], runs)
    suffix = "" if kind == "kafka" else f"-{kind}"
    settings = {"runs": runs, "seconds": seconds, "calls per minute": _CALLS_PER_MINUTE, "shards": 64}
    packages = ("aiohttp", "httpx", "httpx-aiohttp", "uvloop", "msgspec", "aiokafka")
    conclude(
        f"polling{suffix}",
        "Polls made of those allowed (two lists an account, each once in 5 s): one gateway process on one core",
        "%",
        polls,
        short=short,
        settings=settings,
        packages=packages,
    )
    conclude(
        f"commits{suffix}",
        "From handing records in to their commit, on average, while those accounts are polled",
        "ms",
        waits,
        short=short,
        settings=settings,
        packages=packages,
    )


@click.command()
@click.option("--short", is_flag=True, help="One run of 20 s with fewer accounts: shows that it works, proves little.")
@click.option("--broker", type=click.Choice(["embedded", "kafka"]), default="kafka", show_default=True)
def main(short: bool, broker: str) -> None:
    """Measure polling, and write bench/results/polling.json and commits.json (`-embedded` with that broker)."""
    counts = (500, 2000) if short else (500, 1000, 2000, 3000)
    asyncio.run(_bench(broker, counts, 1 if short else 3, 20.0 if short else 60.0, short=short))


if __name__ == "__main__":
    main()
