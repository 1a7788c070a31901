"""The memory of completed rows against a plain dict: what is put in is found, in slices that stay small."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.calls import memory
from gateway.calls.memory import HOUR, MAX_SLICE, SIZE, Done, fingerprint, keep, key_of, records, says, slice_of
from tests.unit.calls.watched import done

dones = st.builds(
    Done,
    call_id=st.just("")
    | st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=25, max_size=25).map(lambda one: f"7{one}"),
    sequence=st.integers(0, 2**32 - 1),
    ambiguous=st.booleans(),
    says=st.tuples(*[st.integers(0, 2**32 - 1)] * 4),
    answered=st.booleans(),
)
# Of few numbers in few seconds, so that fingerprints meet, and all over the hour, so that slices are halved.
prints = st.builds(
    lambda who, at: who << 32 | at, st.integers(0, 3), st.sampled_from([0, 999, 1_000]) | st.integers(0, HOUR - 1)
)
writes = st.lists(st.tuples(prints, st.lists(dones, max_size=3)), max_size=40)


def found(slices: dict[int, bytes], print_: int) -> tuple[Done, ...]:
    return records(slices.get(slice_of(slices, print_), b""), print_)


@settings(max_examples=100, deadline=None)
@given(writes, st.integers(SIZE, 10 * SIZE), st.integers(1, 7))
def test_what_is_kept_is_found_again(given_: list[tuple[int, list[Done]]], limit: int, reload: int) -> None:
    """With slices that are halved early, and loaded again (the empty ones are not kept) every few writes."""
    slices: dict[int, bytes] = {}
    kept: dict[int, bytes] = {}
    plain: dict[int, tuple[Done, ...]] = {}
    whole, memory.MAX_SLICE = memory.MAX_SLICE, limit
    try:
        for count, (print_, these) in enumerate(given_):
            plain[print_] = tuple(these)
            for node in list(keep(slices, print_, these)):
                if slices.get(node):
                    kept[node] = slices[node]
                else:
                    kept.pop(node, None)
            if count % reload == 0:
                slices = dict(kept)
            for one, expected in plain.items():
                assert found(slices, one) == expected
    finally:
        memory.MAX_SLICE = whole
    assert {node: raw for node, raw in slices.items() if raw} == kept
    assert sum(map(len, kept.values())) == SIZE * sum(map(len, plain.values()))


def test_slices_stay_small_at_any_rate() -> None:
    slices: dict[int, bytes] = {}
    for n in range(40_000):
        list(keep(slices, (n % 5000) << 32 | n * 89 % HOUR, [Done("", 0, False, (n, 1, 2, 3))]))
    assert max(map(len, slices.values())) <= MAX_SLICE
    assert sum(map(len, slices.values())) == 40_000 * SIZE
    assert SIZE <= 100


def test_calls_of_one_second_share_a_slice_however_many() -> None:
    slices: dict[int, bytes] = {}
    for n in range(500):
        list(keep(slices, n << 32 | 7_000, [Done("", 0, False, (n, 1, 2, 3))]))
    list(keep(slices, 8_000, [Done("", 0, False, (0, 1, 2, 3))]))
    assert sorted(map(len, filter(None, slices.values()))) == [SIZE, 500 * SIZE]


def test_a_key_is_found_only_where_a_record_begins() -> None:
    print_ = fingerprint(done(6, 18))
    key = key_of(print_, says(done(6, 18)))
    inside = b"\x00" * 20 + key + b"\x00"
    assert not memory.holds(inside, key)
    assert memory.holds(inside + key + b"\x00" * 21, key)
    assert records(inside, print_) == ()
