"""How far the list of completed calls must reach back, and what it does not reach (law 6 of the differ)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from gateway.calls.snapshots import CompletedRow, Window
from gateway.calls.state import Mark
from gateway.contract.events import source_of
from gateway.contract.notices import GapData, GapDetected
from gateway.contract.times import Ms, millis, utc

MAX_DAYS = 7
# A day's list is asked for by days: near midnight, and with clocks that may differ, the day before is asked for too.
_MIDNIGHT: Ms = 15 * 60_000


def days_since(mark: Mark | None, zone: ZoneInfo, now: Ms) -> int:
    """How many days of completed calls to ask for, so that the list reaches back to the one read before.

    Whether `days=1` means the last 24 hours or today is not documented, so it counts as today. Past seven days it is
    seven. Without a mark what was before is history, and a day is enough.
    """
    return 1 if mark is None else min(MAX_DAYS, _span(read_until(mark), zone, now))


def read_until(mark: Mark) -> Ms:
    """What ended before this moment is told of or is history."""
    return mark.since if mark.completed is None else mark.completed.sent


def gap_before(
    account: int, mark: Mark, rows: Sequence[CompletedRow], zone: ZoneInfo, window: Window
) -> GapDetected | None:
    """What the list of `window`, of seven days, leaves open behind the one read before it, if anything.

    The list surely reaches back to the midnight of six days ago, and to the end of the oldest call in it.
    """
    until = read_until(mark)
    if _span(until, zone, window.sent) <= MAX_DAYS:
        return None
    today = datetime.fromtimestamp(window.received / 1000, zone).date()
    first_day = today - timedelta(days=MAX_DAYS - 1)
    reach = millis(datetime(first_day.year, first_day.month, first_day.day, tzinfo=zone)) + _MIDNIGHT
    reach = min([reach, *(mark.skew.local(row.end)[1] for row in rows)])
    if reach <= until:
        return None
    return GapDetected(
        id=f"{account}-gap-{until}",
        source=source_of(account),
        subject=str(account),
        time=utc(window.received),
        data=GapData(
            account=account,
            observed_at=utc(window.received),
            not_before=utc(until),
            not_after=utc(reach),
            reason="downtime",
        ),
    )


def _span(until: Ms, zone: ZoneInfo, now: Ms) -> int:
    return _day(now // 60_000, zone) - _day((until - _MIDNIGHT) // 60_000, zone) + 1


# Asked for at each poll; wherever one is, a day begins on a whole minute.
@lru_cache(maxsize=1024)
def _day(minute: int, zone: ZoneInfo) -> int:
    return datetime.fromtimestamp(minute * 60, zone).toordinal()
