"""Compares what a receiver was told with what truly happened. Knows events only as the JSON that arrived."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from sandbox.assignment import assign
from sandbox.ledger import LedgerRecord

# A call may be told of with a start this far off and still be that call; nearer ones are taken first.
_FAR_MS = 15_000
# One fault outweighs all distances of a pair.
_FAULT = 10 * _FAR_MS
_NEVER = 10**12


class Received(msgspec.Struct, frozen=True):
    """A call event as it arrived: its CloudEvents JSON, decoded, and when it came (epoch ms)."""

    event: dict[str, Any]
    at: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparison found.

    `missing` and `doubled` name the events; an event that belongs to no true call counts as doubled. `outside` are those
    whose bounds do not hold the true time. `mixed` are those of lives marked ambiguous that are true of a twin of theirs:
    each such event holds of a call of its own, but the events of a life are not all of one. Delays are ms from what truly
    happened to the receipt.
    """

    calls: int
    events: dict[str, int]
    missing: list[str]
    doubled: list[str]
    outside: list[str]
    mixed: list[str]
    delays: list[int]


def audit(ledger: Sequence[LedgerRecord], received: Iterable[Received]) -> Report:
    """Compare the ledger with everything received. Calls that still run owe no end yet."""
    doubled: list[str] = []
    lives: dict[str, dict[str, Received]] = defaultdict(dict)
    ids: set[str] = set()
    events: Counter[str] = Counter()
    for one in sorted(received, key=lambda one: one.at):
        event = one.event
        if event["id"] in ids:
            doubled.append(f"{event['id']} arrived again")
            continue
        ids.add(event["id"])
        events[event["type"]] += 1
        life = lives[event["subject"]]
        if event["type"] == "call.updated":
            continue
        if event["type"] in life:
            doubled.append(f"{event['type']} twice in the life of {event['subject']}")
        else:
            life[event["type"]] = one
    missing: list[str] = []
    outside: list[str] = []
    mixed: list[str] = []
    delays: list[int] = []
    owner = _pair(ledger, lives)
    of_twins = _of_twins(ledger, owner, lives)
    for record in ledger:
        told = lives.get(owner.get(record.id, ""), {})
        faults = _compare(record, told)
        name = f"{record.id} ({record.account}: {record.src} -> {record.dst})"
        missing += [f"{type_} of {name}" for type_ in faults.missing]
        for type_ in faults.outside:
            (mixed if (record.id, type_) in of_twins else outside).append(f"{type_} of {name}")
        doubled += [f"{type_} of {record.id}, which it never was" for type_ in faults.untrue]
        delays += [told[type_].at - truly for type_, truly in _happened(record).items() if type_ in told]
    taken = set(owner.values())
    doubled += [
        f"{type_} of {subject}, no such call"
        for subject, life in lives.items()
        if subject not in taken
        for type_ in life
    ]
    return Report(
        calls=len(ledger),
        events=dict(events),
        missing=missing,
        doubled=doubled,
        outside=outside,
        mixed=mixed,
        delays=delays,
    )


class _Faults(NamedTuple):
    """The types of events that are wrong when a life is held to tell of a record."""

    missing: list[str]
    outside: list[str]
    untrue: list[str]


def _compare(record: LedgerRecord, told: Mapping[str, Received]) -> _Faults:
    happened = _happened(record)
    # Of a call that runs only the start is owed: its answer may be told with its end.
    owed = [type_ for type_ in happened if type_ != "call.answered" or record.ended_at is not None]
    return _Faults(
        missing=[type_ for type_ in owed if type_ not in told],
        outside=[type_ for type_, truly in happened.items() if type_ in told and not _holds(told[type_], truly)],
        untrue=[type_ for type_ in told if type_ not in happened],
    )


def _holds(one: Received, truly: int) -> bool:
    data = one.event["data"]
    return _ms(data["not_before"]) <= truly <= _ms(data["not_after"])


def _happened(record: LedgerRecord) -> dict[str, int]:
    """The events of a call so far, with the true time of each."""
    times = {
        "call.started": record.started_at,
        "call.answered": record.answered_at,
        "call.ended": record.ended_at,
    }
    return {type_: at for type_, at in times.items() if at is not None}


