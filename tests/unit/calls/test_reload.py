"""A state put away and taken up again goes on as it would have, twins too."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from gateway.calls.differ import Rules
from tests.soak.search import World, world
from tests.unit.calls.recording import Taken, Teller


@pytest.mark.parametrize("hundred", range(3))
def test_a_state_taken_up_before_every_answer_tells_twins_apart_as_before(hundred: int) -> None:
    """The order of what is remembered is not lost, where calls are hard to tell apart and answers are bad too."""
    for number in range(hundred * 100, hundred * 100 + 100):
        one = world(number, twins=True)
        assert _told_in(one, reload=True) == _told_in(one, reload=False), number


def _told_in(one: World, *, reload: bool) -> list[bytes]:
    teller = Teller(Rules(account=1000), ZoneInfo(one.server.zone))
    events: list[bytes] = []
    for poll in one.polls:
        body = poll.instead
        if body is None:
            body = one.server.active(poll.made) if poll.which == "active" else one.server.completed(poll.made)
        if reload:
            teller.reload()
        date = one.server.date(poll.made)
        events += [told.kafka for told in teller.take(Taken(poll.which, poll.sent, poll.received, date, None), body)]
    return events
