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

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        """Take the endpoints; `matching` gives them in this order."""
        self._candidates: list[_Candidate] = []
        # Candidates by their place in that list. The account is None for endpoints of all accounts.
        self._by_number: dict[tuple[str, int | None], _ByNumber] = {}
        for at, endpoint in enumerate(endpoints):
            self._candidates.append(
                _Candidate(
                    endpoint,
                    frozenset(endpoint.directions),
                    frozenset(endpoint.dispositions),
                    Filter(endpoint.filter) if endpoint.filter else None,
                )
            )
            for asked in _asked(endpoint):
                self._by_number.setdefault(asked, _ByNumber()).add(at, endpoint.numbers)

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

    def add(self, at: int, numbers: tuple[str, ...]) -> None:
        if not numbers:
            self._any[at] = None
        for number in numbers:
            if number.endswith("*"):
                self._beginning.setdefault(len(number) - 1, {}).setdefault(number[:-1], {})[at] = None
            else:
                self._whole.setdefault(number, {})[at] = None

    def find(self, number: str, found: set[int]) -> None:
        """Add the places of those that want `number` to `found`."""
        found.update(self._any)
        found.update(self._whole.get(number, ()))
        for length, places in self._beginning.items():
            found.update(places.get(number[:length], ()))
