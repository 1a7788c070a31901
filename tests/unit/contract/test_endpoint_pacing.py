"""How and how often an endpoint is tried: what its rate, its retries and its ordering take and what they refuse."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.endpoints import Endpoint
from gateway.contract.faults import fault

ENDPOINT: dict[str, Any] = {"id": "crm-1", "url": "https://crm.example.com/hooks", "secrets": ["env:CRM"]}


@given(
    rate=st.none() | st.floats(0.01, 10_000) | st.integers(1, 10_000),
    retries=st.lists(st.integers(1, 86_400), max_size=20).map(sorted),
)
def test_a_rate_and_delays_that_do_not_fall_are_taken(rate: float | None, retries: list[int]) -> None:
    endpoint = msgspec.convert({**ENDPOINT, "rate": rate, "retries": retries}, Endpoint)
    assert (endpoint.rate, endpoint.retries) == (rate, tuple(retries))


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("rate", 0, "rate"),
        ("rate", -1.0, "rate"),
        ("rate", 0.001, "rate"),
        ("rate", 10_001, "rate"),
        ("rate", "10", "rate"),
        ("rate", float("nan"), "rate"),
        ("retries", [0], "retries[0]"),
        ("retries", [5, 86_401], "retries[1]"),
        ("retries", [1.5], "retries[0]"),
        ("retries", [5, 4], "retries"),
        ("retries", [1, 5, 30, 29, 31], "retries"),
        ("retries", [1] * 21, "retries"),
        ("ordering", "account", "ordering"),
    ],
)
def test_what_is_wrong_is_named(field: str, value: object, where: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert({**ENDPOINT, field: value}, Endpoint)
    assert fault(refused.value)[0] == where
