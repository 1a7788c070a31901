"""Which life told of which true call, by nothing but the bounds. Knows events only as the JSON that went out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol


class TrueCall(Protocol):
    """A call as it was: ms by the true clock, None for what never came."""

    @property
    def id(self) -> str: ...
    @property
    def src(self) -> str: ...
    @property
    def dst(self) -> str: ...
    @property
    def started_at(self) -> int: ...
    @property
    def answered_at(self) -> int | None: ...
    @property
    def ended_at(self) -> int | None: ...
    @property
    def disposition(self) -> str | None: ...


def paired(calls: Sequence[TrueCall], lives: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """The id of the true call of each life that has one, one to one, as many as can be (Kuhn)."""
    by_numbers: dict[tuple[str, str], list[TrueCall]] = defaultdict(list)
    for call in calls:
        by_numbers[call.src, call.dst].append(call)
    life_of: dict[str, str] = {}

    def place(subject: str, tried: set[str]) -> bool:
        data = lives[subject][0]["data"]
        for call in by_numbers[data["src"], data["dst"]]:
            if call.id not in tried and not false_of(lives[subject], call):
                tried.add(call.id)
                if call.id not in life_of or place(life_of[call.id], tried):
                    life_of[call.id] = subject
                    return True
        return False

    for subject in lives:
        place(subject, set())
    return {subject: call for call, subject in life_of.items()}


def false_of(life: Sequence[Mapping[str, Any]], call: TrueCall) -> str | None:
    """The first thing in this life that does not hold of this call; None where all does and nothing is missing."""
    true = {"call.started": call.started_at, "call.answered": call.answered_at, "call.ended": call.ended_at}
    told = [event["type"] for event in life]
    if told.count("call.updated") + len(set(told) - {"call.updated"}) != len(told):
        return "something is told twice"
    for type_, at in true.items():
        # After an end by absence only a correction can say that there was an answer.
        corrected = type_ == "call.answered" and told[-1] == "call.updated" and life[-1]["data"]["answered"]
        if (at is None) == (type_ in told) and not (corrected and at is not None):
            return f"{type_}: {'never was' if at is None else 'not told'}"
    for event in life:
        data = event["data"]
        at = true["call.ended" if event["type"] == "call.updated" else event["type"]]
        if at is None or not ms(data["not_before"]) <= at <= ms(data["not_after"]):
            return f"{event['type']}: {data['not_before']} … {data['not_after']} does not hold it"
        if not ms(data["not_before"]) <= ms(event["time"]) <= ms(data["not_after"]):
            return f"{event['type']}: the estimate is out of its bounds"
        if data["disposition"] not in (None, call.disposition):
            return f"{event['type']}: {data['disposition']}"
    return None


def ms(time: str) -> int:
    """RFC 3339 as ms since the epoch."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)
