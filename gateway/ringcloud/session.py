"""What every coroutine of the client stands on: the key, the turn in its lane, one exchange, secrets kept out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Literal, NamedTuple, Protocol, Self, TypedDict, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx

from gateway.ringcloud.envelope import MAX_MESSAGE, message_of
from gateway.ringcloud.errors import (
    DeadlineExceeded,
    RateLimited,
    RingCloudError,
    ServerError,
    TransportError,
    error_of_status,
)
from gateway.ringcloud.http import Arriving, Flight, Http, OnAnswer, Reply
from gateway.ringcloud.limiter import Limiter, Slot
from gateway.ringcloud.limits import Operation
from gateway.ringcloud.turns import Lane, Priority

DEFAULT_URL: Final = "https://api.ringcloud.ru"
MAX_RESPONSE_BYTES: Final = 32 * 1024 * 1024
# Nine hours of what telephony records in: 8,000 samples of 16 bits a second.
MAX_RECORD_BYTES: Final = 512 * 1024 * 1024

_JSON: Final = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "ringcloud-gateway"}
_FILE: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "ringcloud-gateway"}
# What goes wrong by itself and may go right the next time. A 429 is not among it: the lane rests for it, which can
# take minutes, and whether that is worth it is the caller's to say.
_PASSING: Final = (TransportError, ServerError)
# How many requests of a key are kept made: the lists that are polled, with some changes of their days.
_KEPT_MADE: Final = 8

CompletedPath = Literal["complite", "complete"]
BeforeSend = Callable[[], Awaitable[None]]
Decoded = TypeVar("Decoded", covariant=True)
Done = TypeVar("Done")


class Decode(Protocol[Decoded]):
    """Reads the body of a 200; `url` is what its errors name."""

    def __call__(self, body: bytes, *, url: str) -> Decoded:
        """The body's content. Raises EnvelopeError."""


class Reading(TypedDict, total=False):
    """How a read is sent: `priority` in its lane (a command's unless told) and `deadline` for being sent, in the
    limiter's time, seconds."""

    priority: Priority
    deadline: float | None


class Sending(TypedDict, total=False):
    """How a change is sent, once at most.

    `priority` (a command's unless told) and `deadline` are a read's. `before_send` is awaited when it is this
    request's turn, just before it is sent (what it raises stops it); `flight` tells afterwards whether it may have been
    sent, also where this was cancelled.
    """

    priority: Priority
    deadline: float | None
    before_send: BeforeSend | None
    flight: Flight | None


class Got(NamedTuple):
    """A 200, and the URL without its query that it came from."""

    url: str
    reply: Reply


class _Made(NamedTuple):
    """A request as it is sent, the lane that it belongs to, and its URL without its query."""

    lane: Lane
    url: str
    request: httpx.Request


class _Redacting:
    """Takes secrets out of what RingCloud says: it may repeat what it was sent."""

    __slots__ = ("_secrets",)

    def __init__(self, *secrets: str) -> None:
        self._secrets = secrets

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, RingCloudError):
            for secret in self._secrets:
                for form in _forms(secret):
                    error.message = error.message.replace(form, "***")
            error.message = error.message[:MAX_MESSAGE]
            error.args = (error.message,)


