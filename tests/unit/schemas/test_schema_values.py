"""What the gateway writes fits its schemas, what it reads too, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands.intake import Rejected, read
from gateway.config import AccountConfig
from gateway.contract.commands import CommandResult
from gateway.contract.deliveries import Attempt, DeadLetter
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CallEvent, encode_data
from gateway.contract.notices import (
    AccountDegraded,
    AccountRecovered,
    DegradedData,
    EndpointDisabled,
    EndpointDisabledData,
    EndpointEnabled,
    EndpointEnabledData,
    GapData,
    GapDetected,
    Notice,
    RecoveredData,
    encode_notice,
)
from gateway.contract.times import utc
from streams.fanout import expand
from tests.unit.calls.watched import ALONE, Watched, done, live
from tests.unit.contract.events import call_events, optional, texts, times
from tests.unit.schemas.judge import json_of, judge_of

CALL_EVENT, CALL_DATA = judge_of("call-event"), judge_of("call-data")
GATEWAY_EVENT, COMMAND = judge_of("gateway-event"), judge_of("command")
NOTICE_DATA = {
    "gap.detected": judge_of("gap-data"),
    "account.degraded": judge_of("degraded-data"),
    "account.recovered": judge_of("recovered-data"),
    "endpoint.disabled": judge_of("endpoint-disabled-data"),
    "endpoint.enabled": judge_of("endpoint-enabled-data"),
}
ENDPOINT = Endpoint(id="crm", url="https://crm.example.com/", secrets=("env:CRM",))
NOW = datetime(2026, 11, 24, 20, 0, tzinfo=UTC)


def a_story() -> list[CallEvent]:
    """Lives of every kind: with and without a row, answered live and not, short ones, twins, corrections, restarts."""
    account = Watched()
    account.active(10, live(4, "ringing"), live(2, src="300"), live(3, src="400"), live(3, src="400"))
    account.active(15, live(9, "answered"), live(7, src="300"), live(8, src="400"))
    account.restart()
    account.active(20)
    others = [done(16, 19, "BUSY", src="500"), done(7, 13, src="400"), done(7, 18, src="400")]
    account.completed(21, done(6, 18), *others)
    account.completed(25 + ALONE, done(6, 18), *others)
    account.completed(30 + ALONE, done(6, 18, rec_file="/r/1.wav"), *others, done(8, 17, "NO ANSWER", src="300"))
    return account.events


def broken(right: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`right` with a field missing or of a wrong kind, each in turn, fields of objects in it included."""
    for name, value in right.items():
        yield f"{name} is missing", {key: one for key, one in right.items() if key != name}
        yield f"{name} is wrong", {**right, name: [{"x": 1}]}
        if isinstance(value, dict):
            for what, inner in broken(value):
                yield f"{name}.{what}", {**right, name: inner}


def fits_and_nothing_else(judge: Any, right: dict[str, Any]) -> None:
    judge.validate(right)
    for what, wrong in broken(right):
        assert not judge.is_valid(wrong), what


STORY = a_story()


def test_the_story_has_all_that_an_event_can_be() -> None:
    assert {event.type for event in STORY} == {"call.started", "call.answered", "call.ended", "call.updated"}
    assert {event.data.evidence for event in STORY} >= {"active", "status", "complete", "absence"}
    assert {event.data.ambiguous for event in STORY} == {True, False}
    assert {event.data.answered for event in STORY} == {None, True, False}


@pytest.mark.parametrize("event", STORY, ids=lambda event: event.id)
def test_an_event_of_the_differ_fits_and_nothing_else(event: CallEvent) -> None:
    fits_and_nothing_else(CALL_EVENT, json_of(event))
    fits_and_nothing_else(CALL_DATA, json.loads(encode_data(event)))


@given(call_events())
def test_any_call_event_fits(event: CallEvent) -> None:
    CALL_EVENT.validate(json_of(event))
    CALL_DATA.validate(json.loads(encode_data(event)))


