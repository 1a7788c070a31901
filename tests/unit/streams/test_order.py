"""What is outstanding of a call: against a plain list of it, whatever is held, released and forgotten in whatever order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.delivery.order import Call, Order, Place, Position

NOW = datetime(2026, 11, 25, tzinfo=UTC)

positions = st.builds(Position, st.sampled_from(["deliveries", "retries"]), st.integers(0, 1), st.integers(0, 9))
places = st.builds(
    Place,
    st.builds(Call, st.sampled_from(["e", "f"]), st.sampled_from(["c", "d"])),
    st.integers(1, 4),
    st.none() | st.integers(0, 100).map(lambda seconds: NOW + timedelta(seconds=seconds)),
)


class AnyCourse(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.order = Order()
        self.model: dict[Position, Place] = {}

    @rule(at=positions, place=places)
    def hold(self, at: Position, place: Place) -> None:
        if at in self.model:
            # A record does not change; what is known of when it is due may.
            old = self.model[at]
            place = Place(old.call, old.sequence, place.due_at)
        self.order.hold(at, place)
        self.model[at] = place

    @rule(at=positions)
    def release(self, at: Position) -> None:
        place = self.model.pop(at, None)
        assert self.order.release(at) == (place and place.call)

    @rule(topic=st.sampled_from(["deliveries", "retries"]), partition=st.integers(0, 1))
    def forget(self, topic: str, partition: int) -> None:
        self.order.forget(lambda at: (at.topic, at.partition) == (topic, partition))
        self.model = {at: one for at, one in self.model.items() if (at.topic, at.partition) != (topic, partition)}

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def tells_what_is_earlier(self, data: st.DataObject) -> None:
        at = data.draw(st.sampled_from(sorted(self.model)))
        mine = self.model[at]
        earlier = {
            other: one for other, one in self.model.items() if one.call == mine.call and one.sequence < mine.sequence
        }
        assert sorted(self.order.earlier(at)) == sorted(earlier)
        dues = [one.due_at for one in earlier.values() if one.due_at is not None]
        assert self.order.blocked_until(at) == (max(dues) if dues else None)

    @invariant()
    def counts(self) -> None:
        assert len(self.order) == len(self.model)
        for endpoint in ("e", "f"):
            assert self.order.count(endpoint) == sum(one.call.endpoint == endpoint for one in self.model.values())
        # Somebody of each call may always go.
        for call in {one.call for one in self.model.values()}:
            assert any(not self.order.earlier(at) for at, one in self.model.items() if one.call == call)

    @invariant()
    def keeps_nothing_of_what_is_gone(self) -> None:
        assert self.order._calls.keys() == {one.call for one in self.model.values()}
        assert set(self.order._counts) == {one.call.endpoint for one in self.model.values()}


TestAnyCourse = AnyCourse.TestCase
TestAnyCourse.settings = settings(max_examples=100, deadline=None)
