"""How endpoints stand, by what the topic says and attempts show: without a broker."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec

from gateway.contract.deliveries import Delivery
from gateway.contract.endpoints import Endpoint, EndpointStatus
from streams.delivery.standing import PAUSE, UNKNOWN_GRACE, Standing
from streams.fanout import expand
from tests.support.webhooks import call_event

START = datetime(2026, 11, 25, tzinfo=UTC)
FIVE_DAYS = 5 * 86_400.0
PAUSED = EndpointStatus(state="paused", since=START, reason="asked")
DISABLED = EndpointStatus(state="disabled", since=START, reason="asked")


class Ground:
    """An endpoint `e` that is known, and a clock."""

    def __init__(self) -> None:
        self.now = START
        self.standing = Standing(["e"], disable_after=FIVE_DAYS, clock=lambda: self.now, rng=random.Random(1))

    def delivery(self, endpoint: str = "e") -> Delivery:
        (made,) = expand(call_event(), [Endpoint(id=endpoint, url="http://unused/", secrets=("env:S",))], self.now)
        return made

    def fails(self, *, after: float = 0.0, is_open: bool = True) -> EndpointStatus | None:
        """An attempt fails: the status that is written of it."""
        self.now += timedelta(seconds=after)
        change = self.standing.failed("e", self.now, is_open=is_open)
        return None if change is None else change.status


def test_a_stranger_is_waited_for_and_then_given_up() -> None:
    ground = Ground()
    delivery = ground.delivery("stranger")
    waits: list[float] = []
    while True:
        refusal = ground.standing.refusal(delivery)
        assert refusal is not None
        if refusal.code is not None:
            break
        waits.append(refusal.wait)
        ground.now += timedelta(seconds=refusal.wait)
    assert refusal.code == "unknown_endpoint"
    assert sum(waits) >= UNKNOWN_GRACE
    # Soon at first, and not often.
    assert waits[0] <= 5
    assert len(waits) <= 10
    ground.standing.declared("stranger")
    assert ground.standing.refusal(delivery) is None


def test_one_that_was_removed_is_no_stranger_and_may_come_back() -> None:
    ground = Ground()
    ground.standing.withdrawn("e")
    refusal = ground.standing.refusal(ground.delivery())
    assert refusal is not None
    assert refusal.code == "removed"
    ground.standing.declared("e")
    assert ground.standing.refusal(ground.delivery()) is None


def test_a_paused_one_waits_within_the_pause_and_a_disabled_one_is_given_up() -> None:
    ground = Ground()
    ground.standing.told("e", PAUSED)
    waits = {refusal.wait for _ in range(100) if (refusal := ground.standing.refusal(ground.delivery()))}
    assert 0.8 * PAUSE <= min(waits) < max(waits) <= 1.2 * PAUSE <= 60
    ground.standing.told("e", DISABLED)
    refusal = ground.standing.refusal(ground.delivery())
    assert refusal is not None
    assert (refusal.code, refusal.reason) == ("disabled", "the endpoint is disabled (asked)")
    ground.standing.told("e", None)
    assert ground.standing.refusal(ground.delivery()) is None


def test_failing_is_written_once_when_the_circuit_opens_and_dates_from_the_first_failure() -> None:
    ground = Ground()
    assert ground.fails(is_open=False) is None
    assert ground.fails(after=5, is_open=False) is None
    status = ground.fails(after=30)
    assert status is not None
    assert (status.state, status.failing_since) == ("active", START)
    assert ground.fails(after=300) is None
    assert ground.standing.refusal(ground.delivery()) is None


def test_a_success_clears_it_and_the_next_failure_counts_from_itself() -> None:
    ground = Ground()
    ground.fails()
    change = ground.standing.succeeded("e")
    assert change is not None
    assert change.status is None
    assert ground.standing.succeeded("e") is None
    status = ground.fails(after=FIVE_DAYS)
    assert status is not None
    assert (status.state, status.failing_since) == ("active", ground.now)


def test_after_five_days_of_failures_it_is_disabled_and_not_a_moment_before() -> None:
    ground = Ground()
    ground.fails()
    assert ground.fails(after=FIVE_DAYS - 1) is None
    status = ground.fails(after=1)
    assert status is not None
    assert (status.state, status.reason, status.failing_since) == ("disabled", "failing", START)
    assert status.since == ground.now
    # What was under way meanwhile changes nothing any more.
    assert ground.fails() is None
    assert ground.standing.succeeded("e") is None
    assert ground.standing.gone("e") is None


def test_another_worker_goes_on_counting_from_what_is_on_the_topic() -> None:
    ground = Ground()
    ground.standing.told("e", EndpointStatus(state="active", since=START, failing_since=START))
    status = ground.fails(after=FIVE_DAYS, is_open=False)
    assert status is not None
    assert status.state == "disabled"


def test_an_endpoint_that_is_no_more_gets_no_status() -> None:
    ground = Ground()
    ground.standing.withdrawn("e")
    assert ground.fails(after=FIVE_DAYS) is None
    assert ground.standing.gone("e") is None


def test_what_somebody_asked_for_just_before_is_written_again() -> None:
    """The pause came to the topic before our own record, and we had not read it when we wrote."""
    ground = Ground()
    ours = ground.fails()
    assert ground.standing.told("e", PAUSED) is None
    change = ground.standing.told("e", ours)
    assert change is not None
    assert change.status == PAUSED
    assert ground.standing.refusal(ground.delivery()) is not None
    # The record that was written again is ours as well.
    assert ground.standing.told("e", PAUSED) is None
    assert ground.standing.told("e", None) is None
    assert ground.standing.refusal(ground.delivery()) is None


def test_what_somebody_asks_for_afterwards_stands() -> None:
    ground = Ground()
    ours = ground.fails()
    assert ground.standing.told("e", ours) is None
    assert ground.standing.told("e", PAUSED) is None
    assert ground.standing.status("e") == PAUSED


def test_own_records_in_a_row_are_known_again() -> None:
    ground = Ground()
    first = ground.fails()
    ground.standing.succeeded("e")
    third = ground.fails(after=10)
    assert first is not None
    assert third is not None
    for status in (first, None, third):
        # As it comes from the topic.
        raw = msgspec.json.encode(status)
        assert ground.standing.told("e", msgspec.json.decode(raw, type=EndpointStatus | None)) is None
    assert ground.standing.status("e") == third
    ground.standing.told("e", None)
    assert ground.standing.status("e") is None
