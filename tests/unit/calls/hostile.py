"""A PBX by the wall clock of any zone, and a gateway that asks it at any moments: nothing in between but bytes."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gateway.calls.differ import Rules
from tests.unit.calls.pairing import false_of, ms, paired
from tests.unit.calls.recording import Taken, Teller, Which

INTERVAL = 5_000
DAY = 86_400_000
# Starts of the same numbers that lie closer than this can't always be told apart.
CLOSE = 6_000

# How far a clock is ahead of the true time (ms), at a true time.
Clock = Callable[[int], int]


def steady(ahead: int) -> Clock:
    """A clock that goes right, `ahead` ms off."""
    return lambda _: ahead


def stepped(before: int, at: int, after: int) -> Clock:
    """A clock that is set at the true time `at`."""
    return lambda now: before if now < at else after


@dataclass(frozen=True)
class Truth:
    """A call as it was, ms by the true clock."""

    id: str
    src: str
    dst: str
    started_at: int
    answered_at: int | None
    ended_at: int
    lag: int = 0  # its completed row shows so late

    @property
    def disposition(self) -> str:
        return "NO ANSWER" if self.answered_at is None else "ANSWERED"


@dataclass
class Server:
    """What it says at a true time. Times are of its wall clock, which is `clock` off; `live` rows tell of the answer.

    A list of `days` has what ended in so many times 24 hours or, by the `calendar`, today and the days before.
    """

    zone: str
    calls: Sequence[Truth]
    clock: Clock = field(default_factory=lambda: steady(0))
    live: bool = True
    calendar: bool = False

    def active(self, now: int) -> bytes:
        return _success(
            {
                "src": call.src,
                "dst": call.dst,
                "seconds": (now - call.started_at) // 1000,
                "status": self._status(call, now),
            }
            for call in self.calls
            if call.started_at <= now < call.ended_at
        )

    def completed(self, now: int, days: int = 7) -> bytes:
        return _success(
            {
                "status": "complete",
                "src": call.src,
                "dst": call.dst,
                "direction": "incoming",
                "call_start_time": self.text(call.started_at),
                "call_end_time": self.text(call.ended_at),
                "duration": (call.ended_at - call.started_at) // 1000,
                "disposition": call.disposition,
                "rec_file": None,
            }
            for call in sorted(self.calls, key=lambda call: call.ended_at)
            if call.ended_at + call.lag <= now and self._within(call.ended_at, now, days)
        )

    def date(self, now: int) -> int:
        return (now + self.clock(now)) // 1000 * 1000

    def text(self, at: int) -> str:
        """The wall clock at a true time, cut to the second."""
        return self._wall(at).strftime("%Y-%m-%d %H:%M:%S")

    def _wall(self, at: int) -> datetime:
        return datetime.fromtimestamp((at + self.clock(at)) // 1000, ZoneInfo(self.zone))

    def _within(self, ended: int, now: int, days: int) -> bool:
        if self.calendar:
            return (self._wall(now).date() - self._wall(ended).date()).days < days
        return now - days * DAY < ended

    def _status(self, call: Truth, now: int) -> str:
        if not self.live:
            return "current"
        return "answered" if call.answered_at is not None and call.answered_at <= now else "ringing"


@dataclass(frozen=True)
class Poll:
    """A question: true times at which it was sent, answered and had. Before some the gateway starts anew."""

    which: Which
    sent: int
    made: int
    received: int
    restart: bool = False
    # What comes in place of the answer.
    instead: bytes | None = None


@dataclass
class Outcome:
    """What the gateway told, by call, and how many calls it still thinks are live."""

    lives: dict[str, list[dict[str, Any]]]
    live: int


def watch(server: Server, polls: Iterable[Poll], ours: Clock | None = None, **rules: Any) -> Outcome:
    """What a gateway whose clock is `ours` off tells of this server, in true times.

    It notices that its clock was set, unless it was not there, and reads no answer that came by another clock than its
    question went out by.
    """
    ours = ours or steady(0)
    teller = Teller(Rules(account=1000, **rules), ZoneInfo(server.zone))
    lives: dict[str, list[dict[str, Any]]] = defaultdict(list)
    ahead: int | None = None
    for poll in polls:
        if poll.restart:
            teller.restart()
        elif ahead is not None and ours(poll.received) != ahead:
            teller.set_clock(ours(poll.received) - ahead)
        ahead = ours(poll.received)
        if ours(poll.sent) != ahead:
            continue
        body = poll.instead
        if body is None:
            body = server.active(poll.made) if poll.which == "active" else server.completed(poll.made)
        taken = Taken(poll.which, poll.sent + ahead, poll.received + ahead, server.date(poll.made), None)
        for told in teller.take(taken, body):
            lives[told.event.subject].append(_truly(told.structured, ahead))
    return Outcome(lives, teller.live())


def _truly(event: dict[str, Any], ahead: int) -> dict[str, Any]:
    """The event, told by a clock that is `ahead`, in true times."""
    data = event["data"]
    times = {name: _back(data[name], ahead) for name in ("not_before", "not_after", "observed_at")}
    return {**event, "time": _back(event["time"], ahead), "data": {**data, **times}}


def _back(time: str, ahead: int) -> str:
    return (datetime.fromisoformat(time) - timedelta(milliseconds=ahead)).isoformat()


def wrong(server: Server, outcome: Outcome, *, excused: bool = False) -> str | None:
    """How what was told differs from what was; None where every call was told of once and truly.

    Where `excused`, what is told as ambiguous need not be true, nor what was told before a life that is ambiguous and may
    have begun at the same moment; but each call has its life, and the others are true.
    """
    calls, lives = server.calls, outcome.lives
    for subject, life in lives.items():
        if [event["data"]["sequence"] for event in life] != list(range(1, len(life) + 1)):
            return f"{subject} is not numbered"
    owner = paired(calls, lives)
    if len(owner) == len(lives) == len(calls) and not outcome.live:
        return None
    if excused and not outcome.live and _excused(calls, lives):
        return None
    taken = set(owner.values())
    lost = [call for call in calls if call.id not in taken]
    strange = [life for subject, life in lives.items() if subject not in owner]
    said = [f"{len(calls)} calls, {len(lives)} lives, {outcome.live} live"]
    said += [f"not told of truly: {call}" for call in lost]
    said += [
        "told, and not so: "
        + "; ".join(f"{e['type']} {e['time']} [{e['data']['not_before']} … {e['data']['not_after']}]" for e in life)
        + "".join(f"\n    {call.id}: {false_of(life, call)}" for call in lost)
        for life in strange
    ]
    return "\n  ".join(said)


def _excused(calls: Sequence[Truth], lives: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    doubted = [life for life in lives.values() if any(event["data"]["ambiguous"] for event in life)]
    sure = {
        subject: life
        for subject, life in lives.items()
        if not any(other is life or _doubts(other, life) for other in doubted)
    }
    whole = all([event["type"] for event in life].count("call.ended") == 1 for life in lives.values())
    begun = Counter((life[0]["data"]["src"], life[0]["data"]["dst"]) for life in lives.values())
    return whole and len(paired(calls, sure)) == len(sure) and begun == Counter((call.src, call.dst) for call in calls)


def _doubts(later: Sequence[Mapping[str, Any]], life: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a life that was told of later may have been taken for this one."""
    one, other = later[0]["data"], life[0]["data"]
    return (
        (one["src"], one["dst"]) == (other["src"], other["dst"])
        and one["observed_at"] > other["observed_at"]
        and max(ms(one["not_before"]), ms(other["not_before"])) <= min(ms(one["not_after"]), ms(other["not_after"]))
    )


def close(calls: Sequence[Truth], within: int = CLOSE) -> bool:
    """Whether two calls of the same numbers began `within` so many ms of each other: too close to be told apart."""
    last: dict[tuple[str, str], int] = {}
    for call in sorted(calls, key=lambda call: call.started_at):
        before = last.get((call.src, call.dst))
        if before is not None and call.started_at - before <= within:
            return True
        last[call.src, call.dst] = call.started_at
    return False


def _success(rows: Iterable[dict[str, Any]]) -> bytes:
    return json.dumps({"status": "success", "message": None, "data": list(rows)}).encode()
