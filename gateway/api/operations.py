"""An operation of the API: what it takes and answers, from which both its handler and its description are made."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import msgspec
import structlog
from litestar import Request, Response
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from gateway.api.problems import Problem
from gateway.api.tokens import Holder, Tokens
from gateway.config import Scope
from gateway.contract.faults import fault

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

JSON = "application/json"
_NUMBERS = ("limit", "account", "wait")
MERGE_PATCH = "application/merge-patch+json"  # RFC 7396


class Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of an operation without parameters, or without a body."""


Body = TypeVar("Body")
Query = TypeVar("Query")


@dataclass(frozen=True, slots=True)
class Asked(Generic[Body, Query]):
    """A request that was found to be well formed."""

    path: Mapping[str, str]
    query: Query
    body: Body
    by: Holder
    headers: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered: a struct as JSON, or nothing, and where to find what was made.

    `status` is the operation's own, or one that it is described to have `also`.
    """

    content: Any = None
    location: str | None = None
    status: int | None = None


@dataclass(frozen=True)
class Operation(Generic[Body, Query]):
    """One method of one path."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    name: str
    summary: str
    scope: Scope
    run: Callable[[Asked[Body, Query]], Awaitable[Reply]] = field(repr=False)
    body: type[Body]
    query: type[Query]
    answer: Any = None
    status: int = 200
    # What else it may be answered with where all went well, and the headers that it looks at.
    also: tuple[int, ...] = ()
    headers: type[Any] = Nothing
    # Beside those that follow from the rest: what a well-formed request may be refused with.
    problems: tuple[int, ...] = ()

    @property
    def bodies(self) -> tuple[str, ...]:
        """The media types that its body may have; none where it takes no body."""
        if self.body is Nothing:
            return ()
        return (MERGE_PATCH, JSON) if self.method == "PATCH" else (JSON,)


def handlers(operations: Sequence[Operation[Any, Any]], tokens: Tokens) -> list[HTTPRouteHandler]:
    """What Litestar calls: a handler a path, since the answer to OPTIONS would know the first one's methods only."""
    paths: dict[str, dict[str, Operation[Any, Any]]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method] = one
    return [_handler(path, by_method, tokens) for path, by_method in paths.items()]


def _handler(path: str, by_method: Mapping[str, Operation[Any, Any]], tokens: Tokens) -> HTTPRouteHandler:
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await _answer(request, by_method[request.method], tokens)

    # The response has its own status. Litestar checks this one, and would take a 204's for a mistake.
    return HTTPRouteHandler(
        path.replace("}", ":str}"), http_method=[HttpMethod(one) for one in by_method], status_code=200
    )(handle)


async def _answer(request: Request[Any, Any, Any], operation: Operation[Any, Any], tokens: Tokens) -> Response[bytes]:
    """Check who asks, read the request strictly, run the operation, and encode what it answers."""
    holder = _allowed(request, operation, tokens)
    if operation.scope != "read":
        _log.info("asked by the admin API", operation=operation.name, path=request.scope["path"], by=holder.name)
    asked = Asked(
        path={name: str(value) for name, value in request.path_params.items()},
        query=_query(request, operation.query),
        body=await _body(request, operation),
        by=holder,
        headers=_headers(request, operation.headers),
    )
    reply = await operation.run(asked)
    headers = {"Cache-Control": "no-store"}
    if reply.location:
        headers["Location"] = reply.location
    content = b"" if operation.status == 204 else msgspec.json.encode(reply.content)
    return Response(content, status_code=reply.status or operation.status, media_type=JSON, headers=headers)


def _allowed(request: Request[Any, Any, Any], operation: Operation[Any, Any], tokens: Tokens) -> Holder:
    given = request.headers.get("authorization")
    holder = tokens.holder(given)
    if holder is None:
        why = "the token is not known" if given else "needs a token: Authorization: Bearer …"
        challenge = 'Bearer realm="ringcloud-gateway"' + (', error="invalid_token"' if given else "")
        raise Problem(401, why, WWW_Authenticate=challenge)
    if operation.scope not in holder.scopes:
        challenge = f'Bearer realm="ringcloud-gateway", error="insufficient_scope", scope="{operation.scope}"'
        raise Problem(403, f"the token {holder.name} lacks the scope {operation.scope}", WWW_Authenticate=challenge)
    return holder


def _query(request: Request[Any, Any, Any], kind: type[Query]) -> Query:
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise Problem(400, "is there twice", name[:64])
        # The numbers that are asked for. A lenient conversion would take a number for a time, too.
        given[name] = int(value) if name in _NUMBERS and re.fullmatch("[0-9]{1,18}", value) else value
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise refusal(error) from None


def _headers(request: Request[Any, Any, Any], kind: type[Any]) -> Any:
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    try:
        return msgspec.convert({name: request.headers[name] for name in names if name in request.headers}, kind)
    except msgspec.ValidationError as error:
        raise refusal(error) from None


async def _body(request: Request[Any, Any, Any], operation: Operation[Any, Any]) -> Any:
    kinds = operation.bodies
    if not kinds:
        return Nothing()
    if (given := request.headers.get("content-type", JSON).partition(";")[0].strip().lower()) not in kinds:
        raise Problem(415, f"the body must be {kinds[0]}, not {given[:64]}")
    try:
        return msgspec.convert(_whole(msgspec.json.decode(await request.body())), operation.body)
    except msgspec.ValidationError as error:
        raise refusal(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "the body is not JSON") from None


def _whole(value: Any) -> Any:
    """The value with 3.0 as 3: to JSON Schema these are the same integer. A number may stand where 3 does."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return {name: _whole(one) for name, one in value.items()} if isinstance(value, dict) else value


def refusal(error: msgspec.ValidationError, *, described: bool = False) -> Problem:
    """400 for what does not fit the description; 422 for what fits it and breaks a rule that no schema can tell.

    `described`: what the description asks of a request was checked before.
    """
    where, why = fault(error)
    # A struct's own check raises ValueError, which msgspec keeps as the cause.
    return Problem(422 if described or error.__cause__ is not None else 400, why, where or None)
