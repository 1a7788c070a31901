"""One log of changes makes one machine, whatever each of its nodes was asked in between."""

from collections.abc import Iterator

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.clock import StepClock
from sandbox.handlers import Ask
from sandbox.machine import Change, Machine
from sandbox.routes import ROUTES, Router
from sandbox.settings import KeySpec, SandboxSettings, TrafficProfile

START_MS = 1_740_992_400_000
DAY_MS = 86_400_000
ACCOUNT = 1000
DRAWN = bytes(range(30))
READS = [route for route in ROUTES if route.method == "GET" and route.name not in ("balance", "phone_number")]
BUSY = TrafficProfile(talk_ms=(0, 9_000), short_ms=(0, 900), instant_ms=(0, 50), refused_ms=(0, 2_500), twin_share=0.3)


def json(value) -> bytes:
    return msgspec.json.encode(value)


def api(path: str, **params) -> Change:
    return Change(ACCOUNT, "POST", path.encode(), json({"params": params}))


def admin(method: str, path: str, body=None) -> Change:
    return Change(0, method, f"/_sandbox/{path}".encode(), json(body), DRAWN)


users = st.sampled_from([*map(str, range(400, 404)), "450", "none"])
numbers = st.sampled_from(["401", "402", "450", "74950000001", "?"])
changes = st.one_of(
    st.builds(lambda user, num: api("/v1/calls", user=user, num=num), users, numbers),
    st.builds(lambda num: api("/v1/users/create", password="p", num=num, mail="a@b.example"), numbers),
    st.builds(lambda user, num: api(f"/v1/users/{user}/update_extension_number", num=num), users, numbers),
    st.builds(lambda user: api(f"/v1/users/{user}/update_email", mail="c@d.example"), users),
    st.builds(
        lambda user, registered, habit: admin(
            "PUT", "phones", {"account": ACCOUNT, "user": user, "registered": registered, "habit": habit}
        ),
        users,
        st.booleans(),
        st.sampled_from(["answers", "refuses", "silent"]),
    ),
    st.builds(
        lambda src, ring, talk, count: admin(
            "POST",
            "calls",
            {
                "account": ACCOUNT,
                "src": src,
                "dst": "400",
                "direction": "incoming",
                "ring_ms": ring,
                "talk_ms": talk,
                "count": count,
            },
        ),
        numbers,
        st.integers(-1, 900),
        st.none() | st.integers(0, 900),
        st.integers(0, 3),
    ),
    st.builds(lambda rate: admin("PUT", "traffic", {"calls_per_minute": rate}), st.sampled_from([0, 60, 3_000])),
    st.builds(lambda s: admin("PUT", "skew", {"account": ACCOUNT, "seconds": s}), st.integers(-100, 100)),
    st.builds(
        lambda ms: admin("PUT", "late", {"account": ACCOUNT, "shortest_ms": 0, "longest_ms": ms}),
        st.integers(0, 5_000),
    ),
    st.builds(
        lambda kind, count: admin(
            "PUT", "faults", {"account": ACCOUNT, "url": "originate", "kind": kind, "count": count}
        ),
        st.sampled_from(["drop", "truncated"]),
        st.integers(0, 2),
    ),
    st.builds(
        lambda p: admin("PUT", "fault-rules", [{"account": ACCOUNT, "kind": "error500", "probability": p}]),
        st.sampled_from([0.0, 0.5]),
    ),
    st.just(Change(ACCOUNT, "GET", b"/v1/calls/active", b"")),
    st.just(admin("POST", "keys", {"account": ACCOUNT})),
    st.just(admin("POST", "keys/1000_demo/password")),
    st.just(admin("DELETE", "keys/1000_demo")),
    st.just(admin("DELETE", "nothing")),
)
# Mostly moments that collide, sometimes a long way.
steps = st.lists(st.tuples(st.sampled_from([0, 0, 1, 2, 400, 5_000]), changes), min_size=1, max_size=25)


class Node:
    """A machine and the steps that it does, at moments of a common clock."""

    def __init__(self, **given) -> None:
        self.clock = StepClock()
        options = SandboxSettings(
            [KeySpec("1000_demo", "demo"), KeySpec("2000_demo", "demo")],
            **{"calls_per_minute": 300, "reuse_channels": True, "profile": "live", "traffic": BUSY, **given},
        )
        with self.clock.at(START_MS * 1000):
            self.machine = Machine(options, self.clock, Router("both"))

    def make(self, change: Change, at_ms: int) -> None:
        with self.clock.at(at_ms * 1000):
            self.machine.repeat(change)

    def read(self, at_ms: int) -> list[bytes]:
        """All that a client could see at a moment."""
        with self.clock.at(at_ms * 1000):
            return list(self._read())

    def _read(self) -> Iterator[bytes]:
        pbx = self.machine.pbx
        yield pbx.ledger.jsonl()
        for route in READS:
            for user in pbx.users(ACCOUNT) if "<username>" in route.template else ("",):
                if route.name not in ("record", "channel"):
                    yield route.handler(pbx, Ask(ACCOUNT, (user,), {}, {}))
        for leg in pbx.channels(ACCOUNT):
            yield json(leg)
        for path in ("phones", "skew", "late", "traffic", "faults", "fault-rules", "keys"):
            yield self.machine.admin.answer("GET", f"/_sandbox/{path}", {}, b"", b"").body
        yield json([(key, secret) for key, (_, secret) in self.machine.keyring._known.items()])


@settings(max_examples=80, deadline=None)
@given(steps, st.data())
def test_nodes_agree_whatever_they_were_asked_in_between(log, data):
    asked, idle = Node(), Node()
    at = START_MS
    for wait, change in log:
        for moment in sorted(data.draw(st.lists(st.integers(at, at + wait), max_size=3))):
            asked.read(moment)
        at += wait
        asked.make(change, at)
        idle.make(change, at)
    assert asked.read(at) == idle.read(at)
    at += 20_000
    assert asked.read(at) == idle.read(at)
    # Draws for what is yet to come agree as well.
    assert [asked.machine.faults.take(ACCOUNT, "users") for _ in range(9)] == [
        idle.machine.faults.take(ACCOUNT, "users") for _ in range(9)
    ]


def test_what_is_forgotten_after_a_week_does_not_depend_on_who_asked():
    asked, idle = Node(calls_per_minute=2), Node(calls_per_minute=2)
    for hour in range(24 * 9):
        with asked.clock.at((START_MS + hour * 3_600_000) * 1000):
            asked.machine.pbx.active_count(ACCOUNT)
    end = START_MS + 9 * DAY_MS
    assert asked.read(end) == idle.read(end)
