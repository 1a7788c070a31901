"""The index of endpoints finds what asking each of them finds."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CALL_EVENT_TYPES, CallEvent
from gateway.contract.filters import Filter
from streams.matching import EndpointIndex
from tests.support.webhooks import call_event

NUMBERS = ["400", "401", "4", "74950001122", "74951112233", "7499", ""]
DIRECTIONS = ["incoming", "outgoing", "internal"]
DISPOSITIONS = ["ANSWERED", "NO ANSWER", "BUSY", "FAILED"]
# What each means, as told by Python.
FILTERS: dict[str, Any] = {
    "": lambda document: True,
    "data.duration > `60`": lambda document: (document["data"]["duration"] or 0) > 60,
    "data.src == '400' || data.answered": lambda document: (
        document["data"]["src"] == "400" or document["data"]["answered"] is True
    ),
}

events = st.builds(
    lambda kind, account, changes: changed(call_event(kind=kind, account=account), **changes),
    st.sampled_from(CALL_EVENT_TYPES),
    st.integers(1, 3),
    st.fixed_dictionaries(
        {
            "src": st.sampled_from(NUMBERS),
            "dst": st.sampled_from(NUMBERS),
            "direction": st.sampled_from([None, *DIRECTIONS]),
            # RingCloud may come up with one that is not documented.
            "disposition": st.sampled_from([None, "CONGESTION", *DISPOSITIONS]),
            "duration": st.sampled_from([None, 0, 60, 61]),
            "answered": st.sampled_from([None, True, False]),
        }
    ),
)


def some(*values: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), max_size=2).map(tuple)


endpoint_of = st.builds(
    Endpoint,
    id=st.sampled_from("abcd"),
    url=st.just("https://example.com/"),
    secrets=st.just(("env:S",)),
    events=some(*CALL_EVENT_TYPES),
    accounts=some(1, 2, 3),
    directions=some("unknown", *DIRECTIONS),
    dispositions=some("unknown", *DISPOSITIONS),
    numbers=some("400", "401", "4*", "7*", "7495*", "74950001122", "74950001122*", "749500011220"),
    filter=st.sampled_from(list(FILTERS)),
)
endpoints = st.lists(endpoint_of, max_size=8).map(
    lambda found: [msgspec.structs.replace(one, id=f"e{n}") for n, one in enumerate(found)]
)


def changed(event: CallEvent, **changes: Any) -> CallEvent:
    return msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, **changes))


def wanted(endpoint: Endpoint, event: CallEvent) -> bool:
    """The rules as the documentation has them."""
    document = json.loads(msgspec.json.encode(event))
    data = document["data"]
    return all(
        [
            not endpoint.events or event.type in endpoint.events,
            not endpoint.accounts or data["account"] in endpoint.accounts,
            not endpoint.directions or (data["direction"] or "unknown") in endpoint.directions,
            not endpoint.dispositions or (data["disposition"] or "unknown") in endpoint.dispositions,
            not endpoint.numbers
            or any(
                number.startswith(one[:-1]) if one[-1] == "*" else number == one
                for one in endpoint.numbers
                for number in (data["src"], data["dst"])
            ),
            FILTERS[endpoint.filter](document),
        ]
    )


@given(endpoints=endpoints, event=events)
def test_the_index_finds_what_a_scan_finds(endpoints: list[Endpoint], event: CallEvent) -> None:
    found = EndpointIndex(endpoints).matching(event)
    assert [one.id for one in found] == [one.id for one in endpoints if wanted(one, event)]


@given(
    changes=st.lists(st.tuples(endpoint_of, st.booleans()), max_size=12),
    event=events,
)
def test_endpoints_come_change_and_go(changes: list[tuple[Endpoint, bool]], event: CallEvent) -> None:
    index = EndpointIndex()
    there: dict[str, Endpoint] = {}
    for one, stays in changes:
        if stays:
            index.put(one)
            there[one.id] = one
        else:
            index.remove(one.id)
            there.pop(one.id, None)
        assert index.matching(event) == [found for found in there.values() if wanted(found, event)]
    for name in list(there):
        index.remove(name)
    # What grows with endpoints shrinks with them.
    assert not index._by_number
    assert not index._candidates


def endpoint(name: str = "e", **filters: Any) -> Endpoint:
    return Endpoint(id=name, url="https://example.com/", secrets=("env:S",), **filters)


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ({"directions": ("incoming",)}, False),
        ({"directions": ("incoming", "unknown")}, True),
        ({"dispositions": ("ANSWERED", "BUSY")}, False),
        ({"dispositions": ("ANSWERED", "unknown")}, True),
        ({"numbers": ("79990000000",)}, True),
        ({"numbers": ("100",)}, True),
        ({"numbers": ("10",)}, False),
        ({"numbers": ("10*",)}, True),
        ({"numbers": ("100*",)}, True),
        ({"numbers": ("1000*",)}, False),
        ({"filter": "starts_with(data.disposition, 'NO')"}, False),
        ({"filter": "data.dst == '100'", "accounts": (8,)}, False),
    ],
)
def test_a_live_call_s_start(filters: dict[str, Any], matches: bool) -> None:
    assert bool(EndpointIndex([endpoint(**filters)]).matching(call_event())) is matches


def test_endpoints_that_do_not_match_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    filters = "data.sequence == `1`"
    found = [
        *(endpoint(f"a{n}", accounts=(1000 + n,), filter=filters) for n in range(500)),
        *(endpoint(f"b{n}", events=("call.ended",), filter=filters) for n in range(500)),
        *(endpoint(f"c{n}", numbers=(f"7{n}", f"8{n}*"), filter=filters) for n in range(500)),
        endpoint(accounts=(7,), numbers=("79*",), filter=filters),
    ]
    index = EndpointIndex(found)
    asked: list[Filter] = []
    matches = Filter.matches

    def counted(self: Filter, document: Any) -> bool:
        asked.append(self)
        return matches(self, document)

    monkeypatch.setattr(Filter, "matches", counted)
    assert index.matching(call_event()) == found[-1:]
    assert len(asked) == 1
