"""Commands, from the topic to a call and back to the results, on real brokers."""

from datetime import datetime, timedelta

import pytest

from gateway.dev.brokers import Broker
from tests.support import command_scenarios
from tests.support.command_scenarios import (
    ANSWERED,
    ASTRAY,
    BAD,
    BAD_RECORDS,
    CLI,
    CUT,
    DROPPED,
    FAILING,
    GOOD,
    KEYLESS,
    KILLED,
    LARGE,
    LATE,
    REFUSED,
    REMOVED,
    SAME,
    TWO,
    UNKNOWN_USER,
    UNREADABLE,
    Run,
)
from tests.support.commands import last, steps
from tests.support.gateway import Runs, run_on_each


@pytest.fixture(scope="module")
def runs(brokers: dict[str, Broker], tmp_path_factory: pytest.TempPathFactory) -> Runs[Run]:
    """Every scenario on every broker."""
    return run_on_each(
        brokers,
        tmp_path_factory.mktemp("commands"),
        executed=command_scenarios.executed,
        killed=command_scenarios.killed,
        removed=command_scenarios.removed,
        stopped=command_scenarios.stopped,
    )


@pytest.fixture
def run(runs: Runs[Run], broker_name: str) -> Run:
    """Commands of every kind, on one broker."""
    return runs.of(broker_name, "executed")


@pytest.fixture
def killed(runs: Runs[Run], broker_name: str) -> Run:
    """A gateway killed in the middle of a command, on one broker."""
    return runs.of(broker_name, "killed")


@pytest.fixture
def removed(runs: Runs[Run], broker_name: str) -> Run:
    """A gateway whose account was removed before it came back, on one broker."""
    return runs.of(broker_name, "removed")


@pytest.fixture
def stopped(runs: Runs[Run], broker_name: str) -> Run:
    """A gateway told to end while commands are on the wire, on one broker."""
    return runs.of(broker_name, "stopped")


def test_an_originate_is_accepted_sent_once_and_its_call_told(run: Run) -> None:
    assert steps(run.results, "good") == ["accepted", "succeeded"]
    assert last(run.results, "good")["http_status"] == 200
    assert run.dialled(GOOD) == ["71000000001"]
    assert (run.report.missing, run.report.doubled, run.report.outside) == ([], [], [])


def test_the_same_id_is_executed_once(run: Run) -> None:
    assert steps(run.results, "same") == ["accepted", "succeeded"]
    assert run.dialled(SAME) == ["71000000001"]


def test_a_second_command_waits_for_the_lane_and_says_until_when(run: Run) -> None:
    assert steps(run.results, "first") == ["accepted", "succeeded"]
    assert steps(run.results, "second") == ["accepted", "delayed", "succeeded"]
    by_status = {one["status"]: one for one in run.results if one["command_id"] == "second"}
    sent = datetime.fromisoformat(last(run.results, "first")["at"])
    until = datetime.fromisoformat(by_status["delayed"]["until"])
    done = datetime.fromisoformat(by_status["succeeded"]["at"])
    # What is expected is told when it is accepted, before the first one's answer is there.
    assert timedelta(seconds=2) < until - sent <= timedelta(seconds=5.5)
    assert done - sent >= timedelta(seconds=4.9)
    assert run.dialled(TWO) == ["71000000001", "71000000002"]


@pytest.mark.parametrize("what", BAD_RECORDS)
def test_what_cannot_be_executed_is_rejected_with_field_and_reason(run: Run, what: str) -> None:
    _, field = BAD_RECORDS[what]
    alike = [right for _, right in BAD_RECORDS.values() if right == field]
    told = [one for one in run.results if one["status"] == "rejected" and one["field"] == field]
    assert len(told) == len(alike)
    assert all(one["message"] and one["command_id"] == "bad" for one in told)


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_has_no_id_to_answer_to_becomes_a_dead_letter_without_its_value(run: Run, what: str) -> None:
    value, begins = UNREADABLE[what]
    (told,) = [one for one in run.letters if one["size"] == len(value or b"") and one["message"].startswith(begins)]
    assert told["topic"].endswith("commands.v1")
    assert told.keys() == {"at", "topic", "partition", "offset", "size", "message", "field"}


def test_a_message_of_10_mb_becomes_a_dead_letter_and_nothing_more(run: Run) -> None:
    assert len(run.letters) == len(UNREADABLE) + 1
    (large,) = [one for one in run.letters if one["size"] > LARGE]
    assert large["message"].startswith("the record has 10000008 bytes")
    assert max(len(str(one)) for one in run.letters) < 1_000


def test_a_rejection_stops_nobody(run: Run) -> None:
    assert steps(run.results, "after-the-bad") == ["accepted", "succeeded"]
    assert run.dialled(BAD) == ["71000000001"]


def test_a_refusal_by_ringcloud_fails_with_its_words(run: Run) -> None:
    assert steps(run.results, "unknown-user") == ["accepted", "failed"]
    failed = last(run.results, "unknown-user")
    assert (failed["http_status"], failed["message"]) == (400, "no such user")
    assert run.dialled(UNKNOWN_USER) == []


