"""The client of the RingCloud API: a coroutine for each URL, over a pool and a limiter that many accounts share."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Literal, NamedTuple, Protocol, Self, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
import msgspec

from gateway.contract.times import Ms
from gateway.ringcloud import limits
from gateway.ringcloud.envelope import decode_any, decode_envelope, message_of
from gateway.ringcloud.errors import DeadlineExceeded, NotFound, RateLimited, RingCloudError, error_of_status
from gateway.ringcloud.http import Flight, Http, Reply
from gateway.ringcloud.limiter import Limiter
from gateway.ringcloud.limits import Operation
from gateway.ringcloud.resources import (
    Channel,
    User,
    decode_channel,
    decode_names,
    decode_user,
    decode_users,
)
from gateway.ringcloud.rows import ActiveRow, CompletedRow, decode_active, decode_completed
from gateway.ringcloud.turns import Lane, Priority

DEFAULT_URL: Final = "https://api.ringcloud.ru"
MAX_RESPONSE_BYTES: Final = 32 * 1024 * 1024

CompletedPath = Literal["complite", "complete"]
_COMPLETED: Final[dict[CompletedPath, Operation]] = {"complite": limits.COMPLITE, "complete": limits.COMPLETE}
_OTHER: Final[dict[CompletedPath, CompletedPath]] = {"complite": "complete", "complete": "complite"}
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "ringcloud-gateway"}

BeforeSend = Callable[[], Awaitable[None]]
Decoded = TypeVar("Decoded", covariant=True)


class Decode(Protocol[Decoded]):
    """Reads the body of a 200; `url` is what its errors name."""

    def __call__(self, body: bytes, *, url: str) -> Decoded:
        """The body's content. Raises EnvelopeError."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A 200 whose body is not decoded yet, so that equal bodies can be told without it.

    `sent_at` and `received_at` (its last byte) are by this machine's clock, `server_date` by the server's, to the
    second, where it told; all ms UTC. `url` has no query.
    """

    url: str
    body: bytes
    sent_at: Ms
    received_at: Ms
    server_date: Ms | None


class RingCloud:
    """A key of an account, and what can be asked with it.

        async with RingCloud(key, password) as api:
            await api.originate(user="400", num="74950001122")

    All coroutines wait for the limiter first. They take a `priority` (commands before polls in the same lane) and a
    `deadline` for being sent, in the limiter's time (`api.now()` plus seconds), and raise the errors of
    `gateway.ringcloud.errors` and no others. None of them repeats a request by itself.

    Without `http` or `limiter` it has its own; those handed in are shared and not closed.
    """

    def __init__(
        self,
        key: str,
        password: str,
        *,
        base_url: str = DEFAULT_URL,
        time_zone: str = "Europe/Moscow",
        completed_path: CompletedPath = "complite",
        timeout: float = 10.0,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        http: Http | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        """`time_zone` is the account's (an IANA name), `timeout` bounds each request as a whole, in seconds.

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
        self._base_url = base_url.rstrip("/")
        self._completed_path: CompletedPath = completed_path
        self._timeout = timeout
        self._max_bytes = max_response_bytes

    def __repr__(self) -> str:
        return f"RingCloud({self._base_url})"

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

    # Calls

    async def fetch_active(self, *, priority: Priority = Priority.POLL, deadline: float | None = None) -> Answer:
        """The list of current calls, to be read by `read_active()` where it differs from the last one."""
        return _answer(await self._ask(limits.ACTIVE, priority=priority, deadline=deadline))

    def read_active(self, answer: Answer) -> list[ActiveRow]:
        """The current calls in `answer`. Raises EnvelopeError (RowError among it)."""
        with self._redacting():
            return decode_active(answer.body, url=answer.url)

    async def active_calls(
        self, *, priority: Priority = Priority.POLL, deadline: float | None = None
    ) -> list[ActiveRow]:
        """The current calls."""
        return self.read_active(await self.fetch_active(priority=priority, deadline=deadline))

    async def fetch_completed(
        self,
        days: int = 7,
        num: str | None = None,
        *,
        priority: Priority = Priority.POLL,
        deadline: float | None = None,
    ) -> Answer:
        """The list of calls completed in the last `days` (1 to 7), to be read by `read_completed()` where it differs.

        `num` keeps those of one number. Where `complite` is not found, `complete` is tried once, and the other way
        round; what was found is asked first from then on.
        """
        query = {"days": str(days)} if num is None else {"days": str(days), "num": num}
        spelling = self._completed_path
        try:
            reply = await self._ask(_COMPLETED[spelling], query=query, priority=priority, deadline=deadline)
        except NotFound:
            spelling = _OTHER[spelling]
            reply = await self._ask(_COMPLETED[spelling], query=query, priority=priority, deadline=deadline)
        self._completed_path = spelling
        return _answer(reply)

    def read_completed(self, answer: Answer) -> list[CompletedRow]:
        """The completed calls in `answer`; times without a zone are in the account's. Raises EnvelopeError."""
        with self._redacting():
            return decode_completed(answer.body, self.zone, url=answer.url)

    async def completed_calls(
        self,
        days: int = 7,
        num: str | None = None,
        *,
        priority: Priority = Priority.POLL,
        deadline: float | None = None,
    ) -> list[CompletedRow]:
        """The calls completed in the last `days` (1 to 7), of one number where `num` is given."""
        return self.read_completed(await self.fetch_completed(days, num, priority=priority, deadline=deadline))

    async def originate(
        self,
        user: str,
        num: str,
        *,
        priority: Priority = Priority.COMMAND,
        deadline: float | None = None,
        before_send: BeforeSend | None = None,
        flight: Flight | None = None,
    ) -> object:
        """Ring `user`, and dial `num` once that one has answered. Returns what the API returns: it does not say what.

        Sent at most once. `before_send` is awaited when it is this request's turn, just before it is sent (what it
        raises stops it); `flight` tells afterwards whether it may have been sent, also where this was cancelled.
        """
        reply = await self._ask(
            limits.ORIGINATE,
            params={"user": user, "num": num},
            priority=priority,
            deadline=deadline,
            before_send=before_send,
            flight=flight,
        )
        return self._read(reply, _any_data)

    async def channels(self, *, priority: Priority = Priority.COMMAND, deadline: float | None = None) -> list[str]:
        """The names of the active channels."""
        return self._read(await self._ask(limits.CHANNELS, priority=priority, deadline=deadline), decode_names)

    async def channel(
        self, name: str, *, priority: Priority = Priority.COMMAND, deadline: float | None = None
    ) -> Channel:
        """One active channel; `name` as `channels()` gives it."""
        return self._read(await self._ask(limits.CHANNEL, name, priority=priority, deadline=deadline), decode_channel)

    # Users

    async def users(self, *, priority: Priority = Priority.COMMAND, deadline: float | None = None) -> list[User]:
        """The account's users."""
        return self._read(await self._ask(limits.USERS, priority=priority, deadline=deadline), decode_users)

    async def user(self, name: str, *, priority: Priority = Priority.COMMAND, deadline: float | None = None) -> User:
        """One user. Raises BadParameters where there is none of this name."""
        return self._read(await self._ask(limits.USER, name, priority=priority, deadline=deadline), decode_user)

    # What all of them stand on

    def _lane(self, operation: Operation, names: tuple[str, ...]) -> Lane:
        return Lane(self._key, operation.method, operation.path(*names))

    async def _ask(
        self,
        operation: Operation,
        *names: str,
        query: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        priority: Priority,
        deadline: float | None,
        before_send: BeforeSend | None = None,
        flight: Flight | None = None,
    ) -> _Reply:
        """Send one request in its turn. Returns its answer where that is a 200, raises RingCloudError otherwise."""
        lane = self._lane(operation, names)
        url = f"{self._base_url}{lane.path}"
        with self._redacting():
            request = httpx.Request(
                operation.method,
                httpx.URL(url, params={**self._auth, **(query or {})}),
                headers=_HEADERS,
                json={"params": params or {}} if operation.method == "POST" else None,
            )
            try:
                async with self.limiter.slot(lane, operation.interval, priority=priority, deadline=deadline) as slot:
                    if before_send is not None:
                        await before_send()
                    reply = await self._http.exchange(
                        request,
                        timeout=self._timeout,
                        max_bytes=self._max_bytes,
                        flight=flight,
                        on_answer=lambda status, headers: slot.answered(
                            rate_limited=status == 429, retry_after=_seconds(headers.get("retry-after"))
                        ),
                    )
            except DeadlineExceeded as error:
                error.url = url
                raise
            if reply.status == 200:
                return _Reply(url, reply)
            failure = error_of_status(reply.status, message_of(reply.body), url=url)
            if isinstance(failure, RateLimited):
                failure.retry_after = self.limiter.estimate(lane, operation.interval) - self.now()
            raise failure

    def _read(self, reply: _Reply, decode: Decode[Decoded]) -> Decoded:
        with self._redacting():
            return decode(reply.reply.body, url=reply.url)

    @contextmanager
    def _redacting(self) -> Iterator[None]:
        """Take the secrets out of what RingCloud says: it may repeat what it was sent."""
        try:
            yield
        except RingCloudError as error:
            for secret in self._secrets:
                error.message = error.message.replace(secret, "***")
            error.args = (error.message,)
            raise


class _Reply(NamedTuple):
    url: str
    reply: Reply


def _answer(got: _Reply) -> Answer:
    reply = got.reply
    return Answer(
        url=got.url,
        body=reply.body,
        sent_at=reply.sent_at,
        received_at=reply.received_at,
        server_date=reply.date(),
    )


def _any_data(body: bytes, *, url: str) -> object:
    return decode_any(decode_envelope(body, url=url), url=url)


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After in seconds; its other form, a date, would need the two clocks to agree."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
