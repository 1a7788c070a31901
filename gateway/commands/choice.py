"""Which of an account's keys a command is sent with: the one that may send first, of those with the right to."""

from __future__ import annotations

from collections.abc import Collection

from gateway.commands.accounts import Commanded
from gateway.commands.requests import Request
from gateway.ringcloud import RingCloud


class Choice:
    """Remembers which keys RingCloud has refused: keys of an account may differ in their rights."""

    def __init__(self) -> None:
        self._refused: set[tuple[RingCloud, str]] = set()

    def api(self, account: Commanded, request: Request, tried: Collection[RingCloud] = ()) -> RingCloud | None:
        """The key that may send this first, besides those `tried`; None where none is left.

        One that was refused before is asked last: its rights may have been changed.
        """
        return min(
            (api for api in account.apis if api not in tried),
            key=lambda api: (self._was_refused(api, request), api.estimate(request.operation, *request.names)),
            default=None,
        )

    def refused(self, api: RingCloud, request: Request) -> None:
        """RingCloud does not let this key do that."""
        self._refused.add((api, _resource(request)))

    def allowed(self, api: RingCloud, request: Request) -> None:
        """It does."""
        self._refused.discard((api, _resource(request)))

    def _was_refused(self, api: RingCloud, request: Request) -> bool:
        return (api, _resource(request)) in self._refused


def _resource(request: Request) -> str:
    """What rights are given for: `/v1/calls` or `/v1/users`."""
    return "/".join(request.operation.template.split("/")[:3])
