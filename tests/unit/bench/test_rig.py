"""What the benchmarks are fed with: events of the size that is said, configurations that load, stacks that are summed."""

from pathlib import Path

import msgspec
import pytest

from bench.profile import summed
from bench.recovery import Polls
from bench.rig import RigError, account_of, call_event, configuration, endpoints, spread
from gateway.config import load
from gateway.contract.events import decode_event, encode_data, headers_of
from streams.matching import EndpointIndex


@pytest.mark.parametrize("number", [0, 7, 123_456, 9_999_999_999])
def test_an_event_is_as_large_as_is_said_and_one_of_the_contract(number: int) -> None:
    event = call_event(number, 1007, 1024)
    assert len(msgspec.json.encode(event)) == 1024
    assert decode_event(headers_of(event), encode_data(event)) == event
    assert "." not in event.id


def test_each_event_goes_to_the_endpoint_of_its_account_alone(tmp_path: Path) -> None:
    urls = [f"http://127.1.0.{n}/" for n in range(1, 6)]
    config = load(configuration(tmp_path, "127.0.0.1:1", endpoints=endpoints(tmp_path, urls), kafka={"shards": 3}))
    index = EndpointIndex(config.endpoints)
    for n in range(5):
        assert [one.url for one in index.matching(call_event(n, account_of(n), 1024))] == [urls[n]]
    assert (config.kafka.shards, config.kafka.replication_factor) == (3, 1)


def test_two_configurations_share_no_topic(tmp_path: Path) -> None:
    prefixes = {load(configuration(tmp_path, "127.0.0.1:1")).kafka.prefix for _ in range(5)}
    assert len(prefixes) == 5


def test_quantiles() -> None:
    assert spread([float(n) for n in range(101)]) == (50, 95, 99)


def test_stacks_are_summed_by_process_and_function() -> None:
    stacks = [
        'process 1:"python -m bench.x";thread 9;main (a.py:3);work (b.py:10) 6',
        'process 1:"python -m bench.x";main (a.py:4);work (b.py:99) 3',
        'process 1:"python -m bench.x";main (a.py:4) 1',
        'process 1:"python -m bench.x";process 2:"child";work (b.py:10) 20',
    ]
    (first, child), (second, driver) = summed(stacks).items()
    assert (first, child[0], dict(child[1])) == ('process 2:"child"', 20, {"work (b.py)": 20})
    assert (second, driver[0]) == ('process 1:"python -m bench.x"', 10)
    assert dict(driver[1]) == {"work (b.py)": 9, "main (a.py)": 1}
    assert dict(driver[2]) == {"work (b.py)": 9, "main (a.py)": 10}


def test_a_pause_is_told_from_the_schedule_and_ends_with_the_poll_after_it() -> None:
    polls = Polls(None, "")  # type: ignore[arg-type] # nothing is asked
    polls.at["a", "active"] = [0.0, 5.0, 10.01, 18.0, 23.0]
    polls.at["b", "active"] = [1.0, 6.0, 11.0, 16.0, 21.0]
    polls.at["c", "active"] = [2.0, 7.0, 19.5, 24.5]
    assert polls.resumed(9.0) == [9.0, 10.5]
    assert polls.firsts(9.0) == pytest.approx([1.01, 2.0, 10.5])


def test_the_full_rate_is_where_the_last_five_seconds_with_too_few_polls_end() -> None:
    polls = Polls(None, "")  # type: ignore[arg-type] # nothing is asked
    for lane in range(100):
        # One after another, 20 a second; all pause from 10 on, and go on in the same order at 18.
        polls.at[str(lane), "active"] = [at + lane / 20 for at in (0.0, 5.0, 18.0, 23.0, 28.0)]
    polls.looked = 33.0
    # At 9.95 the last of them was asked for before the pause; it is told to stop at 10.
    assert polls.full_from(10.0) == pytest.approx(8.0)
    # Four of a hundred are never asked for again.
    for lane in range(0, 80, 20):
        del polls.at[str(lane), "active"][2:]
    with pytest.raises(RigError, match="full rate"):
        polls.full_from(10.0)
