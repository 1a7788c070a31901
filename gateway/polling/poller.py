"""Polls one account: asks for its two lists as often as the limiter allows, diffs, and commits what came of it."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from gateway.calls.differ import Diff, Rules, Window, first_state, read_active, read_completed
from gateway.calls.state import MARK, AccountState, load
from gateway.contract.events import CallEvent, encode_data, headers_of
from gateway.contract.times import Ms
from gateway.polling import metrics
from gateway.polling.store import encoded
from gateway.ringcloud import Answer, RingCloud, RingCloudError
from gateway.ringcloud.limits import ACTIVE
from gateway.runtime.committer import Record
from gateway.runtime.shards import Handles, state_records

_log = structlog.get_logger(__name__)

_HEARTBEAT: Ms = 60_000
_MAX_DAYS = 7
# A day's list is asked for by days: near midnight, and with clocks that may differ, the day before is asked for too.
_MIDNIGHT: Ms = 15 * 60_000


class Poller:
    """One account of a shard. Its state is in memory, and on Kafka as of the last commit."""

    def __init__(
        self,
        rules: Rules,
        keys: Sequence[RingCloud],
        zone: ZoneInfo,
        shard: Handles,
    ) -> None:
        """Begins from what is kept of the account. Raises msgspec.MsgspecError where that can't be read."""
        self._rules = rules
        self._keys = keys
        self._zone = zone
        self._shard = shard
        self._state: AccountState | None = load(shard.kept.get(rules.account, {}).items())
        self._written: Ms = 0
        self._log = _log.bind(account=rules.account)
        self._failing: dict[str, str] = {}
        self._last_read: dict[str, float] = {}
        self._last_body: dict[str, bytes] = {}

    async def run(self) -> None:
        """Poll until cancelled. Raises NotCommitted when the shard can't write any more."""
        account = str(self._rules.account)
        for which in ("active", "completed"):
            self._last_read[which] = time.time()
            metrics.SNAPSHOT_AGE.labels(account, which).set_function(partial(self._age, which))
        self._count_live()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._poll("active", self._ask_active, 0.0))
                tasks.create_task(self._poll("completed", self._ask_completed, 0.5))
        finally:
            metrics.ACTIVE_CALLS.remove(account)
            for which in ("active", "completed"):
                metrics.SNAPSHOT_AGE.remove(account, which)

    async def _poll(self, which: str, ask: Callable[[RingCloud], Awaitable[None]], phase: float) -> None:
        """Ask through each key in turn, evenly spaced. The limiter holds back whatever would come too early."""
        step = ACTIVE.interval / len(self._keys)
        loop = asyncio.get_running_loop()
        # A new owner's lanes rest for an interval; behind that, accounts are spread over half of one, and an account's
        # two lists are asked for alternately.
        spread = zlib.crc32(str(self._rules.account).encode()) % 1000 / 1000
        due = loop.time() + ACTIVE.interval + (spread / 2 + phase) * step
        turn = 0
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due + step, loop.time())
            key = self._keys[turn % len(self._keys)]
            turn += 1
            try:
                await ask(key)
            except RingCloudError as error:
                self._unknown(which, error)

    def _age(self, which: str) -> float:
        return time.time() - self._last_read[which]

    def _unknown(self, which: str, error: RingCloudError) -> None:
        """An answer that can't be read changes nothing (law 1). It is logged when the reason changes, not each time."""
        outcome = _outcome(error)
        metrics.POLLS.labels(str(self._rules.account), which, outcome).inc()
        if self._failing.get(which) != outcome:
            self._failing[which] = outcome
            self._log.warning("snapshot unknown", list=which, outcome=outcome, error=str(error))

    def _readable(self, which: str, outcome: str) -> None:
        metrics.POLLS.labels(str(self._rules.account), which, outcome).inc()
        self._last_read[which] = time.time()
        if self._failing.pop(which, None) is not None:
            self._log.info("snapshots are readable again", list=which)

    async def _ask_active(self, api: RingCloud) -> None:
        await self._take("active", await api.fetch_active(), api.read_active, read_active)

    async def _ask_completed(self, api: RingCloud) -> None:
        answer = await api.fetch_completed(self._days())
        await self._take("completed", answer, api.read_completed, read_completed)

    async def _take(
        self, which: str, answer: Answer, read: Callable[[Answer], Sequence[Any]], diff_of: Callable[..., Diff]
    ) -> None:
        window = Window(answer.sent_at, max(answer.sent_at, answer.received_at))
        same = self._last_body.get(which) == answer.body
        rows = None if same else read(answer)
        self._readable(which, "unchanged" if same else "read")
        state = self._state or first_state(self._rules, window)
        diff = diff_of(self._rules, state, rows, window, answer.server_date)
        # Rows that wait for the other list must be read again even if the answer stays the same.
        self._last_body[which] = b"" if diff.deferred else answer.body
        await self._apply(diff, window.received)

    async def _apply(self, diff: Diff, now: Ms) -> None:
        """Take over the next state and commit it with its events; in between nothing is awaited, so order holds."""
        self._state = diff.state
        self._count_live()
        parts = dict(diff.parts)
        if now - self._written >= _HEARTBEAT:
            parts[MARK] = diff.state.mark
        if not parts:
            return
        if MARK in parts:
            self._written = now
        account = self._rules.account
        records = [self._event_record(event) for event in diff.events]
        records += state_records(self._shard, account, encoded(parts))
        await self._shard.committer.commit(records)
        for event in diff.events:
            metrics.EVENTS.labels(str(account), event.type).inc()

    def _event_record(self, event: CallEvent) -> Record:
        return Record(self._shard.topics.calls.name, event.subject.encode(), encode_data(event), headers_of(event))

    def _count_live(self) -> None:
        live = 0 if self._state is None else self._state.live()
        metrics.ACTIVE_CALLS.labels(str(self._rules.account)).set(live)

    def _days(self) -> int:
        """How many days of completed calls to ask for: one in steady state, all since the last list after an outage.

        Whether `days=1` means the last 24 hours or today is not documented, so it counts as today.
        """
        last = None if self._state is None else self._state.mark.completed
        if last is None:
            return 1 if self._state is None else _MAX_DAYS
        since = datetime.fromtimestamp((last.sent - _MIDNIGHT) / 1000, self._zone).date()
        today = datetime.now(self._zone).date()
        return min(_MAX_DAYS, (today - since).days + 1)


def _outcome(error: RingCloudError) -> str:
    """A bounded label for what went wrong: the error's class."""
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
