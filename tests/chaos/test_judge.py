"""The judge finds what is wrong: each kind of it, in a run that was right otherwise."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.dev.receiver import Arrival
from sandbox.audit import Received
from sandbox.ledger import LedgerRecord
from sandbox.limits import Lane
from sandbox.stats import Stats
from tests.chaos.judge import Verdict, judge, read_logs

BEGIN = 1_700_000_000_000
TYPES = ("call.started", "call.answered", "call.ended")


def record() -> LedgerRecord:
    """A call as it truly was."""
    return LedgerRecord("1", 1000, "101", "202", "incoming", BEGIN, BEGIN + 2_000, BEGIN + 9_000, "ANSWERED", None)


def told() -> list[Received]:
    """What should stand on the topic about it."""
    return [
        _event(type_, sequence, at)
        for sequence, (type_, at) in enumerate(zip(TYPES, (0, 2_000, 9_000), strict=True), 1)
    ]


def _event(type_: str, sequence: int, at: int) -> Received:
    def time(ms: int) -> str:
        return datetime.fromtimestamp((BEGIN + ms) / 1000, UTC).isoformat()

    data: dict[str, Any] = {"account": 1000, "src": "101", "dst": "202", "sequence": sequence}
    data |= {"not_before": time(at - 500), "not_after": time(at + 500)}
    event = {"id": f"A-{sequence}", "type": type_, "subject": "A", "time": time(at), "data": data}
    return Received(event, BEGIN + at + 3_000)


def arrivals(events: list[Received]) -> list[Arrival]:
    """A webhook for each event."""
    return [Arrival(one.event, one.at, f"msg_{one.event['id']}") for one in events]


def verdict_on(events: list[Received], webhooks: list[Arrival] | None = None, refused: int = 0) -> Verdict:
    """The verdict on a run with these events and webhooks."""
    return judge([record()], events, arrivals(events) if webhooks is None else webhooks, refused, Stats().report())


def test_a_run_that_was_right_has_no_faults() -> None:
    verdict = verdict_on(told())
    assert verdict.faults() == {}
    assert (verdict.calls, verdict.webhooks, verdict.repeated_webhooks) == (1, 3, 0)
    assert verdict.delay_ms["p50"] == 3_000


def test_what_is_lost_doubled_or_out_of_bounds_is_found() -> None:
    assert verdict_on(told()[:2]).faults() == {"lost": ["call.ended of 1 (1000: 101 -> 202)"]}
    assert "duplicated" in verdict_on([*told(), told()[2]]).faults()
    assert verdict_on([*told()[:2], _event("call.ended", 3, 9_501)]).faults().keys() == {"outside"}


def test_events_out_of_their_order_are_found() -> None:
    started, answered, ended = told()
    assert verdict_on([started, ended, answered]).faults().keys() == {"out_of_order"}
    assert verdict_on([started, _event("call.answered", 2, 2_000), _event("call.ended", 4, 9_000)]).out_of_order


def test_webhooks_may_repeat_but_not_be_missing_or_change_their_id() -> None:
    sent = arrivals(told())
    assert verdict_on(told(), [*sent, *sent]).faults() == {}
    assert verdict_on(told(), [*sent, *sent]).repeated_webhooks == 3
    assert verdict_on(told(), sent[1:]).faults() == {"undelivered": ["A-1 was never received"]}
    other = Arrival(sent[0].event, sent[0].at, "msg_other")
    assert verdict_on(told(), [*sent, other]).faults().keys() == {"wrong_webhooks"}
    same = [Arrival(one.event, one.at, "msg_same") for one in sent]
    assert verdict_on(told(), same).faults().keys() == {"wrong_webhooks"}
    assert verdict_on(told(), arrivals([*told(), _event("call.updated", 4, 9_000)])).wrong_webhooks == [
        "A-4 is not on the topic"
    ]
    assert verdict_on(told(), refused=1).wrong_webhooks == ["1 webhooks with a wrong signature"]


def test_answers_of_429_are_told_apart_from_those_by_faults() -> None:
    stats = Stats()
    lane = Lane("1000_key", "GET", "/v1/calls/active")
    for accepted in (True, False):
        stats.arrived(lane, 5_000, 0, accepted=accepted)
    for _ in range(3):
        stats.answered("GET", "/v1/calls/active", 429)
    verdict = judge([], [], [], 0, stats.report())
    assert (verdict.rate_limited, verdict.rate_limited_by_faults) == (1, 2)


def test_mishaps_and_secrets_in_logs_are_found(tmp_path: Path) -> None:
    log = tmp_path / "gateway-1.log"
    log.write_text(
        "all is well\nTraceback (most recent call last):\nkey 1000_ab+c\nGET /v1/calls/active?a=1&hash=00ff\n"
    )
    broker = tmp_path / "broker.log"
    broker.write_text("Traceback of its own\npassword p4ss\n")
    found = read_logs(verdict_on(told()), [log, broker], ["1000_ab+c", "p4ss"])
    assert found.mishaps == ["gateway-1.log:2: Traceback (most recent call last):"]
    assert found.fenced == 0
    assert found.secrets == ["gateway-1.log:3", "gateway-1.log:4", "broker.log:2"]
