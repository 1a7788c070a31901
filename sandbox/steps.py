"""The two kinds of requests as steps on the state: those for the API, and those under `/_sandbox/`."""

import secrets
from collections.abc import Mapping
from typing import Any

from sandbox.admin import DRAWN_BYTES
from sandbox.auth import KeyInfo, permit
from sandbox.handlers import Ask
from sandbox.limits import Lane
from sandbox.machine import Change, Machine, Served, read_params
from sandbox.replies import ApiError, failure, to_json
from sandbox.routes import Match
from sandbox.state import Order

_NOTHING = Order()


class ApiStep:
    """Authentication, rights, limits, the body: a wrong body has used its slot, a wrong hash or right has not."""

    __slots__ = ("_asked", "_body", "_match", "_params", "_query", "_who")

    def __init__(self, match: Match, raw_path: str, query: Mapping[str, str], body: bytes | ApiError) -> None:
        """`body` is the error when it could not be read."""
        self._match = match
        self._asked = raw_path
        self._query = query
        self._body: bytes | None = None
        self._params: dict[str, Any] | ApiError
        try:
            if isinstance(body, ApiError):
                raise body
            self._params, self._body = read_params(match.route, body), body
        except ApiError as error:
            self._params = error
        self._who: KeyInfo | ApiError

    def plan(self, machine: Machine) -> Order:
        """See Step."""
        route, query = self._match.route, self._query
        try:
            info = machine.keyring.authenticate(query.get("api_key"), query.get("hash"))
            permit(info, route.resource, change=route.method == "POST")
        except ApiError as error:
            self._who = error
            return _NOTHING
        self._who = info
        change = None
        # A request that uses up a fault changes something, too; one that cannot be read does not.
        if (route.method == "POST" or machine.faults.concern(info.account, route.name)) and self._body is not None:
            change = Change(info.account, route.method, self._asked.encode(errors="surrogateescape"), self._body)
        return Order(Lane(info.key, route.method, self._match.path), route.limit_ms, change)

    def act(self, machine: Machine, *, accepted: bool) -> Served:
        """See Step."""
        if isinstance(self._who, ApiError):
            return _failed(self._who)
        if not accepted:
            return Served(429, failure("too many requests"))
        if isinstance(self._params, ApiError):
            return _failed(self._params)
        return machine.serve(self._match.route, Ask(self._who.account, self._match.args, self._query, self._params))


class AdminStep:
    """A request under `/_sandbox/`; all but a GET are changes."""

    def __init__(self, method: str, raw_path: str, query: Mapping[str, str], body: bytes) -> None:
        self._method = method
        self._path = raw_path
        self._query = query
        self._body = body
        self._drawn = b"" if method == "GET" else secrets.token_bytes(DRAWN_BYTES)

    def plan(self, machine: Machine) -> Order:
        """See Step."""
        if self._method == "GET" or not machine.admin.has(self._method, self._path):
            return _NOTHING
        path = self._path.encode(errors="surrogateescape")
        return Order(change=Change(0, self._method, path, self._body, self._drawn))

    def act(self, machine: Machine, *, accepted: bool) -> Served:  # noqa: ARG002 - it asks for no slot
        """See Step."""
        try:
            reply = machine.admin.answer(self._method, self._path, self._query, self._body, self._drawn)
        except ApiError as error:
            return Served(error.status, to_json({"error": error.message}), error.headers)
        return Served(200, reply.body, content_type=reply.content_type)


def _failed(error: ApiError) -> Served:
    return Served(error.status, failure(error.message), error.headers)
