"""What is told of a webhook, whatever stands in it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.listening import records
from gateway.listening.answers import Reply
from gateway.listening.records import Record, Recorder, line_of
from gateway.listening.server import Hook, Refusal
from tests.unit.contract.events import ONE

BODY = msgspec.json.encode(ONE)


def hook(body: bytes = BODY, webhook_id: str | None = "a-1-crm", refusal: Refusal | None = None) -> Hook:
    headers = CIMultiDict({"Webhook-Id": webhook_id} if webhook_id is not None else {})
    return Hook(datetime(2026, 1, 2, tzinfo=UTC), CIMultiDictProxy(headers), body, () if refusal else ("v1",), refusal)


def told(recorder: Recorder, one: Hook, status: int = 204) -> Record:
    attempt = recorder.arrived(one)
    return recorder.answered(one, attempt, Reply(web.Response(status=status), "taken"), verifying=True)


def test_a_call_event_s_parts_are_told() -> None:
    record = told(Recorder(), hook())
    data = ONE.data
    assert (record.type, record.account, record.src, record.dst) == (ONE.type, data.account, data.src, data.dst)
    assert (record.sequence, record.webhook_id, record.verified) == (data.sequence, "a-1-crm", True)
    line = line_of(record)
    for part in (ONE.type, str(data.account), data.src, data.dst, f"seq {data.sequence}", "a-1-crm", "verified v1"):
        assert part in line


def test_attempts_are_counted_by_id() -> None:
    recorder = Recorder()
    assert "attempt" not in line_of(told(recorder, hook(), 503))
    second = told(recorder, hook(), 204)
    assert (second.attempt, second.taken_before) == (2, False)
    third = told(recorder, hook())
    assert (third.attempt, third.taken_before) == (3, True)
    assert "attempt 3, though taken before" in line_of(third)
    assert told(recorder, hook(webhook_id="a-2-crm")).attempt == 1


def test_what_is_refused_is_not_counted() -> None:
    recorder = Recorder()
    for _ in range(3):
        record = told(recorder, hook(refusal=Refusal(401, "no signature is right")), 401)
        assert (record.attempt, record.verified, record.reason) == (1, False, "no signature is right")
        assert "NOT VERIFIED: no signature is right" in line_of(record)
    assert told(recorder, hook()).attempt == 1


def test_only_so_many_ids_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_REMEMBERED", 2)
    recorder = Recorder()
    assert [told(recorder, hook(webhook_id=name)).attempt for name in "abacab"] == [1, 1, 2, 1, 3, 1]


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[]", b"1", b'{"type": 1, "data": []}', b"[" * 100_000, b'{"data": null}']
)
def test_what_is_no_event_is_shown_all_the_same(body: bytes) -> None:
    record = told(Recorder(), hook(body, webhook_id=None))
    assert (record.type, record.account, record.src) == (None, None, None)
    assert "–" in line_of(record)


@given(st.text(), st.text(), st.text())
def test_nothing_in_it_controls_the_terminal(kind: str, src: str, webhook_id: str) -> None:
    body = msgspec.json.encode({"type": kind, "data": {"src": src, "dst": "\x1b[2J\n\u202e" + "9" * 10_000}})
    line = line_of(told(Recorder(), hook(body, webhook_id)))
    # What is left after our own colours.
    plain = records.click.unstyle(line)
    assert plain.isprintable()
    assert len(plain) < 600
