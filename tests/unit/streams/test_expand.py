"""Which deliveries an event becomes."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.deliveries import Delivery
from gateway.contract.endpoints import Body, Endpoint
from gateway.contract.events import CALL_EVENT_TYPES, CallEvent, CallEventType
from streams.fanout import expand
from tests.support.webhooks import call_event
from tests.unit.contract.events import call_events

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)

BODIES: tuple[Body, ...] = ("full", "thin")


def endpoint(name: str = "e", body: Body = "full") -> Endpoint:
    return Endpoint(id=name, url="https://example.com/", secrets=("env:S",), body=body)


@given(
    endpoints=st.lists(
        st.builds(endpoint, st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True), st.sampled_from(BODIES)),
        max_size=6,
        unique_by=lambda one: one.id,
    ),
    kind=st.sampled_from(CALL_EVENT_TYPES),
    account=st.integers(1, 3),
)
def test_one_for_each_endpoint(endpoints: list[Endpoint], kind: CallEventType, account: int) -> None:
    event = call_event(kind=kind, account=account)
    deliveries = expand(event, endpoints, NOW)
    assert [delivery.endpoint for delivery in deliveries] == [one.id for one in endpoints]
    assert deliveries == expand(event, endpoints, NOW)
    for delivery in deliveries:
        assert delivery.id == f"{event.id}-{delivery.endpoint}"
        assert "." not in delivery.id
        assert (delivery.attempts, delivery.due_at, delivery.created_at) == (0, None, NOW)
        assert (delivery.event_type, delivery.account, delivery.call_id) == (kind, account, "c1")


@pytest.mark.parametrize("times", [1, 3])
def test_the_body_is_the_event_and_survives_the_topics_byte_for_byte(times: int) -> None:
    event = call_event()
    (delivery,) = expand(event, [endpoint()], NOW)
    body = bytes(delivery.event)
    for _ in range(times):
        delivery = msgspec.json.decode(msgspec.json.encode(delivery), type=Delivery)
    assert bytes(delivery.event) == body
    assert msgspec.json.decode(body, type=CallEvent) == event


@given(event=call_events())
def test_a_thin_body_has_the_attributes_and_ids_alone_and_the_same_webhook_id(event: CallEvent) -> None:
    full, slim, other = expand(event, [endpoint("a"), endpoint("b", "thin"), endpoint("c")], NOW)
    whole, thin = json.loads(bytes(full.event)), json.loads(bytes(slim.event))
    assert bytes(other.event) == bytes(full.event)
    assert thin.pop("data") == {name: whole["data"][name] for name in ("account", "call_id", "sequence")}
    del whole["data"]
    assert thin == whole
    (again,) = expand(event, [endpoint("b")], NOW)
    assert slim.id == again.id