def _pair(ledger: Sequence[LedgerRecord], lives: Mapping[str, dict[str, Received]]) -> dict[str, str]:
    """Which life tells of which record: one to one, over the account and both numbers.

    Of all ways to pair them it is the one with the fewest faults, so that twins which nothing tells apart are not held
    against whoever told of them in another order; among those, the one whose times are nearest.
    """
    told: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for subject, life in lives.items():
        if life:
            data = next(iter(life.values())).event["data"]
            told[data["account"], data["src"], data["dst"]].append(subject)
    true: dict[tuple[int, str, str], list[LedgerRecord]] = defaultdict(list)
    for record in ledger:
        true[record.account, record.src, record.dst].append(record)
    owner: dict[str, str] = {}
    for numbers, records in true.items():
        costs = {
            (r, subject): cost
            for r, record in enumerate(records)
            for subject in told[numbers]
            if (cost := _cost(record, lives[subject])) is not None
        }
        for rows, columns in _islands(costs):
            # A record may also stay without a life: all that it owes is missing then.
            table = [
                [costs.get((r, subject), _NEVER) for subject in columns]
                + [_FAULT * len(_compare(records[r], {}).missing) if r == other else _NEVER for other in rows]
                for r in rows
            ]
            for r, column in zip(rows, assign(table), strict=True):
                if column < len(columns):
                    owner[records[r].id] = columns[column]
    return owner


def _of_twins(
    ledger: Sequence[LedgerRecord], owner: Mapping[str, str], lives: Mapping[str, dict[str, Received]]
) -> set[tuple[str, str]]:
    """The records and types of events whose events, of ambiguous lives of the same numbers, hold of one record each."""
    groups: dict[tuple[int, str, str], list[LedgerRecord]] = defaultdict(list)
    for record in ledger:
        life = lives.get(owner.get(record.id, ""), {})
        if any(one.event["data"].get("ambiguous") for one in life.values()):
            groups[record.account, record.src, record.dst].append(record)
    found: set[tuple[str, str]] = set()
    for records in groups.values():
        for type_ in ("call.started", "call.answered", "call.ended"):
            both = [record for record in records if type_ in _happened(record) and type_ in lives[owner[record.id]]]
            told = [lives[owner[record.id]][type_] for record in both]
            table = [[0 if _holds(one, _happened(record)[type_]) else 1 for one in told] for record in both]
            if not any(table[r][column] for r, column in enumerate(assign(table))):
                found |= {(record.id, type_) for record in both}
    return found


def _cost(record: LedgerRecord, life: Mapping[str, Received]) -> int | None:
    """What holding a life to tell of a record costs: faults first, then ms; None where it can't be this call's.

    A life that stays without a record is as many faults as it has events: so many it saves here.
    """
    off = 0
    for type_, truly in (("call.started", record.started_at), ("call.ended", record.ended_at)):
        if type_ in life and truly is not None:
            away = abs(_ms(life[type_].event["time"]) - truly)
            if away > _FAR_MS and type_ == "call.started":
                return None
            off += min(away, _FAR_MS)
    return _FAULT * (sum(map(len, _compare(record, life))) - len(life)) + off


def _islands(edges: Iterable[tuple[int, str]]) -> list[tuple[list[int], list[str]]]:
    """Records and lives that hang together by pairs that are possible."""
    subjects_of: dict[int, set[str]] = defaultdict(set)
    records_of: dict[str, set[int]] = defaultdict(set)
    for r, subject in edges:
        subjects_of[r].add(subject)
        records_of[subject].add(r)
    found: list[tuple[list[int], list[str]]] = []
    left = set(subjects_of)
    while left:
        rows, columns, new = set[int](), set[str](), {left.pop()}
        while new:
            rows |= new
            columns |= {subject for r in new for subject in subjects_of[r]}
            new = {r for subject in columns for r in records_of[subject]} - rows
        left -= rows
        found.append((sorted(rows), sorted(columns)))
    return found


def _ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)
