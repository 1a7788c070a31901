"""Calls as the API shows them: JSON rows of the active and the completed list."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from sandbox.calls import Call, Direction, Disposition
from sandbox.settings import SandboxSettings

_encode = msgspec.json.Encoder().encode


class ActiveRow(msgspec.Struct):
    """A row of `/v1/calls/active`; `seconds` is dialling and talking so far, whole."""

    src: str
    dst: str
    seconds: int
    status: str


class CompletedRow(msgspec.Struct, tag_field="status", tag="complete"):
    """A row of `/v1/calls/complite`; times are local to the account, `duration` is in whole seconds."""

    src: str
    dst: str
    direction: Direction
    call_start_time: str
    call_end_time: str
    duration: int
    disposition: Disposition
    rec_file: str | None


class RowWriter:
    """Writes rows by the sandbox's profile and time zone. `skew_ms` is by how much the account's clock is off."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._zone = settings.zone
        self._live = settings.profile == "live"

    def active(self, calls: Iterable[Call], now: int) -> bytes:
        """The active list at `now` (epoch ms) as JSON."""
        if self._live:
            return _encode(
                [
                    ActiveRow(
                        call.src,
                        call.dst,
                        (now - call.started_at) // 1000,
                        "answered" if call.answered_by(now) else "ringing",
                    )
                    for call in calls
                ]
            )
        return _encode([ActiveRow(call.src, call.dst, (now - call.started_at) // 1000, "current") for call in calls])

    def completed(self, call: Call, skew_ms: int) -> bytes:
        """The row of an ended call as JSON."""
        return _encode(
            CompletedRow(
                src=call.src,
                dst=call.dst,
                direction=call.direction,
                call_start_time=self.local(call.started_at, skew_ms),
                call_end_time=self.local(call.ended_at, skew_ms),
                duration=(call.ended_at - call.started_at) // 1000,
                disposition=call.disposition,
                rec_file=call.rec_file,
            )
        )

    def recording_path(self, account: int, number: int, src: str, dst: str, started_at: int, skew_ms: int) -> str:
        """Where the recording of a call that started at `started_at` (epoch ms) is said to lie; ends in its file name."""
        return f"/records/{account}/{self._local(started_at, skew_ms):%Y%m%d-%H%M%S}-{src}-{dst}-{number}.wav"

    def local(self, at: int, skew_ms: int) -> str:
        """`at` (epoch ms) as the account's clock shows it."""
        return f"{self._local(at, skew_ms):%Y-%m-%d %H:%M:%S}"

    def _local(self, at: int, skew_ms: int) -> datetime:
        # Whole seconds first: a float of milliseconds could round up into the next second.
        return datetime.fromtimestamp((at + skew_ms) // 1000, self._zone)
