"""A replica that comes or goes moves shards, and no account goes unasked for long meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest

from gateway.dev.brokers import Broker
from sandbox.settings import SandboxSettings
from tests.support.gateway import Gateway, Runs, Site, keys_of, run_on_each, site
from tests.support.waiting import eventually

SHARDS = 4
ACCOUNTS = [3100 + n for n in range(8)]
# The promise, in ms.
LONGEST = 15_000

Lane = tuple[str, str]


@dataclass
class Watch:
    """When the server saw each question for a list, by its own clock (ms), as its statistics tell."""

    seen: dict[Lane, list[float]] = field(default_factory=dict)

    async def look(self, http: aiohttp.ClientSession, url: str) -> None:
        """Note what is new. To be called more often than a lane is used."""
        async with http.get(f"{url}/_sandbox/stats") as answer:
            for lane in (await answer.json())["lanes"]:
                times = self.seen.setdefault((lane["key"], lane["path"]), [])
                if not times or lane["last_at_ms"] > times[-1]:
                    times.append(lane["last_at_ms"])

    def gaps(self) -> dict[Lane, float]:
        """The longest time between two questions, of each lane."""
        return {lane: max(later - before for before, later in pairwise(times)) for lane, times in self.seen.items()}


@asynccontextmanager
async def watching(place: Site) -> AsyncIterator[Watch]:
    """Watch a site's sandbox until the block is left."""
    watch = Watch()

    async def look_on() -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                await watch.look(http, place.sandbox.url)
                await asyncio.sleep(0.2)

    task = asyncio.create_task(look_on())
    try:
        yield watch
        assert not task.done(), "the watch ended by itself"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass
class Run:
    """What became of the questions."""

    shares: list[list[int]]
    gaps: dict[Lane, float]
    rate_limited: int


async def _shares(*gateways: Gateway) -> list[int]:
    async def owned() -> list[int]:
        """the gateways own all shards, as many each"""
        found = [await gateway.shards() for gateway in gateways]
        return found if found == [SHARDS // len(gateways)] * len(gateways) else []

    return await eventually(owned, 40.0, interval=0.1)


async def _moved(broker: Broker, folder: Path) -> Run:
    """A second gateway joins the first, and leaves it again."""
    settings = SandboxSettings(keys=keys_of(ACCOUNTS))
    async with site(broker, folder, settings, {"kafka": {"shards": SHARDS}}) as place:
        one, two = place.gateway("one"), place.gateway("two")
        async with one:
            shares = [await _shares(one)]
            await place.polled()
            async with watching(place) as watch:
                await place.polled(times=2)
                async with two:
                    shares.append(await _shares(one, two))
                    await place.polled(times=2)
                    await two.stop()
                    shares.append(await _shares(one))
                    await place.polled(times=2)
            await one.stop()
        return Run(shares, watch.gaps(), place.sandbox.stats.report().rate_limited)


@pytest.fixture(scope="module")
def runs(brokers: dict[str, Broker], tmp_path_factory: pytest.TempPathFactory) -> Runs[Run]:
    """The scenario on every broker."""
    return run_on_each(brokers, tmp_path_factory.mktemp("handover"), moved=_moved)


def test_no_list_goes_unasked_for_longer_than_three_intervals(runs: Runs[Run], broker_name: str) -> None:
    run = runs.of(broker_name, "moved")
    assert run.shares == [[SHARDS], [SHARDS // 2] * 2, [SHARDS]]
    assert len(run.gaps) == 2 * len(ACCOUNTS)
    assert {lane: gap for lane, gap in run.gaps.items() if gap > LONGEST} == {}
    assert run.rate_limited == 0
