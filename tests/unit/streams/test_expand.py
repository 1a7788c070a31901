"""Which deliveries an event becomes."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.deliveries import Delivery
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CALL_EVENT_TYPES, CallEvent, CallEventType
from streams.fanout import expand
from tests.support.webhooks import call_event

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)

endpoints = st.lists(
    st.builds(
        Endpoint,
        id=st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True),
        url=st.just("https://example.com/"),
        secrets=st.just(("env:S",)),
        events=st.lists(st.sampled_from(CALL_EVENT_TYPES), max_size=2).map(tuple),
        accounts=st.lists(st.integers(1, 3), max_size=2).map(tuple),
    ),
    max_size=6,
    unique_by=lambda endpoint: endpoint.id,
)


@given(endpoints=endpoints, kind=st.sampled_from(CALL_EVENT_TYPES), account=st.integers(1, 3))
def test_one_for_each_endpoint_that_matches(endpoints: list[Endpoint], kind: CallEventType, account: int) -> None:
    event = call_event(kind=kind, account=account)
    deliveries = expand(event, endpoints, NOW)
    wanted = [
        one
        for one in endpoints
        if (not one.events or kind in one.events) and (not one.accounts or account in one.accounts)
    ]
    assert [delivery.endpoint for delivery in deliveries] == [one.id for one in wanted]
    assert deliveries == expand(event, endpoints, NOW)
    for delivery in deliveries:
        assert delivery.id == f"{event.id}-{delivery.endpoint}"
        assert "." not in delivery.id
        assert (delivery.attempts, delivery.due_at, delivery.created_at) == (0, None, NOW)
        assert (delivery.event_type, delivery.account, delivery.call_id) == (kind, account, "c1")


@pytest.mark.parametrize("times", [1, 3])
def test_the_body_is_the_event_and_survives_the_topics_byte_for_byte(times: int) -> None:
    event = call_event()
    (delivery,) = expand(event, [Endpoint(id="e", url="https://example.com/", secrets=("env:S",))], NOW)
    body = bytes(delivery.event)
    for _ in range(times):
        delivery = msgspec.json.decode(msgspec.json.encode(delivery), type=Delivery)
    assert bytes(delivery.event) == body
    assert msgspec.json.decode(body, type=CallEvent) == event
