"""The URLs of the RingCloud API: one table of methods, paths, limits and handlers, and how a path finds its entry."""

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from sandbox import handlers
from sandbox.handlers import Handler
from sandbox.replies import ApiError
from sandbox.settings import CompleteUrls


@dataclass(frozen=True, slots=True)
class Route:
    """A method on a path template; `name` is what faults call it, `limit_ms` the spacing that its lanes ask for.

    `listing` tells that its data is a list.
    """

    name: str
    method: str
    template: str
    limit_ms: int
    handler: Handler
    listing: bool = False


class Match(NamedTuple):
    """The route of a request, the decoded variable parts of its path in order, and the decoded path."""

    route: Route
    args: tuple[str, ...]
    path: str


ROUTES = (
    Route("users", "GET", "/v1/users", 1_000, handlers.users, listing=True),
    Route("user", "GET", "/v1/users/<username>", 1_000, handlers.user),
    Route("channels", "GET", "/v1/calls/channels", 2_000, handlers.channels, listing=True),
    Route("channel", "GET", "/v1/calls/channels/<channel>", 2_000, handlers.channel),
    Route("originate", "POST", "/v1/calls", 5_000, handlers.originate),
    Route("complete", "GET", "/v1/calls/complite", 5_000, handlers.complete, listing=True),
    Route("complete", "GET", "/v1/calls/complete", 5_000, handlers.complete, listing=True),
    Route("active", "GET", "/v1/calls/active", 5_000, handlers.active, listing=True),
)
ROUTE_NAMES = frozenset(route.name for route in ROUTES)
UNKNOWN = "(unknown)"


class Router:
    """Finds routes; of the two spellings of the completed list it serves those that `complete_urls` names."""

    def __init__(self, complete_urls: CompleteUrls) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._variable: dict[tuple[str, ...], dict[str, Route]] = {}
        for route in ROUTES:
            if route.name == "complete" and complete_urls not in ("both", route.template.rpartition("/")[2]):
                continue
            if "<" in route.template:
                self._variable.setdefault(tuple(route.template.split("/")), {})[route.method] = route
            else:
                self._fixed.setdefault(route.template, {})[route.method] = route

    def find(self, method: str, raw_path: str) -> Match:
        """The route of a request; `raw_path` is as sent. ApiError 404 for no such URL, 405 for another method."""
        methods = self._fixed.get(raw_path)
        args: tuple[str, ...] = ()
        if methods is None:
            methods, args = self._find_variable(raw_path)
        route = methods.get(method)
        if route is None:
            allowed = ", ".join(methods)
            raise ApiError(405, f"use {allowed}", {"Allow": allowed})
        return Match(route, args, unquote(raw_path) if args else raw_path)

    def _find_variable(self, raw_path: str) -> tuple[dict[str, Route], tuple[str, ...]]:
        # Split before decoding: a `/` inside a variable part arrives percent-encoded.
        parts = raw_path.split("/")
        for template, methods in self._variable.items():
            if len(template) != len(parts):
                continue
            pairs = list(zip(template, parts, strict=True))
            if all(part if want.startswith("<") else want == part for want, part in pairs):
                return methods, tuple(unquote(part) for want, part in pairs if want.startswith("<"))
        raise ApiError(404, "no such URL")
