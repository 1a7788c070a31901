"""What goes into the differ: rows, the window in which an answer was made, and the account's rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gateway.contract.times import Ms

# A live row's status that proves that the call was answered; an account's rules add to it. RingCloud documents only
# `current`, which proves nothing.
ANSWERED_STATUSES: frozenset[str] = frozenset({"answered", "talking", "bridged", "up"})
# A live row's status that proves that it was not answered yet.
RINGING_STATUSES: frozenset[str] = frozenset({"ringing", "dialing", "dialling"})


class WallTime(Protocol):
    """A time by the server's clock, whole seconds; in a repeated hour (DST) it may be either of two instants."""

    @property
    def earliest(self) -> Ms: ...
    @property
    def latest(self) -> Ms: ...


class ActiveRow(Protocol):
    """A row of the list of active calls. `seconds` counts dialling and talking so far."""

    @property
    def src(self) -> str: ...
    @property
    def dst(self) -> str: ...
    @property
    def seconds(self) -> int: ...
    @property
    def status(self) -> str: ...


class CompletedRow(Protocol):
    """A row of the list of completed calls: a value, with a hash. `duration` is in seconds, dialling and talking together."""

    @property
    def src(self) -> str: ...
    @property
    def dst(self) -> str: ...
    @property
    def direction(self) -> str: ...
    @property
    def start(self) -> WallTime: ...
    @property
    def end(self) -> WallTime: ...
    @property
    def duration(self) -> int: ...
    @property
    def disposition(self) -> str: ...
    @property
    def rec_file(self) -> str | None: ...


class Window(msgspec.Struct, frozen=True, array_like=True):
    """The answer was made between these two moments of the gateway's clock."""

    sent: Ms
    received: Ms


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How one account's snapshots are read. Milliseconds."""

    account: int
    answered_statuses: frozenset[str] = ANSWERED_STATUSES
    tolerance: Ms = 0  # on top of the bounds, which already allow for rounding and skew
    absence_grace: Ms = 60_000
    max_clock_skew: Ms = 600_000


ActiveRows = Sequence[ActiveRow]
CompletedRows = Sequence[CompletedRow]
