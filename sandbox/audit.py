"""Compares what a receiver was told with what truly happened. Knows events only as the JSON that arrived."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from sandbox.ledger import LedgerRecord

# A call may be told of with a start this far off and still be that call; nearer ones are taken first.
_FAR_MS = 15_000


class Received(msgspec.Struct, frozen=True):
    """A call event as it arrived: its CloudEvents JSON, decoded, and when it came (epoch ms)."""

    event: dict[str, Any]
    at: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparison found.

    `missing` and `doubled` name the events; an event that belongs to no true call counts as doubled. `outside` are those
    whose bounds do not hold the true time. Delays are ms from what truly happened to the receipt.
    """

    calls: int
    events: dict[str, int]
    missing: list[str]
    doubled: list[str]
    outside: list[str]
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
    delays: list[int] = []
    owner = _pair(ledger, lives)
    for record in ledger:
        told = lives.get(owner.get(record.id, ""), {})
        happened = _happened(record)
        for type_, truly in happened.items():
            name = f"{type_} of {record.id} ({record.account}: {record.src} -> {record.dst})"
            came = told.get(type_)
            if came is None:
                # Of a call that runs only the start is owed: its answer may be told with its end.
                if type_ != "call.answered" or record.ended_at is not None:
                    missing.append(name)
                continue
            delays.append(came.at - truly)
            data = came.event["data"]
            if not _ms(data["not_before"]) <= truly <= _ms(data["not_after"]):
                outside.append(name)
        doubled += [f"{type_} of {record.id}, which it never was" for type_ in told if type_ not in happened]
    taken = set(owner.values())
    doubled += [
        f"{type_} of {subject}, no such call"
        for subject, life in lives.items()
        if subject not in taken
        for type_ in life
    ]
    return Report(
        calls=len(ledger), events=dict(events), missing=missing, doubled=doubled, outside=outside, delays=delays
    )


def _happened(record: LedgerRecord) -> dict[str, int]:
    """The events of a call so far, with the true time of each."""
    times = {
        "call.started": record.started_at,
        "call.answered": record.answered_at,
        "call.ended": record.ended_at,
    }
    return {type_: at for type_, at in times.items() if at is not None}


def _pair(ledger: Sequence[LedgerRecord], lives: dict[str, dict[str, Received]]) -> dict[str, str]:
    """Which life tells of which record: one to one, over the account and both numbers, the best fit first."""
    told: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for subject, life in lives.items():
        data = next(iter(life.values())).event["data"] if life else None
        if data is not None:
            told[data["account"], data["src"], data["dst"]].append(subject)
    fits: list[tuple[int, str, str]] = []
    for record in ledger:
        for subject in told.get((record.account, record.src, record.dst), ()):
            misfit = _misfit(record, lives[subject])
            if misfit is not None:
                fits.append((misfit, record.id, subject))
    owner: dict[str, str] = {}
    taken: set[str] = set()
    for _, record_id, subject in sorted(fits):
        if record_id not in owner and subject not in taken:
            owner[record_id] = subject
            taken.add(subject)
    return owner


def _misfit(record: LedgerRecord, life: dict[str, Received]) -> int | None:
    """How badly a life fits a record, in ms; None where it can't be this call's."""
    total = 0
    for type_, truly in (("call.started", record.started_at), ("call.ended", record.ended_at)):
        one = life.get(type_)
        if one is None or truly is None:
            continue
        off = abs(_ms(one.event["time"]) - truly)
        data = one.event["data"]
        if not _ms(data["not_before"]) <= truly <= _ms(data["not_after"]):
            off += 1_000
        total += off
        if off > _FAR_MS and type_ == "call.started":
            return None
    answered = "call.answered" in life
    return total + (0 if answered == (record.answered_at is not None) else 2_000)


def _ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)
