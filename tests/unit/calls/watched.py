"""An account under the differ, told in seconds: answers go in one by one, the state is carried on, events are kept."""

from __future__ import annotations

from typing import Any

from gateway.calls.differ import Diff, Rules, Window, first_state, read_active, read_completed
from gateway.calls.state import AccountState, encode, load
from gateway.contract.events import CallEvent
from gateway.contract.times import Ms, millis
from tests.unit.calls.model import Active, Completed, Wall

# Second 0 of every story.
BEGIN: Ms = 1_700_000_000_000
GRACE = 30.0
# How long a call that empty active lists alone lack waits for its row, and one that others lack for an empty completed
# list to be believed.
ALONE = 86_400.0
EMPTIED = 10 * GRACE
# How long an answer is on its way.
TRAVEL: Ms = 100


def ms(second: float) -> Ms:
    """The moment, by the gateway's clock, of a second of the story."""
    return BEGIN + round(second * 1000)


def live(seconds: int, status: str = "current", src: str = "101", dst: str = "202") -> Active:
    """A row of the active list."""
    return Active(src, dst, seconds, status)


def done(
    start: float,
    end: float,
    disposition: str = "ANSWERED",
    *,
    rec_file: str | None = None,
    src: str = "101",
    dst: str = "202",
    skew: Ms = 0,
) -> Completed:
    """A row of the completed list of a call from `start` to `end`, on a server whose clock is `skew` ms ahead."""
    first, last = ((ms(at) + skew) // 1000 * 1000 for at in (start, end))
    duration = round(end - start)
    return Completed(src, dst, "incoming", Wall(first, first), Wall(last, last), duration, disposition, rec_file)


class Watched:
    """One account. Every reading returns the events that it gave; `events` has all of them."""

    def __init__(self, *, skew: Ms = 0, since: float = 0, **rules: Any) -> None:
        """`skew`: how far the server's clock, and so its Date, is ahead; the account is watched from `since` on."""
        self.rules = Rules(account=7, absence_grace=round(GRACE * 1000), **rules)
        self.skew = skew
        self.state: AccountState = first_state(self.rules, Window(ms(since), ms(since) + TRAVEL))
        self.events: list[CallEvent] = []
        self.kept: dict[str, bytes] = {}
        self.diff = Diff([], self.state, {}, deferred=False)

    def active(self, at: float, *rows: Active) -> list[CallEvent]:
        """The active list was asked for at second `at`."""
        return self._take(read_active(self.rules, self.state, rows, *self._when(at)))

    def completed(self, at: float, *rows: Completed) -> list[CallEvent]:
        """The completed list was asked for at second `at`."""
        return self._take(read_completed(self.rules, self.state, rows, *self._when(at)))

    def same_active(self, at: float) -> list[CallEvent]:
        """The active list came once more with the same bytes."""
        return self._take(read_active(self.rules, self.state, None, *self._when(at)))

    def same_completed(self, at: float) -> list[CallEvent]:
        """The completed list came once more with the same bytes."""
        return self._take(read_completed(self.rules, self.state, None, *self._when(at)))

    def restart(self) -> None:
        """All that is left of the state is what was kept."""
        state = load(self.kept.items())
        assert state is not None
        self.state = state

    def _when(self, at: float) -> tuple[Window, Ms]:
        return Window(ms(at), ms(at) + TRAVEL), (ms(at) + TRAVEL // 2 + self.skew) // 1000 * 1000

    def _take(self, diff: Diff) -> list[CallEvent]:
        self.diff = diff
        self.state = diff.state
        for name, part in diff.parts.items():
            raw = encode(part)
            if raw is None:
                self.kept.pop(name, None)
            else:
                self.kept[name] = raw
        fresh = load(self.kept.items())
        if fresh is not None:
            assert fresh.alone == self.state.alone, "what is derived from the calls is as if it were derived anew"
            assert fresh.gone == self.state.gone
        self.events += diff.events
        return diff.events


def types(events: list[CallEvent]) -> list[str]:
    """What the events are, without `call.`."""
    return [event.type.removeprefix("call.") for event in events]


def bounds(event: CallEvent) -> tuple[float, float]:
    """The event's bounds in seconds of the story."""
    return (millis(event.data.not_before) - BEGIN) / 1000, (millis(event.data.not_after) - BEGIN) / 1000


def holds(event: CallEvent, second: float) -> bool:
    """Whether the event may have happened at `second`."""
    low, high = bounds(event)
    return low <= second <= high
