"""The audit that judges the demo: what it finds missing, doubled or untrue."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.contract.times import utc
from sandbox.audit import Received, Report, audit
from sandbox.calls import Disposition
from sandbox.ledger import LedgerRecord

BEGIN = 1_700_000_000_000


def record(
    name: str, start: int, answer: int | None, end: int | None, *, account: int = 1000, src: str = "101"
) -> LedgerRecord:
    """A call as it truly was; times in ms from the beginning."""
    answered, ended = (None if at is None else BEGIN + at for at in (answer, end))
    disposition: Disposition | None = None if end is None else "NO ANSWER" if answer is None else "ANSWERED"
    return LedgerRecord(name, account, src, "202", "incoming", BEGIN + start, answered, ended, disposition, None)


def event(
    call: str, type_: str, at: int, *, off: int = 0, wide: int = 1_000, account: int = 1000, src: str = "101"
) -> Received:
    """An event as it arrived; `off` is how far its time, and `wide` how far its bounds, are from `at`."""
    types = ["call.started", "call.answered", "call.ended", "call.updated"]
    body: dict[str, Any] = {
        "id": f"{call}-{types.index(type_) + 1}",
        "type": type_,
        "subject": call,
        "time": utc(BEGIN + at + off).isoformat(),
        "data": {
            "account": account,
            "src": src,
            "dst": "202",
            "not_before": utc(BEGIN + at - wide).isoformat(),
            "not_after": utc(BEGIN + at + wide).isoformat(),
        },
    }
    return Received(body, BEGIN + at + 3_000)


def life(call: str, start: int, answer: int | None, end: int | None, **how: Any) -> list[Received]:
    """A whole life as it should arrive."""
    times = {"call.started": start, "call.answered": answer, "call.ended": end}
    return [event(call, type_, at, **how) for type_, at in times.items() if at is not None]


def clean(report: Report) -> bool:
    return not (report.missing or report.doubled or report.outside)


def test_what_was_told_truly_is_right() -> None:
    ledger = [record("1", 0, 2_000, 9_000), record("2", 500, None, 4_000, src="300")]
    report = audit(ledger, life("A", 0, 2_000, 9_000) + life("B", 500, None, 4_000, src="300"))
    assert clean(report)
    assert report.calls == 2
    assert report.events == {"call.started": 2, "call.answered": 1, "call.ended": 2}
    assert report.delays == [3_000] * 5


@pytest.mark.parametrize("type_", ["call.started", "call.answered", "call.ended"])
def test_a_missing_event_is_found(type_: str) -> None:
    received = [one for one in life("A", 0, 2_000, 9_000) if one.event["type"] != type_]
    report = audit([record("1", 0, 2_000, 9_000)], received)
    assert report.missing == [f"{type_} of 1 (1000: 101 -> 202)"]
    assert report.doubled == []


def test_a_call_that_nobody_was_told_of_misses_all_its_events() -> None:
    report = audit([record("1", 0, 2_000, 9_000)], [])
    assert len(report.missing) == 3


def test_an_id_that_comes_twice_is_found() -> None:
    received = life("A", 0, None, 9_000)
    report = audit([record("1", 0, None, 9_000)], [*received, received[1]])
    assert report.doubled == ["A-3 arrived again"]
    assert report.events == {"call.started": 1, "call.ended": 1}


def test_a_second_end_under_another_id_is_found() -> None:
    again = event("A", "call.ended", 9_000)
    again.event["id"] = "A-9"
    report = audit([record("1", 0, None, 9_000)], [*life("A", 0, None, 9_000), again])
    assert report.doubled == ["call.ended twice in the life of A"]


def test_a_phantom_call_is_found() -> None:
    report = audit([record("1", 0, None, 9_000)], life("A", 0, None, 9_000) + life("B", 0, None, 9_000))
    assert report.missing == []
    assert len(report.doubled) == 2
    assert {one.rpartition(" of ")[0] for one in report.doubled} == {"call.started", "call.ended"}


@pytest.mark.parametrize("how", [{"account": 1001}, {"src": "102"}])
def test_a_call_of_other_numbers_or_another_account_is_a_phantom(how: dict[str, Any]) -> None:
    report = audit([record("1", 0, None, 9_000)], life("A", 0, None, 9_000, **how))
    assert len(report.missing) == 2
    assert len(report.doubled) == 2


def test_a_life_far_from_the_call_s_start_is_a_phantom() -> None:
    report = audit([record("1", 0, None, 90_000)], life("A", 60_000, None, 90_000))
    assert len(report.missing) == len(report.doubled) == 2


def test_an_answer_that_never_was_is_found() -> None:
    report = audit([record("1", 0, None, 9_000)], life("A", 0, 2_000, 9_000))
    assert report.doubled == ["call.answered of 1, which it never was"]


@pytest.mark.parametrize("type_", ["call.started", "call.answered", "call.ended"])
def test_bounds_that_do_not_hold_the_true_time_are_found(type_: str) -> None:
    true = {"call.started": 0, "call.answered": 2_000, "call.ended": 9_000}
    received = [event("A", name, at + (1_001 if name == type_ else 0)) for name, at in true.items()]
    report = audit([record("1", 0, 2_000, 9_000)], received)
    assert report.outside == [f"{type_} of 1 (1000: 101 -> 202)"]
    assert report.missing == report.doubled == []


def test_bounds_hold_their_ends() -> None:
    received = [event("A", "call.started", 1_000), event("A", "call.ended", 8_000)]
    assert clean(audit([record("1", 0, None, 9_000)], received))


@pytest.mark.parametrize("swapped", [False, True])
def test_twins_are_told_apart_by_their_ends(swapped: bool) -> None:
    ledger = [record("1", 0, 2_000, 9_000), record("2", 10, None, 20_000)]
    lives = [life("A", 0, 2_000, 9_000), life("B", 10, None, 20_000)]
    first, second = reversed(lives) if swapped else lives
    assert clean(audit(ledger, first + second))


def test_identical_twins_are_one_to_one() -> None:
    ledger = [record("1", 0, 2_000, 9_000), record("2", 0, 2_000, 9_000), record("3", 0, 2_000, 9_000)]
    received = [one for name in "ABC" for one in life(name, 0, 2_000, 9_000)]
    assert clean(audit(ledger, received))
    report = audit(ledger, received[:6])
    assert len(report.missing) == 3
    assert report.doubled == []


def test_twins_are_paired_so_that_most_is_right_not_by_the_nearest_first() -> None:
    # The nearest pair, A and 2, would leave B for 1, which began before its bounds do.
    ledger = [record("1", 0, None, 5_000), record("2", 900, None, 5_000)]
    one = [event("A", "call.started", 0, off=890, wide=1_000), event("A", "call.ended", 5_000)]
    other = [event("B", "call.started", 900, off=900, wide=500), event("B", "call.ended", 5_000)]
    assert clean(audit(ledger, one + other))


def test_a_call_that_still_runs_owes_no_end_and_no_answer() -> None:
    report = audit([record("1", 0, 2_000, None)], [event("A", "call.started", 0)])
    assert clean(report)


def test_a_call_that_still_runs_may_have_been_told_as_answered() -> None:
    report = audit([record("1", 0, 2_000, None)], life("A", 0, 2_000, None))
    assert clean(report)
    assert len(report.delays) == 2


def test_an_end_of_a_call_that_still_runs_is_found() -> None:
    report = audit([record("1", 0, 2_000, None)], life("A", 0, 2_000, 9_000))
    assert report.doubled == ["call.ended of 1, which it never was"]


def test_corrections_are_counted_and_owed_to_nobody() -> None:
    report = audit([record("1", 0, None, 9_000)], [*life("A", 0, None, 9_000), event("A", "call.updated", 9_000)])
    assert clean(report)
    assert report.events["call.updated"] == 1


def test_events_may_arrive_in_any_order() -> None:
    received = life("A", 0, 2_000, 9_000)
    assert clean(audit([record("1", 0, 2_000, 9_000)], reversed(received)))


def test_nothing_at_all_is_right() -> None:
    report = audit([], [])
    assert clean(report)
    assert report.calls == 0


def mixed_twins(*, ambiguous: bool, off: int = 0) -> Report:
    """Two calls of the same numbers, and two lives whose ends were told of the other one."""
    ledger = [record("1", 0, None, 4_000), record("2", 5_000, None, 20_000)]
    told = [
        event("A", "call.started", 0),
        event("A", "call.ended", 20_000 + off),
        event("B", "call.started", 5_000),
        event("B", "call.ended", 4_000),
    ]
    for one in told:
        one.event["data"]["ambiguous"] = ambiguous and one.event["type"] == "call.ended"
    return audit(ledger, told)


def test_what_is_told_of_a_twin_and_marked_ambiguous_is_mixed() -> None:
    report = mixed_twins(ambiguous=True)
    assert clean(report)
    assert len(report.mixed) == 2


def test_what_is_told_of_a_twin_and_not_marked_is_outside() -> None:
    report = mixed_twins(ambiguous=False)
    assert report.mixed == []
    assert len(report.outside) == 2


def test_what_is_marked_ambiguous_and_true_of_no_twin_is_outside() -> None:
    report = mixed_twins(ambiguous=True, off=3_000)
    assert report.outside != []
