"""When a delivery is attempted again."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.deliveries import RETRY_DELAYS
from streams.delivery.retries import JITTER, RETRY_AFTER_CAP, Schedule, longest_hold, retry_after

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)

seeds = st.integers(0, 2**32)
attempts = st.integers(1, len(RETRY_DELAYS))
asked = st.floats(0, 1e9)


@given(seed=seeds, attempts=attempts)
def test_jitter_is_within_a_fifth(seed: int, attempts: int) -> None:
    wait = Schedule(rng=random.Random(seed)).wait(attempts)
    assert wait is not None
    assert RETRY_DELAYS[attempts - 1] * (1 - JITTER) <= wait <= RETRY_DELAYS[attempts - 1] * (1 + JITTER)


@given(seed=seeds)
def test_delays_grow_whatever_the_jitter(seed: int) -> None:
    schedule = Schedule(rng=random.Random(seed))
    waits = [schedule.wait(attempts) or 0.0 for attempts in range(1, len(RETRY_DELAYS) + 1)]
    assert waits == sorted(waits)


def test_after_the_last_there_is_none() -> None:
    schedule = Schedule()
    assert schedule.wait(len(RETRY_DELAYS)) is not None
    assert schedule.wait(len(RETRY_DELAYS) + 1) is None
    assert schedule.wait(len(RETRY_DELAYS) + 1, 5.0) is None


@given(seed=seeds, attempts=attempts, asked=asked)
def test_retry_after_only_ever_delays(seed: int, attempts: int, asked: float) -> None:
    plain = Schedule(rng=random.Random(seed)).wait(attempts)
    with_it = Schedule(rng=random.Random(seed)).wait(attempts, asked)
    assert plain is not None
    assert with_it is not None
    assert with_it >= plain
    assert with_it >= min(asked, RETRY_AFTER_CAP)
    assert with_it <= max(plain, RETRY_AFTER_CAP)


@given(seed=seeds, attempts=attempts)
def test_a_jittered_delay_waits_on_its_own_topic(seed: int, attempts: int) -> None:
    schedule = Schedule(rng=random.Random(seed))
    assert schedule.topic_delay(schedule.wait(attempts) or 0.0) == RETRY_DELAYS[attempts - 1]


@given(wait=st.floats(0, 2 * RETRY_AFTER_CAP))
def test_no_topic_makes_a_delivery_late(wait: float) -> None:
    delay = Schedule().topic_delay(wait)
    assert delay in RETRY_DELAYS
    assert delay * (1 - JITTER) <= wait or delay == RETRY_DELAYS[0]


own_delays = st.lists(st.integers(1, 86_400), min_size=1, max_size=20).map(sorted)


@given(seed=seeds, delays=own_delays)
def test_an_endpoints_own_delays_are_kept_and_have_a_topic_each(seed: int, delays: list[int]) -> None:
    schedule = Schedule(rng=random.Random(seed), delays=delays)
    for attempts, delay in enumerate(delays, 1):
        wait = schedule.wait(attempts)
        assert wait is not None
        assert delay * (1 - JITTER) <= wait <= delay * (1 + JITTER)
        assert schedule.topic_delay(wait) in RETRY_DELAYS
    assert schedule.wait(len(delays) + 1) is None


@given(seed=seeds, delays=own_delays, attempts=st.integers(1, 20), asked=st.none() | asked)
def test_whatever_the_wait_it_is_over_after_few_holds(
    seed: int, delays: list[int], attempts: int, asked: float | None
) -> None:
    """A record waits on a topic for no longer than the topic's own delay can take, and then is written anew."""
    schedule = Schedule(rng=random.Random(seed), delays=delays)
    left = schedule.wait(min(attempts, len(delays)), asked) or 0.0
    holds = 0
    while left > 0:
        topic = schedule.topic_delay(left)
        # What has the topic's own delay to wait is due, at the earliest, this long before the longest hold ends.
        assert longest_hold(topic) - topic * (1 - JITTER) <= topic * 2 * JITTER + 1e-6
        left -= min(left, longest_hold(topic))
        holds += 1
    # The default delays grow by six at most, and 24 h are the longest.
    assert holds <= 3 * len(RETRY_DELAYS)


@given(seed=seeds, attempts=attempts)
def test_the_default_delays_need_one_hold(seed: int, attempts: int) -> None:
    schedule = Schedule(rng=random.Random(seed))
    wait = schedule.wait(attempts) or 0.0
    assert wait <= longest_hold(schedule.topic_delay(wait))


@pytest.mark.parametrize("delays", [(), (0, 1), (5, 7), (30, 5)])
def test_delays_that_overlap_are_refused(delays: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="delays must"):
        Schedule(delays)


@given(seconds=st.integers(0, 10**30), status=st.sampled_from([429, 503]))
def test_retry_after_in_seconds(seconds: int, status: int) -> None:
    assert retry_after(status, f" {seconds} ", NOW) == min(seconds, RETRY_AFTER_CAP)


@given(seconds=st.integers(-(10**8), 10**8), status=st.sampled_from([429, 503]))
def test_retry_after_as_a_date(seconds: int, status: int) -> None:
    header = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after(status, header, NOW) == min(max(seconds, 0), RETRY_AFTER_CAP)


@given(header=st.text(max_size=60))
def test_any_header_gives_a_bounded_wait_or_none(header: str) -> None:
    wait = retry_after(503, header, NOW)
    assert wait is None or 0 <= wait <= RETRY_AFTER_CAP


@pytest.mark.parametrize("header", ["", "soon", "-5", "1.5", "٣", "Wed, 99 Foo 2026 00:00:00 GMT", "9" * 5000 + "x"])
def test_what_cannot_be_read_asks_nothing(header: str) -> None:
    assert retry_after(503, header, NOW) is None


@pytest.mark.parametrize("status", [None, 200, 301, 400, 500, 502])
def test_other_statuses_ask_nothing(status: int | None) -> None:
    assert retry_after(status, "60", NOW) is None
