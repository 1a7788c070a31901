"""What the differ remembers of an account, and how it is kept: in small parts, so that a snapshot writes what it changed.

Parts of an account: `mark` (watermarks), `live/<call id>` (a call that is live or has ended lately) and `done/<hour>`
(what was seen of the completed calls that started in that hour).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Literal

import msgspec

from gateway.calls.clocks import Skew
from gateway.calls.snapshots import CompletedRow, Window
from gateway.contract.times import Ms

HOUR: Ms = 3_600_000
# RingCloud lists seven days; one more covers a call that began a day before it ended and any skew.
REMEMBERED_HOURS = 8 * 24

Numbers = tuple[str, str]


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A call that is live, or has ended so lately (or so uncertainly) that a row may still speak of it.

    `ended` is None while the call counts as live. `gone` is the window in which it left the active list: after the
    last snapshot that showed it was asked for, before the first that did not had come.
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

    @property
    def numbers(self) -> Numbers:
        """What rows are matched over, besides the start."""
        return self.src, self.dst


class Done(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a completed row said when it was last seen, and whose call it was (no id: from before the first poll)."""

    call_id: str
    sequence: int
    ambiguous: bool
    end: Ms
    duration: int
    disposition: str
    recording: int  # a checksum of rec_file, 0 where there was none
    answered: bool = False  # it was told so, and that stands

    def says(self) -> tuple[Ms, int, str, int]:
        """What may be corrected later."""
        return self.end, self.duration, self.disposition, self.recording


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """The watermarks: since when the account is watched, and when its lists were last read well.

    `before` is the reading of the active list before the last.
    """

    since: Ms
    skew: Skew
    active: Window | None = None
    completed: Window | None = None
    before: Window | None = None


DoneHour = Mapping[int, tuple[Done, ...]]


class AccountState(msgspec.Struct, frozen=True):
    """All that is remembered of an account. Its mappings are never changed in place.

    `by_numbers` is derived from `calls`, `gone` too: the ids of live calls that left the active list.
    """

    mark: Mark
    calls: Mapping[str, Call] = {}
    done: Mapping[int, DoneHour] = {}
    by_numbers: Mapping[Numbers, tuple[str, ...]] = {}
    gone: frozenset[str] = frozenset()

    def live(self) -> int:
        """How many calls count as live."""
        return sum(call.ended is None for call in self.calls.values())


Part = Mark | Call | DoneHour | None
Parts = dict[str, Part]

MARK = "mark"


def live_part(call_id: str) -> str:
    """The name of a call's part."""
    return f"live/{call_id}"


def done_part(hour: int) -> str:
    """The name of the part of the completed calls that started in `hour` (hours since the epoch, server clock)."""
    return f"done/{hour}"


def fingerprint(row: CompletedRow) -> int:
    """What stays the same of a completed row when it is corrected: its numbers, direction and start."""
    text = f"{row.src}\0{row.dst}\0{row.direction}\0{row.start.earliest}"
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def checksum(rec_file: str | None) -> int:
    """A checksum of a recording's path; 0 where there is none."""
    return 0 if rec_file is None else zlib.crc32(rec_file.encode("utf-8", "surrogatepass")) or 1


def encode(part: Part) -> bytes | None:
    """A part as it is kept; None (a tombstone) removes it."""
    return None if part is None else _encode(part)


def load(parts: Iterable[tuple[str, bytes]]) -> AccountState | None:
    """The state out of an account's kept parts (name, bytes), each name once; None where there is no watermark.

    Raises msgspec.MsgspecError for bytes that are not a part.
    """
    mark: Mark | None = None
    calls: list[Call] = []
    done: dict[int, DoneHour] = {}
    for name, raw in parts:
        if name == MARK:
            mark = _mark.decode(raw)
        elif name.startswith("live/"):
            calls.append(_call.decode(raw))
        elif name.startswith("done/"):
            done[int(name.removeprefix("done/"))] = _done.decode(raw)
    if mark is None:
        return None
    # Ended calls are dropped from the front, so the order is that of their ends.
    calls.sort(key=lambda call: (call.ended_seen, call.id))
    by_numbers: dict[Numbers, tuple[str, ...]] = {}
    for call in calls:
        by_numbers[call.numbers] = (*by_numbers.get(call.numbers, ()), call.id)
    return AccountState(
        mark=mark,
        calls={call.id: call for call in calls},
        done=done,
        by_numbers=by_numbers,
        gone=frozenset(call.id for call in calls if call.gone is not None and call.ended is None),
    )


_encode = msgspec.msgpack.Encoder().encode
_mark = msgspec.msgpack.Decoder(Mark)
_call = msgspec.msgpack.Decoder(Call)
_done = msgspec.msgpack.Decoder(dict[int, tuple[Done, ...]])
