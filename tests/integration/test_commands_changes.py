"""Changes of users, rights, secrets and doubtful outcomes, on real brokers."""

from __future__ import annotations

import pytest

from gateway.dev.brokers import Broker
from tests.support import command_changes
from tests.support.command_changes import (
    BULK,
    CALLED,
    CAPPED,
    CHANGED,
    CUT_CALL,
    CUT_CHANGE,
    KEYS,
    MADE,
    MADE_WITH,
    NARROW,
    READING,
    SEALED,
    SECRETS,
    UNCALLED,
    UNCHANGED,
    UNMADE,
    USERS,
    Run,
    last_steps,
)
from tests.support.commands import last, steps
from tests.support.gateway import Runs, run_on_each

SUCCEEDED = ["accepted", "succeeded"]


@pytest.fixture(scope="module")
def runs(brokers: dict[str, Broker], tmp_path_factory: pytest.TempPathFactory) -> Runs[Run]:
    """Every scenario on every broker."""
    folder = tmp_path_factory.mktemp("changes")
    return run_on_each(brokers, folder, changed=command_changes.changed, doubtful=command_changes.doubtful)


@pytest.fixture
def run(runs: Runs[Run], broker_name: str) -> Run:
    """Commands of every kind, on one broker."""
    return runs.of(broker_name, "changed")


@pytest.fixture
def doubtful(runs: Runs[Run], broker_name: str) -> Run:
    """Commands whose answers never came, on one broker."""
    return runs.of(broker_name, "doubtful")


def test_every_change_is_made_and_told(run: Run) -> None:
    for id_ in ("create", "password", "sealed", "extension", "mail-2", "off-2", "replied"):
        assert last_steps(run.results, id_) == SUCCEEDED, id_
    users = run.users[USERS]
    assert users["402"].num == "460"
    assert users["403"].mail == "two@a.example"
    assert users["405"].voice_mail_box == "off"
    assert users["401"].password == SEALED


def test_a_new_user_s_name_is_told(run: Run) -> None:
    made = run.users[USERS][last(run.results, "create")["user"]]
    assert (made.num, made.mail, made.password) == ("450", "new@a.example", MADE_WITH)


def test_two_changes_of_one_user_are_spaced_and_those_of_two_go_side_by_side(run: Run) -> None:
    assert run.done("mail-1", "mail-2", "mail-other") in (
        ["mail-1", "mail-other", "mail-2"],
        ["mail-other", "mail-1", "mail-2"],
    )
    gap = run.gap(USERS, "403/update_email")
    assert gap is not None
    assert gap >= 5000


def test_switching_on_and_off_keeps_its_order(run: Run) -> None:
    switches = [f"{way}-{n}" for n in range(3) for way in ("on", "off")]
    assert run.done(*switches) == switches


def test_a_user_that_does_not_exist_fails_with_ringclouds_words(run: Run) -> None:
    failed = last(run.results, "no-user")
    assert (failed["status"], failed["http_status"], failed["message"]) == ("failed", 400, "no such user")


def test_two_keys_share_the_calls_and_a_key_without_the_right_is_passed_over(run: Run) -> None:
    assert run.asked(KEYS, "/v1/calls") == [2, 2]
    (one_first, one_last), (other_first, other_last) = run.spans(KEYS, "/v1/calls")
    # Side by side: twice the rate of one.
    assert max(one_first, other_first) < min(one_last, other_last)
    assert sorted(run.dialled(KEYS)) == [f"7100000000{n}" for n in range(4)]
    assert last_steps(run.results, "by-the-second-key") == SUCCEEDED
    assert run.dialled(READING) == ["71000000001"]


def test_a_call_goes_before_the_changes_that_were_there_first(run: Run) -> None:
    bulk = [f"bulk-1-{user}" for user in range(400, 410)]
    done = run.done("before-the-bulk", *bulk)
    assert sorted(done) == sorted(["before-the-bulk", *bulk])
    assert done[0] == "before-the-bulk"
    assert {user.mail for user in run.users[BULK].values()} == {"1@bulk.example"}