def test_a_command_on_another_shards_partition_finds_its_home(run: Run) -> None:
    assert steps(run.results, "astray") == ["accepted", "succeeded"]
    assert run.dialled(ASTRAY) == ["71000000001"]


def test_a_command_without_a_key_and_with_headers_of_cloudevents_is_a_command(run: Run) -> None:
    assert steps(run.results, "keyless") == ["accepted", "succeeded"]
    assert run.dialled(KEYLESS) == ["71000000001"]


@pytest.mark.parametrize(("id_", "account", "status"), [("dropped", DROPPED, None), ("failing", FAILING, 500)])
def test_what_may_have_been_done_is_never_sent_again_and_found_undone(
    run: Run, id_: str, account: int, status: int | None
) -> None:
    assert steps(run.results, id_) == ["accepted", "outcome_unknown", "failed"]
    unknown, found = [one for one in run.results if one["command_id"] == id_][1:]
    assert (unknown["http_status"], unknown["reconciled"]) == (status, False)
    assert found["reconciled"]
    assert run.sent(account) == 1
    assert run.dialled(account) == []


def test_what_has_expired_is_not_dialled(run: Run) -> None:
    for id_ in ("long-ago", "just-now"):
        assert steps(run.results, id_) == ["accepted", "expired"]
    assert [one for one in steps(run.results, "in-time") if one != "delayed"] == ["accepted", "succeeded"]
    assert steps(run.results, "too-late")[-1] == "expired"
    assert run.dialled(LATE) == ["71000000003"]


def test_a_command_refused_with_429_waits_and_is_sent_again(run: Run) -> None:
    assert steps(run.results, "refused") == ["accepted", "delayed", "succeeded"]
    assert run.dialled(REFUSED) == ["71000000009", "71000000001"]
    # The one that was provoked, and no other.
    assert run.stats.rate_limited == 1


def test_the_command_line_follows_a_command_to_its_end(run: Run) -> None:
    (code, said), (failed, why) = run.cli
    assert code == 0, said
    assert [line.split()[1] for line in said.splitlines()] == ["accepted", "succeeded"]
    assert failed == 1, why
    assert why.splitlines()[-1].split(maxsplit=1)[1].split() == ["failed", "no", "such", "user"]
    assert run.dialled(CLI) == ["71000000001"]


def test_results_are_counted(run: Run) -> None:
    for status, count in {"rejected": len(BAD_RECORDS), "expired": 3, "outcome_unknown": 2, "failed": 4}.items():
        assert f'ringcloud_command_results_total{{status="{status}"}} {count}.0' in run.metrics


def test_a_request_that_was_on_its_way_is_never_sent_again(killed: Run) -> None:
    assert steps(killed.results, "hung") == ["accepted", "outcome_unknown", "failed"]
    assert killed.sent(KILLED) == 3
    assert killed.dialled(KILLED) == ["71000000002", "71000000003"]


def test_commands_that_waited_are_executed_in_their_order(killed: Run) -> None:
    for id_ in ("z-first", "a-second"):
        assert steps(killed.results, id_)[-1] == "succeeded"
    assert last(killed.results, "z-first")["at"] < last(killed.results, "a-second")["at"]


def test_what_is_answered_soon_after_the_stop_is_told_by_who_was_stopped(stopped: Run) -> None:
    assert [one for one in steps(stopped.early, "answered") if one != "delayed"] == ["accepted", "succeeded"]
    assert steps(stopped.results, "answered") == steps(stopped.early, "answered")


def test_what_is_not_answered_by_then_is_cut_off_and_its_outcome_found_out(stopped: Run) -> None:
    assert steps(stopped.early, "cut") == ["accepted"]
    assert steps(stopped.results, "cut") == ["accepted", "outcome_unknown", "failed"]


def test_nothing_is_sent_once_it_is_told_to_end(stopped: Run) -> None:
    for id_ in ("behind-answered", "behind-cut"):
        assert set(steps(stopped.early, id_)) <= {"accepted", "delayed"}
        assert steps(stopped.results, id_)[-1] == "succeeded"
    assert stopped.dialled(ANSWERED) == ["71000000001", "71000000002"]
    assert stopped.dialled(CUT) == ["71000000002"]


def test_a_command_of_an_account_that_is_gone_fails_and_stops_nobody(removed: Run) -> None:
    assert steps(removed.results, "sent")[-1] == "succeeded"
    assert last(removed.results, "waits")["message"] == f"account {REMOVED} is not configured any more"
    assert steps(removed.results, "waits")[-1] == "failed"
    assert steps(removed.results, "neighbour")[-1] == "succeeded"
    assert removed.sent(REMOVED) == 1


def test_nothing_is_left_behind_at_the_end(run: Run, killed: Run, removed: Run, stopped: Run) -> None:
    assert run.mishaps == killed.mishaps == removed.mishaps == stopped.mishaps == []
