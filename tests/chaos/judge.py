"""Judges a run: the topic and the webhooks against the sandbox's ledger, and the logs against themselves."""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.dev.receiver import Arrival
from sandbox.audit import Received, audit
from sandbox.ledger import LedgerRecord
from sandbox.stats import StatsReport

# Signs of something that was forgotten or not expected.
MISHAPS = ("Traceback", "never retrieved", "Unclosed", "was destroyed", "Unexpected error", "did not stop")
# How many findings of a kind are told of one by one.
_TOLD = 50


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. Everything but the figures at the top is a list of findings, in words."""

    calls: int
    events: dict[str, int]
    webhooks: int
    repeated_webhooks: int
    rate_limited: int
    rate_limited_by_faults: int
    delay_ms: dict[str, int]
    lost: list[str]
    duplicated: list[str]
    outside: list[str]
    # True of a twin of theirs, and marked ambiguous: counted, and no fault.
    mixed: list[str]
    out_of_order: list[str]
    undelivered: list[str]
    wrong_webhooks: list[str]
    mishaps: list[str]
    secrets: list[str]
    # Shards that found themselves fenced off: zombies that woke up, for the most part.
    fenced: int = 0

    def faults(self) -> dict[str, list[str]]:
        """Whatever must not be, by its name: a run without any of it has passed."""
        names = ("lost", "duplicated", "outside", "out_of_order", "undelivered", "wrong_webhooks", "mishaps", "secrets")
        return {name: found for name in names if (found := getattr(self, name))}


def judge(
    ledger: Sequence[LedgerRecord],
    told: Sequence[Received],
    arrivals: Sequence[Arrival],
    refused: int,
    stats: StatsReport,
) -> Verdict:
    """Compare. `told` are the committed events of the topic, `refused` counts webhooks whose signature was wrong."""
    report = audit(ledger, told)
    ids = [one.event["id"] for one in told]
    undelivered, wrong = _webhooks(set(ids), arrivals)
    if refused:
        wrong.append(f"{refused} webhooks with a wrong signature")
    answered = sum(count.count for count in stats.requests if count.status == 429)
    refusals = sum(lane.rejected for lane in stats.lanes)
    return Verdict(
        calls=report.calls,
        events=report.events,
        webhooks=len(arrivals),
        repeated_webhooks=len(arrivals) - len({one.webhook_id for one in arrivals}),
        rate_limited=refusals,
        rate_limited_by_faults=answered - refusals,
        delay_ms=_spread(report.delays),
        lost=report.missing,
        duplicated=report.doubled,
        outside=report.outside,
        mixed=report.mixed,
        out_of_order=_out_of_order(told),
        undelivered=undelivered,
        wrong_webhooks=wrong,
        mishaps=[],
        secrets=[],
    )


def read_logs(verdict: Verdict, logs: Iterable[Path], secrets: Sequence[str]) -> Verdict:
    """The verdict with what the logs tell: lines of mishaps, and secrets (these, and hashes in URLs)."""
    mishaps: list[str] = []
    leaks: list[str] = []
    fenced = 0
    # One look at each line for all of them.
    secret = re.compile("|".join([*map(re.escape, secrets), r"[?&]hash=\w"]))
    for log in logs:
        for number, line in enumerate(log.read_text(errors="replace").splitlines(), 1):
            # The broker's own log tells of its own lives.
            if log.name != "broker.log" and any(sign in line for sign in MISHAPS):
                mishaps.append(f"{log.name}:{number}: {line[:300]}")
            fenced += "shard starts anew" in line and "ProducerFenced" in line
            if secret.search(line):
                leaks.append(f"{log.name}:{number}")
    return msgspec.structs.replace(verdict, mishaps=mishaps, secrets=leaks, fenced=fenced)


def worst(findings: Sequence[str]) -> list[str]:
    """So many findings as are told of one by one."""
    return [*findings[:_TOLD], *([f"… and {len(findings) - _TOLD} more"] if len(findings) > _TOLD else [])]


def _webhooks(ids: set[str], arrivals: Sequence[Arrival]) -> tuple[list[str], list[str]]:
    """Events of the topic that nobody was told of; webhooks that are not right."""
    of_event: dict[str, set[str]] = defaultdict(set)
    for one in arrivals:
        of_event[one.event["id"]].add(one.webhook_id)
    undelivered = [f"{id_} was never received" for id_ in sorted(ids - of_event.keys())]
    wrong = [f"{id_} is not on the topic" for id_ in sorted(of_event.keys() - ids)]
    wrong += [f"{id_} came as {sorted(found)}" for id_, found in of_event.items() if len(found) > 1]
    events = Counter(len(found) for found in of_event.values())
    if len({one.webhook_id for one in arrivals}) < sum(events.values()):
        wrong.append("events share a webhook-id")
    return undelivered, wrong


def _out_of_order(told: Sequence[Received]) -> list[str]:
    """Lives whose events, in the order of the topic, don't count 1, 2, 3 and so on, or go on wrongly."""
    lives: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in told:
        lives[one.event["subject"]].append(one.event)
    found: list[str] = []
    for subject, events in lives.items():
        sequences = [event["data"]["sequence"] for event in events]
        types = [event["type"].removeprefix("call.") for event in events]
        if sequences != [*range(1, len(events) + 1)] or not re.fullmatch(
            "started( answered)?( ended( updated)*)?", " ".join(types)
        ):
            found.append(f"{subject}: {list(zip(sequences, types, strict=True))}")
    return found


def _spread(values: Sequence[int]) -> dict[str, int]:
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49]), "p95": round(cuts[94]), "p99": round(cuts[98]), "most": max(values)}
