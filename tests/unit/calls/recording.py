"""What RingCloud answered, written down as it came, and told again through decoder and differ.

`python -m tests.unit.calls.recording FILE ZONE` writes the events of a recording to standard output, one a line.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from gateway.calls.differ import Rules, Window, first_state, read_active, read_completed
from gateway.calls.moving import moved, taken_over
from gateway.calls.state import MARK, AccountState, Mark, Parts, encode, load
from gateway.contract.events import CallEvent, encode_data, headers_of
from gateway.contract.times import Ms
from gateway.ringcloud import Answer, EnvelopeError, Limiter, RingCloud, RingCloudError
from gateway.ringcloud.http import Http
from gateway.ringcloud.rows import decode_active, decode_completed
from sandbox.clock import VirtualClock
from sandbox.server import SandboxServer
from tests.unit.ringcloud.clients import NoClock

INTERVAL: Ms = 5_000
Which = Literal["active", "completed"]


class Taken(msgspec.Struct, frozen=True):
    """An answer of 200. `body` is None where it was the last one's of that list."""

    which: Which
    sent: Ms
    received: Ms
    date: Ms | None
    body: str | None


class Travel:
    """The gateway's clock while it asks: each answer is on its way there and back for a while, and time passes so."""

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self.clock = clock
        self._rng = random.Random(seed)
        self._back = False

    def begin(self) -> None:
        """The next reading is of a question that goes out."""
        self._back = False

    def wall(self) -> Ms:
        """The time when a question goes out, and when its answer is here."""
        way = self._rng.randint(1, 250) / 1000
        if self._back:
            self.clock.advance(way)
            return self.clock.now()
        self._back = True
        now = self.clock.now()
        self.clock.advance(way)
        return now


async def record(file: IO[bytes], server: SandboxServer, clock: VirtualClock, until: Ms, *, zone: str, key: str) -> int:
    """Ask for both lists of one account in turn, as often as is allowed, until `until`; returns how often that was.

    `key` is the account's, and its password. What failed (another status than 200, a broken connection) is not written
    to `file`: it is no answer.
    """
    travel = Travel(clock, seed=until)
    asked = 0
    last: dict[Which, bytes] = {}
    encode_line = msgspec.json.Encoder().encode
    async with (
        Http(wall=travel.wall) as http,
        RingCloud(
            key, key, base_url=server.url, time_zone=zone, read_retries=0, http=http, limiter=Limiter(NoClock())
        ) as api,
    ):
        due: dict[Which, Ms] = {"active": clock.now(), "completed": clock.now() + INTERVAL // 2}
        while (which := min(due, key=lambda one: due[one])) and due[which] < until:
            clock.advance(max(0, due[which] - clock.now()) / 1000)
            travel.begin()
            asked += 1
            try:
                answer: Answer = await (api.fetch_active() if which == "active" else api.fetch_completed(1))
            except RingCloudError:
                continue
            finally:
                # The server sees two questions no closer than this, however long they travel.
                due[which] = clock.now() + INTERVAL
            same = last.get(which) == answer.body
            last[which] = answer.body
            body = None if same else answer.body.decode()
            file.write(encode_line(Taken(which, answer.sent_at, answer.received_at, answer.server_date, body)) + b"\n")
    return asked


def taken(path: Path) -> Iterator[Taken]:
    """The answers of a recording, in order."""
    decode = msgspec.json.Decoder(Taken).decode
    with path.open("rb") as file:
        for line in file:
            yield decode(line)


class Told(msgspec.Struct, frozen=True):
    """An event, and when the answer that gave it was had."""

    event: CallEvent
    observed_at: Ms

    @property
    def kafka(self) -> bytes:
        """All that goes to Kafka of it."""
        return repr(headers_of(self.event)).encode() + encode_data(self.event)

    @property
    def structured(self) -> Any:
        """The event as a receiver decodes it from structured JSON."""
        return msgspec.json.decode(msgspec.json.encode(self.event))


class Teller:
    """Reads answers one by one as the gateway does; its state can be put away and taken up again between any two."""

    def __init__(self, rules: Rules, zone: ZoneInfo) -> None:
        self._rules = rules
        self._zone = zone
        self._last: dict[Which, bytes] = {}
        self._state: AccountState | None = None
        self._proven = True
        self.kept: dict[str, bytes] = {}

    @property
    def mark(self) -> Mark | None:
        """The watermarks, None before the first answer."""
        return None if self._state is None else self._state.mark

    def heartbeat(self) -> None:
        """Write the watermarks, as is done once a minute."""
        if self._state is not None:
            self._keep({MARK: self._state.mark})

    def reload(self) -> None:
        """Put the state away whole, and take it up again."""
        self.heartbeat()
        self._state = load(self.kept.items())

    def restart(self) -> None:
        """All that is left is what was written with events."""
        self._state = load(self.kept.items())
        self._last = {}
        self._proven = False

    def set_clock(self, by: Ms) -> None:
        """The gateway's clock was set, and it noticed."""
        if self._state is not None:
            self._state, parts = moved(self._state, by, by)
            self._keep(parts)

    def live(self) -> int:
        """How many calls count as live."""
        return 0 if self._state is None else self._state.live()

    def take(self, one: Taken, body: bytes) -> list[Told]:
        """The events that an answer gives, none where it can't be read."""
        window = Window(one.sent, max(one.sent, one.received))
        same = self._last.get(one.which) == body
        try:
            rows = None if same else self._rows(one.which, body)
        except EnvelopeError:
            return []
        state = self._state or first_state(self._rules, window)
        if not self._proven:
            state, parts = taken_over(state, one.date, window)
            self._keep(parts)
            self._proven = True
        diff_of = read_active if one.which == "active" else read_completed
        diff = diff_of(self._rules, state, rows, window, one.date)
        self._last[one.which] = b"" if diff.deferred else body
        self._state = diff.state
        self._keep(diff.parts)
        return [Told(event, window.received) for event in diff.events]

    def _rows(self, which: Which, body: bytes) -> Any:
        return decode_active(body) if which == "active" else decode_completed(body, self._zone)

    def _keep(self, parts: Parts) -> None:
        for name, part in parts.items():
            raw = encode(part)
            if raw is None:
                self.kept.pop(name, None)
            else:
                self.kept[name] = raw


def tell(path: Path, zone: str, before_each: Callable[[Teller], None] = lambda _: None) -> list[Told]:
    """The events of a recording; `before_each` answer may put the teller's state away."""
    teller = Teller(Rules(account=1000), ZoneInfo(zone))
    bodies: dict[Which, bytes] = {}
    events: list[Told] = []
    for one in taken(path):
        if one.body is not None:
            bodies[one.which] = one.body.encode()
        before_each(teller)
        events += teller.take(one, bodies[one.which])
    return events


if __name__ == "__main__":
    for event in tell(Path(sys.argv[1]), sys.argv[2]):
        sys.stdout.buffer.write(event.kafka + b"\n")
