"""The URLs of the RingCloud API: one table of methods, paths, limits and handlers, and how a path finds its entry."""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, get_origin
from urllib.parse import unquote

import msgspec

from sandbox import handlers
from sandbox.accounts import User
from sandbox.handlers import Handler
from sandbox.numbers import NumberInfo
from sandbox.params import DAYS, EXTENSION, MAIL, NUM, PASSWORD, PATH_PARAMS, USER, Param
from sandbox.replies import ApiError
from sandbox.rows import ActiveRow, CompletedRow
from sandbox.settings import CompleteUrls, Resource

_USER = "/v1/users/<username>"


@dataclass(frozen=True, slots=True)
class Route:
    """A method on a path template; `name` is what faults call it, `limit_ms` the spacing that its lanes ask for.

    `resource` is what a key's rights are asked for (None: any key may), `data` the type of its data. `query` are the
    parameters that may be left out, `params` those that a POST's body has to bring; without any it needs no body.
    `bare` tells that it answers with a file in place of the envelope.
    """

    name: str
    method: str
    template: str
    limit_ms: int
    handler: Handler
    resource: Resource | None
    summary: str
    data: Any = None
    query: tuple[Param, ...] = ()
    params: tuple[Param, ...] = ()
    bare: bool = False

    @property
    def listing(self) -> bool:
        """Whether its data is a list."""
        return get_origin(self.data) is list

    @property
    def path_params(self) -> tuple[Param, ...]:
        """The variable parts of its path, in order."""
        return tuple(PATH_PARAMS[part[1:-1]] for part in self.template.split("/") if part.startswith("<"))


class Match(NamedTuple):
    """The route of a request, the decoded variable parts of its path in order, and the decoded path."""

    route: Route
    args: tuple[str, ...]
    path: str


ROUTES = (
    Route("users", "GET", "/v1/users", 1_000, handlers.users, "users", "Every user", list[User]),
    Route(
        "create_user",
        "POST",
        "/v1/users/create",
        60_000,
        handlers.create_user,
        "users",
        "Make a user; the data is its name",
        str,
        params=(PASSWORD, EXTENSION, MAIL),
    ),
    Route("user", "GET", _USER, 1_000, handlers.user, "users", "One user", User),
    Route(
        "update_password",
        "POST",
        f"{_USER}/update_password",
        1_000,
        handlers.update_password,
        "users",
        "Change a user's password",
        params=(PASSWORD,),
    ),
    Route(
        "update_extension_number",
        "POST",
        f"{_USER}/update_extension_number",
        5_000,
        handlers.update_extension_number,
        "users",
        "Change a user's extension",
        params=(EXTENSION,),
    ),
    Route(
        "update_email",
        "POST",
        f"{_USER}/update_email",
        5_000,
        handlers.update_email,
        "users",
        "Change a user's mail address",
        params=(MAIL,),
    ),
    Route(
        "voice_mail_box_on",
        "POST",
        f"{_USER}/voice_mail_box_on",
        5_000,
        handlers.voice_mail_box_on,
        "users",
        "Switch a user's voice mail box on",
    ),
    Route(
        "voice_mail_box_off",
        "POST",
        f"{_USER}/voice_mail_box_off",
        5_000,
        handlers.voice_mail_box_off,
        "users",
        "Switch a user's voice mail box off",
    ),
    Route(
        "records",
        "GET",
        f"{_USER}/records",
        5_000,
        handlers.records,
        "users",
        "A user's recordings: name of the file, and when it was recorded",
        list[Annotated[list[str], msgspec.Meta(min_length=2, max_length=2)]],
    ),
    Route(
        "record",
        "GET",
        f"{_USER}/records/<filename>",
        1_000,
        handlers.record,
        "users",
        "A recording as a WAV file",
        bare=True,
    ),
    Route(
        "channels",
        "GET",
        "/v1/calls/channels",
        2_000,
        handlers.channels,
        "calls",
        "The names of the active channels",
        list[str],
    ),
    Route(
        "channel",
        "GET",
        "/v1/calls/channels/<channel>",
        2_000,
        handlers.channel,
        "calls",
        "One active channel",
        handlers.Channel,
    ),
    Route(
        "originate",
        "POST",
        "/v1/calls",
        5_000,
        handlers.originate,
        "calls",
        "Ring a user, and dial a number once that one has answered",
        params=(USER, NUM),
    ),
    *(
        Route(
            "complete",
            "GET",
            f"/v1/calls/{spelling}",
            5_000,
            handlers.complete,
            "calls",
            "The completed calls",
            list[CompletedRow],
            query=(DAYS, NUM),
        )
        for spelling in ("complite", "complete")
    ),
    Route("active", "GET", "/v1/calls/active", 5_000, handlers.active, "calls", "The current calls", list[ActiveRow]),
    # The limits of these two are not documented: they are given the strictest that other reads have.
    Route(
        "balance",
        "GET",
        "/v1/accounts/<id>/balance",
        5_000,
        handlers.balance,
        None,
        "What the account has left",
        float,
    ),
    Route(
        "phone_number",
        "GET",
        "/v1/phone_numbers/<number>",
        5_000,
        handlers.phone_number,
        None,
        "What is known of a telephone number",
        NumberInfo,
    ),
)
ROUTE_NAMES = frozenset(route.name for route in ROUTES)
UNKNOWN = "(unknown)"


class Router:
    """Finds routes; of the two spellings of the completed list it serves those that `complete_urls` names.

    `routes` are all that it serves.
    """

    def __init__(self, complete_urls: CompleteUrls) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._variable: dict[tuple[str, ...], dict[str, Route]] = {}
        self.routes = tuple(
            route
            for route in ROUTES
            if route.name != "complete" or complete_urls in ("both", route.template.rpartition("/")[2])
        )
        for route in self.routes:
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
