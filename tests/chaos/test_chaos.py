"""The short form of a run, on a real Kafka: a minute of traffic and kills, and nothing lost, doubled or untrue."""

from pathlib import Path

import pytest

from tests.chaos.options import Options
from tests.chaos.plan import HABITS, blows, bouts
from tests.chaos.report import findings
from tests.chaos.run import chaos
from tests.integration.conftest import need_apache_kafka

SHORT = Options(minutes=1.0, seed=1, twin_share=0, longest=15)


@pytest.mark.kafka
@pytest.mark.timeout(400)
async def test_a_minute_of_kills_loses_doubles_and_mistimes_nothing(tmp_path: Path) -> None:
    need_apache_kafka()
    outcome = await chaos(SHORT, tmp_path, lambda _: None)
    assert findings(outcome) == {}
    assert outcome.verdict.calls >= 0.8 * SHORT.minutes * 60 * SHORT.calls_per_second
    assert outcome.kills >= 4
    # A gateway that wakes up after its session may ask once more before it hears that it is out.
    assert outcome.verdict.rate_limited <= 5


def test_a_seed_plans_the_same_again() -> None:
    accounts = range(1000, 1050)
    assert blows(7, 600) == blows(7, 600)
    assert bouts(7, 600, accounts) == bouts(7, 600, accounts)
    assert blows(7, 600) != blows(8, 600)


@pytest.mark.parametrize("seed", range(20))
def test_ten_minutes_have_fifty_kills_and_all_kinds(seed: int) -> None:
    planned = blows(seed, 600)
    kills = sum({"kill": 1, "both": 2}.get(blow.kind, 0) for blow in planned)
    assert kills >= 50
    for victim, habit in HABITS.items():
        assert {blow.kind for blow in planned if blow.victim == victim} == set(habit.deck)
