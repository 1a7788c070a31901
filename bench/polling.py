"""`python -m bench.polling`: how many accounts one gateway process polls at the full allowed rate.

Targets: 2,000 accounts (800 requests a second), at least 97 % of the allowed polls made, no answer of 429, and at most
70 % of a core; a poll costs the same up to 5,000 accounts, within 10 %. The gateway has one core to itself; the sandbox and the broker share the other. A poll ends with its
commit, so the same runs tell what group commit does. The embedded broker writes all that it keeps to the disk about once
a second: commits wait for that, and the longer the busier the disk is.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import click
import msgspec

from bench.harness import RATIO, Sample, Subject, Target, at_least, at_most, conclude, measure
from bench.rig import configuration, metrics, pin, service
from bench.servers import cores, serving
from gateway.config import load
from gateway.dev.brokers import ApacheKafka, EmbeddedBroker
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings

_FIRST = 1000
_PASSWORD = "bench"  # noqa: S105 - of keys that exist here alone
_INTERVAL = 5.0
_LISTS = 2
# Beyond a gateway's first interval, in which it asks for nothing, everything has been asked for twice.
_WARM_SECONDS = 15.0
_CALLS_PER_MINUTE = 600.0
# As many accounts as the claim names; beyond, all that is asked for is that RingCloud never says 429.
_CLAIMED = 2_000
_FLAT = at_most(1.1, RATIO)
_COMMITS = (
    "transaction_seconds_count",
    "transaction_records_sum",
    "commit_wait_seconds_sum",
    "commit_wait_seconds_count",
)


@asynccontextmanager
async def sandbox_of(accounts: int, calls_per_minute: float) -> AsyncIterator[str]:
    """A sandbox with so many accounts and so many calls among them all; for `serving`."""
    settings = SandboxSettings(_keys(accounts), calls_per_minute=calls_per_minute, profile="live")
    async with SandboxServer(settings) as server:
        yield server.url


def accounts_section(folder: Path, accounts: int) -> list[dict[str, Any]]:
    """The accounts of `sandbox_of` as a configuration has them; their secrets are written into the folder."""
    (folder / "password").write_text(_PASSWORD, encoding="utf-8")
    section: list[dict[str, Any]] = []
    for spec in _keys(accounts):
        (folder / f"{spec.account}.key").write_text(spec.key, encoding="utf-8")
        key = {"key": f"file:{folder}/{spec.account}.key", "password": f"file:{folder}/password"}
        section.append({"id": spec.account, "keys": [key]})
    return section


def _keys(accounts: int) -> list[KeySpec]:
    return [KeySpec(f"{account}_bench", _PASSWORD) for account in range(_FIRST, _FIRST + accounts)]


async def _figures(http: aiohttp.ClientSession, url: str, listen: str) -> dict[str, float]:
    """What the sandbox let pass, and what the gateway says of its transactions."""
    async with http.get(f"{url}/_sandbox/stats") as answer:
        stats = msgspec.json.decode(await answer.read())
    samples = await metrics(http, listen)
    return {
        "polls": float(sum(lane["accepted"] for lane in stats["lanes"])),
        "429": float(stats["rate_limited"]),
        **{name: samples[f"ringcloud_{name}"] for name in _COMMITS},
    }


class _Polling:
    """Runs gateways, and keeps of each run what is told of besides: its commits, and what a poll cost."""

    def __init__(self, broker: ApacheKafka | EmbeddedBroker, folder: Path, seconds: float) -> None:
        self._broker = broker
        self._folder = folder
        self._seconds = seconds
        self._commits: dict[int, list[Sample]] = defaultdict(list)
        self._costs: dict[int, list[Sample]] = defaultdict(list)

    async def run(self, accounts: int) -> Sample:
        """How much of what is allowed was polled."""
        other, core = cores()
        with serving(other, sandbox_of, accounts, _CALLS_PER_MINUTE) as sandbox:
            path = configuration(
                self._folder,
                self._broker.bootstrap,
                ringcloud={"base_url": sandbox.url},
                accounts=accounts_section(self._folder, accounts),
                log={"level": "warning"},
            )
            listen = load(path).metrics.gateway
            async with (
                service(["poll", str(path)], listen, {core}, self._folder / "log") as gateway,
                aiohttp.ClientSession() as http,
            ):
                await asyncio.sleep(_WARM_SECONDS)
                before, cpu, began = await _figures(http, sandbox.url, listen), gateway.cpu_seconds(), time.monotonic()
                await asyncio.sleep(self._seconds)
                after, used, took = (
                    await _figures(http, sandbox.url, listen),
                    gateway.cpu_seconds() - cpu,
                    time.monotonic() - began,
                )
        made = {name: after[name] - before[name] for name in after}
        transactions = made["transaction_seconds_count"] or 1.0
        waits = made["commit_wait_seconds_count"] or 1.0
        self._commits[accounts].append(
            Sample(
                1000 * made["commit_wait_seconds_sum"] / waits,
                {"transactions/s": transactions / took, "records each": made["transaction_records_sum"] / transactions},
            )
        )
        self._costs[accounts].append(Sample(1000 * used / made["polls"], {"polls/s": made["polls"] / took}))
        return Sample(
            100 * made["polls"] / (accounts * _LISTS * took / _INTERVAL),
            {"429": after["429"], "% of a core": 100 * used / took, "CPU, ms a poll": 1000 * used / made["polls"]},
        )

    async def commits(self, accounts: int) -> Sample:
        """What was seen of commits in one of the runs."""
        return self._commits[accounts].pop()

    async def cost(self, accounts: int) -> Sample:
        """What a poll cost in one of the runs."""
        return self._costs[accounts].pop()


def _name(accounts: int) -> str:
    return f"{accounts:,} accounts"


async def _bench(kind: str, counts: tuple[int, ...], runs: int, seconds: float, *, short: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        make = ApacheKafka if kind == "kafka" else EmbeddedBroker
        async with make(folder / "broker") as broker:
            if broker.pid is not None:
                pin(broker.pid, {cores()[0]})
            polling = _Polling(broker, folder, seconds)

            def subjects(
                run: Callable[[int], Awaitable[Sample]], targets: Callable[[int], list[Target]]
            ) -> list[Subject]:
                return [Subject(name=_name(n), run=partial(run, n), targets=targets(n)) for n in counts]

            polls = await measure(subjects(polling.run, _polling_targets), runs)
            waits = await measure(subjects(polling.commits, lambda _: []), runs)
            least = counts[0]
            costs = await measure(
                [
                    Subject(
                        name=_name(n),
                        run=partial(polling.cost, n),
                        ceiling=None if n == least else _name(least),
                        targets=() if n == least else (_FLAT,),
                    )
                    for n in counts
                ],
                runs,
            )
    suffix = "" if kind == "kafka" else f"-{kind}"
    settings = {"runs": runs, "seconds": seconds, "calls per minute": _CALLS_PER_MINUTE, "shards": 64}
    for name, what, unit, figures in (
        (
            "polling",
            "Polls made of those allowed (two lists an account, each once in 5 s): one gateway process on one core",
            "%",
            polls,
        ),
        (
            "commits",
            "From handing records in to their commit, on average, while those accounts are polled",
            "ms",
            waits,
        ),
        (
            "polling-cost",
            "Processor time that a poll takes, everything that the gateway does counted, as the accounts grow in number",
            "ms",
            costs,
        ),
    ):
        conclude(
            f"{name}{suffix}",
            what,
            unit,
            figures,
            short=short,
            settings=settings,
            packages=("aiohttp", "httpx", "httpx-aiohttp", "uvloop", "msgspec", "aiokafka"),
        )


def _polling_targets(accounts: int) -> list[Target]:
    if accounts > _CLAIMED:
        return [at_most(0, "429")]
    whole = [at_least(97), at_most(0, "429")]
    return [*whole, at_most(70, "% of a core")] if accounts == _CLAIMED else whole


@click.command()
@click.option("--short", is_flag=True, help="One run of 20 s with fewer accounts: shows that it works, proves little.")
@click.option("--broker", type=click.Choice(["embedded", "kafka"]), default="kafka", show_default=True)
def main(short: bool, broker: str) -> None:
    """Measure polling, and write polling.json, commits.json and polling-cost.json (`-embedded` with that broker)."""
    counts = (500, 2000) if short else (500, 1000, 2000, 3000, 5000)
    asyncio.run(_bench(broker, counts, 1 if short else 3, 20.0 if short else 25.0, short=short))


if __name__ == "__main__":
    main()
