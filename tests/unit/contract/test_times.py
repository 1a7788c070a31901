"""Milliseconds inside, UTC outside: nothing is lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.times import UtcTime, millis, utc

moments = st.integers(-62_000_000_000_000, 250_000_000_000_000)
zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moments)
def test_a_moment_comes_back_exactly(at: int) -> None:
    assert millis(utc(at)) == at
    assert utc(at).tzinfo is UTC


@given(moments)
def test_a_moment_comes_back_through_json(at: int) -> None:
    assert millis(msgspec.json.decode(msgspec.json.encode(utc(at)), type=UtcTime)) == at


@given(moments, zones)
def test_the_zone_in_which_a_time_is_told_does_not_matter(at: int, zone: timezone) -> None:
    assert millis(utc(at).astimezone(zone)) == at


@given(moments, st.integers(0, 999))
def test_what_is_finer_than_a_millisecond_is_cut_off(at: int, micros: int) -> None:
    assert millis(utc(at) + timedelta(microseconds=micros)) == at


def test_a_known_moment() -> None:
    assert utc(1_700_000_000_123) == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
