"""Polls one account: asks for its two lists as often as the limiter allows, diffs, and commits what came of it."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from prometheus_client import Counter

from gateway.calls.differ import (
    Channels,
    Diff,
    Rules,
    Window,
    first_state,
    read_active,
    read_channels,
    read_completed,
)
from gateway.calls.moving import moved, taken_over
from gateway.calls.state import MARK, Parts
from gateway.contract.events import CallEvent, encode_data, headers_of
from gateway.contract.notices import Listing, Notice, encode_notice, headers_of_notice
from gateway.contract.times import Ms
from gateway.polling import metrics
from gateway.polling.channels import ChannelPolls
from gateway.polling.gaps import days_since, gap_before
from gateway.polling.health import LISTINGS, Health, reason_of
from gateway.polling.links import Links
from gateway.polling.store import Memory, encoded, health_part
from gateway.ringcloud import Answer, RingCloud, RingCloudError
from gateway.ringcloud.limits import ACTIVE
from gateway.runtime.clock import ClockSteps
from gateway.runtime.committer import Record
from gateway.runtime.shards import Handles, key_of, state_records
from gateway.runtime.tracing import NO_TRACES, Span, Traces, trace_headers

_log = structlog.get_logger(__name__)

_HEARTBEAT: Ms = 60_000
# Bytes of an answer that are decoded beside the event loop: some thousand rows, 10 ms.
_LARGE = 1 << 20
# What is allowed for a round trip where several keys are asked in turn, as a part of the interval.
_LONGEST_TRIP = 0.2

Ask = Callable[[RingCloud, int], Awaitable[None]]


class Poller:
    """One account of a shard. Its state is in memory, and on Kafka as of the last commit."""

    def __init__(
        self,
        rules: Rules,
        keys: Sequence[RingCloud],
        zone: ZoneInfo,
        degraded_after: Ms,
        shard: Handles,
        memory: Memory,
        links: Links,
        *,
        asleep: float,
        clock: ClockSteps,
        channels: bool = False,
        traces: Traces = NO_TRACES,
    ) -> None:
        """Begins from what is remembered of the account. `links` knows whose commands calls are of. `clock` is this
        poller's own. `channels`: those are asked for too.

        Who wakes `asleep` seconds too late may have lost the shard meanwhile, and rests as a new owner does.
        """
        self._asleep = asleep
        self._clock = clock
        self._clock_set = 0
        # What is remembered may be by another machine's clock, until an answer's Date says that it is not.
        self._proven = memory.state is None
        self._moved: Parts = {}
        self._channels = channels
        self._traces = traces
        self._rules = rules
        self._keys = keys
        self._zone = zone
        self._shard = shard
        self._links = links
        self._state = memory.state
        self._health = Health(rules.account, degraded_after, memory.degraded_since, _read_at(memory), _now())
        self._written: Ms = 0
        self._log = _log.bind(account=rules.account)
        self._failing: dict[str, str] = {}
        self._last_read: dict[str, float] = {}
        self._last_body: dict[str, bytes] = {}
        self._last_turn: dict[str, int] = {}
        self._trips = [0.0] * len(keys)
        self._polls: dict[tuple[Listing, str], Counter] = {}

    async def run(self) -> None:
        """Poll until cancelled. Raises NotCommitted when the shard can't write any more."""
        account = str(self._rules.account)
        for which in LISTINGS:
            self._last_read[which] = time.monotonic()
            metrics.SNAPSHOT_AGE.labels(account, which).set_function(partial(self._age, which))
            metrics.POLLS_ALLOWED.labels(account, which).set(len(self._keys) / ACTIVE.interval)
        self._count_live()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._poll("active", self._ask_active, 0.0))
                tasks.create_task(self._poll("completed", self._ask_completed, 0.5))
                if self._channels:
                    tasks.create_task(
                        ChannelPolls(
                            self._rules.account, self._keys, self._take_channels, self._asleep, self._follow_clock
                        ).run()
                    )
        finally:
            metrics.ACTIVE_CALLS.remove(account)
            for which in LISTINGS:
                metrics.SNAPSHOT_AGE.remove(account, which)
                metrics.POLLS_ALLOWED.remove(account, which)

    @property
    def memory(self) -> Memory:
        """What is remembered now: where another poller of the account may go on."""
        return Memory(self._state, self._health.since)

    async def _poll(self, which: Listing, ask: Ask, phase: float) -> None:
        """Ask through each key in turn, evenly spaced. The limiter holds back whatever would come too early."""
        loop = asyncio.get_running_loop()
        # A new owner's lanes rest for an interval; behind that, accounts are spread over half of one, and an account's
        # two lists are asked for alternately.
        spread = zlib.crc32(str(self._rules.account).encode()) % 1000 / 1000
        due = loop.time() + ACTIVE.interval + (spread / 2 + phase) * self._step()
        asked: list[asyncio.Task[None] | None] = [None] * len(self._keys)
        turn = 0
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(max(0.0, due - loop.time()))
                if loop.time() - due > self._asleep:
                    due = loop.time() + ACTIVE.interval
                    continue
                key = turn % len(self._keys)
                # A slow answer holds up its own key only.
                if (before := asked[key]) is not None:
                    await before
                due = max(due + self._step(), loop.time())
                asked[key] = tasks.create_task(self._ask(which, ask, turn))
                turn += 1

    def _step(self) -> float:
        """Seconds between two questions for a list.

        A lane is free an interval after its last answer, so a key's questions are a round trip further apart than an
        interval. Several keys go at the pace of the slowest, or their turns would drift together.
        """
        keys = len(self._keys)
        trip = min(max(self._trips), _LONGEST_TRIP * ACTIVE.interval) if keys > 1 else 0.0
        return (ACTIVE.interval + trip) / keys

    async def _ask(self, which: Listing, ask: Ask, turn: int) -> None:
        try:
            await ask(self._keys[turn % len(self._keys)], turn)
        except RingCloudError as error:
            await self._unknown(which, error)

    def _age(self, which: str) -> float:
        return time.monotonic() - self._last_read[which]

    def _follow_clock(self) -> int:
        """How often the system's clock was seen to be set so far.

        If it was just now, what is known moves with it. Whoever asked a question before can't say by which clock it was
        sent: its answer is not to be read.
        """
        by = self._clock.noticed()
        if by:
            self._clock_set += 1
            self._log.warning("the system's clock was set", seconds=by / 1000)
            self._health.move(by)
            if self._state is not None:
                self._state, self._moved = moved(self._state, by, by)
        return self._clock_set

    async def _unknown(self, which: Listing, error: RingCloudError) -> None:
        """An answer that can't be read changes nothing (law 1). It is logged when the reason changes, not each time."""
        self._follow_clock()
        outcome = reason_of(error)
        self._count(which, outcome)
        if self._failing.get(which) != outcome:
            self._failing[which] = outcome
            self._log.warning("snapshot unknown", list=which, outcome=outcome, error=str(error))
        notice = self._health.unknown(which, error, _now())
        if notice is not None:
            self._log.error("account degraded", list=which, reason=outcome, error=str(error))
            await self._commit([], health_part(self._health.since), [notice], which, _now())

    def _readable(self, which: Listing, outcome: str) -> Notice | None:
        self._count(which, outcome)
        self._last_read[which] = time.monotonic()
        if self._failing.pop(which, None) is not None:
            self._log.info("snapshots are readable again", list=which)
        return self._health.readable(which, _now())

    async def _ask_active(self, api: RingCloud, turn: int) -> None:
        epoch = self._follow_clock()
        await self._take("active", turn, epoch, await api.fetch_active(), api.read_active, read_active)

    async def _ask_completed(self, api: RingCloud, turn: int) -> None:
        epoch = self._follow_clock()
        mark = None if self._state is None else self._state.mark
        answer = await api.fetch_completed(days_since(mark, self._zone, _now()))
        await self._take("completed", turn, epoch, answer, api.read_completed, read_completed)

    async def _take(
        self,
        which: Listing,
        turn: int,
        epoch: int,
        answer: Answer,
        read: Callable[[Answer], Sequence[Any]],
        diff_of: Callable[..., Diff],
    ) -> None:
        window = Window(answer.sent_at, max(answer.sent_at, answer.received_at))
        outdated, same, rows = self._outdated(which, turn, epoch), False, None
        if not outdated:
            self._trips[turn % len(self._keys)] = (window.received - window.sent) / 1000
            same = self._last_body.get(which) == answer.body
            if not same and len(answer.body) > _LARGE:
                # Heartbeats of the group and of the brokers go on meanwhile, and so may another key's answer.
                rows = await asyncio.to_thread(read, answer)
                outdated = self._outdated(which, turn, epoch)
            elif not same:
                rows = read(answer)
        if outdated:
            self._count(which, outdated)
            return
        self._last_turn[which] = turn
        notices = [self._readable(which, "unchanged" if same else "read")]
        state = self._state or first_state(self._rules, window)
        if not self._proven:
            state, parts = taken_over(state, answer.server_date, window)
            self._proven = True
            if parts:
                self._moved = parts
                self._log.warning("what was remembered is by another clock")
        with metrics.DIFF.labels(which).time():
            diff = diff_of(self._rules, state, rows, window, answer.server_date)
        if which == "completed" and diff.state.mark.completed == window:
            notices.append(gap_before(self._rules.account, state.mark, rows or (), self._zone, window))
        # Rows that wait for the other list must be read again even if the answer stays the same.
        self._last_body[which] = b"" if diff.deferred else answer.body
        await self._apply(diff, window, [notice for notice in notices if notice is not None], which)

    def _outdated(self, which: Listing, turn: int, epoch: int) -> str:
        """Why an answer says nothing now; "" if it does. Where another key's later question was answered first, what
        this one says is known, or was changed since."""
        if self._follow_clock() != epoch:
            return "clock_set"
        return "overtaken" if turn < self._last_turn.get(which, 0) else ""

    async def _take_channels(self, channels: Channels) -> frozenset[str]:
        if not self._proven:
            return frozenset()
        state = self._state or first_state(self._rules, channels.window)
        read = read_channels(self._rules, state, channels)
        ringing = self._links.ringing(self._rules.account, channels)
        await self._apply(read.diff, channels.window, [], "channels", ringing)
        return read.settled

    async def _apply(
        self, diff: Diff, window: Window, notices: Sequence[Notice], asked: str, results: Sequence[Record] = ()
    ) -> None:
        """Take over the next state and commit it with its events; in between nothing is awaited, so order holds."""
        self._state = diff.state
        self._count_live()
        parts = self._moved | diff.parts
        self._moved = {}
        now = window.received
        if notices or now - self._written >= _HEARTBEAT:
            parts[MARK] = diff.state.mark
        if MARK in parts:
            self._written = now
        written = encoded(parts)
        if notices:
            written |= health_part(self._health.since)
        events, linked = self._links.told(self._rules.account, diff)
        await self._commit(events, written, notices, asked, window.sent, [*results, *linked])

    async def _commit(
        self,
        events: Sequence[CallEvent],
        parts: Mapping[str, bytes | None],
        notices: Sequence[Notice],
        asked: str,
        asked_at: Ms,
        results: Sequence[Record] = (),
    ) -> None:
        if not parts and not results:
            return
        account = self._rules.account
        # A trace is a call event's: most polls bring none.
        traces = self._traces if events else NO_TRACES
        with (
            traces.begin("poll", None, began=asked_at, account=account, asked=asked, events=len(events)) as poll,
            traces.begin("commit", poll.traceparent, "producer", account=account, shard=self._shard.number) as commit,
        ):
            records = [self._event_record(event, commit) for event in events]
            records += [self._notice_record(notice) for notice in notices]
            records += state_records(self._shard, account, parts)
            records += results
            await self._shard.committer.commit(records)
        metrics.committed(account, events)
        for notice in notices:
            metrics.NOTICES.labels(str(account), notice.type).inc()

    def _event_record(self, event: CallEvent, commit: Span) -> Record:
        headers = [*headers_of(event), *trace_headers(commit.traceparent)]
        return Record(self._shard.topics.calls.name, event.subject.encode(), encode_data(event), headers)

    def _notice_record(self, notice: Notice) -> Record:
        topic = self._shard.topics.gateway.name
        return Record(topic, key_of(self._rules.account), encode_notice(notice), headers_of_notice(notice))

    def _count(self, which: Listing, outcome: str) -> None:
        counter = self._polls.get((which, outcome))
        if counter is None:
            counter = self._polls[which, outcome] = metrics.POLLS.labels(str(self._rules.account), which, outcome)
        counter.inc()

    def _count_live(self) -> None:
        live = 0 if self._state is None else self._state.live()
        metrics.ACTIVE_CALLS.labels(str(self._rules.account)).set(live)


def _read_at(memory: Memory) -> dict[Listing, Ms]:
    """When each list was last read well, by what is remembered."""
    if memory.state is None:
        return {}
    mark = memory.state.mark
    readings: dict[Listing, Window | None] = {"active": mark.active, "completed": mark.completed}
    return {which: window.received for which, window in readings.items() if window is not None}


def _now() -> Ms:
    return time.time_ns() // 1_000_000
