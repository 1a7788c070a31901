"""`python -m bench.recovery`: how soon polling goes on after a restart, and how soon at full rate when replicas come or go.

Targets: a restart with the state of 5,000 accounts to the first poll in 5 s; a rebalance of 32 shards to full rate in
10 s, that is until of any 5 s none have less than 97 % of the polls allowed. In both is what the limiter's law asks for:
a new owner of a lane assumes that it was used just now and that a request may still be under way, so no list is asked
for within 5.5 s of the assignment, and the last of them, by its turn, not much later. `own part` is without it.

When a list was asked for is the sandbox's word. The gateways share a core; the sandbox and the broker, a real Apache
Kafka, share the other.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
from bisect import bisect_left
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import click
import msgspec
import uvloop

from bench.harness import Sample, Subject, at_most, conclude, measure
from bench.polling import accounts_section, sandbox_of
from bench.rig import RigError, broker, configuration, service, until
from bench.servers import cores, serving
from gateway.config import load
from gateway.dev.brokers import ApacheKafka
from gateway.ringcloud.turns import UNDERWAY

_INTERVAL = 5.0
_REST = _INTERVAL + UNDERWAY
_LISTS = 2
_CALLS_PER_MINUTE = 600.0
_SHARDS = 32
_ACCOUNTS_TO_MOVE = 640
# Shorter than the interval, so that none of a list's polls is overlooked.
_LOOK_SECONDS = 1.0
# A pause that is longer than this is none of the schedule's.
_PAUSE = 1.1 * _INTERVAL
_FULL = 0.97
_WATCHED_SECONDS = 25.0
_PATIENCE_SECONDS = 120.0


class _Lane(msgspec.Struct, frozen=True):
    key: str
    path: str
    last_at_ms: float


class _Stats(msgspec.Struct, frozen=True):
    lanes: list[_Lane]


@dataclass
class Polls:
    """When each list was asked for, in seconds of the monotonic clock, which all processes of a machine share."""

    http: aiohttp.ClientSession
    url: str
    at: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    looked: float = 0.0

    async def look(self) -> None:
        """Note what was asked for since the last look."""
        async with self.http.get(f"{self.url}/_sandbox/stats") as answer:
            stats = msgspec.json.decode(await answer.read(), type=_Stats)
        self.looked = time.monotonic()
        for lane in stats.lanes:
            times = self.at[lane.key, lane.path]
            if not times or lane.last_at_ms / 1000 > times[-1]:
                times.append(lane.last_at_ms / 1000)

    async def watch(self, seconds: float) -> None:
        """Look again and again, for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def all_since(self, moment: float, lists: int) -> bool:
        """Whether so many lists, and so all of them, were asked for since then."""
        await self.look()
        return sum(times[-1] > moment for times in self.at.values()) == lists

    def firsts(self, moment: float) -> list[float]:
        """Of each list the seconds from `moment` to the first time that it was asked for since."""
        return [next(at for at in times if at > moment) - moment for times in self.at.values()]

    def resumed(self, moment: float) -> list[float]:
        """Of each list that paused the seconds from `moment` to the end of its longest pause."""
        found: list[float] = []
        for times in self.at.values():
            pause, end = max(((b - a, b) for a, b in itertools.pairwise(times)), default=(0.0, 0.0))
            if pause > _PAUSE:
                found.append(end - moment)
        return found

    def full_from(self, moment: float) -> float:
        """Seconds from `moment` to the end of the last 5 s that had less than 97 % of the polls allowed in them.

        Raises RigError where it is not at the full rate at the end.
        """
        times = sorted(at for times in self.at.values() for at in times)
        wanted = _FULL * len(self.at)
        found: float | None = None
        for n in range(len(times) - 1, -1, -1):
            begin = times[n]
            if begin > self.looked - _INTERVAL:
                continue
            if begin < moment or bisect_left(times, begin + _INTERVAL) - n < wanted:
                break
            found = begin
        if found is None:
            raise RigError("it did not come to the full rate")
        return found - moment