def test_no_limit_was_broken(run: Run, doubtful: Run) -> None:
    for found in (run, doubtful):
        assert [lane for lane in found.stats.lanes if lane.rejected] == []
        assert found.stats.rate_limited == 0


def test_an_account_dials_so_many_calls_a_day(run: Run) -> None:
    assert run.dialled(CAPPED) == ["71000000000", "71000000001"]
    refused = last(run.results, "capped-2")
    assert (refused["status"], refused["field"]) == ("rejected", "account")
    assert "2 calls today" in refused["message"]


def test_an_account_dials_what_its_patterns_allow(run: Run) -> None:
    assert sorted(run.dialled(NARROW)) == ["100", "74952000000", "84952000001"]
    for num in ("74951000000", "74992000000"):
        refused = last(run.results, f"to-{num}")
        assert (refused["status"], refused["field"]) == ("rejected", "num")


def test_results_go_to_the_topic_that_was_asked_for_too(run: Run) -> None:
    assert run.replies == [one for one in run.results if one["command_id"] == "replied"]
    assert [one["status"] for one in run.replies] == SUCCEEDED
    refused = last(run.results, "unreplied")
    assert (refused["field"], refused["message"]) == ("reply_to", "there is no such topic")


def test_what_is_sealed_for_another_is_rejected(run: Run) -> None:
    refused = last(run.results, "foreign")
    assert (refused["status"], refused["field"]) == ("rejected", "password")


@pytest.mark.parametrize("secret", SECRETS)
def test_no_password_shows_up_anywhere(run: Run, secret: str) -> None:
    assert any(user.password == secret for user in run.users[USERS].values())
    assert secret not in str(run.results)
    assert secret not in run.metrics
    assert secret not in run.log
    # Superseded records too: a topic is compacted at some time, not at once.
    assert secret.encode() not in run.state


def test_what_was_done_without_an_answer_is_found(doubtful: Run) -> None:
    for id_ in ("called", "made", "changed", "cut-call"):
        assert last_steps(doubtful.results, id_) == ["accepted", "outcome_unknown", "succeeded"], id_
        assert last(doubtful.results, id_)["reconciled"]
    assert doubtful.dialled(CALLED) == ["71000000001"]
    assert doubtful.dialled(CUT_CALL) == ["71000000007"]
    made = doubtful.users[MADE][last(doubtful.results, "made")["user"]]
    assert made.num == "450"
    assert doubtful.users[CHANGED]["400"].password == "a-password"


def test_what_was_not_done_is_found_not_done(doubtful: Run) -> None:
    for id_ in ("uncalled", "unmade", "unchanged"):
        assert last_steps(doubtful.results, id_) == ["accepted", "outcome_unknown", "failed"], id_
        assert last(doubtful.results, id_)["reconciled"]
    assert doubtful.dialled(UNCALLED) == []
    assert len(doubtful.users[UNMADE]) == 10
    assert doubtful.users[UNCHANGED]["400"].password != "a-password"


def test_what_is_not_safe_to_repeat_is_asked_once(doubtful: Run) -> None:
    assert [doubtful.asked(account, "/v1/calls") for account in (CALLED, UNCALLED, CUT_CALL)] == [[1], [1], [1]]
    assert [doubtful.asked(account, "/create") for account in (MADE, UNMADE)] == [[1], [1]]


def test_what_is_safe_to_repeat_is_repeated(doubtful: Run) -> None:
    assert last_steps(doubtful.results, "at-last") == SUCCEEDED
    assert doubtful.asked(UNCHANGED, "400/update_email") == [3]
    assert last_steps(doubtful.results, "cut-change") == SUCCEEDED
    assert doubtful.asked(CUT_CHANGE, "400/update_email") == [2]
    assert doubtful.users[CUT_CHANGE]["400"].mail == "cut@a.example"


def test_results_are_numbered_and_nothing_is_left_behind(run: Run, doubtful: Run) -> None:
    for found in (run, doubtful):
        for id_ in {one["command_id"] for one in found.results}:
            steps(found.results, id_)
        assert found.mishaps == []
