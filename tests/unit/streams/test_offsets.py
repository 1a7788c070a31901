"""The offset tracker: never past an unfinished record, and past all of them once they are done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.offsets import OffsetTracker

# Rising offsets with gaps, as compaction and transaction markers leave them.
offsets = st.lists(st.integers(0, 2**40), min_size=1, max_size=60, unique=True).map(sorted)


@given(offsets=offsets, data=st.data())
def test_never_passes_an_unfinished_record(offsets: list[int], data: st.DataObject) -> None:
    window = data.draw(st.integers(1, 70))
    span = data.draw(st.integers(window, 90))
    tracker = OffsetTracker(window, span)
    to_begin, unfinished, done = list(offsets), set[int](), set[int]()
    committed = -1
    while to_begin or unfinished:
        can_begin = bool(to_begin) and not tracker.full
        if can_begin and (not unfinished or data.draw(st.booleans())):
            offset = to_begin.pop(0)
            tracker.begin(offset)
            unfinished.add(offset)
        else:
            offset = data.draw(st.sampled_from(sorted(unfinished)))
            tracker.done(offset)
            unfinished.remove(offset)
            done.add(offset)
        committable = tracker.committable()
        assert (committable is None) == (
            not done or (committed == -1 and bool(unfinished) and min(unfinished) < min(done))
        )
        if committable is not None:
            assert committable >= committed
            committed = committable
            assert all(at >= committable for at in unfinished)
            assert all(at >= committable for at in to_begin)
            first = min(unfinished, default=offsets[-1] + 1)
            assert all(at < committable for at in done if at < first)
        assert len(tracker) <= span
        assert len(unfinished) <= window
        assert tracker.unfinished() == sorted(unfinished)
        blockers = tracker.blockers()
        held = [at for at in done if committable is None or at >= committable]
        assert blockers == [at for at in sorted(unfinished) if held and at < max(held)]
    assert tracker.committable() == offsets[-1] + 1
    assert len(tracker) == 0


def test_one_that_hangs_holds_the_others_up_only_at_the_span() -> None:
    tracker = OffsetTracker(2, 4)
    tracker.begin(0)
    for offset in (5, 6, 9):
        assert not tracker.full
        tracker.begin(offset)
        tracker.done(offset)
    assert tracker.full
    assert tracker.committable() is None
    with pytest.raises(ValueError, match="full"):
        tracker.begin(10)
    tracker.done(0)
    tracker.begin(10)
    assert tracker.committable() == 10


def test_full_when_so_many_are_unfinished() -> None:
    tracker = OffsetTracker(2)
    full = [tracker.full]
    for offset in (1, 2):
        tracker.begin(offset)
        full.append(tracker.full)
    tracker.done(2)
    full.append(tracker.full)
    assert full == [False, False, True, False]


def test_misuse_is_refused() -> None:
    tracker = OffsetTracker(3)
    tracker.begin(1)
    with pytest.raises(ValueError, match="not above"):
        tracker.begin(1)
    with pytest.raises(ValueError, match="not being worked on"):
        tracker.done(2)
    tracker.done(1)
    with pytest.raises(ValueError, match="not being worked on"):
        tracker.done(1)
    with pytest.raises(ValueError, match="at least one"):
        OffsetTracker(0)
