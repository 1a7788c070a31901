"""Finds the endpoints that an event goes to without asking each of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CALL_EVENT_TYPES, CallEvent
from gateway.contract.filters import Filter

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An endpoint, and what is asked of an event once type, account and numbers are right."""

    endpoint: Endpoint
    directions: frozenset[str]
    dispositions: frozenset[str]
    filter: Filter | None


class EndpointIndex:
    """Endpoints by what they ask for first: type of event, account, number.

    Finding an event's candidates costs a look-up for each of these, and for each length of prefix in use; then each
    candidate is asked for direction, disposition and filter. An endpoint takes a place for each combination of types,
    accounts and numbers that it names.
    """

    def __init__(self, endpoints: Iterable[Endpoint] = ()) -> None:
        """Take the endpoints; `matching` gives them in this order, and those that are put later after them."""
        # By place; places are given out once, and an endpoint keeps its own when it changes.
        self._candidates: dict[int, _Candidate] = {}
        self._place_of: dict[str, int] = {}
        self._next = 0
        # The account is None for endpoints of all accounts.
        self._by_number: dict[tuple[str, int | None], _ByNumber] = {}
        for endpoint in endpoints:
            self.put(endpoint)

    def put(self, endpoint: Endpoint) -> None:
        """Take an endpoint in, in place of the one of its id if there is one."""
        at = self._place_of.get(endpoint.id)
        if at is None:
            at = self._place_of[endpoint.id] = self._next
            self._next += 1
        else:
            self._take_out(at)
        self._candidates[at] = _Candidate(
            endpoint,
            frozenset(endpoint.directions),
            frozenset(endpoint.dispositions),
            Filter(endpoint.filter) if endpoint.filter else None,
        )
        for asked in _asked(endpoint):
            self._by_number.setdefault(asked, _ByNumber()).add(at, endpoint.numbers)

    def remove(self, endpoint_id: str) -> None:
        """Forget an endpoint, if it is there."""
        at = self._place_of.pop(endpoint_id, None)
        if at is not None:
            self._take_out(at)

    def _take_out(self, at: int) -> None:
        endpoint = self._candidates.pop(at).endpoint
        for asked in _asked(endpoint):
            places = self._by_number[asked]
            places.remove(at, endpoint.numbers)
            if places.empty:
                del self._by_number[asked]

    def matching(self, event: CallEvent) -> list[Endpoint]:
        """The endpoints that `event` goes to."""
        data = event.data
        found: set[int] = set()
        for account in (None, data.account):
            if places := self._by_number.get((event.type, account)):
                places.find(data.src, found)
                places.find(data.dst, found)
        direction = data.direction or "unknown"
        disposition = data.disposition or "unknown"
        document: Any = None
        endpoints: list[Endpoint] = []
        for at in sorted(found):
            candidate = self._candidates[at]
            if candidate.directions and direction not in candidate.directions:
                continue
            if candidate.dispositions and disposition not in candidate.dispositions:
                continue
            if candidate.filter is not None:
                if document is None:
                    document = _decode(_encode(event))
                if not candidate.filter.matches(document):
                    continue
            endpoints.append(candidate.endpoint)
        return endpoints


def _asked(endpoint: Endpoint) -> Iterator[tuple[str, int | None]]:
    """Each type of event, and account, that an endpoint asks for."""
    accounts: set[int | None] = set(endpoint.accounts) or {None}
    return itertools.product(set(endpoint.events) or CALL_EVENT_TYPES, accounts)


class _ByNumber:
    """Places of endpoints by the numbers that they name."""

    __slots__ = ("_any", "_beginning", "_whole")

    def __init__(self) -> None:
        # Places as keys: an empty dict takes a third of what an empty set does.
        self._any: dict[int, None] = {}
        self._whole: dict[str, dict[int, None]] = {}
        # By length, and then by the beginning itself.
        self._beginning: dict[int, dict[str, dict[int, None]]] = {}

    @property
    def empty(self) -> bool:
        return not (self._any or self._whole or self._beginning)

    def add(self, at: int, numbers: tuple[str, ...]) -> None:
        if not numbers:
            self._any[at] = None
        for number in numbers:
            if number.endswith("*"):
                self._beginning.setdefault(len(number) - 1, {}).setdefault(number[:-1], {})[at] = None
            else:
                self._whole.setdefault(number, {})[at] = None

    def remove(self, at: int, numbers: tuple[str, ...]) -> None:
        self._any.pop(at, None)
        for number in set(numbers):
            if number.endswith("*"):
                places = self._beginning[len(number) - 1]
                _drop(places, number[:-1], at)
                if not places:
                    del self._beginning[len(number) - 1]
            else:
                _drop(self._whole, number, at)

    def find(self, number: str, found: set[int]) -> None:
        """Add the places of those that want `number` to `found`."""
        found.update(self._any)
        found.update(self._whole.get(number, ()))
        for length, places in self._beginning.items():
            found.update(places.get(number[:length], ()))


def _drop(places: dict[str, dict[int, None]], number: str, at: int) -> None:
    del places[number][at]
    if not places[number]:
        del places[number]
