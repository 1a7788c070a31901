"""Chaos for commands: sent, some twice, while gateways are killed, and judged. `python -m tests.chaos.commands --seed 1`."""

import asyncio
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gateway.dev.brokers import ApacheKafka, Broker
from sandbox.faults import FaultRule
from sandbox.settings import KeySpec, SandboxSettings, TrafficProfile
from tests.chaos.commands_judge import Verdict, judge
from tests.chaos.report import ROOT
from tests.support.command_changes import EVERYTHING
from tests.support.commands import Sender, is_over, results, sender
from tests.support.gateway import Gateway, Site, keys_of, site
from tests.support.waiting import eventually

_RESULTS = ROOT / "bench" / "results"
_FOLDER = ROOT / ".cache" / "chaos-commands"
FIRST_ACCOUNT = 5000
SESSION = 4.0
# After the last kill: the longest queue, retries, and a minute to reconcile.
_END_SECONDS = 240.0
_TRAFFIC = TrafficProfile(originate_a_ms=(300, 3_000), talk_ms=(500, 20_000))


@dataclass(frozen=True)
class Options:
    """A run: how many commands, over how many accounts, and how many kills meanwhile."""

    commands: int = 200
    kills: int = 30
    accounts: int = 8
    seed: int = 1


@dataclass
class Outcome:
    """A run's verdict and what was seen beside it."""

    verdict: Verdict
    kills: int
    rate_limited: int
    mishaps: list[str]
    seconds: float
    slowest: float  # seconds from an outcome_unknown to what reconciling it came to

    def findings(self) -> dict[str, list[str]]:
        """Everything that must not be: empty if the run has passed."""
        return {**self.verdict.faults(), **({"mishaps": self.mishaps} if self.mishaps else {})}


