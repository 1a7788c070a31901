"""Commands by way of the admin API, on real brokers: sent, followed, waited for, asked for again, and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.dev.brokers import Broker
from tests.support.admin import admin_config, administered
from tests.support.command_api import (
    FOLLOWED,
    KEYED,
    NUM,
    OTHER,
    RACED,
    SECRET,
    SLOW,
    WAITED,
    Run,
    asked,
    call,
)
from tests.support.gateway import Runs, run_on_each


@pytest.fixture(scope="module")
def runs(brokers: dict[str, Broker], tmp_path_factory: pytest.TempPathFactory) -> Runs[Run]:
    """The scenario on every broker."""
    return run_on_each(brokers, tmp_path_factory.mktemp("api"), asked=asked)


@pytest.fixture
def run(runs: Runs[Run], broker_name: str) -> Run:
    """What was answered, on one broker."""
    return runs.of(broker_name, "asked")


def statuses(view: dict[str, Any]) -> list[str]:
    """A command's steps, those apart that depend on the moment."""
    assert [one["sequence"] for one in view["results"]] == [*range(1, len(view["results"]) + 1)]
    return [one["status"] for one in view["results"] if one["status"] not in ("delayed", "observed")]


def test_a_command_is_on_its_way_and_can_be_followed_to_its_call(run: Run) -> None:
    first, view = run.answers["first"], run.json("followed")
    assert (first.status_code, first.json()["account"]) == (202, FOLLOWED)
    assert first.headers["location"] == f"/v1/commands/{first.json()['id']}?account={FOLLOWED}"
    assert (view["id"], view["type"], view["done"]) == (first.json()["id"], "call.originate", True)
    assert statuses(view) == ["accepted", "succeeded"]
    started = [one["data"] for one in run.events if one["data"]["command_id"] == view["id"]]
    assert [one["call_id"] for one in started] == [view["results"][-1]["call_id"]]
    assert run.dialled[FOLLOWED] == [NUM]


def test_who_waits_is_answered_with_the_outcome(run: Run) -> None:
    assert [run.answers[name].status_code for name in ("waited", "create", "refused", "rejected")] == [200] * 4
    assert statuses(run.json("waited")) == ["accepted", "succeeded"]
    assert run.dialled[WAITED] == [NUM]
    assert run.json("create")["id"] == "hire-17"
    assert run.json("create")["results"][-1]["user"]
    refused = run.json("refused")["results"][-1]
    assert (refused["status"], refused["http_status"], refused["message"]) == ("failed", 400, "no such user")
    rejected = run.json("rejected")["results"][-1]
    assert (run.json("rejected")["status"], rejected["field"]) == ("rejected", "num")


def test_the_same_key_and_body_are_the_same_command_and_another_body_is_refused(run: Run) -> None:
    again, another = run.answers["again"], run.answers["another"]
    assert (again.status_code, statuses(again.json())) == (200, ["accepted", "succeeded"])
    assert again.headers["location"] == run.answers["keyed"].headers["location"]
    assert (another.status_code, another.json()["field"]) == (409, "Idempotency-Key")
    assert another.headers["content-type"] == "application/problem+json"
    assert run.dialled[KEYED] == [NUM]


def test_of_those_who_ask_at_once_with_one_key_all_are_told_of_one_command(run: Run) -> None:
    assert [one.status_code for one in run.raced] == [200] * 5
    assert {one.json()["id"] for one in run.raced} == {"race"}
    assert run.dialled[RACED] == [NUM]
    assert run.rate_limited == 0


def test_an_id_is_an_accounts_own(run: Run) -> None:
    assert (run.json("one")["account"], run.json("two")["account"]) == (KEYED, OTHER)
    assert run.answers["other account"].status_code == 200
    assert len(run.dialled[OTHER]) == 2


def test_whose_waiting_ends_first_is_told_how_far_it_is(run: Run) -> None:
    early = run.answers["too slow"]
    assert (early.status_code, early.json()["done"]) == (202, False)
    assert early.json()["status"] in ("accepted", "delayed")
    assert statuses(run.json("in time")) == ["accepted", "succeeded"]
    assert len(run.dialled[SLOW]) == 2


def test_what_kafka_brought_is_found_without_its_account(run: Run) -> None:
    assert (run.json("by kafka")["account"], run.json("by kafka")["done"]) == (OTHER, True)


def test_no_password_is_answered(run: Run) -> None:
    assert run.password == SECRET
    assert not any(SECRET in answer.text for answer in run.answers.values())


WRONG: list[tuple[dict[str, Any], dict[str, str], int, str | None]] = [
    ({"type": "call.explode", "account": 1}, {}, 400, "type"),
    (call(1, num="mother"), {}, 400, "num"),
    (call(1, urgent=True), {}, 400, "urgent"),
    (call(1, id="a b"), {}, 400, "id"),
    (call(1, expires_at="tomorrow"), {}, 400, "expires_at"),
    (call(1), {"Idempotency-Key": "a b"}, 400, "Idempotency-Key"),
    (call(1, id="a"), {"Idempotency-Key": "b"}, 422, "id"),
    (call(1, reply_to="x" * 70_000), {}, 413, None),
]


async def test_what_is_wrong_is_named_and_not_sent(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with administered(admin_config(embedded_broker.bootstrap, prefix, tmp_path)) as admin:
        for body, headers, status, field in WRONG:
            refused = await admin.ask("POST", "/v1/commands", body, headers=headers)
            assert refused.headers["content-type"] == "application/problem+json"
            assert (refused.status_code, refused.json()["field"]) == (status, field), (body, refused.text)
        for wait in ("0", "61", "soon"):
            refused = await admin.ask("POST", f"/v1/commands?wait={wait}", call(1))
            assert (refused.status_code, refused.json()["field"]) == (400, "wait")
        for by in ("reader", "writer", "replayer"):
            assert (await admin.ask("POST", "/v1/commands", call(1), by=by)).status_code == 403
        assert (await admin.ask("GET", "/v1/commands/a", by="commander")).status_code == 403
        assert (await admin.ask("GET", "/v1/commands/a")).status_code == 404
        # What nobody has taken over yet was sent, and one who waits is told so when the time is over.
        sent = await admin.ask("POST", "/v1/commands?wait=1", call(1, id="a"))
        assert (sent.status_code, sent.json()["status"], sent.json()["results"]) == (202, "sent", [])
        assert await admin.get("/v1/commands/a") == sent.json()
