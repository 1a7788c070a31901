"""Faults on demand: the next requests of an account for a URL are answered badly."""

from collections import deque
from typing import Literal

import msgspec

FaultKind = Literal["error500", "html200", "truncated", "empty_list", "hang", "drop"]


class FaultOrder(msgspec.Struct):
    """`count` requests of `account` for the route named `url` are to fail by `kind`; count 0 takes back what waits."""

    account: int
    url: str
    kind: FaultKind
    count: int = 1


class Faults:
    """The faults that wait for their requests, served in the order in which they were asked for."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, str], deque[FaultOrder]] = {}

    def order(self, order: FaultOrder) -> None:
        """Queue an order; one with count 0 clears all that wait for its account and URL. ValueError when negative."""
        if order.count < 0:
            raise ValueError("count is not negative")
        if order.count == 0:
            self._waiting.pop((order.account, order.url), None)
        else:
            self._waiting.setdefault((order.account, order.url), deque()).append(order)

    def take(self, account: int, url: str) -> FaultKind | None:
        """The fault for this request, used up by it; None when there is none."""
        if not self._waiting:
            return None
        queue = self._waiting.get((account, url))
        if queue is None:
            return None
        order = queue[0]
        order.count -= 1
        if order.count == 0:
            queue.popleft()
            if not queue:
                del self._waiting[account, url]
        return order.kind

    def waiting(self) -> list[FaultOrder]:
        """What has not been used up."""
        return [order for queue in self._waiting.values() for order in queue]
