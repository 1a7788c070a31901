"""Calls are linked to the originates that started them: one to one, in order, told once, whatever restarts in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls.differ import (
    Channels,
    Diff,
    Leg,
    Rules,
    Window,
    first_state,
    read_active,
    read_channels,
    read_completed,
)
from gateway.calls.state import AccountState
from gateway.commands.accounts import Commanded
from gateway.commands.book import Book
from gateway.commands.linking import Linker
from gateway.commands.sealing import Vault
from gateway.commands.store import KeptCall, KeptCommand, command_part, encode
from gateway.config import AccountConfig, KeyConfig
from gateway.contract.topics import Topics
from gateway.ringcloud import ActiveRow
from gateway.runtime.committer import Record
from gateway.runtime.shards import Handles

ACCOUNT = 1000
SENT = 1_700_000_000_000
REACH = 20_000
NUM = "74950001122"
RULES = Rules(account=ACCOUNT)
KEYS = (KeyConfig(key="env:K", password="env:P"),)


def kept(
    phase: str = "done", status: str = "succeeded", sent: int = SENT, *, user: str = "400", offset: int = 0, **call: Any
) -> KeptCommand:
    """A command as it is kept: sent, and answered 100 ms later."""
    return KeptCommand(
        cast("Any", phase),
        2,
        sent + 100 if phase == "done" else sent,
        offset=offset,
        accepted_at=sent - 50,
        sent_at=sent,
        target=f"{user}/{NUM}".encode(),
        status=cast("Any", status),
        call=KeptCall(user, NUM, **call),
    )


class Shard:
    """A shard's commands and the differ's state of its account, both kept as records would keep them."""

    def __init__(self, commands: Mapping[str, KeptCommand], *, channels: bool = False) -> None:
        self._parts = {command_part(id_): encode(one) for id_, one in commands.items()}
        self._channels = channels
        self.results: list[tuple[str, str, str | None]] = []
        self.state: AccountState = first_state(RULES, Window(SENT - 60_000, SENT - 60_000))
        self.restart()

    def restart(self) -> None:
        """Go on from what was kept."""
        none: Any = None
        config = AccountConfig(id=ACCOUNT, keys=KEYS, channels=self._channels)
        accounts = {ACCOUNT: Commanded(config, (), Vault(["p"]))}
        self.book = Book(Handles(0, none, Topics(), {ACCOUNT: dict(self._parts)}), accounts)
        self.linker = Linker(self.book, accounts, REACH)

    def active(self, at: int, *rows: tuple[str, str, int]) -> list[str | None]:
        """The active list (src, dst, seconds), `at` ms after SENT: the commands that the calls that started are of."""
        window = Window(SENT + at, SENT + at)
        made = [ActiveRow(src, dst, seconds, "current") for src, dst, seconds in rows]
        return self._take(read_active(RULES, self.state, made, window))

    def channels(self, at: int, *legs: tuple[str, str, str, int]) -> list[str | None]:
        """The channels (name, caller, connected, seconds), `at` ms after SENT."""
        window = Window(SENT + at, SENT + at)
        found = Channels(
            window,
            [Leg(name, caller, connected, seconds, window, window) for name, caller, connected, seconds in legs],
            whole=True,
        )
        self._keep(self.linker.ringing(ACCOUNT, found))
        return self._take(read_channels(RULES, self.state, found).diff)

    def _take(self, diff: Diff) -> list[str | None]:
        self.state = diff.state
        events, records = self.linker.told(ACCOUNT, diff)
        assert [event.id for event in events] == [event.id for event in diff.events]
        self._keep(records)
        assert all(event.data.command_id is None for event in events if event.type != "call.started")
        return [event.data.command_id for event in events if event.type == "call.started"]

    def _keep(self, records: Iterable[Record]) -> None:
        for record in records:
            assert record.value is not None
            if record.topic == Topics().poller_state.name:
                self._parts[record.key.decode().partition("/")[2]] = record.value
            else:
                result = msgspec.json.decode(record.value)
                self.results.append((result["command_id"], result["status"], result["call_id"]))

    def told(self, id_: str) -> list[str]:
        """The results of a command that were told here."""
        return [status for one, status, _ in self.results if one == id_]


def test_a_call_that_an_originate_started_carries_its_id_and_is_observed_once() -> None:
    shard = Shard({"a": kept()})
    assert shard.active(2_000, ("400", NUM, 1)) == ["a"]
    (call_id,) = shard.state.calls
    assert shard.results == [("a", "observed", call_id)]
    assert shard.active(7_000, ("400", NUM, 6), ("400", NUM, 1)) == [None]
    shard.active(12_000)
    assert shard.told("a") == ["observed"]


@pytest.mark.parametrize(
    ("src", "dst", "at", "seconds"),
    [
        ("401", NUM, 2_000, 1),
        ("400", "74950001133", 2_000, 1),
        ("400", NUM, 2_000, 30),  # it rang before it was asked for
        ("400", NUM, 60_000, 1),  # it began long after
    ],
)
def test_a_call_of_others_or_of_another_time_is_nobodys(src: str, dst: str, at: int, seconds: int) -> None:
    shard = Shard({"a": kept()})
    assert shard.active(at, (src, dst, seconds)) == [None]
    assert shard.results == []
    assert shard.active(at, (src, dst, seconds), ("400", NUM, at // 1000)) == ["a"]


@pytest.mark.parametrize("dst", ["84950001122", "+74950001122", "4950001122"])
def test_numbers_are_the_same_however_they_are_written(dst: str) -> None:
    assert Shard({"a": kept()}).active(2_000, ("400", dst, 1)) == ["a"]


def test_a_user_is_known_by_the_extension_number() -> None:
    assert Shard({"a": kept(user="anna")}).active(2_000, ("451", NUM, 1)) == [None]
    assert Shard({"a": kept(user="anna", extension="451")}).active(2_000, ("451", NUM, 1)) == ["a"]


@pytest.mark.parametrize("status", ["failed", "expired"])
def test_what_was_not_dialled_has_no_call(status: str) -> None:
    shard = Shard({"a": msgspec.structs.replace(kept("sending"), status="accepted")})
    shard._keep(shard.book._record(next(iter(shard.book)), msgspec.structs.replace(kept(), status="accepted"), status))  # type: ignore[arg-type]
    assert shard.active(2_000, ("400", NUM, 1)) == [None]
    assert shard.told("a") == [status]


def test_what_waits_has_no_call_yet() -> None:
    assert Shard({"a": kept("accepted", "accepted", sent=0)}).active(2_000, ("400", NUM, 1)) == [None]


def test_two_alike_get_their_calls_in_order_each_its_own() -> None:
    shard = Shard({"b": kept(sent=SENT + 40, offset=2), "a": kept(offset=1)})
    assert shard.active(2_000, ("400", NUM, 1), ("400", NUM, 1)) == ["a", "b"]
    calls = {call for _, _, call in shard.results}
    assert len(calls) == 2
    assert (shard.told("a"), shard.told("b")) == (["observed"], ["observed"])
    assert shard.active(3_000, *[("400", NUM, 2)] * 2, ("400", NUM, 1)) == [None]


def test_of_two_alike_the_nearer_in_time_has_the_call() -> None:
    shard = Shard({"a": kept(offset=1), "b": kept(sent=SENT + 5_000, offset=2)})
    assert shard.active(7_000, ("400", NUM, 1)) == ["b"]
    assert shard.active(8_000, ("400", NUM, 2), ("400", NUM, 7)) == ["a"]


def test_one_that_was_taken_goes_before_one_of_which_nobody_knows() -> None:
    shard = Shard({"a": kept("unknown", "outcome_unknown", offset=1), "b": kept(sent=SENT + 500, offset=2)})
    assert shard.active(2_500, ("400", NUM, 1)) == ["b"]
    assert shard.told("a") == []


def test_a_call_that_is_seen_resolves_an_unknown_outcome() -> None:
    shard = Shard({"a": kept("unknown", "outcome_unknown")})
    assert shard.active(2_000, ("400", NUM, 1)) == ["a"]
    assert shard.told("a") == ["succeeded", "observed"]


def test_a_call_that_another_command_explains_resolves_nothing() -> None:
    both = {one: kept("unknown", "outcome_unknown", offset=n) for n, one in enumerate("ab")}
    shard = Shard(both)
    assert shard.active(2_000, ("400", NUM, 1)) == ["a"]
    assert shard.results == []
    # The second call is the other's: now both are known.
    assert shard.active(3_000, ("400", NUM, 2), ("400", NUM, 2)) == ["b"]
    assert shard.told("b") == ["succeeded", "observed"]


def test_a_call_seen_before_the_answer_is_told_behind_it() -> None:
    shard = Shard({"a": kept("sending", "accepted")})
    assert shard.active(2_000, ("400", NUM, 1)) == ["a"]
    assert shard.results == []
    shard.restart()
    (key,) = shard.book
    done = msgspec.structs.replace(shard.book[key], phase="done", at=SENT + 3_000)
    shard._keep(shard.book._record(key, done, "succeeded"))
    assert shard.told("a") == ["succeeded", "observed"]
    assert shard.active(7_000, ("400", NUM, 6), ("400", NUM, 5)) == [None]


def test_after_a_restart_each_is_told_once() -> None:
    shard = Shard({"a": kept()})
    shard.active(2_000, ("400", NUM, 1))
    shard.restart()
    assert shard.active(3_000, ("400", NUM, 2), ("400", NUM, 1)) == [None]
    assert shard.told("a") == ["observed"]


A, B = "SIP/400-00000001", "SIP/trunk-00000002"


def test_channels_tell_the_phases_apart() -> None:
    shard = Shard({"a": kept()}, channels=True)
    shard.channels(1_000, (A, "400", "", 0))
    assert shard.told("a") == ["ringing_a"]
    shard.channels(2_000, (A, "400", "", 1))
    assert shard.active(2_500, ("400", NUM, 2)) == ["a"]
    assert shard.told("a") == ["ringing_a"]
    shard.restart()
    shard.channels(4_000, (A, "400", NUM, 3), (B, NUM, "400", 0))
    assert shard.told("a") == ["ringing_a", "dialing_b", "observed"]
    assert [call for _, _, call in shard.results] == [None, *[*shard.state.calls] * 2]


def test_a_call_that_nobody_took_up_is_observed_at_its_end() -> None:
    shard = Shard({"a": kept()}, channels=True)
    shard.channels(1_000, (A, "400", "", 0))
    shard.active(2_500, ("400", NUM, 2))
    shard.active(7_500, ("401", "402", 1))
    (ended,) = [call for call in shard.state.calls.values() if call.dst == NUM]

    late = SENT + 400_000
    for at in (late, late + 400_000):
        shard._take(read_completed(RULES, shard.state, [], Window(at, at)))
    assert shard.told("a") == ["ringing_a", "observed"]
    assert shard.results[-1][2] == ended.id


def test_one_phone_that_rings_is_one_commands() -> None:
    shard = Shard({"a": kept(offset=1), "b": kept(sent=SENT + 50, offset=2)}, channels=True)
    for at in (1_000, 3_000):
        shard.channels(at, (A, "400", "", at // 1000))
    assert [one for one, _, _ in shard.results] == ["a"]
    shard.restart()
    shard.channels(5_000, (A, "400", "", 5))
    assert [one for one, _, _ in shard.results] == ["a"]
    shard.channels(7_000, (A, "400", "", 7), ("SIP/400-00000003", "400", "", 7))
    assert [one for one, _, _ in shard.results] == ["a", "b"]


sendings = st.lists(
    st.tuples(
        st.integers(0, 30_000),
        st.sampled_from(["400", "401"]),
        st.sampled_from([("done", "succeeded"), ("unknown", "outcome_unknown"), ("sending", "accepted")]),
    ),
    max_size=5,
)
polls = st.lists(
    st.lists(st.tuples(st.sampled_from(["400", "401"]), st.integers(0, 40)), max_size=4), min_size=1, max_size=6
)


@given(sendings, polls, st.sets(st.integers(0, 5)))
def test_no_call_is_of_two_and_no_command_has_two(
    sent: Sequence[tuple[int, str, tuple[str, str]]],
    lists: Sequence[Sequence[tuple[str, int]]],
    restarts: set[int],
) -> None:
    commands = {
        str(n): kept(*how, sent=SENT + at, user=user, offset=n) for n, (at, user, how) in enumerate(sorted(sent))
    }
    shard = Shard(commands)
    linked: list[str] = []
    for n, rows in enumerate(lists):
        if n in restarts:
            shard.restart()
        told = shard.active(35_000 + 5_000 * n, *((src, NUM, seconds) for src, seconds in rows))
        linked += [one for one in told if one is not None]
    assert len(linked) == len(set(linked))
    observed = [(id_, call) for id_, status, call in shard.results if status == "observed"]
    assert len({id_ for id_, _ in observed}) == len({call for _, call in observed}) == len(observed)
    assert {id_ for id_, _ in observed} <= set(linked)
    assert all(call for _, call in observed)
