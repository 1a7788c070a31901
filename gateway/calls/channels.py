"""The list of channels: starts before the active list shows them, and called sides that are being dialled.

RingCloud documents a channel's fields and nothing more. What is assumed here:

- A call has two channels that mirror each other: the caller's has the numbers (src, dst), the called side's (dst, src).
  Until the called side is dialled the caller's is alone and names no other number.
- The caller's channel is the older one. It is listed first, or the counter at the end of its name is lower.
- `Seconds` counts from when the channel came to be.
- An empty list proves nothing: it may be wrong for a moment. A list with names in it is complete.

Whether numbers read as in the lists of calls is not assumed. Channels are believed once they showed a call that the
lists knew too, and for a day they are not once a call that they alone had shown was never confirmed.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

import msgspec

from gateway.calls.clocks import ROUNDING
from gateway.calls.draft import Diff, Draft
from gateway.calls.fit import gap
from gateway.calls.snapshots import Rules, Window
from gateway.calls.state import AccountState, Call, Mark, Numbers
from gateway.contract.events import Evidence
from gateway.contract.times import Ms

# How long channels are not believed after they told of a call that nothing confirmed.
_DOUBT: Ms = 86_400_000
_COUNTER = re.compile(r"-([0-9a-fA-F]{1,16})(?:;[12])?\Z", re.ASCII)


class Leg(msgspec.Struct, frozen=True):
    """A channel that the list shows, as its details told last. Numbers are "" where there are none.

    `listed` is the window of the first list that showed it; `missing` is when the last list with names in it that did
    not show it was asked for, None where there was none; `asked` is the window of its details.
    """

    name: str
    caller: str
    connected: str
    seconds: int | None
    asked: Window
    listed: Window
    missing: Ms | None = None

    def begun(self) -> Window | None:
        """Bounds of when it came to be; None where what is known of it contradicts itself.

        The list that showed its name sets no upper bound: between it and the details the name may have been given to
        another call.
        """
        if self.seconds is None:
            return None
        age = self.seconds * 1_000
        low = self.asked.sent - age - ROUNDING
        high = min(self.asked.received - age + ROUNDING, self.asked.received)
        if low > self.listed.received or (self.missing is not None and high < self.missing):
            return None
        return Window(low if self.missing is None else max(low, self.missing), high)


class Channels(msgspec.Struct, frozen=True):
    """A list of channels that was asked for in `window`: `legs` are those of it whose details are known.

    `whole` is False where details could not be had of a channel that may still be there.
    """

    window: Window
    legs: Sequence[Leg]
    whole: bool = True


class ChannelsRead(msgspec.Struct, frozen=True):
    """What a list of channels gave. `settled` are the names that need not be asked for again while they are listed."""

    diff: Diff
    settled: frozenset[str]


class _Pair(msgspec.Struct, frozen=True):
    caller: Leg
    called: Leg
    start: Window

    def fresh(self, window: Window) -> bool:
        """Whether both sides were asked for since the list: a name may have been given to another call before."""
        return min(self.caller.asked.sent, self.called.asked.sent) >= window.sent


def read_channels(rules: Rules, state: AccountState, channels: Channels) -> ChannelsRead:
    """Diff the list of channels.

    Two channels that mirror each other are one call. Where no known call of their numbers can have begun when they did,
    and no active list can have shown it yet, it has started (evidence `channels`). Nothing ends by channels, and nothing
    is answered: a channel tells that the called side is dialled, not that it answered. What is not certain is left to
    the list of active calls: two calls that could be the same, and every start while `channels` is not whole, as twins
    of whose channels some are missing look like one call the other way round.
    """
    window, mark = channels.window, state.mark
    draft = Draft(rules, state, max([window.received, *(leg.asked.received for leg in channels.legs)]))
    believed = mark.agreed and (not mark.doubted or draft.observed_at - mark.doubted > _DOUBT)
    settled: set[str] = set()
    for numbers, pairs in _pairs(channels.legs).items():
        known = draft.known(numbers)
        for pair in pairs:
            if not pair.fresh(window):
                continue
            fits = [call for call in known if gap(pair.start, call.start) <= rules.tolerance]
            if fits:
                alone = sum(gap(other.start, fits[0].start) <= rules.tolerance for other in pairs) == 1
                if len(fits) == 1 and alone and fits[0].ended is None:
                    mark = _agree(draft, mark, fits[0], pair)
            elif believed and channels.whole and (mark.active is None or mark.active.sent < pair.start.received):
                _start(draft, numbers, pair)
            else:
                continue
            settled |= {pair.caller.name, pair.called.name}
    return ChannelsRead(draft.finish(mark), frozenset(settled))


def _agree(draft: Draft, mark: Mark, call: Call, pair: _Pair) -> Mark:
    begun = pair.called.begun()
    if not call.dialled and not call.ambiguous and begun is not None:
        draft.put(msgspec.structs.replace(call, dialled=begun.received))
    return mark if call.unlisted or mark.agreed else msgspec.structs.replace(mark, agreed=True)


def _start(draft: Draft, numbers: Numbers, pair: _Pair) -> None:
    src, dst = numbers
    begun = pair.called.begun()
    call = Call(
        id=draft.new_id("channels", src, dst),
        src=src,
        dst=dst,
        start=pair.start,
        sequence=0,
        time=pair.start.sent,
        unlisted=True,
        dialled=0 if begun is None else begun.received,
    )
    asked = pair.caller.asked
    guess = (asked.sent + asked.received) // 2 - (pair.caller.seconds or 0) * 1_000 - ROUNDING // 2
    draft.put(draft.emit("call.started", call, pair.start, guess, Evidence.CHANNELS))


def _pairs(legs: Iterable[Leg]) -> dict[Numbers, list[_Pair]]:
    """The calls that the channels make up, by (src, dst): a channel is of the first that waits for one that mirrors it."""
    between: dict[Numbers, list[Leg]] = defaultdict(list)
    for leg in legs:
        if leg.caller and leg.connected:
            between[min(leg.caller, leg.connected), max(leg.caller, leg.connected)].append(leg)
    found: dict[Numbers, list[_Pair]] = defaultdict(list)
    for (number, _), group in between.items():
        # One that is alone has lost its other side, and nothing tells which of them that is.
        if len(group) != 2 * sum(leg.caller == number for leg in group):
            continue
        waiting: deque[Leg] = deque()
        for leg in sorted(group, key=_order):
            if not waiting or waiting[0].caller == leg.caller:
                waiting.append(leg)
                continue
            other = waiting.popleft()
            caller, called = (leg, other) if _older(leg, other) else (other, leg)
            start = caller.begun()
            if start is not None and _older(caller, called):
                found[caller.caller, caller.connected].append(_Pair(caller, called, start))
    return found


def _order(leg: Leg) -> tuple[Ms, int, str]:
    return leg.listed.received, _counter(leg) or 0, leg.name


def _older(one: Leg, other: Leg) -> bool:
    """Whether it is certain that `one` is the older: a list showed it without the other, or else by their counters."""
    for first, second in ((one, other), (other, one)):
        if second.missing is not None and first.listed.sent <= second.missing:
            return first is one
    low, high = _counter(one), _counter(other)
    return low is not None and high is not None and low < high


def _counter(leg: Leg) -> int | None:
    found = _COUNTER.search(leg.name)
    return None if found is None else int(found[1], 16)
