"""Chaos: traffic over a real Kafka, a killer, and a judge. `python -m tests.chaos.run --minutes 10 --seed 1`."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from gateway.contract.topics import Topics
from sandbox.audit import Received, audit
from tests.chaos.ground import PREFIX, Ground
from tests.chaos.judge import Verdict, judge, read_logs
from tests.chaos.killer import TERM_SECONDS, Killer
from tests.chaos.options import Options
from tests.chaos.plan import blows, bouts
from tests.chaos.report import ROOT, Outcome, findings, result_of, show, write
from tests.support.gateway import structured
from tests.support.kafka import read_all

_RESULTS = ROOT / "bench" / "results"
_FOLDER = ROOT / ".cache" / "chaos"
# Beyond the longest call: the last absence's grace, a retry or two, a rebalance.
_DRAIN_SECONDS = 150.0
# After the last event has come: two more polls, in which a doubled one would come too.
_AFTERMATH_SECONDS = 11.0


async def chaos(options: Options, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Run it in an empty folder, which keeps logs and data. Raises what the ground raises when it can't be set."""
    async with Ground(options, folder, say) as ground:
        killer = Killer(ground, folder / "steps.log")
        watching = [asyncio.create_task(service.watch()) for service in ground.services.values()]
        try:
            await _kill(options, ground, killer, say)
            say("judging")
            verdict = await _judge(ground)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            killer.close()
        # One after the other: the second gets the first one's shards as it is told to end.
        disobeyed = [name for name, service in ground.services.items() if not await service.stop(TERM_SECONDS)]
        secrets = [word for pair in ground.keys.values() for word in pair]
        secrets += [ground.webhook_secret, ground.webhook_secret.removeprefix("whsec_")]
        verdict = read_logs(verdict, ground.logs, secrets)
    return Outcome(
        verdict=verdict,
        blows=dict(killer.done),
        disobeyed=killer.disobeyed + [f"{name} did not end by SIGTERM at the end" for name in disobeyed],
        ended={what: count for service in ground.services.values() for what, count in service.ended.items()},
    )


async def _kill(options: Options, ground: Ground, killer: Killer, say: Callable[[str], None]) -> None:
    """Place calls and carry the plan out; returns when all is quiet again."""
    seconds = options.minutes * 60
    say(f"placing {options.calls_per_second:g} calls/s; killing with seed {options.seed}")
    await ground.ask("PUT", "traffic", {"calls_per_minute": options.calls_per_second * 60})
    began = time.monotonic()
    await killer.run(blows(options.seed, seconds), bouts(options.seed, seconds, ground.accounts))
    await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
    await ground.ask("PUT", "traffic", {"calls_per_minute": 0})
    killer.note("no more calls")
    await ground.ready()
    say("waiting for the last calls")
    await _drained(ground, options.longest + _DRAIN_SECONDS)
    killer.note("drained")
    await asyncio.sleep(_AFTERMATH_SECONDS)


async def _judge(ground: Ground) -> Verdict:
    """The verdict without that on the logs. What it rests on is kept in the ground's folder."""
    records = await read_all(ground.broker.bootstrap, Topics(PREFIX).calls.name, timeout=120)
    told = await asyncio.to_thread(lambda: [Received(structured(one), one.timestamp) for one in records])
    ledger = await ground.ledger()
    for name, found in (("ledger", ledger), ("told", told), ("arrivals", ground.arrivals)):
        (ground.folder / f"{name}.json").write_bytes(msgspec.json.encode(found))
    return judge(ledger, told, ground.arrivals, ground.receiver.refused, await ground.stats())


async def _drained(ground: Ground, seconds: float) -> None:
    """Wait until every call has ended and each of its events has come as a webhook, at most so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        await asyncio.sleep(2.0)
        ledger = await ground.ledger()
        if any(record.ended_at is None for record in ledger):
            continue
        received = [Received(one.event, one.at) for one in ground.arrivals]
        if not audit(ledger, received).missing:
            return


@click.command()
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.5),
    default=Options.minutes,
    show_default=True,
    help="Of traffic and kills.",
)
@click.option(
    "--seed", type=int, default=Options.seed, show_default=True, help="The same seed plans the same blows and calls."
)
@click.option("--calls-per-second", type=click.FloatRange(min=0.1), default=Options.calls_per_second, show_default=True)
@click.option("--accounts", type=click.IntRange(1, 1000), default=Options.accounts, show_default=True)
@click.option("--twin-share", type=click.FloatRange(0, 1), default=Options.twin_share, show_default=True)
@click.option(
    "--longest",
    type=click.FloatRange(1, 3600),
    default=Options.longest,
    show_default=True,
    help="Seconds that a call talks.",
)
def main(**given: Any) -> None:
    """Kill what runs for so many minutes. Exits 0 only if nothing was lost, doubled or untrue."""
    options = Options(**given)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    console.print(f"seed {options.seed}; logs in {os.path.relpath(_FOLDER)}, every step in steps.log")
    began = time.monotonic()
    outcome = asyncio.run(chaos(options, _FOLDER, lambda what: console.print(f"[dim]{what}[/]")))
    result = result_of(options, outcome, time.monotonic() - began)
    show(console, result)
    for name, lines in findings(outcome).items():
        for line in lines:
            console.print(f"{name}: {line}", style="red", markup=False)
    write(_RESULTS, result)
    sys.exit(0 if outcome.passed else 1)


if __name__ == "__main__":
    main()
