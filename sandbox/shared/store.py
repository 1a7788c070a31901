"""What the nodes of a cluster keep in Redis: its log of changes, its limits and its counts, by one script a step."""

from collections.abc import Awaitable, Mapping
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import msgspec
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from sandbox.state import Order, StateAwayError
from sandbox.stats import MAX_LANES, LaneStats, RequestCount, StatsReport

T = TypeVar("T")
Answer = tuple[str, str, int]

_log = structlog.get_logger(__name__)
_CLUSTER, _LOG, _TIME, _LANES, _ANSWERS = (
    f"ringcloud-sandbox:{name}" for name in ("cluster", "log", "time", "lanes", "answers")
)
_LANE = b"ringcloud-sandbox:lane:"
_CONNECTIONS = 32
_TIMEOUT_SECONDS = 2.0
_BATCH = 1_000
_pack, _unpack = msgspec.msgpack.encode, msgspec.msgpack.decode


class Cluster(NamedTuple):
    """Who shares the state: the cluster's id, its settings as they were given, and when it began (µs since the epoch)."""

    id: bytes
    settings: bytes
    start_us: int


class Lost(NamedTuple):
    """The cluster is not there any more, or has forgotten changes."""


class Behind(NamedTuple):
    """The node does not know these changes, as the log has them; there may be more. Nothing was done."""

    entries: list[bytes]


class Done(NamedTuple):
    """The step was done at `at_us` (µs since the epoch); `accepted` unless its lane had no slot."""

    at_us: int
    accepted: bool


class Store:
    """The Redis behind a URL (`redis://`, `rediss://`, `unix://`). Whatever fails there is a StateAwayError."""

    def __init__(self, url: str) -> None:
        """ValueError for a URL of another form."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_TIMEOUT_SECONDS,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            # Nothing is sent twice: nobody knows whether a step that broke off was done.
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        self._step = self._redis.register_script(_source("step.lua"))
        self._join = self._redis.register_script(_source("join.lua"))
        self._away = False
        parts = urlsplit(url)
        # Without user, password and options.
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def join(self, new_id: bytes, settings: bytes) -> Cluster:
        """The cluster that is there, or a new one of this id and these settings."""
        found, given, start = await self._ask(
            self._join(keys=[_CLUSTER, _LOG, _TIME, _LANES, _ANSWERS], args=[new_id, settings])
        )
        return Cluster(found, given, int(start))

    async def step(self, cluster: bytes, known: int, order: Order, entry: bytes) -> Lost | Behind | Done:
        """Admit the order's lane and keep `entry`, its change (empty: none), for a node that knows `known` changes."""
        lane = b"" if order.lane is None else _pack([_bytes(part) for part in order.lane])
        reply = await self._ask(
            self._step(
                keys=[_CLUSTER, _LOG, _TIME, _LANES, _LANE + lane],
                args=[cluster, known, _BATCH, lane, order.interval_ms * 1000, MAX_LANES, entry],
            )
        )
        if reply[0] == b"done":
            return Done(reply[1], reply[2] == 1)
        return Behind(reply[1:]) if reply[0] == b"behind" else Lost()

    async def count(self, answers: Mapping[Answer, int]) -> None:
        """Add to the counts of answers."""
        pipeline = self._redis.pipeline(transaction=False)
        for answer, count in answers.items():
            pipeline.hincrby(_ANSWERS, _pack(answer), count)
        await self._ask(pipeline.execute())

    async def report(self) -> StatsReport:
        """What was asked of the whole cluster."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(_ANSWERS)
        pipeline.hgetall(_LANES)
        answers, lanes = await self._ask(pipeline.execute())
        counts = [_request_count(answer, int(count)) for answer, count in answers.items()]
        counts.sort(key=lambda one: (one.method, one.path, one.status))
        return StatsReport(
            requests=counts,
            rate_limited=sum(one.count for one in counts if one.status == 429),
            lanes=[_lane_stats(lane, packed) for lane, packed in lanes.items()],
        )

    async def _ask(self, answer: Awaitable[Any]) -> Any:
        try:
            found = await answer
        except (RedisError, OSError, TimeoutError) as error:
            if not self._away:
                # Its kind alone: its text may quote what was sent.
                _log.error("the shared state is out of reach", state=self.shown, error=type(error).__name__)
            self._away = True
            raise StateAwayError from None
        if self._away:
            _log.info("the shared state is back", state=self.shown)
        self._away = False
        return found


def entry_of(name: bytes, change: msgspec.Struct) -> bytes:
    """A change as the log has it, but for the time that `Store.step` puts before it."""
    return _pack([name, change])


def stamped(at_us: int, entry: bytes) -> bytes:
    """An entry as the log has it once it was kept."""
    return b"%d %b" % (at_us, entry)


def read_entry(stored: bytes, type_: type[T]) -> tuple[int, bytes, T]:
    """When a change holds (µs since the epoch), its name, and the change."""
    at_us, _, packed = stored.partition(b" ")
    name, change = _unpack(packed, type=tuple[bytes, type_])  # type: ignore[valid-type]
    return int(at_us), name, cast("T", change)


def _request_count(answer: bytes, count: int) -> RequestCount:
    method, path, status = _unpack(answer, type=Answer)
    return RequestCount(method, path, status, count)


def _lane_stats(lane: bytes, packed: bytes) -> LaneStats:
    key, method, path = (
        part.decode(errors="surrogateescape") for part in _unpack(lane, type=tuple[bytes, bytes, bytes])
    )
    interval, accepted, rejected, gap, first, last = _unpack(packed, type=tuple[int, int, int, int, int, int])
    return LaneStats(
        key=key,
        method=method,
        path=path,
        limit_ms=interval // 1000,
        accepted=accepted,
        rejected=rejected,
        min_gap_ms=None if gap < 0 else gap / 1000,
        first_at_ms=first / 1000,
        last_at_ms=last / 1000,
    )


def _bytes(text: str) -> bytes:
    # A path may hold what is no UTF-8.
    return text.encode(errors="surrogateescape")


def _source(name: str) -> str:
    return files("sandbox.shared").joinpath(name).read_text()
