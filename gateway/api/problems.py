"""Errors as problem details (RFC 9457): what is wrong, in words for people, and which field is."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import structlog
from aiokafka.errors import KafkaError
from litestar import Request, Response
from litestar.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Seconds after which it may be worth to ask again where the brokers don't answer.
_AGAIN = 5


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What an error is answered with."""

    status: Annotated[int, msgspec.Meta(description="The HTTP status")]
    title: Annotated[str, msgspec.Meta(description="The status in words")]
    detail: Annotated[str, msgspec.Meta(description="What is wrong; no secret in it")]
    type: Annotated[str, msgspec.Meta(description="about:blank: the status says what kind of problem it is")] = (
        "about:blank"
    )
    field: Annotated[
        str | None, msgspec.Meta(description="Which field of the body or which parameter is wrong, where one is")
    ] = None


class Problem(Exception):
    """Ends a request with problem details."""

    def __init__(self, status: int, detail: str, field: str | None = None, **headers: str) -> None:
        """Take the HTTP status, what is wrong, the field, and headers (their `_` becomes `-`)."""
        super().__init__(detail)
        self.status = status
        self.details = ProblemDetails(status=status, title=HTTPStatus(status).phrase, detail=detail, field=field)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to a request that ended with `error`."""
    problem = error if isinstance(error, Problem) else _problem(request, error)
    return Response(
        msgspec.json.encode(problem.details),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={**problem.headers, "Cache-Control": "no-store"},
    )


def _problem(request: Request[Any, Any, Any], error: Exception) -> Problem:
    path = request.scope["path"][:200]
    if isinstance(error, HTTPException):
        given = {name.replace("-", "_"): value for name, value in (error.headers or {}).items()}
        match error.status_code:
            case 404:
                return Problem(404, f"nothing is at {path}")
            case 405:
                return Problem(405, f"{request.method[:20]} is not for {path}", **given)
            case 413:
                return Problem(413, "the body is too long")
            case status if status < 500:
                return Problem(status, HTTPStatus(status).phrase, **given)
    if isinstance(error, KafkaError | TimeoutError):
        _log.warning("Kafka did not answer a request of the admin API", path=path, kind=type(error).__name__)
        return Problem(503, f"Kafka does not answer ({type(error).__name__})", Retry_After=str(_AGAIN))
    _log.error("a request of the admin API failed", path=path, exc_info=error)
    return Problem(500, "the gateway failed; its log says why")