@pytest.mark.parametrize(
    "change",
    [
        {"type": "call.begun"},
        {"type": "gap.detected"},
        {"specversion": "0.3"},
        {"time": "2026-11-24 20:00"},
        {"time": 1_700_000_000},
        {"datacontenttype": "text/plain"},
    ],
)
def test_an_event_of_another_contract_does_not_fit(change: dict[str, Any]) -> None:
    right = json_of(STORY[0])
    assert CALL_EVENT.is_valid(right)
    assert not CALL_EVENT.is_valid({**right, **change})


@pytest.mark.parametrize(
    "change",
    [{"evidence": "hearsay"}, {"direction": "sideways"}, {"sequence": 0}, {"account": "7"}, {"not_after": "soon"}],
)
def test_data_of_another_contract_do_not_fit(change: dict[str, Any]) -> None:
    right = json.loads(encode_data(STORY[0]))
    assert CALL_DATA.is_valid(right)
    assert not CALL_DATA.is_valid({**right, **change})


def test_fields_that_come_later_fit() -> None:
    assert CALL_DATA.is_valid({**json.loads(encode_data(STORY[0])), "talk_time": 7})


def notices() -> st.SearchStrategy[Notice]:
    common = {"id": texts, "source": texts, "subject": texts, "time": times}
    data = {"account": st.integers(1, 10**9), "observed_at": times}
    gap = st.builds(GapData, **data, not_before=times, not_after=times, reason=st.just("downtime"))
    degraded = st.builds(
        DegradedData,
        **data,
        listing=st.sampled_from(["active", "completed"]),
        since=times,
        reason=texts,
        http_status=st.none() | st.integers(400, 599),
        message=texts,
    )
    recovered = st.builds(RecoveredData, **data, since=times)
    data = {"endpoint": st.just("crm"), "observed_at": times, "since": times}
    disabled = st.builds(EndpointDisabledData, **data, reason=st.sampled_from(["asked", "gone", "failing"]))
    enabled = st.builds(EndpointEnabledData, **data)
    return st.one_of(
        st.builds(GapDetected, **common, data=gap),
        st.builds(AccountDegraded, **common, data=degraded),
        st.builds(AccountRecovered, **common, data=recovered),
        st.builds(EndpointDisabled, **common, data=disabled),
        st.builds(EndpointEnabled, **common, data=enabled),
    )


@given(notices())
def test_any_event_of_the_gateway_s_own_fits_and_nothing_else(notice: Notice) -> None:
    fits_and_nothing_else(GATEWAY_EVENT, json_of(notice))
    fits_and_nothing_else(NOTICE_DATA[notice.type], json.loads(encode_notice(notice)))
    assert not GATEWAY_EVENT.is_valid({**json_of(notice), "type": "call.ended"})


RIGHT = {"type": "call.originate", "id": "order-17:1", "account": 1000, "user": "400", "num": "+74950001122"}


@pytest.mark.parametrize(
    "given_",
    [
        RIGHT,
        {**RIGHT, "expires_at": None},
        {**RIGHT, "expires_at": "2026-01-01T00:00:00+03:00"},
        {**RIGHT, "expires_at": "soon"},
        {**RIGHT, "type": "call.begin"},
        {**RIGHT, "id": ""},
        {**RIGHT, "id": "a.b"},
        {**RIGHT, "id": "a" * 129},
        {**RIGHT, "account": 0},
        {**RIGHT, "account": "1000"},
        {**RIGHT, "user": ""},
        {**RIGHT, "num": "7-495"},
        {**RIGHT, "num": "1\n"},
        {**RIGHT, "priority": 1},
        *({key: value for key, value in RIGHT.items() if key != name} for name in RIGHT),
    ],
)
def test_the_schema_of_commands_takes_what_the_gateway_takes(given_: dict[str, Any]) -> None:
    try:
        read(json.dumps(given_).encode())
    except Rejected:
        assert not COMMAND.is_valid(given_)
    else:
        COMMAND.validate(given_)


