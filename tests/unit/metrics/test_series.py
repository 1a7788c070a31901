"""How many series there are, and what can be a label: with 1,000 accounts and values from outside that try to be many."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, disable_created_metrics

from gateway.contract.deliveries import Attempt, Delivery
from gateway.contract.events import CALL_EVENT_TYPES, CallEvent, Evidence
from gateway.polling import metrics as polling
from gateway.polling.health import reason_of
from gateway.ringcloud import RingCloudError
from streams.metrics import StreamsMetrics
from tests.unit.contract.events import ONE

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
ACCOUNTS = range(50_001, 51_001)
ENDPOINTS = [f"endpoint-{n}" for n in range(20)]
ALLOWED = {"account", "attempt", "direction", "disposition", "endpoint", "kind", "le", "list", "method", "outcome"}
ALLOWED |= {"reason", "status", "topic", "type", "url"}
# What came from outside and must never get in.
STRANGE = ("74951234567", "SOLD OUT", "<b>", "x" * 500)


@pytest.fixture(autouse=True)
def _as_served() -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]


def bound(what: str) -> int:
    """The documented bound: the first number in the line that says `what`."""
    found = re.search(rf"at most (\d+) series {what}", DOCS.read_text())
    assert found, what
    return int(found[1])


def events(account: int) -> Iterable[CallEvent]:
    """Events of an account with all that may be said in them."""
    directions = (None, "incoming", "outgoing", "internal")
    dispositions = (None, "ANSWERED", "NO ANSWER", "BUSY", "FAILED", *STRANGE)
    for type_, direction, disposition in product(CALL_EVENT_TYPES, directions, dispositions):
        for evidence in (Evidence.ACTIVE, Evidence.COMPLETE, Evidence.ABSENCE):
            data = msgspec.structs.replace(
                ONE.data,
                account=account,
                direction=direction,
                disposition=disposition,
                evidence=evidence,
                answered=True,
                ambiguous=True,
                duration=7,
                call_id="9" * 200,
                src=STRANGE[0],
            )
            yield msgspec.structs.replace(ONE, type=type_, data=data)


def test_the_streams_service_has_so_many_series_an_account_and_an_endpoint() -> None:
    metrics = StreamsMetrics()
    empty = len(_labels(metrics.registry))
    for account in ACCOUNTS:
        # The first has all of it, which is the bound; the others what makes them be there.
        for event in itertools.islice(events(account), 0, None, 1 if account == ACCOUNTS[0] else 9):
            metrics.event(event, datetime.now(UTC))
    labels = _labels(metrics.registry)
    by_account = Counter(found["account"] for found in labels if "account" in found)
    assert len(by_account) == 1000
    assert max(by_account.values()) <= bound("an account in the streams service")
    rest = len(_labels(metrics.registry)) - sum(by_account.values())
    for endpoint in ENDPOINTS:
        _deliver(metrics, endpoint)
    by_endpoint = Counter(found["endpoint"] for found in _labels(metrics.registry) if "endpoint" in found)
    assert set(by_endpoint) == set(ENDPOINTS)
    assert max(by_endpoint.values()) <= bound("an endpoint")
    others = len(_labels(metrics.registry)) - sum(by_account.values()) - sum(by_endpoint.values())
    assert empty <= rest <= others <= bound("besides in the streams service")


def test_no_label_of_the_streams_service_holds_what_came_from_outside() -> None:
    metrics = StreamsMetrics()
    for event in events(50_001):
        metrics.event(event, datetime.now(UTC))
    labels = _labels(metrics.registry)
    assert {name for found in labels for name in found} <= ALLOWED
    values = {value for found in labels for name, value in found.items() if name != "account"}
    assert values.isdisjoint(STRANGE)
    assert "other" in values


def test_the_gateway_has_so_many_series_an_account() -> None:
    outcomes = ["read", "unchanged", "overtaken", "clock_set", *{_reason(kind) for kind in _all_errors()}]
    accounts = {str(account) for account in ACCOUNTS}
    for account in sorted(accounts):
        polling.ACTIVE_CALLS.labels(account).set(1)
        for type_ in CALL_EVENT_TYPES:
            polling.EVENTS.labels(account, type_)
        for type_ in ("gap.detected", "account.degraded", "account.recovered"):
            polling.NOTICES.labels(account, type_)
        for which in ("active", "completed"):
            polling.SNAPSHOT_AGE.labels(account, which)
            polling.POLLS_ALLOWED.labels(account, which)
        for which in ("active", "completed", "channels", "channel"):
            # The first account meets with everything, which is the bound.
            for outcome in outcomes if account == str(ACCOUNTS[0]) else outcomes[:2]:
                polling.POLLS.labels(account, which, outcome)
    by_account = Counter(
        labels["account"] for labels in _labels(REGISTRY) if labels.get("account", "") in map(str, ACCOUNTS)
    )
    assert len(by_account) == 1000
    assert max(by_account.values()) <= bound("an account in the gateway")


@pytest.mark.parametrize("type_", CALL_EVENT_TYPES)
def test_an_accounts_usual_series_all_begin_with_its_first_event(type_: str) -> None:
    """Prometheus sees no increase from nothing to one."""
    metrics = StreamsMetrics()
    metrics.event(msgspec.structs.replace(ONE, type=type_), datetime.now(UTC))
    usual = {"direction": "incoming", "disposition": "BUSY", "account": "1000"}
    assert metrics.registry.get_sample_value("ringcloud_calls_ended_total", usual) == 0
    assert metrics.registry.get_sample_value("ringcloud_calls_ambiguous_total", {"account": "1000"}) == 0


def _deliver(metrics: StreamsMetrics, endpoint: str) -> None:
    metrics.delivery(endpoint)
    metrics.spilled(endpoint)
    metrics.circuit(endpoint, is_open=True)
    metrics.show(lambda: [(one, _Lane()) for one in ENDPOINTS], lambda: 1)
    for outcome in ("delivered", "refused", "timeout", "unreachable", "blocked", "failed"):
        attempt = Attempt(
            delivery="x" * 200, endpoint=endpoint, number=1, at=datetime.now(UTC), duration=0.1, outcome=outcome
        )
        metrics.attempt(attempt)
    for attempts in (0, 3):
        delivery = Delivery(
            id="x",
            endpoint=endpoint,
            event_type="call.ended",
            account=1,
            call_id="y" * 200,
            event=msgspec.Raw(b"{}"),
            created_at=datetime.now(UTC),
            attempts=attempts,
        )
        metrics.delivered(delivery, datetime.now(UTC))


class _Lane:
    waiting = 1
    running = 2


def _labels(registry: CollectorRegistry) -> list[dict[str, str]]:
    """The labels of every series."""
    return [sample.labels for family in registry.collect() for sample in family.samples]


def _all_errors(kind: type[RingCloudError] = RingCloudError) -> Iterable[type[RingCloudError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _all_errors(one)


def _reason(kind: type[RingCloudError]) -> str:
    return reason_of(kind.__new__(kind))
