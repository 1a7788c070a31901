"""One diff in the making: the next state, the events so far, and the parts that changed."""

from __future__ import annotations

from collections.abc import Iterable, Set
from hashlib import blake2b
from typing import Any

import msgspec

from gateway.calls import memory
from gateway.calls.memory import Done, Slices, call_name
from gateway.calls.snapshots import Rules, Window
from gateway.calls.state import (
    MARK,
    AccountState,
    Alone,
    Call,
    Mark,
    Numbers,
    Parts,
    alone,
    done_part,
    live_part,
)
from gateway.contract.events import CallData, CallEvent, CallEventType, Evidence, source_of
from gateway.contract.times import Ms, utc


class Diff(msgspec.Struct, frozen=True):
    """What a snapshot gave: events in order, the next state, and the parts of it to be written.

    The watermark's new value is in the state; it is among the parts only where something else changed, so that an
    idle account writes nothing. `deferred` says that rows of the completed list wait for the next active list: the
    next completed answer must be read even if its bytes are the same.
    """

    events: list[CallEvent]
    state: AccountState
    parts: Parts
    deferred: bool


class Draft:
    """Collects what a diff changes. The state that it starts from is left as it was."""

    def __init__(self, rules: Rules, state: AccountState, observed_at: Ms) -> None:
        self.rules = rules
        self.state = state
        self.observed_at = observed_at
        self.events: list[CallEvent] = []
        self.parts: Parts = {}
        self.calls: dict[str, Call] = state.calls  # type: ignore[assignment] # copied before the first change
        self._by_numbers: dict[Numbers, tuple[str, ...]] = state.by_numbers  # type: ignore[assignment] # likewise
        self._alone: dict[Numbers, Alone] = state.alone  # type: ignore[assignment] # likewise
        self._done: dict[int, Slices] | None = None
        self._fresh_hours: dict[int, dict[int, bytes]] = {}
        self._gone = set(state.gone)
        self._born = 0
        self.deferred = False
        self.listed = state.listed
        self.waiting: set[int] = set()  # hashes of the deferred rows
        self.awaited: set[str] = set()  # the calls that a deferred row may end

    def put(self, call: Call) -> None:
        """Keep `call` in place of what was known of it."""
        self._own_calls()
        if call.ended is not None:
            # Ended calls stand last, in the order of their ends: they are dropped from the front.
            self.calls.pop(call.id, None)
        if call.id not in self.state.calls and live_part(call.id) not in self.parts:
            self._by_numbers[call.numbers] = (*self._by_numbers.get(call.numbers, ()), call.id)
        self.calls[call.id] = call
        self.parts[live_part(call.id)] = call
        self._note_alone(call.numbers)
        if call.gone is not None and call.ended is None:
            self._gone.add(call.id)
        else:
            self._gone.discard(call.id)

    def put_changed(self, calls: Iterable[Call]) -> None:
        """Keep those of `calls` that are not what is known."""
        for call in calls:
            if self.calls[call.id] != call:
                self.put(call)

    def drop(self, call: Call) -> None:
        """Forget a call: no row can speak of it any more."""
        self._own_calls()
        del self.calls[call.id]
        left = tuple(one for one in self._by_numbers[call.numbers] if one != call.id)
        if left:
            self._by_numbers[call.numbers] = left
        else:
            del self._by_numbers[call.numbers]
        self.parts[live_part(call.id)] = None
        self._note_alone(call.numbers)

    def known(self, numbers: Numbers) -> list[Call]:
        """The calls that are remembered over these numbers, in the order in which they were first seen."""
        return [self.calls[one] for one in sorted(self._by_numbers.get(numbers, ()))]

    def gone(self) -> list[Call]:
        """The live calls that have left the active list, in a fixed order."""
        return [self.calls[one] for one in sorted(self._gone)]

    def remembered(self, hour: int, print_: int) -> tuple[Done, ...]:
        """What the completed rows of this fingerprint said so far."""
        slices = self.slices(hour)
        return memory.records(slices.get(memory.slice_of(slices, print_), b""), print_)

    def slices(self, hour: int) -> Slices:
        """What is remembered of the completed calls that started in an hour."""
        return (self.state.done if self._done is None else self._done).get(hour, {})

    def remember(self, hour: int, print_: int, done: tuple[Done, ...]) -> None:
        """Keep what the completed rows of this fingerprint said."""
        if self._done is None:
            self._done = dict(self.state.done)
        slices = self._fresh_hours.get(hour)
        if slices is None:
            slices = self._fresh_hours[hour] = dict(self._done.get(hour, {}))
            self._done[hour] = slices
        for node in list(memory.keep(slices, print_, done)):
            self.parts[done_part(hour, node)] = slices.get(node) or None

    def forget_hours(self, before: int, listed: Set[int]) -> None:
        """Drop what is remembered of completed calls that started before the hour `before`, unless still `listed`."""
        for hour in [hour for hour in self.state.done if hour < before and hour not in listed]:
            if self._done is None:
                self._done = dict(self.state.done)
            for node in self._done.pop(hour):
                self.parts[done_part(hour, node)] = None

    def new_id(self, kind: str, src: str, dst: str) -> str:
        """An id for a call first seen now: ids sort as calls were first seen, and are the same whenever the same answer
        is diffed again."""
        seed = f"{self.rules.account}\0{kind}\0{self.observed_at}\0{self._born}\0{src}\0{dst}"
        tail = int.from_bytes(blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=7).digest(), "big")
        number = self.observed_at << 80 | self._born << 56 | tail
        self._born += 1
        return call_name(number)

    def emit(
        self,
        type_: CallEventType,
        call: Call,
        bounds: Window,
        guess: Ms,
        evidence: Evidence,
        **facts: Any,
    ) -> Call:
        """Add the call's next event; returns the call with its sequence and time moved on.

        `guess` is drawn into the bounds, and behind the call's event before where the bounds allow it.
        """
        low, high = bounds.sent, bounds.received
        time = min(max(guess, call.time, low), high)
        sequence = call.sequence + 1
        facts.setdefault("direction", None)
        facts.setdefault("answered", True if call.answered else None)
        facts.setdefault("dialled_by", utc(call.dialled) if call.dialled else None)
        self.events.append(
            CallEvent(
                id=f"{call.id}-{sequence}",
                source=source_of(self.rules.account),
                type=type_,
                subject=call.id,
                time=utc(time),
                sequence=str(sequence),
                data=CallData(
                    account=self.rules.account,
                    call_id=call.id,
                    sequence=sequence,
                    src=call.src,
                    dst=call.dst,
                    not_before=utc(low),
                    not_after=utc(high),
                    observed_at=utc(self.observed_at),
                    evidence=evidence,
                    ambiguous=call.ambiguous,
                    **facts,
                ),
            )
        )
        return msgspec.structs.replace(call, sequence=sequence, time=max(time, call.time))

    def answer(self, call: Call, bounds: Window, evidence: Evidence, *, guess: Ms | None = None, **facts: Any) -> Call:
        """Add the call's `call.answered`, within `bounds`; without a guess the middle is the best estimate."""
        call = msgspec.structs.replace(call, answered=True, ringing=False)
        guess = (bounds.sent + bounds.received) // 2 if guess is None else guess
        return self.emit("call.answered", call, bounds, guess, evidence, **facts)

    def finish(self, mark: Mark) -> Diff:
        """The diff, with `mark` as the new watermark."""
        if self.parts or (self.state.mark.active is None and self.state.mark.completed is None):
            self.parts[MARK] = mark
        state = AccountState(
            mark=mark,
            calls=self.calls,
            done=self.state.done if self._done is None else self._done,
            by_numbers=self._by_numbers,
            alone=self._alone,
            gone=frozenset(self._gone),
            listed=self.listed,
        )
        return Diff(self.events, state, self.parts, self.deferred)

    def _own_calls(self) -> None:
        if self.calls is self.state.calls:
            self.calls = dict(self.calls)
            self._by_numbers = dict(self._by_numbers)
            self._alone = dict(self._alone)

    def _note_alone(self, numbers: Numbers) -> None:
        ids = self._by_numbers.get(numbers, ())
        one = alone(self.calls[ids[0]]) if len(ids) == 1 else None
        if one is None:
            self._alone.pop(numbers, None)
        else:
            self._alone[numbers] = one