ACCOUNT: dict[str, Any] = {"id": 1000, "keys": [{"key": "env:KEY", "password": "file:/run/secrets/password"}]}


@pytest.mark.parametrize(
    "declared",
    [
        ACCOUNT,
        {**ACCOUNT, "time_zone": "Asia/Omsk"},
        {**ACCOUNT, "id": 0},
        {**ACCOUNT, "id": "1000"},
        {**ACCOUNT, "keys": []},
        {**ACCOUNT, "keys": ACCOUNT["keys"] * 9},
        {**ACCOUNT, "keys": [{"key": "1000_secret", "password": "env:PASSWORD"}]},
        {**ACCOUNT, "keys": [{"key": "env:KEY"}]},
        {**ACCOUNT, "name": "x"},
        {"id": 1000},
        {"keys": ACCOUNT["keys"]},
    ],
)
def test_the_schema_of_accounts_takes_what_the_gateway_takes(declared: dict[str, Any]) -> None:
    try:
        msgspec.json.decode(json.dumps(declared), type=AccountConfig)
    except msgspec.ValidationError:
        assert not judge_of("account").is_valid(declared)
    else:
        judge_of("account").validate(declared)


@given(
    st.builds(
        CommandResult,
        command_id=st.from_regex(r"[A-Za-z0-9_:-]{1,128}", fullmatch=True),
        account=st.none() | st.integers(1),
        type=optional,
        sequence=st.integers(1, 9),
        status=st.sampled_from(["accepted", "delayed", "succeeded", "rejected"]),
        at=times,
        until=st.none() | times,
        http_status=st.none() | st.integers(100, 599),
        message=optional,
        field=optional,
        user=optional,
        reconciled=st.booleans(),
    )
)
def test_any_result_of_a_command_fits_and_nothing_else(result: CommandResult) -> None:
    fits_and_nothing_else(judge_of("command-result"), json_of(result))


def test_a_delivery_fits_and_nothing_else() -> None:
    (delivery,) = expand(STORY[0], [ENDPOINT], NOW)
    fits_and_nothing_else(judge_of("delivery"), json_of(delivery))
    again = msgspec.structs.replace(delivery, attempts=1, due_at=NOW)
    fits_and_nothing_else(judge_of("delivery"), json_of(again))


@pytest.mark.parametrize("event", STORY, ids=lambda event: event.id)
def test_a_thin_body_fits_and_nothing_else(event: CallEvent) -> None:
    (delivery,) = expand(event, [msgspec.structs.replace(ENDPOINT, body="thin")], NOW)
    fits_and_nothing_else(judge_of("delivery"), json_of(delivery))
    body = json.loads(bytes(delivery.event))
    fits_and_nothing_else(judge_of("thin-call-event"), body)
    assert not judge_of("thin-call-event").is_valid(json_of(event))
    assert not CALL_EVENT.is_valid(body)


def test_a_dead_letter_fits_and_nothing_else() -> None:
    (delivery,) = expand(STORY[0], [ENDPOINT], NOW)
    fits_and_nothing_else(judge_of("dead-letter"), json_of(DeadLetter(at=NOW, reason="410 Gone", delivery=delivery)))
    fits_and_nothing_else(judge_of("dead-letter"), json_of(DeadLetter(at=NOW, reason="not JSON", raw=b"\xff\x00")))


@pytest.mark.parametrize(("outcome", "status"), [("delivered", 204), ("refused", 302), ("timeout", None)])
def test_an_attempt_fits_and_nothing_else(outcome: Any, status: int | None) -> None:
    attempt = Attempt(
        delivery="a-1-crm", endpoint="crm", number=1, at=utc(0), duration=0.2, outcome=outcome, status=status
    )
    fits_and_nothing_else(judge_of("attempt"), json_of(attempt))
