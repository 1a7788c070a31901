"""The URLs of the RingCloud API: one table of methods, paths, limits and handlers, and how a path finds its entry."""

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from sandbox import handlers
from sandbox.handlers import Handler
from sandbox.replies import ApiError
from sandbox.settings import CompleteUrls, Resource

_USER = "/v1/users/<username>"


@dataclass(frozen=True, slots=True)
class Route:
    """A method on a path template; `name` is what faults call it, `limit_ms` the spacing that its lanes ask for.

    `resource` is what a key's rights are asked for (None: any key may). `listing` tells that its data is a list,
    `params` that a POST needs a body, and `bare` that it answers with a file in place of the envelope.
    """

    name: str
    method: str
    template: str
    limit_ms: int
    handler: Handler
    resource: Resource | None
    listing: bool = False
    params: bool = True
    bare: bool = False


class Match(NamedTuple):
    """The route of a request, the decoded variable parts of its path in order, and the decoded path."""

    route: Route
    args: tuple[str, ...]
    path: str


ROUTES = (
    Route("users", "GET", "/v1/users", 1_000, handlers.users, "users", listing=True),
    Route("create_user", "POST", "/v1/users/create", 60_000, handlers.create_user, "users"),
    Route("user", "GET", _USER, 1_000, handlers.user, "users"),
    Route("update_password", "POST", f"{_USER}/update_password", 1_000, handlers.update_password, "users"),
    Route(
        "update_extension_number",
        "POST",
        f"{_USER}/update_extension_number",
        5_000,
        handlers.update_extension_number,
        "users",
    ),
    Route("update_email", "POST", f"{_USER}/update_email", 5_000, handlers.update_email, "users"),
    Route(
        "voice_mail_box_on",
        "POST",
        f"{_USER}/voice_mail_box_on",
        5_000,
        handlers.voice_mail_box_on,
        "users",
        params=False,
    ),
    Route(
        "voice_mail_box_off",
        "POST",
        f"{_USER}/voice_mail_box_off",
        5_000,
        handlers.voice_mail_box_off,
        "users",
        params=False,
    ),
    Route("records", "GET", f"{_USER}/records", 5_000, handlers.records, "users", listing=True),
    Route("record", "GET", f"{_USER}/records/<filename>", 1_000, handlers.record, "users", bare=True),
    Route("channels", "GET", "/v1/calls/channels", 2_000, handlers.channels, "calls", listing=True),
    Route("channel", "GET", "/v1/calls/channels/<channel>", 2_000, handlers.channel, "calls"),
    Route("originate", "POST", "/v1/calls", 5_000, handlers.originate, "calls"),
    Route("complete", "GET", "/v1/calls/complite", 5_000, handlers.complete, "calls", listing=True),
    Route("complete", "GET", "/v1/calls/complete", 5_000, handlers.complete, "calls", listing=True),
    Route("active", "GET", "/v1/calls/active", 5_000, handlers.active, "calls", listing=True),
    # The limits of these two are not documented: they are given the strictest that other reads have.
    Route("balance", "GET", "/v1/accounts/<id>/balance", 5_000, handlers.balance, None),
    Route("phone_number", "GET", "/v1/phone_numbers/<number>", 5_000, handlers.phone_number, None),
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
