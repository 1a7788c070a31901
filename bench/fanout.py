"""`python -m bench.fanout`: how many call events a second the fan-out turns into deliveries on one core, without brokers.

An event costs what it is delivered, not how many endpoints there are. Target: with 10,000 of which one matches, 80 % of
the rate with that one alone. With 1,000 that match it is held against their deliveries' encoding.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import click
import msgspec
import uvloop

from bench.harness import RATIO, Sample, Subject, Target, at_least, conclude, measure
from gateway.contract.deliveries import Delivery
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import (
    CallData,
    CallEvent,
    Evidence,
    Header,
    decode_event,
    encode_data,
    headers_of,
    source_of,
)
from gateway.contract.topics import Topics
from streams.fanout import FanOut
from streams.metrics import StreamsMetrics
from streams.outbox import Outbox

_MANY = 10_000
_MATCHING = 1_000
_ACCOUNT = 1000
_NUMBER = "74950001122"
_FILTER = "data.duration > `60` && data.disposition == 'ANSWERED'"

_DECODED = "the event decoded, nothing more"
_ONE = "1 endpoint, which matches"
_ENCODED = f"{_MATCHING:,} deliveries encoded, nothing more"

_AN_INDEX = at_least(0.8, RATIO)

_encode = msgspec.json.Encoder().encode


@dataclass
class _Record:
    """A record of the calls' topic."""

    headers: list[Header]
    value: bytes | None
    partition: int = 0
    offset: int = 0


def _event() -> CallEvent:
    at = datetime(2026, 11, 24, 20, 21, 11, tzinfo=UTC)
    return CallEvent(
        id="01M87KG21TW90VCSYMV7M3KQCW-3",
        source=source_of(_ACCOUNT),
        type="call.ended",
        subject="01M87KG21TW90VCSYMV7M3KQCW",
        time=at,
        sequence="3",
        data=CallData(
            account=_ACCOUNT,
            call_id="01M87KG21TW90VCSYMV7M3KQCW",
            sequence=3,
            src="400",
            dst=_NUMBER,
            direction="outgoing",
            not_before=at - timedelta(seconds=2),
            not_after=at + timedelta(seconds=1),
            observed_at=at + timedelta(seconds=2),
            evidence=Evidence.COMPLETE,
            ambiguous=False,
            answered=True,
            disposition="ANSWERED",
            duration=73,
        ),
    )


def _endpoints(count: int, filters: Callable[[int], dict[str, Any]]) -> list[Endpoint]:
    return [
        Endpoint(id=f"endpoint-{n}", url="https://example.com/", secrets=("env:SECRET",), **filters(n))
        for n in range(count)
    ]


def _by_account(n: int) -> dict[str, Any]:
    return {"accounts": (_ACCOUNT + n,)}


def _by_number(n: int) -> dict[str, Any]:
    return {"accounts": (_ACCOUNT,), "numbers": (f"7495{1122 + n:07}", f"7496{n:05}*")}


def _everything(_: int) -> dict[str, Any]:
    return {}


def _fan_out(endpoints: Sequence[Endpoint]) -> FanOut:
    """A fan-out that is never started: records are made, not written, so it needs no outbox."""
    return FanOut(endpoints, Topics(), cast("Outbox", None), StreamsMetrics())


def event_record() -> _Record:
    """A call event as Faust has it."""
    event = _event()
    return _Record(headers_of(event), encode_data(event))


def expander(matching: int, others: int) -> tuple[Callable[[_Record], int], Delivery]:
    """What makes `matching` deliveries of `event_record()`, `others` being endpoints beside; and one of the deliveries."""
    endpoints = _endpoints(matching + others, lambda n: {} if n < matching else _by_account(n))
    fan_out = _fan_out(endpoints)

    def expand(record: _Record) -> int:
        made = len(fan_out.records(record))
        if made != matching:
            raise RuntimeError(f"{made} deliveries, and not {matching}")
        return made

    (_, _, value), *_ = fan_out.records(event_record())
    return expand, msgspec.json.decode(value, type=Delivery)


async def _rate(work: Callable[[], int], each: int, seconds: float) -> Sample:
    """Events a second of `work`, which takes one and tells how many deliveries it made: `each`, or the figure is false."""
    clock = time.perf_counter
    events = 0
    began = clock()
    while (took := clock() - began) < seconds:
        made = work()
        events += 1
        if made != each:
            raise RuntimeError(f"{made} deliveries, and not {each}")
    return Sample(events / took, {"deliveries/s": events * each / took} if each else {})


async def _bench(runs: int, seconds: float, *, short: bool) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    record = event_record()

    def subject(name: str, work: Callable[[], int], each: int, ceiling: str | None, *targets: Target) -> Subject:
        async def run() -> Sample:
            return await _rate(work, each, seconds)

        return Subject(name=name, run=run, ceiling=ceiling, targets=targets)

    def expanded(name: str, endpoints: Sequence[Endpoint], each: int, ceiling: str, *targets: Target) -> Subject:
        fan_out = _fan_out(endpoints)
        return subject(name, lambda: len(fan_out.records(record)), each, ceiling, *targets)

    def decoded() -> int:
        decode_event(record.headers, record.value)
        return 0

    (_, _, value), *_ = _fan_out(_endpoints(1, _everything)).records(record)
    delivery = msgspec.json.decode(value, type=Delivery)

    def encoded() -> int:
        return len([_encode(delivery) for _ in range(_MATCHING)])

    figures = await measure(
        [
            expanded(_ONE, _endpoints(1, _everything), 1, _DECODED),
            expanded(
                "1 endpoint, which matches by a filter expression",
                _endpoints(1, lambda _: {"filter": _FILTER}),
                1,
                _ONE,
            ),
            expanded(
                f"{_MATCHING:,} endpoints, which all match",
                _endpoints(_MATCHING, _everything),
                _MATCHING,
                _ENCODED,
            ),
            expanded(
                f"{_MANY:,} endpoints of other accounts, 1 matches", _endpoints(_MANY, _by_account), 1, _ONE, _AN_INDEX
            ),
            expanded(
                f"{_MANY:,} endpoints of other numbers, 1 matches", _endpoints(_MANY, _by_number), 1, _ONE, _AN_INDEX
            ),
            subject(_ENCODED, encoded, _MATCHING, None),
            subject(_DECODED, decoded, 0, None),
        ],
        runs,
    )
    conclude(
        "fanout",
        f"Call events a second that one core turns into deliveries, from the record's bytes to the deliveries' "
        f"({len(value):,} each), without brokers",
        "events/s",
        figures,
        short=short,
        settings={"runs": runs, "seconds": seconds, "bytes of a delivery": len(value)},
        packages=("msgspec", "jmespath", "prometheus-client", "uvloop"),
    )


@click.command()
@click.option("--short", is_flag=True, help="Three runs of half a second: shows that it works, proves little.")
def main(short: bool) -> None:
    """Measure the fan-out, and write bench/results/fanout.json."""
    uvloop.run(_bench(3 if short else 5, 0.5 if short else 2.0, short=short))


if __name__ == "__main__":
    main()
