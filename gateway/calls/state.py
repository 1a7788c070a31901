"""What the differ remembers of an account, and how it is kept: in small parts, so that a snapshot writes what it changed.

Parts of an account: `mark` (watermarks), `live/<call id>` (a call that is live or has ended lately) and
`done/<hour>/<slice>` (what was seen of the completed calls that started in that part of that hour).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from gateway.calls.clocks import ROUNDING, Skew
from gateway.calls.memory import HOUR as HOUR
from gateway.calls.memory import Slices, checked
from gateway.calls.snapshots import Window
from gateway.contract.times import Ms

# RingCloud lists seven days; one more covers a call that began a day before it ended and any skew.
REMEMBERED_HOURS = 8 * 24

Numbers = tuple[str, str]


class Given(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The row that a call ended by, which may have been another's: what it said, and when the call was last seen."""

    start: Window
    end: Window
    seen: Ms
    listed: bool  # an active list must have shown the row's call, so it is of one that is known


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A call that is live, or has ended so lately (or so uncertainly) that a row may still speak of it.

    `ended` is None while the call counts as live. `gone` is the window in which it left the active list: after the
    last snapshot that showed it was asked for, before the first that did not had come. It is kept of an ended call whose
    completed row may have been that of another call, never seen.
    """

    id: str
    src: str
    dst: str
    start: Window  # the bounds of its start, gateway clock
    sequence: int  # of its last event
    time: Ms  # of its last event
    answered: bool = False
    ringing: bool = False  # its row said so when last seen
    ambiguous: bool = False
    gone: Window | None = None
    ended: Literal["complete", "absence"] | None = None
    ended_seen: Ms = 0  # when its end was seen
    unlisted: bool = False  # its channels alone have shown it so far
    dialled: Ms = 0  # its called side's channel existed by then; 0: none was seen
    hidden: bool = False  # gone by an empty list alone, which may be a fault
    haunted: bool = False  # a list showed it after its end: the list was behind, or the row is another call's
    # It may have ended since: lists that were asked for later may have shown another of the same numbers, begun at the
    # same moment. 0: they can't.
    since: Ms = 0
    # Likewise, where one that it can't be told apart from was ended by a row which may be this one's, or a list showed
    # what it was taken for in spite of its start. 0: there is none.
    mixed: Ms = 0
    shown: Window | None = None  # when what a list showed after its end began, by that list
    given: Given | None = None  # None: it has not ended by a row, or surely by its own

    @property
    def left(self) -> Window | None:
        """When it ended, by the active list; None while it is in it."""
        return Window(min(self.gone.sent, self.mixed), self.gone.received) if self.gone and self.mixed else self.gone

    @property
    def numbers(self) -> Numbers:
        """What rows are matched over, besides the start."""
        return self.src, self.dst


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """The watermarks: since when the account is watched, and when its lists were last read well.

    `before` is the reading of the active list before the last. `agreed` and `doubted` say whether the account's channels
    are believed.
    """

    since: Ms
    skew: Skew
    active: Window | None = None
    completed: Window | None = None
    before: Window | None = None
    agreed: bool = False  # a call of the lists was found among the channels
    doubted: Ms = 0  # when a call that channels alone had shown ended by absence; 0: never
    emptied: Ms = 0  # since when the completed list is empty; 0: it is not


# What a row's status says, a bit each, so that several can be asked for at once.
RINGS, ANSWERED, SILENT = 1, 2, 4


class Alone(NamedTuple):
    """What a row must show to be that of the only call of its numbers and to say nothing new of it."""

    id: str
    latest: Ms  # what the row says of the call's start must allow for that it began before this moment
    earliest: Ms  # and after this one
    anew: bool  # it may have begun since the call was last seen, as that is in doubt already
    statuses: int  # RINGS, ANSWERED, SILENT


def alone(call: Call) -> Alone | None:
    """How the only call of its numbers goes on as it was; None where any row would say something new of it."""
    if call.gone is not None or call.ended is not None or call.unlisted:
        return None
    statuses = ANSWERED | SILENT if call.answered else RINGS if call.ringing else SILENT
    return Alone(call.id, call.start.received - ROUNDING, call.start.sent, call.since > 0, statuses)


class AccountState(msgspec.Struct, frozen=True):
    """All that is remembered of an account. Its mappings are never changed in place.

    `by_numbers` is derived from `calls`, and so are `alone` (what is asked of every row of every list) and `gone`: the ids
    of live calls that left the active list. `listed` is not kept: the hashes of the rows of the last list of completed
    calls, but for those that wait.
    """

    mark: Mark
    calls: Mapping[str, Call] = {}
    done: Mapping[int, Slices] = {}
    by_numbers: Mapping[Numbers, tuple[str, ...]] = {}
    alone: Mapping[Numbers, Alone] = {}
    gone: frozenset[str] = frozenset()
    listed: Sequence[int] = ()

    def live(self) -> int:
        """How many calls count as live."""
        return sum(call.ended is None for call in self.calls.values())


Part = Mark | Call | bytes | None
Parts = dict[str, Part]

MARK = "mark"


def live_part(call_id: str) -> str:
    """The name of a call's part."""
    return f"live/{call_id}"


def done_part(hour: int, node: int) -> str:
    """The name of a slice of the completed calls that started in `hour` (hours since the epoch, server clock)."""
    return f"done/{hour}/{node}"


def encode(part: Part) -> bytes | None:
    """A part as it is kept; None (a tombstone) removes it."""
    return part if part is None or isinstance(part, bytes) else _encode(part)


def load(parts: Iterable[tuple[str, bytes]]) -> AccountState | None:
    """The state out of an account's kept parts (name, bytes), each name once; None where there is no watermark.

    Raises msgspec.MsgspecError for bytes that are not a part.
    """
    mark: Mark | None = None
    calls: list[Call] = []
    done: dict[int, dict[int, bytes]] = {}
    for name, raw in parts:
        if name == MARK:
            mark = _mark.decode(raw)
        elif name.startswith("live/"):
            calls.append(_call.decode(raw))
        elif name.startswith("done/"):
            hour, _, node = name.removeprefix("done/").partition("/")
            done.setdefault(int(hour), {})[int(node)] = checked(raw)
    if mark is None:
        return None
    # Ended calls are dropped from the front, so the order is that of their ends.
    calls.sort(key=lambda call: (call.ended_seen, call.id))
    by_numbers: dict[Numbers, list[str]] = {}
    for call in calls:
        by_numbers.setdefault(call.numbers, []).append(call.id)
    return AccountState(
        mark=mark,
        calls={call.id: call for call in calls},
        done=done,
        by_numbers={numbers: tuple(ids) for numbers, ids in by_numbers.items()},
        alone={
            call.numbers: one
            for call in calls
            if len(by_numbers[call.numbers]) == 1 and (one := alone(call)) is not None
        },
        gone=frozenset(call.id for call in calls if call.gone is not None and call.ended is None),
    )


_encode = msgspec.msgpack.Encoder().encode
_mark = msgspec.msgpack.Decoder(Mark)
_call = msgspec.msgpack.Decoder(Call)
