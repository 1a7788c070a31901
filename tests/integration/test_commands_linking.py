"""Originates linked to the calls that they started, on real brokers and both profiles of the sandbox, through a kill."""

from __future__ import annotations

import pytest

from gateway.dev.brokers import Broker
from sandbox.settings import Profile
from tests.support.command_links import ALIKE, IDS, NUM, PLAIN, SCENARIOS, Run
from tests.support.commands import every_step, last
from tests.support.gateway import Runs, run_on_each


@pytest.fixture(scope="module")
def runs(brokers: dict[str, Broker], tmp_path_factory: pytest.TempPathFactory) -> Runs[Run]:
    """Every scenario on every broker."""
    return run_on_each(brokers, tmp_path_factory.mktemp("links"), **SCENARIOS)


@pytest.fixture(params=[*SCENARIOS])
def profile(request: pytest.FixtureRequest) -> Profile:
    """What the sandbox's rows say."""
    found: Profile = request.param
    return found


@pytest.fixture
def run(runs: Runs[Run], broker_name: str, profile: Profile) -> Run:
    """What became of the commands, on one broker and one profile."""
    return runs.of(broker_name, profile)


@pytest.mark.parametrize("id_", IDS)
def test_the_call_that_a_command_started_carries_its_id_and_the_command_its_calls(run: Run, id_: str) -> None:
    (started,) = run.started(id_)
    assert run.seen(id_) == [started["call_id"]]
    assert every_step(run.results, id_)[-1] == "observed"
    assert started["dst"] == NUM
    assert started["sequence"] == 1


def test_each_call_is_of_one_command_and_the_others_are_of_none(run: Run) -> None:
    linked = [one["data"]["call_id"] for one in run.events if one["data"]["command_id"] is not None]
    assert len(linked) == len({*linked}) == len(IDS) == sum(call.originated_by is not None for call in run.ledger)
    (by_hand,) = {
        one["data"]["command_id"]
        for one in run.events
        if (one["data"]["account"], one["data"]["src"]) == (PLAIN, "402")
    }
    assert by_hand is None


def test_a_user_is_known_by_its_extension_number(run: Run) -> None:
    assert run.started("renumbered")[0]["src"] == "461"


def test_two_alike_have_their_calls_in_order(run: Run) -> None:
    first, second = (run.started(f"alike-{n}")[0] for n in (1, 2))
    assert first["account"] == second["account"] == ALIKE
    assert first["not_before"] <= second["not_before"]


def test_channels_tell_a_ringing_from_b_being_dialled(run: Run) -> None:
    steps = [one for one in every_step(run.results, "phases") if one != "delayed"]
    assert steps == ["accepted", "succeeded", "ringing_a", "dialing_b", "observed"]
    assert run.seen("phases", "dialing_b") == run.seen("phases")


def test_a_phase_is_not_told_without_evidence(run: Run) -> None:
    for id_ in ("plain", "silent"):
        assert [one for one in every_step(run.results, id_) if one != "delayed"] == [
            "accepted",
            "succeeded",
            "observed",
        ]


def test_a_call_that_is_seen_resolves_what_was_unknown(run: Run) -> None:
    assert every_step(run.results, "unknown") == ["accepted", "outcome_unknown", "succeeded", "observed"]
    assert last(run.results, "unknown")["reconciled"]


def test_nothing_is_left_behind(run: Run) -> None:
    assert run.mishaps == []
