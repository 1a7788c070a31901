"""Looks at random for worlds in which the differ breaks a law: `python -m tests.soak.search --minutes 10 --seed 1`.

Each world is made from its number alone, so `--world N` gives it again. What is found is made smaller and printed; the
exit code is 1 then. The laws are those of `tests.unit.calls.hostile.wrong`: each call has one life, whatever is not
marked ambiguous is true, and nothing goes on.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from tests.unit.calls.hostile import CLOSE, DAY, INTERVAL, Poll, Server, Truth, close, steady, watch, wrong
from tests.unit.calls.recording import Which
from tests.unit.calls.test_dst import CHANGES

GRACE = 60_000
# Answers that are none, and the false one of a list that is empty for a moment.
UNREADABLE = [
    b"",
    b"<html><head><title>502 Bad Gateway</title></head></html>",
    b'{"status": "error", "message": "internal error", "data": null}',
    b'{"status": "success", "message": null, "data": null}',
    b'{"status": "success", "message": null, "data": [{"src": "101", "dst": "2',
    b'{"status": "success", "message": null, "data": [{"src": "101"}]}',
]
EMPTY = b'{"status": "success", "message": null, "data": []}'
NUMBERS = [("79160000001", "401"), ("79160000001", "402"), ("403", "404")]


@dataclass(frozen=True)
class World:
    """A server, and the questions that it was asked."""

    server: Server
    polls: tuple[Poll, ...]

    def breaks(self) -> str | None:
        """The law that the gateway breaks in it."""
        try:
            return wrong(self.server, watch(self.server, self.polls, absence_grace=GRACE), excused=True)
        except Exception as error:  # noqa: BLE001 - whatever the differ raises is what is looked for
            return f"raised {error!r}"


def world(number: int, *, twins: bool) -> World:
    """The world of this number; `twins`: with calls of the same numbers that begin at almost the same moment."""
    rng = random.Random(f"{number}/{twins}")
    change = rng.choice(CHANGES if rng.random() < 0.5 else [CHANGES[-2]])
    skew = rng.choice([0, rng.randint(-600_000, 600_000), rng.randint(-1_500, 1_500)])
    begin = change.ms - skew + rng.choice([0, -1, 1]) * rng.randint(0, 2 * max(1, abs(change.minutes))) * 60_000
    span = rng.choice([10_000, 60_000, 240_000])
    slowest = rng.choice([20, 300, 3_000])
    calls: list[Truth] = []
    for n in range(rng.randint(1, 10)):
        src, dst = rng.choice(NUMBERS)
        start = begin + rng.randint(0, span)
        if twins and calls and rng.random() < 0.5:
            other = rng.choice(calls)
            src, dst, start = other.src, other.dst, other.started_at + rng.randint(0, CLOSE)
        ring = rng.choice([rng.randint(0, 1_500), rng.randint(1, 20_000)])
        talk = rng.choice([None, rng.randint(0, 1_500), rng.randint(0, 20_000), rng.randint(0, 120_000)])
        answer = None if talk is None else start + ring
        lag = rng.choice([0, 0, 0, rng.randint(0, 10_000), rng.randint(0, 3 * GRACE)])
        call = Truth(str(n), src, dst, start, answer, max(start + 1, start + ring + (talk or 0)), lag)
        # What slow answers leave open of a start comes on top.
        if twins or not close([*calls, call], CLOSE + 4 * slowest):
            calls.append(call)
    server = Server(change.zone, calls, steady(skew), live=rng.random() < 0.5, calendar=rng.random() < 0.5)
    return World(server, tuple(_polls(rng, begin, calls, slowest)))


def _polls(rng: random.Random, begin: int, calls: list[Truth], slowest: int) -> Iterator[Poll]:
    # The last answers come whole, so that everything can be known in the end.
    over = max(call.ended_at + call.lag for call in calls) + 2 * GRACE
    until = over + GRACE + 6 * INTERVAL
    lost, bad, empty, restart = (rng.choice([0.0, 0.0, rng.uniform(0, share)]) for share in (0.5, 0.2, 0.05, 0.3))
    # One outage, now and then.
    down = range(0)
    if rng.random() < 0.2:
        down_at = rng.randint(begin, over)
        down = range(down_at, down_at + rng.choice([20_000, 120_000, 3_600_000, DAY]))
        until, over = max(until, down.stop + 3 * GRACE), max(over, down.stop)
    found: list[Poll] = []
    for which in ("active", "completed"):
        kind: Which = "active" if which == "active" else "completed"
        at = begin - rng.randint(1, INTERVAL)
        while at < until:
            there, back = rng.randint(0, slowest), rng.randint(0, slowest)
            poll = Poll(kind, at, at + there, at + there + back)
            settled = at < begin or at > over
            dice = rng.random()
            if settled:
                found.append(poll)
            elif at in down or dice < lost:
                pass
            elif dice < lost + bad:
                found.append(replace(poll, instead=rng.choice(UNREADABLE)))
            elif dice < lost + bad + empty:
                found.append(replace(poll, instead=EMPTY))
            else:
                found.append(replace(poll, restart=rng.random() < restart))
            at = poll.received + INTERVAL
            if at in down:
                at = down.stop + rng.randint(0, INTERVAL)
    yield from sorted(found, key=lambda poll: poll.received)


def smaller(found: World) -> World:
    """The world without whatever it breaks the law without."""
    again = True
    while again:
        again = False
        for one in _steps(found):
            if one.server.calls and one.breaks() is not None:
                found, again = one, True
                break
    return found


def _steps(whole: World) -> Iterator[World]:
    server, polls = whole.server, whole.polls
    for n in range(len(server.calls)):
        yield World(replace(server, calls=[*server.calls[:n], *server.calls[n + 1 :]]), polls)
    yield from (
        World(server, tuple(simple))
        for simple in (
            [replace(poll, restart=False) for poll in polls],
            [replace(poll, instead=None) for poll in polls],
        )
        if tuple(simple) != polls
    )
    for n, poll in enumerate(polls):
        for simpler in (replace(poll, restart=False), replace(poll, instead=None)):
            if simpler != poll:
                yield World(server, (*polls[:n], simpler, *polls[n + 1 :]))
    for n, call in enumerate(server.calls):
        if call.lag:
            calls = [*server.calls[:n], replace(call, lag=0), *server.calls[n + 1 :]]
            yield World(replace(server, calls=calls), polls)


def kind(broken: World) -> str:
    """What a broken world has that others have not."""
    empty = any(poll.instead == EMPTY for poll in broken.polls)
    zone = ZoneInfo(broken.server.zone)
    texts = [at for call in broken.server.calls for at in (call.started_at, call.ended_at)]
    shown = [datetime.fromtimestamp((at + broken.server.clock(at)) / 1000, zone) for at in texts]
    twice = any(at.replace(fold=0).utcoffset() != at.replace(fold=1).utcoffset() for at in shown)
    down = any(poll.restart for poll in broken.polls)
    named = {"a false empty list": empty, "an hour that comes twice": twice, "a restart": down}
    return ", ".join(name for name, has in named.items() if has) or "nothing special"


def told(number: int, broken: World) -> str:
    """What is to be known of a broken world."""
    begin = min(poll.sent for poll in broken.polls)
    odd = [poll for poll in broken.polls if poll.restart or poll.instead is not None]
    lines = [f"world {number} ({kind(broken)}): {broken.breaks()}"]
    lines.append(
        f"  {broken.server.zone}, {broken.server.clock(0)} ms ahead, live rows: {broken.server.live}; from {begin}"
    )
    for call in broken.server.calls:
        answer = None if call.answered_at is None else call.answered_at - begin
        lines.append(
            f"  call {call.id} {call.src} -> {call.dst}: {call.started_at - begin}, {answer}, {call.ended_at - begin},"
            f" row {call.lag} late"
        )
    lines += [
        f"  {poll.which} {poll.sent - begin}{' after a restart' if poll.restart else ''}"
        f"{'' if poll.instead is None else f' answered {poll.instead[:70]!r}'}"
        for poll in odd
    ]
    return "\n".join(lines)


def main() -> int:
    """Search as the command line says; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1, help="the number of the first world, in millions")
    parser.add_argument("--world", type=int, help="look at this one only")
    parser.add_argument("--twins", action="store_true", help="with calls that nothing tells apart")
    parser.add_argument("--most", type=int, default=10, help="stop after so many finds")
    args = parser.parse_args()
    number = args.seed * 1_000_000 if args.world is None else args.world
    tried = found = 0
    kinds: Counter[str] = Counter()
    until = time.monotonic() + args.minutes * 60
    while found < args.most and (time.monotonic() < until if args.world is None else tried == 0):
        one = world(number, twins=args.twins)
        if one.breaks() is not None:
            found += 1
            small = smaller(one)
            kinds[kind(small)] += 1
            print(told(number, small), flush=True)  # noqa: T201 - a command's output
        number += 1
        tried += 1
    said = "".join(f"\n  {count} by {name}" for name, count in kinds.most_common())
    print(f"{tried} worlds, {found} of them broken{said}", flush=True)  # noqa: T201 - a command's output
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
