"""The whole trip of a call, live: sets the stage, shows what arrives, and judges it by the sandbox's ledger."""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from gateway.commands.client import send_and_follow
from gateway.contract.commands import Originate
from gateway.dev.options import DevError, DevOptions
from gateway.dev.receiver import Arrival
from gateway.dev.screen import Screen
from gateway.dev.stage import Stage
from sandbox.audit import Received, Report, audit
from sandbox.ledger import LedgerRecord

# Calls placed last need this long to end and to be told of: 25 s at most, two polls, a margin.
_DRAIN_SECONDS = 40.0
# How much longer than asked for the demo waits for what is still missing.
_PATIENCE_SECONDS = 30.0
# After the last event has come: two more polls, in which a doubled one would come too.
_AFTERMATH_SECONDS = 11.0
_COMMAND_AFTER_SECONDS = 3.0


async def run_demo(options: DevOptions) -> int:
    """Run the demo. Returns the exit status: 0 only if nothing is missing or doubled. Raises DevError."""
    return await _Demo(options).run()


class _Demo:
    def __init__(self, options: DevOptions) -> None:
        self._options = options
        self._screen = Screen()
        self._arrivals: list[Arrival] = []
        self._interrupted = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted.set)
        report: Report | None = None
        with self._screen.shown():
            setting = asyncio.create_task(self._play())
            interrupted = asyncio.create_task(self._interrupted.wait())
            await asyncio.wait({setting, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            if not setting.done():
                self._screen.say("ending everything")
                setting.cancel()
            interrupted.cancel()
            try:
                report = await setting
            except asyncio.CancelledError:
                self._screen.note("ended by Ctrl-C")
        if report is None:
            told = ", ".join(f"{n} {name.removeprefix('call.')}" for name, n in sorted(self._screen.events.items()))
            self._screen.note(f"{len(self._arrivals)} webhooks verified ({told or 'none'})", style="bold")
            return 0
        summary = self._summary(report)
        self._tell(report, summary)
        if self._options.summary is not None:
            _write(self._options.summary, summary)
        return 0 if not (report.missing or report.doubled) else 1

    async def _play(self) -> Report:
        async with Stage(self._options, self._screen.say, self._told) as stage:
            self._screen.title("calls on RingCloud → polls → Kafka → Faust → signed webhooks")
            self._screen.note("  call somebody yourself, in another terminal:")
            self._screen.note(
                f"  .venv/bin/ringcloud-gateway commands originate --config {stage.config_file} "
                f"--account {stage.accounts[0]} --user 401 --num 74951234567"
            )
            await stage.place_calls(self._options.calls_per_minute)
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch(stage))
                command = tasks.create_task(self._command(stage))
                report = await self._until_drained(stage, time.monotonic())
                watching.cancel()
                command.cancel()
            return report

    async def _until_drained(self, stage: Stage, began: float) -> Report:
        duration = self._options.duration
        if duration is None:
            await asyncio.Event().wait()  # until Ctrl-C
        assert duration is not None  # noqa: S101 - the wait above has no end
        await _sleep_until(began + max(duration - _DRAIN_SECONDS, duration / 2))
        await stage.place_calls(0)
        self._screen.note("  no more calls are placed; waiting for those under way")
        while True:
            report, over = await self._audit(stage)
            if over and not report.missing:
                break
            if time.monotonic() > began + duration + _PATIENCE_SECONDS:
                return report
            await asyncio.sleep(0.5)
        await asyncio.sleep(_AFTERMATH_SECONDS)
        return (await self._audit(stage))[0]

    async def _audit(self, stage: Stage) -> tuple[Report, bool]:
        """What the ledger says of the webhooks so far, and whether every call has ended."""
        self._screen.rate_limited = (await stage.stats())["rate_limited"]
        ledger = msgspec.json.decode(await stage.ledger(), type=list[LedgerRecord])
        received = [Received(arrival.event, arrival.at) for arrival in self._arrivals]
        return audit(ledger, received), all(record.ended_at is not None for record in ledger)

    async def _watch(self, stage: Stage) -> None:
        while True:
            stage.check()
            self._screen.rate_limited = (await stage.stats())["rate_limited"]
            self._screen.refused = stage.receiver.refused
            await asyncio.sleep(1)

    async def _command(self, stage: Stage) -> None:
        """Originate one call through the command topic, so that this way is seen too."""
        await asyncio.sleep(_COMMAND_AFTER_SECONDS)
        command = Originate(
            id=str(uuid.uuid4()),
            account=stage.accounts[0],
            user="400",
            num="74950001122",
            expires_at=datetime.now(UTC) + timedelta(seconds=60),
        )
        what = f"{command.account}  {command.user} calls {command.num}"
        async for result in send_and_follow(stage.config.kafka, command, timeout=60):
            self._screen.command(what, result)

    def _told(self, arrival: Arrival) -> None:
        self._arrivals.append(arrival)
        self._screen.event(arrival)

    def _summary(self, report: Report) -> dict[str, Any]:
        arrived = [arrival.at - _ms(arrival.event["data"]["observed_at"]) for arrival in self._arrivals]
        return {
            "calls_in_ledger": report.calls,
            "events": report.events,
            "webhooks_verified": len(self._arrivals),
            "missing": len(report.missing),
            "duplicates": len(report.doubled),
            "times_outside_bounds": len(report.outside),
            "twins_mixed": len(report.mixed),
            "rate_limited_responses": self._screen.rate_limited,
            "latency_ms": {"snapshot_to_receipt": _spread(arrived), "change_to_receipt": _spread(report.delays)},
        }

    def _tell(self, report: Report, summary: dict[str, Any]) -> None:
        latency = summary["latency_ms"]
        self._screen.title("judged by the sandbox's ledger")
        events = ", ".join(f"{count} {type_.removeprefix('call.')}" for type_, count in sorted(report.events.items()))
        self._screen.table(
            "",
            [
                ("calls in the ledger", str(report.calls)),
                ("events received", f"{sum(report.events.values())} ({events})"),
                ("webhooks verified", str(summary["webhooks_verified"])),
                ("missing", str(summary["missing"])),
                ("duplicates", str(summary["duplicates"])),
                ("times outside bounds", str(summary["times_outside_bounds"])),
                ("twins mixed, and said so", str(summary["twins_mixed"])),
                ("responses of 429", str(summary["rate_limited_responses"])),
                ("snapshot to receipt", _words(latency["snapshot_to_receipt"])),
                ("true change to receipt", _words(latency["change_to_receipt"])),
            ],
        )
        for what, found in (("missing", report.missing), ("doubled", report.doubled), ("outside", report.outside)):
            for one in found[:20]:
                self._screen.note(f"  {what}: {one}", style="red")


async def _sleep_until(when: float) -> None:
    await asyncio.sleep(max(0.0, when - time.monotonic()))


def _ms(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def _spread(values: list[int]) -> dict[str, int] | None:
    if len(values) < 2:
        return None
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49]), "p95": round(cuts[94]), "p99": round(cuts[98])}


def _words(spread: dict[str, int] | None) -> str:
    return "–" if spread is None else "  ".join(f"{name} {value} ms" for name, value in spread.items())


def _write(path: Path, summary: dict[str, Any]) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    except OSError as error:
        raise DevError(f"--summary {path}: {error.strerror}") from None
