"""Asks for one account's list of channels as often as the limiter allows, and for the details of those that are new."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from gateway.calls.differ import Channels, Leg, Window
from gateway.contract.times import Ms
from gateway.polling import metrics
from gateway.polling.health import reason_of
from gateway.ringcloud import Answer, BadParameters, Channel, NotFound, RingCloud, RingCloudError
from gateway.ringcloud.limits import CHANNELS

_log = structlog.get_logger(__name__)

# How many details are asked for at once.
_AT_ONCE = 16
# What a PBX says where it has no number.
_NO_NUMBER = (None, "", "<unknown>")

# Diffs a list of channels and commits what came of it; returns the names that need not be asked for again.
Take = Callable[[Channels], Awaitable[Iterable[str]]]


class Legs:
    """The channels of an account, as far as they are known. Nothing of it is kept: after a restart all are new."""

    def __init__(self) -> None:
        self._legs: dict[str, Leg] = {}
        self._since: dict[str, tuple[Window, Ms | None]] = {}
        self._settled: set[str] = set()
        self._anew: set[str] = set()
        self._named: frozenset[str] = frozenset()  # of the last list with names in it
        self._named_at: Ms | None = None

    def listed(self, names: Iterable[str], window: Window) -> list[str]:
        """The list that was asked for in `window` shows `names`. Returns those to be asked for, the newest first."""
        now = dict.fromkeys(names)
        for name in [name for name in self._since if name not in now or name in self._anew]:
            self.gone(name)
        self._anew.clear()
        for name in now:
            if name not in self._since:
                # An empty list may be wrong for a moment, so it does not tell that a channel did not exist.
                self._since[name] = window, None if name in self._named else self._named_at
        if now:
            self._named, self._named_at = frozenset(now), window.sent
        self._window = window
        due = [name for name in now if name not in self._settled]
        return sorted(due, key=lambda name: -self._since[name][0].sent)

    def told(self, channel: Channel, window: Window) -> None:
        """The details of a listed channel, asked for in `window`."""
        since = self._since.get(channel.name)
        if since is None:
            return
        leg = Leg(
            name=channel.name,
            caller=_number(channel.caller_id_num),
            connected=_number(channel.connected_line_num),
            seconds=channel.seconds,
            asked=window,
            listed=since[0],
            missing=since[1],
        )
        if leg.seconds is not None and leg.begun() is None:
            # Its name was another call's before, or the list did not show all: the next list shows it as new.
            self._anew.add(channel.name)
            self._legs.pop(channel.name, None)
        else:
            self._legs[channel.name] = leg

    def gone(self, name: str) -> None:
        """There is no such channel any more."""
        self._since.pop(name, None)
        self._legs.pop(name, None)
        self._settled.discard(name)

    def settle(self, names: Iterable[str]) -> None:
        """These names need not be asked for while they are listed."""
        self._settled.update(names)

    def snapshot(self) -> Channels:
        """The last list, with what is known of its channels."""
        return Channels(self._window, list(self._legs.values()), whole=self._legs.keys() == self._since.keys())


class ChannelPolls:
    """One account's channels: lists through each key in turn, evenly spaced, details through the key of their list."""

    def __init__(
        self, account: int, keys: Sequence[RingCloud], take: Take, asleep: float, clock_set: Callable[[], int]
    ) -> None:
        """`take` is called with what each list showed, one after another; `asleep` as a Poller's. `clock_set` says how
        often the system's clock was set so far: what was asked before it was says nothing now."""
        self._asleep = asleep
        self._clock_set = clock_set
        self._epoch = clock_set()
        self._account = account
        self._keys = keys
        self._take = take
        self._legs = Legs()
        self._names: list[str] | None = None
        self._failing: dict[str, str] = {}
        self._log = _log.bind(account=account)

    async def run(self) -> None:
        """Poll until cancelled. Raises what `take` raises."""
        loop = asyncio.get_running_loop()
        step = CHANNELS.interval / len(self._keys)
        # As for the lists of calls: a new owner's lanes rest first, and accounts are spread over an interval.
        spread = zlib.crc32(str(self._account).encode()) % 1000 / 1000
        due = loop.time() + CHANNELS.interval + spread * step
        turn = 0
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            if loop.time() - due > self._asleep:
                due = loop.time() + CHANNELS.interval
                continue
            due = max(due + step, loop.time())
            api = self._keys[turn % len(self._keys)]
            turn += 1
            self._followed_clock()
            try:
                answer = await api.fetch_channels()
                names = api.read_channels(answer)
            except RingCloudError as error:
                self._unknown("channels", error)
                continue
            if not self._followed_clock():
                continue
            self._readable("channels", "read")
            await self._listed(api, names, _window(answer))

    async def _listed(self, api: RingCloud, names: list[str], window: Window) -> None:
        due = self._legs.listed(names, window)
        if due:
            await self._ask_each(api, due)
            if self._followed_clock():
                self._legs.settle(await self._take(self._legs.snapshot()))

    def _followed_clock(self) -> bool:
        """Whether the clock goes as it did. If it was set, all channels are new."""
        before, self._epoch = self._epoch, self._clock_set()
        if before != self._epoch:
            self._legs = Legs()
        return before == self._epoch

    async def _ask_each(self, api: RingCloud, names: Sequence[str]) -> None:
        """Ask for the details of `names`; those that can't be had until the next list are left to it."""
        free = asyncio.Semaphore(_AT_ONCE)
        deadline = api.now() + CHANNELS.interval / len(self._keys)
        failures: list[RingCloudError] = []

        async def ask(name: str) -> None:
            async with free:
                if api.now() >= deadline:
                    return
                try:
                    answer = await api.fetch_channel(name, deadline=deadline)
                    channel = api.read_channel(answer)
                except (NotFound, BadParameters):
                    self._legs.gone(name)
                except RingCloudError as error:
                    failures.append(error)
                else:
                    if channel.name == name:
                        self._legs.told(channel, _window(answer))

        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(ask(name))
        if failures:
            self._unknown("channel", failures[0])
        else:
            self._readable("channel", "read")

    def _unknown(self, which: str, error: RingCloudError) -> None:
        """What can't be read tells nothing. It is logged when the reason changes, not each time."""
        outcome = reason_of(error)
        metrics.POLLS.labels(str(self._account), which, outcome).inc()
        if self._failing.get(which) != outcome:
            self._failing[which] = outcome
            self._log.warning("channels unknown", list=which, outcome=outcome, error=str(error))

    def _readable(self, which: str, outcome: str) -> None:
        metrics.POLLS.labels(str(self._account), which, outcome).inc()
        if self._failing.pop(which, None) is not None:
            self._log.info("channels are readable again", list=which)


def _window(answer: Answer) -> Window:
    return Window(answer.sent_at, max(answer.sent_at, answer.received_at))


def _number(number: str | None) -> str:
    return "" if number in _NO_NUMBER or number is None else number
