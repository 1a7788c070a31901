"""A state whose clock was set, or that another machine's clock takes over: what follows is as it would have been."""

from __future__ import annotations

import msgspec
import pytest

from gateway.calls.moving import moved, taken_over
from gateway.calls.snapshots import Window
from gateway.calls.state import Given
from gateway.contract.times import Ms
from tests.unit.calls.watched import GRACE, TRAVEL, Watched, bounds, done, live, ms, types

STEPS = [-86_400.0, -600.0, -4.0, -0.02, 0.02, 4.0, 600.0, 86_400.0]


def begun(skew: Ms = 0) -> Watched:
    """At 21 one call has ended, another has left the list, one goes on; twins, one of them gone, can't be told apart."""
    account = Watched(skew=skew)
    account.active(5)
    account.completed(6)
    account.active(10, live(4), live(3, src="300"), live(2, src="400"), *[live(2, src="500")] * 2)
    account.active(15, live(9), live(8, src="300"), live(7, "answered", src="400"), live(7, src="500"))
    account.active(20, live(14), live(12, src="500"))
    account.completed(21, done(7, 17, src="300", skew=skew))
    return account


def rest(account: Watched, later: float) -> list[tuple[str, float, float, str, bool]]:
    """What is told of the rest, in a story that is `later` by the gateway's clock."""
    told = len(account.events)

    def row(start: float, end: float, src: str, disposition: str = "ANSWERED") -> object:
        return done(start + later, end + later, disposition, src=src, skew=account.skew)

    old = row(7, 17, "300")
    account.active(25 + later, live(19), live(1, src="600"))
    account.completed(26 + later, old, row(8, 13, "500", "BUSY"), row(8, 22, "500", "BUSY"))  # type: ignore[arg-type]
    account.active(30 + later, live(5, src="600"))
    account.completed(31 + later, old, row(6, 27, "101"), row(24, 29, "700", "BUSY"))  # type: ignore[arg-type]
    account.completed(31 + GRACE + later, old)  # type: ignore[arg-type]
    return [
        (event.type, round(low - later, 3), round(high - later, 3), event.data.evidence, event.data.ambiguous)
        for event in account.events[told:]
        for low, high in [bounds(event)]
    ]


@pytest.mark.parametrize("by", STEPS)
def test_what_follows_a_step_is_as_it_would_have_been(by: float) -> None:
    stayed, was_set = begun(), begun()
    was_set.state, parts = moved(was_set.state, round(by * 1000), round(by * 1000))
    was_set.skew = -round(by * 1000)
    expected = rest(stayed, 0)
    assert rest(was_set, by) == expected
    assert {"call.started", "call.answered", "call.ended"} == {type_ for type_, *_ in expected}
    assert {"complete", "absence"} <= {evidence for *_, evidence, _ in expected}
    assert parts.keys() == {"mark", *(f"live/{call}" for call in begun().state.calls)}


@pytest.mark.parametrize("by", STEPS)
def test_a_step_there_and_back_leaves_no_trace(by: float) -> None:
    state = begun().state
    there, _ = moved(state, round(by * 1000), round(by * 1000))
    back, _ = moved(there, -round(by * 1000), -round(by * 1000))
    assert there != state
    assert back == state


@pytest.mark.parametrize("by", [-600.0, -4.0, 4.0, 600.0])
def test_a_gateway_of_another_clock_goes_on_where_the_other_was(by: float) -> None:
    account = begun()
    account.skew = -round(by * 1000)
    at = ms(25 + by)
    account.state, parts = taken_over(account.state, (at + account.skew) // 1000 * 1000, Window(at, at + TRAVEL))
    assert parts
    known = {call.id: call for call in begun().state.calls.values()}
    for call in account.state.calls.values():
        # The true start by this clock is within its bounds, which have grown by what Dates leave open.
        before = known[call.id].start
        assert call.start.sent <= before.sent + by * 1000
        assert call.start.received >= before.received + by * 1000
        assert call.start.received - call.start.sent <= before.received - before.sent + 4_000
    told = [type_ for type_, *_ in rest(account, by)]
    assert told.count("call.started") == 2
    assert types(account.events).count("started") == types(account.events).count("ended") + account.state.live()


@pytest.mark.parametrize("off", [0, 300, -300])
def test_clocks_that_differ_by_less_than_dates_tell_are_taken_for_one(off: int) -> None:
    state, at = begun().state, ms(25) + off
    assert taken_over(state, ms(25) // 1000 * 1000, Window(at, at + TRAVEL)) == (state, {})


def test_an_answer_without_a_date_says_nothing_of_clocks() -> None:
    state, at = begun().state, ms(9_000)
    assert taken_over(state, None, Window(at, at)) == (state, {})


def test_nothing_that_is_a_time_of_the_gateway_s_stays_behind() -> None:
    """Whatever field is added to what is remembered of a call or of an account, it moves or is no time."""
    account = begun()
    state = msgspec.structs.replace(
        account.state,
        mark=msgspec.structs.replace(account.state.mark, doubted=ms(1), emptied=ms(2), before=Window(ms(1), ms(2))),
        calls={
            call.id: msgspec.structs.replace(
                call,
                gone=Window(ms(1), ms(2)),
                ended_seen=ms(1),
                dialled=ms(1),
                since=ms(1),
                mixed=ms(1),
                shown=Window(ms(1), ms(2)),
                given=Given(Window(ms(1), ms(2)), Window(ms(3), ms(4)), seen=ms(1), listed=True),
            )
            for call in account.state.calls.values()
        },
    )
    later, _ = moved(state, 7, 7)
    assert times(later.mark) == [at + 7 for at in times(state.mark)]
    for one, call in zip(later.calls.values(), state.calls.values(), strict=True):
        assert times(one) == [at + 7 for at in times(call)]


def times(kept: object) -> list[int]:
    """All that are moments, of whatever is kept."""
    if isinstance(kept, msgspec.Struct):
        return [at for field in kept.__struct_fields__ for at in times(getattr(kept, field))]
    return [kept] if isinstance(kept, int) and abs(kept) > 10**11 else []
