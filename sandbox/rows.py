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
    """Writes rows by the sandbox's profile, time zone and clock skew."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._zone = settings.zone
        self._skew_ms = round(settings.clock_skew_seconds * 1000)
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

    def completed(self, call: Call) -> bytes:
        """The row of an ended call as JSON."""
        return _encode(
            CompletedRow(
                src=call.src,
                dst=call.dst,
                direction=call.direction,
                call_start_time=f"{self._local(call.started_at):%Y-%m-%d %H:%M:%S}",
                call_end_time=f"{self._local(call.ended_at):%Y-%m-%d %H:%M:%S}",
                duration=(call.ended_at - call.started_at) // 1000,
                disposition=call.disposition,
                rec_file=call.rec_file,
            )
        )

    def recording_path(self, account: int, number: int, src: str, dst: str, started_at: int) -> str:
        """Where the recording of a call that started at `started_at` (epoch ms) is said to lie."""
        return f"/records/{account}/{self._local(started_at):%Y%m%d-%H%M%S}-{src}-{dst}-{number}.wav"

    def _local(self, at: int) -> datetime:
        # Whole seconds first: a float of milliseconds could round up into the next second.
        return datetime.fromtimestamp((at + self._skew_ms) // 1000, self._zone)
