"""How far back the list of completed calls is asked for, and what is said of the time that it does not reach."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls.clocks import unknown_skew
from gateway.calls.snapshots import Window
from gateway.calls.state import Mark
from gateway.contract.times import millis
from gateway.polling.gaps import days_since, gap_before
from gateway.ringcloud import CompletedRow, decode_completed

ZONES = ["UTC", "Europe/Moscow", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
NOW = millis(datetime.fromisoformat("2026-03-30T12:00:00+00:00"))  # the day after Europe's clocks went forward
DAY = 86_400_000


def marked(read: int | None, since: int = NOW - 30 * DAY) -> Mark:
    window = None if read is None else Window(read, read + 50)
    return Mark(since=since, skew=unknown_skew(0, NOW), completed=window)


def listed(end: int, zone: ZoneInfo) -> list[CompletedRow]:
    """A list of one call that ended then, as RingCloud sends it."""
    wall = datetime.fromtimestamp(end / 1000, zone).strftime("%Y-%m-%d %H:%M:%S")
    row = f'"src": "1", "dst": "2", "call_start_time": "{wall}", "call_end_time": "{wall}", "duration": 0'
    row += ', "status": "complete", "direction": "internal", "disposition": "BUSY", "rec_file": null'
    return decode_completed(f'{{"status": "success", "message": null, "data": [{{{row}}}]}}'.encode(), zone)


def test_a_day_is_enough_for_an_account_that_was_never_polled() -> None:
    assert days_since(None, ZoneInfo("UTC"), NOW) == 1


@pytest.mark.parametrize("name", ZONES)
@given(ago=st.integers(0, 20 * DAY), now=st.integers(NOW - 400 * DAY, NOW + 400 * DAY))
def test_the_list_reaches_back_to_the_last_or_a_gap_is_told(name: str, ago: int, now: int) -> None:
    """By the calendar: `days` counts today, so it reaches back to the midnight `days - 1` days ago."""
    zone = ZoneInfo(name)
    mark = marked(now - ago, now - 400 * DAY)
    days = days_since(mark, zone, now)
    first = datetime.fromtimestamp(now / 1000, zone).date() - timedelta(days=days - 1)
    reach = millis(datetime(first.year, first.month, first.day, tzinfo=zone))
    gap = gap_before(1000, mark, [], zone, Window(now, now + 50))
    assert 1 <= days <= 7
    if gap is None:
        assert reach <= now - ago
    else:
        assert days == 7
        assert millis(gap.data.not_before) == now - ago
        assert reach <= millis(gap.data.not_after) <= now - 5 * DAY
        assert ago > 6 * DAY - 3_600_000


def test_what_was_never_read_is_asked_for_from_the_first_poll_on() -> None:
    zone = ZoneInfo("Europe/Moscow")
    assert days_since(marked(None, NOW - 3 * DAY), zone, NOW) == 4
    gap = gap_before(1000, marked(None, NOW - 9 * DAY), [], zone, Window(NOW, NOW))
    assert gap is not None
    assert millis(gap.data.not_before) == NOW - 9 * DAY


def test_a_row_from_before_proves_that_nothing_is_missing() -> None:
    """Give or take what the two clocks may have drifted in a week: a minute."""
    zone = ZoneInfo("Europe/Moscow")
    mark = marked(NOW - 7 * DAY)
    assert gap_before(1000, mark, [], zone, Window(NOW, NOW)) is not None
    assert gap_before(1000, mark, listed(NOW - 7 * DAY - 120_000, zone), zone, Window(NOW, NOW)) is None
    narrowed = gap_before(1000, mark, listed(NOW - 7 * DAY + 120_000, zone), zone, Window(NOW, NOW))
    assert narrowed is not None
    assert millis(narrowed.data.not_after) <= NOW - 7 * DAY + 240_000


def test_the_same_gap_has_the_same_id() -> None:
    zone = ZoneInfo("UTC")
    mark = marked(NOW - 10 * DAY)
    one, other = (gap_before(1000, mark, [], zone, Window(NOW + at, NOW + at)) for at in (0, 5_000))
    assert one is not None
    assert other is not None
    assert one.id == other.id
    assert "." not in one.id
