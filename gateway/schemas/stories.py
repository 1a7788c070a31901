"""Short stories of an account, told by the code that runs in production: every event in the examples comes from here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.calls.differ import Diff, Rules, Window, first_state, read_active, read_completed
from gateway.contract.endpoints import EndpointStatus
from gateway.contract.events import CallEvent
from gateway.contract.notices import Notice
from gateway.contract.times import Ms, millis, utc
from gateway.polling.gaps import gap_before
from gateway.polling.health import LISTINGS, Health
from gateway.ringcloud import ServerError
from gateway.ringcloud.rows import decode_active, decode_completed
from gateway.runtime.endpoints import notice_of

ACCOUNT = 1000
ENDPOINT = "crm"
_ZONE = ZoneInfo("Europe/Moscow")
_BEGIN: Ms = millis(datetime(2026, 11, 24, 20, 21, tzinfo=UTC))
_TRAVEL: Ms = 90


def a_call() -> list[CallEvent]:
    """A call seen active, confirmed by its completed row, whose recording came later: one event of each type."""
    account = _Account()
    row = {
        "status": "complete",
        "src": "400",
        "dst": "74950001122",
        "direction": "outgoing",
        "call_start_time": "2026-11-24 23:20:58",
        "call_end_time": "2026-11-24 23:21:11",
        "duration": 13,
        "disposition": "ANSWERED",
        "rec_file": None,
    }
    for at, seconds in ((0, 1), (5, 6), (10, 11)):
        account.active(at, {"src": "400", "dst": "74950001122", "seconds": seconds, "status": "current"})
    account.completed(12.5, row)
    account.active(15)
    account.completed(17.5, {**row, "rec_file": "/records/1000/20261124/400.wav"})
    return account.events


def a_call_without_a_row() -> list[CallEvent]:
    """A call that left the active list, where another went on, and gave no completed row in time; it came half an hour
    later."""
    account = _Account()
    other = {"src": "402", "dst": "403", "status": "current"}
    account.active(0, {"src": "79001234567", "dst": "401", "seconds": 1, "status": "ringing"})
    account.active(5, {"src": "79001234567", "dst": "401", "seconds": 6, "status": "answered"}, {**other, "seconds": 1})
    account.active(10, {**other, "seconds": 6})
    account.completed(612.5)
    row = {
        "status": "complete",
        "src": "79001234567",
        "dst": "401",
        "direction": "incoming",
        "call_start_time": "2026-11-24 23:20:58",
        "call_end_time": "2026-11-24 23:21:07",
        "duration": 9,
        "disposition": "ANSWERED",
        "rec_file": "/records/1000/20261124/401.wav",
    }
    account.completed(1872.5, row)
    return [event for event in account.events if event.data.dst == "401"]


def an_outage() -> list[Notice]:
    """RingCloud fails for a while and comes back."""
    told: list[Notice | None] = []
    health = Health(ACCOUNT, 30_000, None, dict.fromkeys(LISTINGS, _ms(0)), _ms(0))
    told += [health.unknown(LISTINGS[0], ServerError("Internal error", status=500), _ms(at)) for at in range(5, 60, 5)]
    told += [health.readable(listing, _ms(at)) for at in range(60, 75, 5) for listing in LISTINGS]
    return [notice for notice in told if notice is not None]


def a_long_downtime() -> list[Notice]:
    """The gateway was away for ten days."""
    day = 24 * 3600
    then, now = (Window(_ms(at), _ms(at) + _TRAVEL) for at in (-10 * day, 0))
    mark = msgspec.structs.replace(first_state(Rules(account=ACCOUNT), then).mark, completed=then)
    gap = gap_before(ACCOUNT, mark, (), _ZONE, now)
    return [] if gap is None else [gap]


def an_endpoint_that_was_gone() -> list[Notice]:
    """An endpoint answered 410, and an hour later somebody enabled it again."""
    gone = EndpointStatus(state="disabled", since=utc(_ms(0)), reason="gone")
    told = [
        notice_of(ENDPOINT, gone, None, gone.since),
        notice_of(ENDPOINT, None, gone, gone.since + timedelta(hours=1)),
    ]
    return [notice for notice in told if notice is not None]


class _Account:
    """An account that is polled from second 0 of the story on, whose clock is right."""

    def __init__(self) -> None:
        self._rules = Rules(account=ACCOUNT)
        self._state = first_state(self._rules, Window(_ms(-5), _ms(-5) + _TRAVEL))
        self.events: list[CallEvent] = []
        self.active(-5)
        self.completed(-2.5)

    def active(self, at: float, *rows: dict[str, Any]) -> None:
        """The list of active calls was asked for at second `at`."""
        self._take(read_active(self._rules, self._state, decode_active(_answer(rows)), *_when(at)))

    def completed(self, at: float, *rows: dict[str, Any]) -> None:
        """The list of completed calls was asked for at second `at`."""
        self._take(read_completed(self._rules, self._state, decode_completed(_answer(rows), _ZONE), *_when(at)))

    def _take(self, diff: Diff) -> None:
        self._state = diff.state
        self.events += diff.events


def _ms(second: float) -> Ms:
    return _BEGIN + round(second * 1000)


def _when(at: float) -> tuple[Window, Ms]:
    received = _ms(at) + _TRAVEL
    return Window(_ms(at), received), received // 1000 * 1000


def _answer(rows: tuple[dict[str, Any], ...]) -> bytes:
    return msgspec.json.encode({"status": "success", "message": None, "data": rows})
