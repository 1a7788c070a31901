"""What a run came to: its outcome, the table, and the result as JSON."""

import json
import os
import platform
import re
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.chaos.judge import Verdict, worst
from tests.chaos.options import Options
from tests.chaos.plan import SESSION

ROOT = Path(__file__).resolve().parents[2]
_BROKERLESS = re.compile(r"with 1: Error: KafkaConnectionError: \S+: \[Errno \d+\] Connect")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A run's verdict, what was done to it, and which processes ended without being asked."""

    verdict: Verdict
    blows: dict[str, int]
    disobeyed: list[str]
    ended: dict[str, int]

    @property
    def kills(self) -> int:
        """How many processes got a SIGKILL."""
        return sum(count for what, count in self.blows.items() if what.endswith("SIGKILL"))

    @property
    def crashed(self) -> dict[str, int]:
        """Those that ended otherwise than at their start for want of a broker, which is left to whoever runs them."""
        return {what: count for what, count in self.ended.items() if not _BROKERLESS.search(what)}

    @property
    def passed(self) -> bool:
        """Whether nothing was found that must not be."""
        return not findings(self)


def result_of(options: Options, outcome: Outcome, took: float) -> dict[str, Any]:
    """What is written as a result: the setting, the figures, and whether all is well."""
    verdict = outcome.verdict
    return {
        "name": "chaos",
        "what": "calls lost, doubled or mistimed while processes and brokers are killed under load",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "short": options.minutes < Options.minutes,
        "settings": {**asdict(options), "gateways": 2, "streams": 1, "session_timeout": SESSION},
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "system": f"{platform.system()} {platform.machine()}",
            "python": f"{platform.python_implementation()} {platform.python_version()}",
        },
        "versions": {
            "apache-kafka": _kafka_version(),
            **{name: version(name) for name in ("aiokafka", "faust-streaming", "aiohttp")},
        },
        "passed": outcome.passed,
        "figures": {
            "seconds": round(took),
            "kills": outcome.kills,
            "blows": dict(sorted(outcome.blows.items())),
            "calls": verdict.calls,
            "events": verdict.events,
            "lost": len(verdict.lost),
            "duplicated": len(verdict.duplicated),
            "bounds_violated": len(verdict.outside),
            "twins_mixed": len(verdict.mixed),
            "out_of_order": len(verdict.out_of_order),
            "webhooks": verdict.webhooks,
            "webhooks_repeated": verdict.repeated_webhooks,
            "webhooks_missing": len(verdict.undelivered),
            "webhooks_wrong": len(verdict.wrong_webhooks),
            "rate_limited": verdict.rate_limited,
            "rate_limited_by_faults": verdict.rate_limited_by_faults,
            "shards_fenced": verdict.fenced,
            "log_mishaps": len(verdict.mishaps),
            "log_secrets": len(verdict.secrets),
            "ended_without_a_broker": sum(outcome.ended.values()) - sum(outcome.crashed.values()),
            "crashed": sum(outcome.crashed.values()),
            "disobeyed_sigterm": len(outcome.disobeyed),
            "change_to_commit_ms": verdict.delay_ms,
        },
    }


def _kafka_version() -> str:
    found = re.search(r"<kafka\.version>([^<]+)<", (ROOT / "deploy" / "kafka" / "pom.xml").read_text())
    return found[1] if found else "unknown"


def findings(outcome: Outcome) -> dict[str, list[str]]:
    """Everything that must not be, in words, shortened: empty if the run has passed."""
    verdict = outcome.verdict
    crashed = [f"{what} ({count} times)" for what, count in outcome.crashed.items()]
    found = {**verdict.faults(), "crashed": crashed, "disobeyed": outcome.disobeyed}
    return {name: worst(lines) for name, lines in found.items() if lines}


def show(console: Console, result: dict[str, Any]) -> None:
    settings, found = result["settings"], result["figures"]
    title = f"chaos, seed {settings['seed']}: {found['calls']} calls, {found['kills']} kills"
    main = Table(title=title, title_style="bold", min_width=len(title) + 4)
    for name in ("lost", "duplicated", "bounds violated"):
        main.add_column(name, justify="right")
    main.add_row(*(str(found[name]) for name in ("lost", "duplicated", "bounds_violated")))
    console.print(main)
    rest = Table(show_header=False)
    traffic = ("{minutes:g} min, {calls_per_second:g} calls/s, {accounts} accounts, twins {twin_share:g}").format(
        **settings
    )
    rest.add_row("traffic", traffic)
    for name, value in found.items():
        if name in ("calls", "kills", "lost", "duplicated", "bounds_violated"):
            continue
        text = "\n".join(f"{what}: {count}" for what, count in value.items()) if isinstance(value, dict) else str(value)
        rest.add_row(name.replace("_", " "), text)
    console.print(rest)


def write(folder: Path, result: dict[str, Any]) -> None:
    """Write a result as `chaos.json`, that of a short run as `chaos.short.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"chaos{'.short' if result['short'] else ''}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