class Session:
    """A key of an account, the pool and the limiter that its requests go through."""

    def __init__(
        self,
        key: str,
        password: str,
        *,
        base_url: str = DEFAULT_URL,
        time_zone: str = "Europe/Moscow",
        completed_path: CompletedPath = "complite",
        timeout: float = 10.0,
        read_retries: int = 2,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        max_record_bytes: int = MAX_RECORD_BYTES,
        http: Http | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        """`key` and `password` are an API key's; all the rest has a default.

        - `time_zone`: the account's, an IANA name.
        - `completed_path`: how the list of completed calls is spelled, to begin with.
        - `timeout`: bounds each request as a whole, in seconds; a recording's each piece.
        - `read_retries`: how often a read is repeated that met a broken connection or a 5xx, 0 or more.
        - `max_response_bytes`, `max_record_bytes`: the largest answer and the largest recording that are read.
        - `http`, `limiter`: shared ones.

        Raises ValueError for a zone that does not exist and for a base URL that is none.
        """
        try:
            self.zone = ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"no such time zone: {time_zone}") from None
        if not base_url.startswith(("http://", "https://")) or "?" in base_url or "#" in base_url:
            raise ValueError(f"not a base URL: {base_url}")
        self.limiter = limiter or Limiter()
        self._http = http or Http()
        self._own_http = http is None
        self._key = key
        # md5 is what the API asks for; it protects nothing here.
        digest = hashlib.md5(f"{key}{password}".encode(), usedforsecurity=False).hexdigest()
        self._auth = {"api_key": key, "hash": digest}
        self._secrets = tuple(secret for secret in (digest, key, password) if secret)
        self._keeping_secrets = _Redacting(*self._secrets)
        self._made: dict[tuple[object, ...], _Made] = {}
        self._base_url = base_url.rstrip("/")
        self._completed_path: CompletedPath = completed_path
        self._timeout = timeout
        self._read_retries = read_retries
        self._max_bytes = max_response_bytes
        self._max_record_bytes = max_record_bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base_url})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, unless they are shared."""
        if self._own_http:
            await self._http.aclose()

    def now(self) -> float:
        """The limiter's time, in seconds: what deadlines and `estimate()` are counted in."""
        return self.limiter.clock.now()

    def estimate(self, operation: Operation, *names: str, priority: Priority = Priority.COMMAND) -> float:
        """When such a request could be sent if it came now, in the limiter's time.

        `operation` is one of `gateway.ringcloud.limits`, `names` fill its path.
        """
        return self.limiter.estimate(self._lane(operation, names), operation.interval, priority=priority)

    def _lane(self, operation: Operation, names: tuple[str, ...]) -> Lane:
        return Lane(self._key, operation.method, operation.path(*names))

    async def _ask(
        self,
        operation: Operation,
        *names: str,
        query: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        hidden: tuple[str, ...] = (),
        priority: Priority = Priority.COMMAND,
        deadline: float | None = None,
        before_send: BeforeSend | None = None,
        flight: Flight | None = None,
    ) -> Got:
        """Send one request in its turn, once. Returns its answer where that is a 200, raises RingCloudError otherwise.

        `hidden` are secrets among the parameters.
        """
        made = self._made_of(operation, names, query, params)
        with self._redacting(*hidden):
            async with self._turn(made, operation, priority, deadline) as slot:
                if before_send is not None:
                    await before_send()
                reply = await self._http.exchange(
                    made.request,
                    timeout=self._timeout,
                    max_bytes=self._max_bytes,
                    flight=flight,
                    on_answer=_told(slot),
                )
            self._check(reply.status, reply.body, made, operation)
            return Got(made.url, reply)

    async def _get(
        self,
        decode: Decode[Done],
        operation: Operation,
        *names: str,
        priority: Priority = Priority.COMMAND,
        deadline: float | None = None,
    ) -> Done:
        """What a GET answers, decoded; repeated where that may help."""

        async def once() -> Done:
            return self._read(await self._ask(operation, *names, priority=priority, deadline=deadline), decode)

        return await self._repeated(once)

    @asynccontextmanager
    async def _open(
        self, operation: Operation, *names: str, priority: Priority = Priority.COMMAND, deadline: float | None = None
    ) -> AsyncIterator[Arriving]:
        """A GET whose 200 is read piece by piece inside. The turn in the lane lasts as long: a file's URL is not asked
        again while it is still arriving."""
        made = self._make(operation, names, headers=_FILE)
        with self._redacting():
            async with (
                self._turn(made, operation, priority, deadline) as slot,
                self._http.open(
                    made.request, timeout=self._timeout, max_bytes=self._max_record_bytes, on_answer=_told(slot)
                ) as arriving,
            ):
                self._check(arriving.status, b"", made, operation)
                yield arriving

    async def _repeated(self, once: Callable[[], Awaitable[Done]]) -> Done:
        """The outcome of `once`, called again after what passes by itself. Each call waits for a turn of its own: the
        lane's interval is the pause between them."""
        failure: RingCloudError | None = None
        left = self._read_retries
        while True:
            try:
                return await once()
            except DeadlineExceeded:
                if failure is None:
                    raise
                # No turn in time to repeat it: what went wrong before says more.
                raise failure from None
            except _PASSING as error:
                if left <= 0:
                    raise
                failure = error
            left -= 1

    def _made_of(
        self,
        operation: Operation,
        names: tuple[str, ...],
        query: Mapping[str, str] | None,
        params: Mapping[str, str] | None,
    ) -> _Made:
        """The request, made once where it is one that polls repeat: to make it is a tenth of a whole poll's work."""
        if names or operation.method == "POST":
            return self._make(operation, names, query=query, params=params)
        which = (operation, *(query or {}).items())
        made = self._made.get(which)
        if made is None:
            if len(self._made) >= _KEPT_MADE:
                self._made.clear()
            made = self._made[which] = self._make(operation, names, query=query)
        return made

    def _make(
        self,
        operation: Operation,
        names: tuple[str, ...],
        *,
        query: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] = _JSON,
    ) -> _Made:
        lane = self._lane(operation, names)
        url = f"{self._base_url}{lane.path}"
        request = httpx.Request(
            operation.method,
            httpx.URL(url, params={**self._auth, **(query or {})}),
            headers=headers,
            json={"params": params or {}} if operation.method == "POST" else None,
        )
        return _Made(lane, url, request)

    def _turn(self, made: _Made, operation: Operation, priority: Priority, deadline: float | None) -> Slot:
        return self.limiter.slot(made.lane, operation.interval, priority=priority, deadline=deadline, url=made.url)

    def _check(self, status: int, body: bytes, made: _Made, operation: Operation) -> None:
        """Raise the error of a `status` that is not 200; `body` may say why."""
        if status == 200:
            return
        failure = error_of_status(status, message_of(body), url=made.url)
        if isinstance(failure, RateLimited):
            failure.retry_after = self.limiter.estimate(made.lane, operation.interval) - self.now()
        raise failure

    def _read(self, got: Got, decode: Decode[Decoded], *hidden: str) -> Decoded:
        with self._redacting(*hidden):
            return decode(got.reply.body, url=got.url)

    def _redacting(self, *hidden: str) -> _Redacting:
        """Take this key's secrets, and those `hidden`, out of the errors that are raised inside."""
        return _Redacting(*self._secrets, *hidden) if hidden else self._keeping_secrets


def _forms(secret: str) -> list[str]:
    """How `secret` may stand in a message: as it is, in JSON, in a URL, its white space squeezed. Longest first."""
    forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe="")}
    forms |= {" ".join(form.split()) for form in forms}
    return sorted((form for form in forms if form), key=len, reverse=True)


def _told(slot: Slot) -> OnAnswer:
    """Tells `slot` what an answer's head says about the lane."""

    def answered(status: int, headers: httpx.Headers) -> None:
        if status == 429:
            slot.answered(rate_limited=True, retry_after=_seconds(headers.get("retry-after")))
        else:
            slot.answered()

    return answered


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After in seconds; its other form, a date, would need the two clocks to agree."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
