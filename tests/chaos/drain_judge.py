"""Judges what became of what was in flight when a service was told to end, by what the brokers and the receiver hold."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from aiokafka import TopicPartition

from tests.support.commands import is_over


@dataclass(frozen=True)
class Request:
    """A request that a receiver got for a delivery: when (epoch ms), and when it was answered with what, if it was."""

    endpoint: str
    delivery: str
    arrived: int
    answered: int | None
    status: int

    @property
    def accepted(self) -> bool:
        """Whether the receiver took the webhook."""
        return self.answered is not None and self.status < 300


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A service that was told to end: when, what was in flight as others see it, and how it ended. Times are epoch ms."""

    service: str
    told_at: int
    ended_at: int
    code: int | None
    # Whether the brokers did not answer as it was told to end, and so many answers came that couldn't be committed.
    hung: bool = False
    uncommitted: int = 0
    # Requests to RingCloud, and those of them that were cut off.
    polls: int = 0
    polls_cut: int = 0
    orders: int = 0
    orders_cut: int = 0
    # Where each open transaction begins.
    transactions: tuple[tuple[TopicPartition, int], ...] = ()
    # Deliveries whose requests the receiver had not answered.
    attempts: tuple[str, ...] = ()
    # Its own figures just before.
    figures: Mapping[str, float] = field(default_factory=dict)
    # What it left open, in words.
    left: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_at - self.told_at) / 1000


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known in the end. Times are epoch ms."""

    endpoints: Sequence[str]
    # Of each command when it was sent, and what is told of it.
    sent: Mapping[str, int]
    results: Sequence[dict[str, Any]]
    # Commands that were executed twice and must not be.
    twice: Sequence[str]
    # Committed call events, with the time of their record.
    events: Mapping[str, int]
    # Deliveries in the order in which they were made, and attempts: of which delivery, begun when.
    deliveries: Sequence[tuple[str, int]]
    attempts: Sequence[tuple[str, int]]
    requests: Sequence[Request]
    # Where the committed records of transactional topics are.
    committed: frozenset[tuple[TopicPartition, int]]


@dataclass
class Fate:
    """What became of one kind of thing: ended by who was told to end, by its successor, done again, lost (None: n/a)."""

    what: str
    in_flight: int = 0
    ended: int = 0
    after: int = 0
    again: int | None = None
    lost: int | None = None

    def add(self, *, ended: bool, lost: bool = False, again: bool = False) -> None:
        """Count one more that can be lost, and done again."""
        self.in_flight += 1
        self.again = (self.again or 0) + again
        self.lost = (self.lost or 0) + lost
        if not lost:
            self.ended += ended
            self.after += not ended

    def row(self) -> list[str]:
        """Its cells as text."""
        return ["–" if value is None else str(value) for value in asdict(self).values()]


def fates(stops: Sequence[Stop], facts: Facts) -> list[Fate]:
    """What became of everything that was in flight at all stops together, by kind."""
    gateway = [stop for stop in stops if stop.service == "gateway"]
    streams = [stop for stop in stops if stop.service == "streams"]
    polls, orders, transactions = Fate("polls"), Fate("commands on the wire"), Fate("open transactions")
    for stop in gateway:
        _requests(polls, stop.polls, stop.polls_cut)
        _requests(orders, stop.orders, stop.orders_cut)
        whole = sum(where in facts.committed for where in stop.transactions)
        _requests(transactions, len(stop.transactions), len(stop.transactions) - whole)
    hung = sum(stop.uncommitted for stop in gateway)
    answers = Fate("answers while the brokers hang", in_flight=hung, after=hung)
    return [
        polls,
        answers,
        transactions,
        orders,
        _commands(gateway, facts),
        _events(streams, facts),
        *_deliveries(streams, facts),
    ]


def _requests(fate: Fate, count: int, cut: int) -> None:
    # One that was begun before the signal was heard is cut off, too.
    fate.in_flight += max(count, cut)
    fate.ended += max(count - cut, 0)
    fate.after += cut


def _commands(stops: Iterable[Stop], facts: Facts) -> Fate:
    fate = Fate("commands")
    over = {one["command_id"]: one["ms"] for one in facts.results if is_over(one)}
    twice = {one.split(" ")[0] for one in facts.twice}
    for stop in stops:
        for id_, sent in facts.sent.items():
            at = over.get(id_)
            if sent <= stop.told_at and (at is None or at > stop.told_at):
                fate.add(ended=at is not None and at <= stop.ended_at, lost=at is None, again=id_ in twice)
    return fate


def _events(stops: Iterable[Stop], facts: Facts) -> Fate:
    fate = Fate("call events not yet expanded")
    made: dict[str, int] = {}
    times: Counter[str] = Counter()
    for delivery, at in facts.deliveries:
        made.setdefault(delivery, at)
        times[delivery] += 1
    wanted = {event: [f"{event}-{endpoint}" for endpoint in facts.endpoints] for event in facts.events}
    for stop in stops:
        for event, at in facts.events.items():
            deliveries = wanted[event]
            lost = any(one not in made for one in deliveries)
            done = max((made.get(one, at) for one in deliveries), default=at)
            if at <= stop.told_at and (lost or done > stop.told_at):
                fate.add(
                    ended=done <= stop.ended_at, lost=lost, again=any(times[delivery] > 1 for delivery in deliveries)
                )
    return fate


def _deliveries(stops: Iterable[Stop], facts: Facts) -> list[Fate]:
    attempts, queued, retries = Fate("attempts under way"), Fate("deliveries queued"), Fate("deliveries to be retried")
    made = dict(reversed(facts.deliveries))
    requests: dict[str, list[Request]] = defaultdict(list)
    for request in facts.requests:
        requests[request.delivery].append(request)
    recorded: dict[str, list[int]] = defaultdict(list)
    for delivery, at in facts.attempts:
        recorded[delivery].append(at)
    for stop in stops:
        for delivery, at in made.items():
            mine = requests[delivery]
            taken = [one.answered or 0 for one in mine if one.accepted]
            if delivery in stop.attempts:
                # One attempt of a delivery at a time: as many are written as were received, or the last was cut off.
                whole = _until(recorded[delivery], stop.told_at) >= _until([one.arrived for one in mine], stop.told_at)
                attempts.add(ended=whole, lost=not taken, again=len(taken) > 1)
            elif at <= stop.told_at and (not taken or min(taken) > stop.told_at):
                tried = any(one.arrived <= stop.told_at for one in mine)
                ended = bool(taken) and min(taken) <= stop.ended_at
                (retries if tried else queued).add(ended=ended, lost=not taken, again=len(taken) > 1)
    return [attempts, queued, retries]


def _until(times: Iterable[int], moment: int) -> int:
    return sum(at <= moment for at in times)
