"""The records of a delivery: for how long one is kept waiting, and dead letters that fit."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.deliveries import RETRY_DELAYS, DeadLetter, Delivery
from gateway.contract.endpoints import Endpoint
from gateway.contract.topics import Topics
from streams.delivery.records import Records
from streams.delivery.retries import Schedule
from streams.fanout import expand
from tests.support.webhooks import call_event

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
TOPICS = Topics()
RECORDS = Records(TOPICS, lambda: NOW)


def a_delivery() -> Delivery:
    (delivery,) = expand(call_event(), [Endpoint(id="e", url="http://unused/", secrets=("env:S",))], NOW)
    return delivery


@pytest.mark.parametrize("delay", RETRY_DELAYS)
def test_a_record_is_held_for_as_long_as_its_topics_delay_may_take(delay: int) -> None:
    topic = TOPICS.retries[delay].name
    assert RECORDS.held_until(topic, NOW.timestamp()) == NOW + timedelta(seconds=1.2 * delay)
    assert RECORDS.held_until(topic, NOW.timestamp() - delay) == NOW + timedelta(seconds=0.2 * delay)


def test_other_topics_are_not_for_waiting() -> None:
    assert RECORDS.held_until(TOPICS.deliveries.name, NOW.timestamp()) == NOW


@given(written_at=st.integers(-(2**63), 2**63 - 1).map(lambda ms: ms / 1000))
def test_whatever_time_is_claimed_ours_bounds_it(written_at: float) -> None:
    for delay in RETRY_DELAYS:
        assert RECORDS.held_until(TOPICS.retries[delay].name, written_at) <= NOW + timedelta(seconds=1.2 * delay)


@given(wait=st.floats(0, 86_400))
def test_what_is_parked_is_due_when_it_is_to_be_and_otherwise_as_it_was(wait: float) -> None:
    topic, key, value = RECORDS.parked(a_delivery(), Schedule(), wait)
    assert topic in {one.name for one in TOPICS.retries.values()}
    assert key == b"e"
    parked = msgspec.json.decode(value, type=Delivery)
    assert parked.due_at is not None
    assert abs((parked.due_at - NOW).total_seconds() - wait) < 0.001
    assert msgspec.structs.replace(parked, due_at=None) == a_delivery()


def test_a_dead_letter_that_would_not_fit_says_so() -> None:
    _, key, value = RECORDS.dead_letter("unreadable", None, b"x" * 900_000)
    assert key is None
    letter = msgspec.json.decode(value, type=DeadLetter)
    assert letter.raw is None
    assert letter.reason == "unreadable; too large to be kept"
    _, _, value = RECORDS.dead_letter("unreadable", None, b"x" * 600_000)
    assert msgspec.json.decode(value, type=DeadLetter).raw == b"x" * 600_000