async def _restart(folder: Path, kafka: ApacheKafka, accounts: int) -> Sample:
    """Seconds from the start of the process to the first poll, all accounts having state."""
    other, core = cores()
    async with AsyncExitStack() as stack:
        sandbox = stack.enter_context(serving(other, sandbox_of, accounts, _CALLS_PER_MINUTE))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        path = configuration(
            folder,
            kafka.bootstrap,
            ringcloud={"base_url": sandbox.url},
            accounts=accounts_section(folder, accounts),
        )
        listen = load(path).metrics.gateway
        words = ["poll", str(path)]
        polls, lists = Polls(http, sandbox.url), accounts * _LISTS
        async with service(words, listen, {core}, folder / "first.log"):
            await until(lambda: polls.all_since(0.0, lists), "all were polled", _PATIENCE_SECONDS, _LOOK_SECONDS)
            # Those of the first answers that began late are committed too.
            await asyncio.sleep(_INTERVAL)
        moment = time.monotonic()
        async with service(words, listen, {core}, folder / "second.log"):
            ready = time.monotonic() - moment
            await until(lambda: polls.all_since(moment, lists), "all are polled", _PATIENCE_SECONDS, _LOOK_SECONDS)
    firsts = polls.firsts(moment)
    return Sample(
        min(firsts),
        {"own part": min(firsts) - _REST, "to the assignment": ready, "to the last list": max(firsts)},
    )


async def _rebalance(folder: Path, kafka: ApacheKafka, accounts: int, *, joins: bool) -> Sample:
    """Seconds from the moment at which a replica is told to start, or to stop, until all poll at the full rate."""
    other, core = cores()
    async with AsyncExitStack() as stack:
        sandbox = stack.enter_context(serving(other, sandbox_of, accounts, _CALLS_PER_MINUTE))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        prefix = f"bench-{time.time_ns()}"
        section = accounts_section(folder, accounts)
        paths = [
            configuration(
                folder,
                kafka.bootstrap,
                kafka={"shards": _SHARDS, "prefix": prefix},
                ringcloud={"base_url": sandbox.url},
                accounts=section,
            )
            for _ in range(2)
        ]
        polls, lists = Polls(http, sandbox.url), accounts * _LISTS

        def replica(number: int) -> Any:
            path = paths[number]
            return service(
                ["poll", str(path)], load(path).metrics.gateway, {core}, folder / f"replica-{time.time_ns()}.log"
            )

        async with replica(0):
            if joins:
                await until(lambda: polls.all_since(0.0, lists), "all were polled", _PATIENCE_SECONDS, _LOOK_SECONDS)
                polls.at.clear()
                await polls.watch(2 * _INTERVAL)
                watching = asyncio.create_task(polls.watch(_WATCHED_SECONDS + 2))
                moment = time.monotonic()
                async with replica(1):
                    await watching
            else:
                async with replica(1):
                    began = time.monotonic()
                    await until(
                        lambda: polls.all_since(began + _INTERVAL, lists), "all were polled", _PATIENCE_SECONDS, 1.0
                    )
                    polls.at.clear()
                    await polls.watch(2 * _INTERVAL)
                    watching = asyncio.create_task(polls.watch(_WATCHED_SECONDS + 2))
                    moment = time.monotonic()
                await watching
        resumed, full = polls.resumed(moment), polls.full_from(moment)
    return Sample(
        full,
        {
            "own part": full - _REST,
            "to the first list": min(resumed, default=0.0),
            "to the last list": max(resumed, default=0.0),
            "lists that paused": len(resumed),
        },
    )


async def _bench(accounts: int, runs: int, *, short: bool) -> None:
    other, _ = cores()
    os.sched_setaffinity(0, {other})
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        async with broker(folder, {other}) as kafka:
            figures = await measure(
                [
                    Subject(
                        name=f"restart with {accounts:,} accounts' state, to the first poll",
                        run=lambda: _restart(folder, kafka, accounts),
                        targets=(at_most(5),),
                    ),
                    *(
                        Subject(
                            name=f"{_SHARDS} shards, {_ACCOUNTS_TO_MOVE} accounts: the second replica {what}, to full rate",
                            run=lambda joins=joins: _rebalance(  # type: ignore[misc] # mypy sees no default's type
                                folder, kafka, _ACCOUNTS_TO_MOVE, joins=joins
                            ),
                            targets=(at_most(10),),
                        )
                        for joins, what in ((True, "is started"), (False, "is told to stop"))
                    ),
                ],
                runs,
            )
    conclude(
        "recovery",
        "Seconds until polling goes on. A new owner of a list lets 5.5 s pass by law before it asks: `own part` is without",
        "s",
        figures,
        short=short,
        settings={"runs": runs, "accounts": accounts, "accounts that move": _ACCOUNTS_TO_MOVE},
        packages=("aiokafka", "httpx", "aiohttp", "uvloop", "msgspec"),
    )


@click.command()
@click.option("--short", is_flag=True, help="One run with fewer accounts: shows that it works, proves little.")
def main(short: bool) -> None:
    """Measure restart and rebalance, and write bench/results/recovery.json."""
    uvloop.run(_bench(500 if short else 5_000, 1 if short else 3, short=short))


if __name__ == "__main__":
    main()
