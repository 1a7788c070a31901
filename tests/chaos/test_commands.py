"""The short form of a run of commands under kills; and that its judge sees what it must see."""

from pathlib import Path
from typing import Any

import pytest

from gateway.dev.brokers import Broker
from sandbox.ledger import LedgerRecord, OriginatedBy, UserChange
from tests.chaos.commands import Options, chaos, plan
from tests.chaos.commands_judge import judge
from tests.integration.conftest import apache_kafka  # noqa: F401 - a fixture

SHORT = Options(commands=30, kills=5, accounts=4)


@pytest.mark.kafka
@pytest.mark.timeout(400)
async def test_commands_under_kills_are_executed_once_and_told_of(
    apache_kafka: Broker,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    outcome = await chaos(SHORT, apache_kafka, tmp_path, lambda _: None)
    assert outcome.findings() == {}
    assert outcome.verdict.commands == SHORT.commands
    assert outcome.verdict.succeeded > 0


def test_a_seed_plans_the_same_again() -> None:
    accounts = [5000, 5001]
    assert plan(Options(seed=7), accounts) == plan(Options(seed=7), accounts)
    values = [(one["account"], one.get("num"), one.get("mail")) for one in plan(Options(seed=7), accounts)]
    assert len(set(values)) == len(values)


CALL = {"id": "a", "account": 1, "type": "call.originate", "user": "400", "num": "7"}
MAILS = [{"id": id_, "account": 1, "type": "user.update_email", "user": "400", "mail": id_} for id_ in ("b", "c")]


def told(id_: str, *steps: str, reconciled: bool = False) -> list[dict[str, Any]]:
    """Results of a command."""
    return [
        {
            "command_id": id_,
            "sequence": n,
            "status": step,
            "reconciled": reconciled and n == len(steps),
            "call_id": "C" if step == "observed" else None,
        }
        for n, step in enumerate(steps, 1)
    ]


def call() -> LedgerRecord:
    """The call that the command asks for."""
    return LedgerRecord("x", 1, "400", "7", "outgoing", 0, None, None, None, OriginatedBy("400", "7", None, None))


def mail(value: str) -> UserChange:
    """A change of the address."""
    return UserChange(0, 1, "400", "mail", value)


def test_what_is_right_is_right() -> None:
    found = judge(
        [CALL, *MAILS],
        [
            *told("a", "accepted", "succeeded", "observed"),
            *told("b", "accepted", "succeeded"),
            *told("c", "accepted", "succeeded"),
        ],
        [call()],
        [mail("b"), mail("b"), mail("c")],
    )
    assert found.faults() == {}
    assert (found.succeeded, found.repeated, found.observed) == (3, 1, 1)


@pytest.mark.parametrize(
    ("steps", "calls", "kind"),
    [
        (told("a", "accepted", "succeeded"), 2, "twice"),
        (told("a", "accepted", "succeeded"), 0, "claimed"),
        (told("a", "accepted", "outcome_unknown", "failed", reconciled=True), 1, "denied"),
        (told("a", "accepted", "outcome_unknown"), 1, "lost"),
        (told("a", "accepted"), 0, "lost"),
        ([], 0, "lost"),
        (told("a", "accepted", "outcome_unknown", "outcome_unknown", reconciled=True), 1, "unresolved"),
        (told("a", "accepted", "succeeded") + told("a", "accepted", "succeeded"), 1, "misnumbered"),
        (told("a", "accepted", "observed", "succeeded"), 1, "mislinked"),
        (told("a", "accepted", "succeeded", "observed", "observed"), 1, "mislinked"),
        (told("a", "accepted", "succeeded", "observed"), 0, "mislinked"),
    ],
)
def test_each_fault_is_found(steps: list[dict[str, Any]], calls: int, kind: str) -> None:
    assert kind in judge([CALL], steps, [call()] * calls, []).faults()


def test_changes_in_another_order_are_found() -> None:
    results = [*told("b", "accepted", "succeeded"), *told("c", "accepted", "succeeded")]
    assert "disordered" in judge(MAILS, results, [], [mail("c"), mail("b")]).faults()
