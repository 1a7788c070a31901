"""What a run of stops came to: its outcome, the tables, and the result as JSON."""

import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.drain_ground import grace
from tests.chaos.drain_judge import Fate, Stop


@dataclass(frozen=True)
class Options:
    """A run: how often each service is told to end, and the load meanwhile."""

    stops: int = 10
    accounts: int = 20
    calls_per_minute: float = 120.0
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to."""

    stops: list[Stop]
    fates: list[Fate]
    calls: int
    events: int
    commands: int
    # Of these, those whose outcome was unknown until RingCloud's lists told it.
    reconciled: int
    webhooks: int
    repeated: int
    # What must not be, in words, by its kind.
    findings: dict[str, list[str]]


def result_of(options: Options, outcome: Outcome, took: float) -> dict[str, Any]:
    """What is written as a result."""
    seconds = {
        service: [round(one.seconds, 1) for one in outcome.stops if one.service == service]
        for service in ("gateway", "streams")
    }
    return {
        "name": "drain",
        "what": "what becomes of what is in flight when a service is told to end (SIGTERM) under load",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "short": options.stops < Options.stops,
        "settings": {**asdict(options), "grace_seconds": {name: grace(name) for name in ("gateway", "streams")}},
        "machine": {"cores": len(os.sched_getaffinity(0))},
        "passed": not outcome.findings,
        "figures": {
            "seconds": round(took),
            "stops": len(outcome.stops),
            "stops_while_brokers_hang": sum(one.hung for one in outcome.stops),
            "exit_codes_other_than_0": sum(one.code != 0 for one in outcome.stops),
            "seconds_to_end": {name: {"most": max(found, default=0), "all": found} for name, found in seconds.items()},
            "lost": sum(len(lines) for kind, lines in outcome.findings.items() if "lost" in kind),
            "calls": outcome.calls,
            "events": outcome.events,
            "commands": outcome.commands,
            "commands_reconciled": outcome.reconciled,
            "webhooks": outcome.webhooks,
            "webhooks_repeated": outcome.repeated,
            "in_flight": [asdict(fate) for fate in outcome.fates],
        },
    }


def show(console: Console, outcome: Outcome) -> None:
    """Print each stop, and the table of what was in flight at all of them."""
    stops = Table(title=f"{len(outcome.stops)} stops under load", title_style="bold")
    for name in ("service", "brokers", "exit code", "seconds", "its own figures just before"):
        stops.add_column(name)
    for one in outcome.stops:
        figures = ", ".join(f"{name} {value:g}" for name, value in one.figures.items())
        stops.add_row(one.service, "hang" if one.hung else "answer", str(one.code), f"{one.seconds:.1f}", figures)
    console.print(stops)
    table = Table(title=f"{outcome.calls} calls, {outcome.events} events, {outcome.webhooks} webhooks taken")
    table.add_column("in flight at SIGTERM")
    for name in ("how many", "ended by it", "by its successor", "done again", "lost"):
        table.add_column(name, justify="right")
    for fate in outcome.fates:
        table.add_row(*fate.row())
    console.print(table)
    for kind, lines in outcome.findings.items():
        for line in lines:
            console.print(f"{kind}: {line}", style="red", markup=False)