async def chaos(options: Options, broker: Broker, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Send, kill, wait until each command has its last result, and judge. `broker` runs."""
    began = time.monotonic()
    accounts = [FIRST_ACCOUNT + n for n in range(options.accounts)]
    # Every fourth account has two keys.
    keys = [*keys_of(accounts), *(KeySpec(f"{one}_second", "another-password") for one in accounts[::4])]
    settings = SandboxSettings(keys=keys, traffic=_TRAFFIC, seed=options.seed)
    async with site(broker, folder / "site", settings, {"kafka": {"session_timeout": SESSION, "shards": 4}}) as place:
        for account in place.document["accounts"]:
            account["allow"] = EVERYTHING
        place.sandbox.faults.set_rules(_faults(accounts))
        gateways = [place.gateway("one"), place.gateway("two")]
        async with sender(place) as to, gateways[0], gateways[1]:
            # Calls of before an account's first poll are history, and told of by nobody.
            await place.polled()
            sent = plan(options, accounts)
            say(f"sending {len(sent)} commands; {options.kills} kills")
            sending = asyncio.create_task(_send(options, to, sent))
            await _kill(options, gateways)
            await sending
            say("waiting for the last results")
            await _over(place, [command["id"] for command in sent])
            # What was dialled last is observed with its call.
            await place.all_told(120.0)
            for gateway in gateways:
                await gateway.stop()
        told = await results(place)
        verdict = judge(sent, told, place.sandbox.pbx.ledger.records(), place.sandbox.pbx.ledger.changes)
        return Outcome(
            verdict=verdict,
            kills=options.kills,
            rate_limited=place.sandbox.stats.report().rate_limited,
            mishaps=[line for gateway in gateways for line in gateway.mishaps()],
            seconds=time.monotonic() - began,
            slowest=_slowest(told),
        )


def _slowest(told: list[dict[str, Any]]) -> float:
    unknown = {
        one["command_id"]: one["at"] for one in told if one["status"] == "outcome_unknown" and not one["reconciled"]
    }
    found = [
        datetime.fromisoformat(one["at"]) - datetime.fromisoformat(unknown[one["command_id"]])
        for one in told
        if one["reconciled"]
    ]
    return max((one.total_seconds() for one in found), default=0.0)


def plan(options: Options, accounts: list[int]) -> list[dict[str, Any]]:
    """The commands in the order in which they are sent; each dials a number or sets a value that no other does."""
    rng = random.Random(f"{options.seed}/commands")
    found: list[dict[str, Any]] = []
    extensions = {account: iter(range(450, 500)) for account in accounts}
    for n in range(options.commands):
        account = rng.choice(accounts)
        common = {"id": f"{options.seed}-{n}", "account": account}
        user = str(rng.randint(400, 409))
        kind = rng.choices(("call", "mail", "num", "create"), (45, 40, 10, 5))[0]
        number = next(extensions[account], None) if kind in ("num", "create") else None
        if kind == "call" or (kind != "mail" and number is None):
            found.append({**common, "type": "call.originate", "user": user, "num": f"7495{n:07}"})
        elif kind == "mail":
            found.append({**common, "type": "user.update_email", "user": user, "mail": f"{n}@chaos.example"})
        elif kind == "num":
            found.append({**common, "type": "user.update_extension_number", "user": user, "num": str(number)})
        else:
            mail, password = f"{n}@chaos.example", f"password-{n}"
            found.append({**common, "type": "user.create", "num": str(number), "mail": mail, "password": password})
    return found


def _faults(accounts: list[int]) -> list[FaultRule]:
    """Answers that take a while, so that kills meet requests on the wire; and some that are cut off, deed done or not."""
    rules = []
    for account in accounts:
        for url in ("originate", "create_user", "update_email"):
            rules += [
                FaultRule(account=account, url=url, kind="truncated", probability=0.05),
                FaultRule(account=account, url=url, kind="drop", probability=0.05),
                FaultRule(account=account, url=url, kind="delay", probability=0.6, delay_ms=(50, 1_500)),
            ]
    return rules


async def _send(options: Options, to: Sender, sent: list[dict[str, Any]]) -> None:
    rng = random.Random(f"{options.seed}/sending")
    pause = 2.5 * options.kills / len(sent)
    for command in sent:
        value = json.dumps(command).encode()
        await to.raw(command["account"], value)
        if rng.random() < 0.3:
            await to.raw(command["account"], value)
        await asyncio.sleep(rng.uniform(0, 2 * pause))


async def _kill(options: Options, gateways: list[Gateway]) -> None:
    rng = random.Random(f"{options.seed}/kills")
    for _ in range(options.kills):
        await asyncio.sleep(rng.uniform(1.0, 5.0))
        hit = gateways if rng.random() < 0.3 else [rng.choice(gateways)]
        for gateway in hit:
            await gateway.kill()
        await asyncio.sleep(rng.uniform(0.0, 1.0))
        for gateway in hit:
            gateway.spawn()


async def _over(place: Site, ids: list[str]) -> None:
    async def over() -> bool:
        """every command has its last result"""
        found = {one["command_id"] for one in await results(place) if is_over(one)}
        return found >= set(ids)

    try:
        await eventually(over, _END_SECONDS, interval=2.0)
    except AssertionError:
        # The judge names those that are lost.
        return


def result_of(options: Options, outcome: Outcome) -> dict[str, Any]:
    """What is written as a result."""
    verdict = outcome.verdict
    return {
        "name": "commands-chaos",
        "what": "commands executed twice, lost or left unknown while gateways are killed",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "short": options.commands < Options.commands,
        "settings": {**asdict(options), "gateways": 2, "session_timeout": SESSION},
        "machine": {"cores": len(os.sched_getaffinity(0))},
        "passed": not outcome.findings(),
        "figures": {
            "seconds": round(outcome.seconds),
            "kills": outcome.kills,
            "commands": verdict.commands,
            "executed_twice": len(verdict.twice),
            "lost": len(verdict.lost),
            "claimed_but_not_done": len(verdict.claimed),
            "done_but_denied": len(verdict.denied),
            "left_unknown": len(verdict.unresolved),
            "results_misnumbered": len(verdict.misnumbered),
            "out_of_order": len(verdict.disordered),
            "linked_wrongly": len(verdict.mislinked),
            "calls": verdict.calls,
            "linked_to_their_calls": verdict.observed,
            "succeeded": verdict.succeeded,
            "not_done_and_told_so": verdict.refused,
            "reconciled": verdict.reconciled,
            "slowest_reconciliation_seconds": round(outcome.slowest, 1),
            "changes_repeated": verdict.repeated,
            "rate_limited": outcome.rate_limited,
            "log_mishaps": len(outcome.mishaps),
        },
    }


async def _run(options: Options, say: Callable[[str], None]) -> Outcome:
    broker = ApacheKafka(_FOLDER / "kafka")
    await broker.start()
    try:
        return await chaos(options, broker, _FOLDER, say)
    finally:
        await broker.stop()


@click.command()
@click.option("--commands", type=click.IntRange(1, 2_000), default=Options.commands, show_default=True)
@click.option("--kills", type=click.IntRange(0, 500), default=Options.kills, show_default=True)
@click.option("--accounts", type=click.IntRange(1, 50), default=Options.accounts, show_default=True)
@click.option(
    "--seed", type=int, default=Options.seed, show_default=True, help="The same seed sends the same commands."
)
def main(**given: Any) -> None:
    """Send commands while gateways are killed. Exits 0 only if none was executed twice, lost or left unknown."""
    options = Options(**given)
    console = Console(highlight=False)
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    outcome = asyncio.run(_run(options, lambda what: console.print(f"[dim]{what}[/]")))
    result = result_of(options, outcome)
    table = Table(title=f"commands under kills, seed {options.seed}", show_header=False)
    for name, value in result["figures"].items():
        table.add_row(name.replace("_", " "), str(value))
    console.print(table)
    for name, lines in outcome.findings().items():
        for line in lines:
            console.print(f"{name}: {line}", style="red", markup=False)
    _RESULTS.mkdir(parents=True, exist_ok=True)
    file = _RESULTS / f"commands-chaos{'.short' if result['short'] else ''}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()
