"""What completed rows said when they were last seen: 45 bytes a row, in slices of an hour that stay small.

A slice is a run of packed records of calls that started in one stretch of an hour: in all of it at first, and in halves
of it as it fills. Slices are numbered as the nodes of a binary tree are: 1 is the hour, 2n and 2n + 1 are n's halves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from functools import lru_cache
from struct import Struct

import msgspec

from gateway.calls.snapshots import CompletedRow
from gateway.contract.times import Ms

HOUR: Ms = 3_600_000
# A slice that grows past this is halved, down to a second: a row rewrites this much at most, or 45 bytes for each call
# of one second.
MAX_SLICE = 4_096
_HALVINGS = 12  # 4,096 parts of an hour that is taken for 4,096 s

# Fingerprint and what may be corrected; then whose call it was (no id: from before the first poll) and its flags.
_KEY = Struct("<IIIIII")
_REST = Struct("<16sIB")
SIZE = _KEY.size + _REST.size
_AMBIGUOUS, _ANSWERED = 1, 2
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_CROCKFORD)}

Slices = Mapping[int, bytes]
Says = tuple[int, int, int, int]


class Done(msgspec.Struct, frozen=True):
    """What a completed row said when it was last seen, and whose call it was (no id: from before the first poll)."""

    call_id: str
    sequence: int
    ambiguous: bool
    says: Says
    answered: bool = False  # it was told so, and that stands


def fingerprint(row: CompletedRow) -> int:
    """What stays the same of a completed row when it is corrected: numbers, direction, and where in its hour it began."""
    text = f"{row.src}\0{row.dst}\0{row.direction}"
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) << 32 | row.start.earliest % HOUR


def says(row: CompletedRow) -> Says:
    """What may be corrected later, each in 32 bits: end, duration, disposition, recording (0 where there is none)."""
    rec_file = row.rec_file
    recording = 0 if rec_file is None else zlib.crc32(rec_file.encode("utf-8", "surrogatepass")) or 1
    return row.end.earliest & 0xFFFFFFFF, row.duration, _code(row.disposition), recording


@lru_cache(maxsize=1024)
def _code(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def key_of(print_: int, said: Says) -> bytes:
    """The bytes that a record of this fingerprint and these words begins with."""
    return _KEY.pack(print_ >> 32, print_ & 0xFFFFFFFF, *said)


def slice_of(slices: Slices, print_: int) -> int:
    """The number of the slice that a fingerprint's records are in, or belong in."""
    node = 1 << _HALVINGS | (print_ & 0xFFFFFFFF) // 1000
    while node > 1 and node not in slices:
        node >>= 1
    return node


def holds(kept: bytes, key: bytes) -> bool:
    """Whether a record of the slice begins with `key`."""
    at = kept.find(key)
    while at >= 0 and at % SIZE:
        at = kept.find(key, at + 1)
    return at >= 0


def records(kept: bytes, print_: int) -> tuple[Done, ...]:
    """The slice's records of one fingerprint."""
    return tuple(_unpacked(kept, at) for at in _places(kept, print_))


def keep(slices: MutableMapping[int, bytes], print_: int, done: Iterable[Done]) -> Iterator[int]:
    """Put these records in place of those of the fingerprint; yields the numbers of the slices that changed.

    A number that is not among the slices then is of one that was halved.
    """
    node = slice_of(slices, print_)
    kept = slices.get(node, b"")
    for at in reversed(_places(kept, print_)):
        kept = kept[:at] + kept[at + SIZE :]
    slices[node] = kept + b"".join(_packed(print_, one) for one in done)
    full = [node]
    for one in full:
        yield one
        if len(slices[one]) > MAX_SLICE and one < 1 << _HALVINGS:
            full += _halve(slices, one)


def checked(raw: bytes) -> bytes:
    """A slice as it was kept. Raises msgspec.DecodeError where it is none."""
    if not raw or len(raw) % SIZE:
        raise msgspec.DecodeError("not a slice of completed rows")
    return raw


def _halve(slices: MutableMapping[int, bytes], node: int) -> list[int]:
    kept = slices.pop(node)
    shift = _HALVINGS - node.bit_length()
    halves: tuple[list[bytes], list[bytes]] = ([], [])
    for at in range(0, len(kept), SIZE):
        second = int.from_bytes(kept[at + 4 : at + 8], "little") // 1000
        halves[second >> shift & 1].append(kept[at : at + SIZE])
    # An empty half is not kept, so it may be missing, and be made anew, when its parent is filled and halved again.
    for half, moved in zip((2 * node, 2 * node + 1), halves, strict=True):
        slices[half] = slices.get(half, b"") + b"".join(moved)
    return [2 * node, 2 * node + 1]


def _places(kept: bytes, print_: int) -> list[int]:
    begin = _KEY.pack(print_ >> 32, print_ & 0xFFFFFFFF, 0, 0, 0, 0)[:8]
    found = []
    at = kept.find(begin)
    while at >= 0:
        if at % SIZE == 0:
            found.append(at)
        at = kept.find(begin, at + 1)
    return found


def _packed(print_: int, done: Done) -> bytes:
    number = 0
    for letter in done.call_id:
        number = number << 5 | _VALUES[letter]
    flags = _AMBIGUOUS * done.ambiguous | _ANSWERED * done.answered
    return key_of(print_, done.says) + _REST.pack(number.to_bytes(16, "big"), done.sequence, flags)


def _unpacked(kept: bytes, at: int) -> Done:
    _, _, *said = _KEY.unpack_from(kept, at)
    raw, sequence, flags = _REST.unpack_from(kept, at + _KEY.size)
    call_id = call_name(int.from_bytes(raw, "big")) if any(raw) else ""
    end, duration, disposition, recording = said
    return Done(
        call_id, sequence, bool(flags & _AMBIGUOUS), (end, duration, disposition, recording), bool(flags & _ANSWERED)
    )


def call_name(number: int) -> str:
    """A call's id out of its 128 bits."""
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))
