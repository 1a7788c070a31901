"""A model PBX: what truly happened, and what its two lists say of it at any moment. Knows nothing of the differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Wall:
    earliest: int
    latest: int


@dataclasses.dataclass(frozen=True)
class Active:
    src: str
    dst: str
    seconds: int
    status: str


@dataclasses.dataclass(frozen=True)
class Completed:
    src: str
    dst: str
    direction: str
    start: Wall
    end: Wall
    duration: int
    disposition: str
    rec_file: str | None = None


@dataclasses.dataclass(frozen=True)
class True_:  # noqa: N801 - "Truth" reads as a plural
    """A call as it was, milliseconds by the true clock."""

    src: str
    dst: str
    start: int
    answer: int | None
    end: int
    direction: str = "incoming"

    @property
    def disposition(self) -> str:
        return "NO ANSWER" if self.answer is None else "ANSWERED"


@dataclasses.dataclass(frozen=True)
class ModelPbx:
    """Lists made at a true time `now`; the server's own clock is `skew` ms ahead; a completed row shows `lag` ms late."""

    calls: Sequence[True_]
    skew: int = 0
    lag: int = 0
    live_status: bool = True

    def active(self, now: int) -> list[Active]:
        return [
            Active(call.src, call.dst, (now - call.start) // 1000, self._status(call, now))
            for call in self.calls
            if call.start <= now < call.end
        ]

    def completed(self, now: int) -> list[Completed]:
        return [
            Completed(
                call.src,
                call.dst,
                call.direction,
                self._wall(call.start),
                self._wall(call.end),
                (call.end - call.start) // 1000,
                call.disposition,
            )
            for call in self.calls
            if call.end + self.lag <= now
        ]

    def date(self, now: int) -> int:
        return (now + self.skew) // 1000 * 1000

    def _status(self, call: True_, now: int) -> str:
        if not self.live_status:
            return "current"
        return "answered" if call.answer is not None and call.answer <= now else "ringing"

    def _wall(self, at: int) -> Wall:
        shown = (at + self.skew) // 1000 * 1000
        return Wall(shown, shown)
