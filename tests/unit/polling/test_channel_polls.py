"""The loop over one account's channels, on a real sandbox over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

import aiohttp
import msgspec
from structlog.testing import capture_logs

from gateway.calls.differ import Channels, Leg, Window
from gateway.polling.channels import ChannelPolls
from gateway.ringcloud import Limiter, RingCloud
from sandbox.faults import FaultKind, FaultOrder
from sandbox.pbx import Pbx
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings
from sandbox.stats import StatsReport
from tests.support.waiting import eventually

# One whose polls begin soon.
ACCOUNT = 1574
KEYS = [KeySpec("1574_one", "first"), KeySpec("1574_two", "second")]
NAMES = ["SIP/400-00000002", "SIP/trunk-00000003"]


class Seen:
    """What the loop handed over; settles nothing until it is told to."""

    def __init__(self) -> None:
        self.lists: list[list[Leg]] = []
        self.windows: list[Window] = []
        self.whole: list[bool] = []
        self.settled: list[str] = []
        self.clock_set = 0

    async def take(self, channels: Channels) -> list[str]:
        self.lists.append(list(channels.legs))
        self.windows.append(channels.window)
        self.whole.append(channels.whole)
        return self.settled

    async def more(self, lists: int = 1) -> list[Leg]:
        """What the last of so many more lists showed."""
        wanted = len(self.lists) + lists
        await eventually(lambda: len(self.lists) >= wanted, 15.0 + 3 * lists, "the list came again", interval=0.01)
        return self.lists[wanted - 1]


@asynccontextmanager
async def polled(keys: int = 1) -> AsyncIterator[tuple[SandboxServer, Seen]]:
    """A sandbox, and the loop at work on it through so many keys."""
    seen = Seen()
    async with SandboxServer(SandboxSettings(KEYS[:keys], calls_per_minute=0)) as server:
        limiter = Limiter()
        apis = [RingCloud(spec.key, spec.password, base_url=server.url, limiter=limiter) for spec in KEYS[:keys]]
        task = asyncio.create_task(ChannelPolls(ACCOUNT, apis, seen.take, 60.0, lambda: seen.clock_set).run())
        try:
            yield server, seen
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for api in apis:
                await api.aclose()
        assert (await stats(server)).rate_limited == 0


async def stats(server: SandboxServer) -> StatsReport:
    """What the sandbox was asked, as it tells over HTTP."""
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/_sandbox/stats") as response:
        return msgspec.json.decode(await response.read(), type=StatsReport)


def ring(pbx: Pbx) -> None:
    pbx.place_call(ACCOUNT, "400", "74950001122", "outgoing", ring_ms=60_000)


async def asked(server: SandboxServer, *ends: str) -> list[int]:
    """How often the URLs that end so were asked for."""
    lanes = (await stats(server)).lanes
    return [sum(lane.accepted for lane in lanes if unquote(lane.path).endswith(end)) for end in ends]


async def test_details_of_what_is_listed_are_handed_over_with_their_windows() -> None:
    async with polled() as (server, seen):
        ring(server.pbx)
        caller, called = sorted(await seen.more(), key=lambda leg: leg.name)
        assert [caller.name, called.name] == NAMES
        assert (caller.caller, caller.connected) == (called.connected, called.caller) == ("400", "74950001122")
        for leg in (caller, called):
            assert leg.listed == seen.windows[0]
            assert leg.listed.sent <= leg.listed.received <= leg.asked.sent <= leg.asked.received
            started = server.pbx.ledger.records()[0].started_at
            begun = leg.begun()
            assert begun is not None
            assert begun.sent <= started <= begun.received


async def test_what_is_settled_is_not_asked_for_again_while_it_is_listed() -> None:
    async with polled() as (server, seen):
        seen.settled = NAMES
        ring(server.pbx)
        await seen.more()

        async def listed() -> bool:
            """the list was asked for again"""
            return await asked(server, "/channels") >= [3]

        await eventually(listed, 20.0)
        assert len(seen.lists) == 1
        assert await asked(server, *NAMES) == [1, 1]
        # A new channel is asked for at once, and alone.
        server.pbx.originate(ACCOUNT, "401", "74950001133", a_ring_ms=60_000)
        assert len(await seen.more()) == 3
        assert await asked(server, *NAMES) == [1, 1]


async def test_after_a_step_of_the_clock_all_channels_are_asked_for_anew() -> None:
    async with polled() as (server, seen):
        seen.settled = NAMES
        ring(server.pbx)
        await seen.more()
        assert await asked(server, *NAMES) == [1, 1]
        seen.clock_set += 1
        legs = await seen.more()
        assert await asked(server, *NAMES) == [2, 2]
        # By the clock as it was, nothing is known of them: not even that they are older than this list.
        assert [leg.listed for leg in legs] == [seen.windows[-1]] * 2
        assert [leg.missing for leg in legs] == [None] * 2


async def test_what_is_not_settled_is_asked_for_with_each_list() -> None:
    async with polled() as (server, seen):
        server.pbx.originate(ACCOUNT, "400", "74950001122", a_ring_ms=3_000, ring_ms=60_000)
        (alone,) = await seen.more()
        assert (alone.caller, alone.connected) == ("400", "")

        async def dialled() -> bool:
            """the called side has a channel, and the caller's names it"""
            return sorted((leg.caller, leg.connected) for leg in seen.lists[-1]) == [
                ("400", "74950001122"),
                ("74950001122", "400"),
            ]

        await eventually(dialled, 20.0)


async def test_details_that_failed_are_asked_for_again() -> None:
    async with polled() as (server, seen):
        server.faults.order(FaultOrder(ACCOUNT, "channel", "error500", 1))
        ring(server.pbx)
        assert len(await seen.more()) == 1
        assert len(await seen.more()) == 2
        assert seen.whole == [False, True]


async def test_a_list_that_can_not_be_read_is_none() -> None:
    kinds: list[FaultKind] = ["error500", "html200", "truncated"]

    async def scenario(kind: FaultKind) -> list[list[Leg]]:
        async with polled() as (server, seen):
            ring(server.pbx)
            await seen.more()
            server.faults.order(FaultOrder(ACCOUNT, "channels", kind, 1))
            await seen.more()
            return seen.lists

    with capture_logs() as logs:
        told = await asyncio.gather(*map(scenario, kinds))
    assert [[len(legs) for legs in lists] for lists in told] == [[2, 2]] * len(kinds)
    events = [log["event"] for log in logs]
    assert sorted(events) == ["channels are readable again"] * len(kinds) + ["channels unknown"] * len(kinds)


async def test_two_keys_ask_in_turn() -> None:
    async with polled(keys=2) as (server, seen):
        ring(server.pbx)
        await seen.more(4)
        lists = [lane for lane in (await stats(server)).lanes if lane.path.endswith("/channels")]
        assert len(lists) == 2
        assert abs(lists[0].accepted - lists[1].accepted) <= 1
