"""Rows: both profiles, both spellings, `days` and `num`, time zone and clock skew, and their agreement with the ledger."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

import pytest

DAY = 86_400


async def active(api):
    rows = (await api.get("/v1/calls/active")).data
    api.clock.advance(5)
    return rows


async def test_an_active_call_from_ring_to_end_documented(api):
    api.pbx.place_call(1000, "74950000001", "400", "incoming", 6_000, 9_999)
    seen = [await active(api) for _ in range(4)]
    assert [[(row["seconds"], row["status"]) for row in rows] for rows in seen] == [
        [(0, "current")],
        [(5, "current")],
        [(10, "current")],
        [(15, "current")],
    ]
    assert await active(api) == []


async def test_an_active_call_from_ring_to_end_live(start):
    api = await start(profile="live")
    api.pbx.place_call(1000, "74950000001", "400", "incoming", 5_000, 10_000)
    api.pbx.place_call(1000, "74950000001", "401", "incoming", 20_000, None, "BUSY")
    seen = [{row["dst"]: row["status"] for row in await active(api)} for _ in range(5)]
    assert seen == [
        {"400": "ringing", "401": "ringing"},
        {"400": "answered", "401": "ringing"},
        {"400": "answered", "401": "ringing"},
        {"401": "ringing"},
        {},
    ]


async def test_a_call_is_in_one_list_or_the_other(api):
    api.pbx.place_call(1000, "400", "401", "internal", 1_000)
    api.clock.advance(0.999)
    assert (await api.get("/v1/calls/complete")).data == []
    assert len(await active(api)) == 1
    (row,) = (await api.get("/v1/calls/complete")).data
    assert row["duration"] == 1
    assert await active(api) == []


async def test_identical_calls_stay_apart(api):
    for _ in range(3):
        api.pbx.place_call(1000, "74950000001", "400", "incoming", 9_000)
    rows = await active(api)
    assert len(rows) == 3
    assert rows[0] == rows[1] == rows[2]


async def test_a_completed_row(api):
    api.clock.advance(0.7)
    api.pbx.place_call(1000, "400", "78120000001", "outgoing", 2_500, 10_499)
    api.clock.advance(30)
    (row,) = (await api.get("/v1/calls/complite")).data
    path = row.pop("rec_file")
    assert path.startswith("/records/1000/20250303-120000-400-78120000001")
    assert row == {
        "status": "complete",
        "src": "400",
        "dst": "78120000001",
        "direction": "outgoing",
        "call_start_time": "2025-03-03 12:00:00",
        "call_end_time": "2025-03-03 12:00:13",
        "duration": 12,
        "disposition": "ANSWERED",
    }


@pytest.mark.parametrize("missing", [None, "None"])
@pytest.mark.parametrize("disposition", ["NO ANSWER", "BUSY", "FAILED"])
async def test_a_completed_row_without_a_recording(api, disposition, missing):
    api.pbx.place_call(1000, "400", "401", "internal", 300, None, disposition, rec_file=missing)
    api.clock.advance(1)
    (row,) = (await api.get("/v1/calls/complete")).data
    assert (row["disposition"], row["rec_file"], row["duration"]) == (disposition, missing, 0)


@pytest.mark.parametrize(
    ("served", "found"),
    [("both", (200, 200)), ("complite", (200, 404)), ("complete", (404, 200))],
)
async def test_both_spellings(start, served, found):
    api = await start(complete_urls=served)
    statuses = [(await api.get(f"/v1/calls/{spelling}")).status for spelling in ("complite", "complete")]
    assert tuple(statuses) == found


@pytest.mark.parametrize("days", ["0", "8", "-1", "1.5", "", "seven", "07", "1 "])
async def test_days_out_of_bounds(api, days):
    assert (await api.get("/v1/calls/complete", days=days)).failure == 400


@pytest.mark.parametrize("num", ["", "abc", "400;401"])
async def test_num_that_is_no_number(api, num):
    assert (await api.get("/v1/calls/complete", num=num)).failure == 400


async def test_days_count_back_from_now_by_the_end_of_the_call(api):
    for day in range(8):
        # Begins a day earlier than it ends: the end decides.
        api.pbx.place_call(1000, "400", f"7495000{day:04d}", "outgoing", 1_000, DAY * 1000 - 1_000)
        api.clock.advance(DAY)
    # They ended 0, 1, … 7 days ago; one that ended exactly n days ago is just outside.
    for days in range(1, 8):
        rows = (await api.get("/v1/calls/complete", days=days)).data
        api.clock.advance(5)
        assert len(rows) == days, days
        assert [row["dst"][-1] for row in rows] == [str(n) for n in range(8 - days, 8)]
    assert len((await api.get("/v1/calls/complete")).data) == 7


async def test_num_matches_either_side(api):
    api.pbx.place_call(1000, "400", "74950000001", "outgoing", 100)
    api.pbx.place_call(1000, "74950000001", "401", "incoming", 200)
    api.pbx.place_call(1000, "402", "403", "internal", 300)
    api.clock.advance(5)
    for num, count in (("74950000001", 2), ("402", 1), ("403", 1), ("40", 0)):
        assert len((await api.get("/v1/calls/complete", num=num)).data) == count
        api.clock.advance(5)


@pytest.mark.parametrize("zone", ["Europe/Moscow", "America/New_York", "UTC", "Asia/Kathmandu"])
@pytest.mark.parametrize("skew", [0, 90.5, -7200])
async def test_zone_and_skew(start, zone, skew):
    api = await start(time_zone=zone, clock_skew_seconds=skew)
    begin = api.clock.now()
    api.pbx.place_call(1000, "400", "401", "internal", 1_000, 2_000)
    api.clock.advance(3)
    answer = await api.get("/v1/calls/complete")
    (row,) = answer.data
    shown = datetime.fromtimestamp(begin / 1000 + skew, UTC)
    local = shown.astimezone(ZoneInfo(zone))
    assert row["call_start_time"] == f"{local:%Y-%m-%d %H:%M:%S}"
    assert row["call_end_time"] == f"{local + timedelta(seconds=3):%Y-%m-%d %H:%M:%S}"
    expected_date = (shown + timedelta(seconds=3)).replace(microsecond=0)
    assert parsedate_to_datetime(answer.headers["Date"]) == expected_date
    (record,) = api.pbx.ledger.records()
    assert (record.started_at, record.ended_at) == (begin, begin + 3_000)


async def test_rows_agree_with_the_ledger(start):
    api = await start(calls_per_minute=600, profile="live")
    zone = ZoneInfo("Europe/Moscow")
    for _ in range(12):
        api.clock.advance(5.123)
        now = api.clock.now()
        rows = (await api.get("/v1/calls/active")).data
        ledger = api.pbx.ledger.records()
        expected = [
            {
                "src": record.src,
                "dst": record.dst,
                "seconds": (now - record.started_at) // 1000,
                "status": "ringing" if record.answered_at is None else "answered",
            }
            for record in ledger
            if record.ended_at is None
        ]
        assert rows == expected
        done = sorted((record for record in ledger if record.ended_at is not None), key=lambda record: record.ended_at)
        completed = (await api.get("/v1/calls/complete")).data
        assert [
            (row["src"], row["dst"], row["direction"], row["disposition"], row["duration"]) for row in completed
        ] == [
            (
                record.src,
                record.dst,
                record.direction,
                record.disposition,
                (record.ended_at - record.started_at) // 1000,
            )
            for record in done
        ]
        for row, record in zip(completed, done, strict=True):
            for text, at in ((row["call_start_time"], record.started_at), (row["call_end_time"], record.ended_at)):
                assert datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() == at // 1000
            assert (row["rec_file"] not in (None, "None")) == (record.disposition == "ANSWERED")
    assert {row["rec_file"] for row in completed} >= {None, "None"}
