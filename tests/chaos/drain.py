"""Stops under load: SIGTERM to each service while everything is in flight. `python -m tests.chaos.drain --stops 10`."""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import click
import msgspec
from aiokafka import TopicPartition
from rich.console import Console

from gateway.contract.deliveries import Attempt, Delivery
from gateway.contract.topics import Topic
from gateway.dev.brokers import ApacheKafka
from gateway.runtime.kafka import ensure_topics
from sandbox.audit import Received, audit
from sandbox.faults import FaultRule
from sandbox.settings import SandboxSettings, TrafficProfile
from tests.chaos.commands import Options as CommandOptions
from tests.chaos.commands import plan
from tests.chaos.commands_judge import judge as judge_commands
from tests.chaos.drain_ground import ENDPOINTS, Ends, Hooks, Process, Wire, grace, members, sections
from tests.chaos.drain_judge import Facts, Stop, fates
from tests.chaos.drain_report import Options, Outcome, result_of, show
from tests.chaos.judge import MISHAPS, worst
from tests.chaos.report import ROOT
from tests.support.command_changes import EVERYTHING
from tests.support.commands import Sender, finished, results, sender
from tests.support.gateway import Site, keys_of, lives, site, structured
from tests.support.kafka import read_all
from tests.support.waiting import eventually
from tests.support.webhooks import receiver

_RESULTS = ROOT / "bench" / "results"
_FOLDER = ROOT / ".cache" / "drain"
FIRST_ACCOUNT = 6000
_SHARDS = 4
_PARTITIONS = 4
# Between two commands, in seconds.
_COMMAND_EVERY = 0.6
# Until all that was under way at the last stop is told of and delivered.
_SETTLE_SECONDS = 240.0
_SIGNS = (*MISHAPS, "ResourceWarning")


@dataclass
class _Run:
    """What runs, and what is seen of it."""

    options: Options
    place: Site
    broker: ApacheKafka
    hooks: Hooks
    wire: Wire
    ends: Ends
    gateway: Process
    streams: Process
    to: Sender
    sent: list[dict[str, Any]]
    sent_at: dict[str, int]
    stops: list[Stop]
    over: asyncio.Event

    async def command(self) -> None:
        """Send commands until told that it is over: one that is noted is sent."""
        # So few that commands wait for their turn, and so many that they get it.
        accounts = [FIRST_ACCOUNT + n for n in range(min(8, self.options.accounts))]
        for command in plan(CommandOptions(commands=100_000, seed=self.options.seed), accounts):
            if self.over.is_set():
                return
            if command["type"] == "user.create":
                # One a minute is all that RingCloud takes, and a new owner waits for as long.
                continue
            self.sent.append(command)
            self.sent_at[command["id"]] = _now()
            await self.to.raw(command["account"], json.dumps(command).encode())
            await asyncio.sleep(_COMMAND_EVERY)

    async def tell_gateway(self, *, hung: bool) -> None:
        """Tell the gateway to end while polls and commands are on the wire; `hung`: and no broker answers."""

        def loaded() -> bool:
            """polls and commands are on the wire"""
            return self.wire.under_way(polls=True) > 1 and self.wire.under_way(polls=False) > 0

        async def committing() -> tuple[tuple[TopicPartition, int], ...]:
            """polls and commands are on the wire, and a transaction is open"""
            return await self.ends.open() if loaded() else ()

        await eventually(loaded, 60.0, interval=0.005)
        figures = await self.gateway.figures()
        transactions: tuple[tuple[TopicPartition, int], ...] = ()
        uncommitted = 0
        if hung:
            self._signal_broker(signal.SIGSTOP)
            answered = self.wire.answered()
            await eventually(lambda: self.wire.answered() >= answered + 5, 30.0, "answers that can't be committed")
            uncommitted = self.wire.answered() - answered
        else:
            transactions = await eventually(committing, 60.0, interval=0.001)
        begun = Stop(
            service="gateway",
            told_at=_now(),
            ended_at=0,
            code=None,
            hung=hung,
            uncommitted=uncommitted,
            polls=self.wire.under_way(polls=True),
            orders=self.wire.under_way(polls=False),
            transactions=transactions,
            figures=_shown(figures, ("ringcloud_shards_owned", "ringcloud_commands_waiting")),
        )
        self.gateway.tell()
        if hung:
            try:
                await eventually(self.gateway.stopping, 20.0, interval=0.02)
            finally:
                self._signal_broker(signal.SIGCONT)
        code = await self.gateway.child.wait(grace("gateway"))
        ended = replace(begun, ended_at=_now(), code=code)
        # The sandbox hears of closed connections a moment later.
        left = [*await self._transactions_left(), *await self._left(self.gateway, ["gateway"])]
        cut, orders_cut = self.wire.forget(polls=True), self.wire.forget(polls=False)
        self.stops.append(replace(ended, polls_cut=cut, orders_cut=orders_cut, left=tuple(left)))

    async def tell_streams(self) -> None:
        """Tell the streams service to end while attempts are under way and deliveries wait in lanes."""

        async def queued() -> bool:
            """deliveries wait in lanes"""
            return (await self.streams.figures()).get("ringcloud_webhook_lane_waiting", 0) > 0

        async def loaded() -> bool:
            """requests are under way at the receiver, and events are being committed"""
            return len(self.hooks.waiting) >= 3 and bool(await self.ends.open())

        await eventually(queued, 90.0, interval=0.1)
        figures = await self.streams.figures()
        await eventually(loaded, 60.0, interval=0.001)
        attempts = tuple(one.delivery for one in self.hooks.waiting.values())
        names = ("webhook_lane_waiting", "webhook_lane_running", "webhook_in_flight", "backlog_records")
        begun = Stop(
            service="streams",
            told_at=_now(),
            ended_at=0,
            code=None,
            attempts=attempts,
            figures=_shown(figures, [f"ringcloud_{name}" for name in names]),
        )
        self.streams.tell()
        code = await self.streams.child.wait(grace("streams"))
        ended = replace(begun, ended_at=_now(), code=code)
        left = await self._left(self.streams, ["fanout", "webhook-delivery", "webhook-retries"])
        self.stops.append(replace(ended, left=tuple(left)))

    async def facts(self) -> Facts:
        """What is known in the end."""
        topics, bootstrap = self.place.topics, self.broker.bootstrap
        told = await results(self.place)
        commands = judge_commands(self.sent, told, *self._ledger())
        committed = await self.place.records()
        transactional = [topics.calls, topics.poller_state, topics.command_results]
        where = [
            (TopicPartition(one.topic, one.partition), one.offset)
            for topic in transactional
            for one in await read_all(bootstrap, topic.name)
        ]
        made = await self._decoded(topics.deliveries, Delivery)
        attempts = await self._decoded(topics.attempts, Attempt)
        return Facts(
            endpoints=ENDPOINTS,
            sent=self.sent_at,
            results=[{**one, "ms": round(datetime.fromisoformat(one["at"]).timestamp() * 1000)} for one in told],
            twice=commands.twice,
            events={dict(one.headers)["ce_id"].decode(): one.timestamp for one in committed},
            deliveries=[(delivery.id, at) for delivery, at in made],
            attempts=[(attempt.delivery, round(attempt.at.timestamp() * 1000)) for attempt, _ in attempts],
            requests=self.hooks.all(),
            committed=frozenset(where),
        )

    async def settled(self) -> bool:
        """every call event was taken by every endpoint"""
        events = [one.event["id"] for one in await self.place.told()]
        taken = {one.delivery for one in self.hooks.requests if one.accepted}
        return all(f"{event}-{endpoint}" in taken for event in events for endpoint in ENDPOINTS)

    async def caught_up(self) -> bool:
        """the streams service says that nothing is behind; a transaction's end counts as a record, one a partition"""
        behind = (await self.streams.figures())["ringcloud_backlog_records"]
        return behind <= _PARTITIONS

    async def findings(self, facts: Facts) -> dict[str, list[str]]:
        """Everything that must not be, by its kind."""
        told = [Received(structured(one), one.timestamp) for one in await self.place.records()]
        report = audit(self.place.sandbox.pbx.ledger.records(), told)
        wanted = {f"{event}-{endpoint}" for event in facts.events for endpoint in facts.endpoints}
        taken = {one.delivery for one in facts.requests if one.accepted}
        commands = judge_commands(self.sent, await results(self.place), *self._ledger()).faults()
        found = {
            "events lost": report.missing,
            "events doubled": report.doubled,
            "times outside their bounds": report.outside,
            "calls out of order": [
                subject
                for subject, life in lives(told).items()
                if [one["data"]["sequence"] for one in life] != [*range(1, len(life) + 1)]
            ],
            "webhooks lost": sorted(wanted - taken),
            "webhooks of no event": sorted(taken - wanted),
            "webhooks not signed well": self.hooks.refused,
            **{f"commands {kind}": lines for kind, lines in commands.items()},
            "behind at the end": [] if await self.caught_up() else ["by its own figures"],
            "not ended well": [
                f"{one.service} ended with {one.code} after {one.seconds:.1f} s" for one in self.stops if one.code != 0
            ],
            "left open": [f"{one.service}: {what}" for one in self.stops for what in one.left],
            "mishaps": [
                f"{service.service}: {line}"
                for service in (self.gateway, self.streams)
                for line in service.child.log.read_text().splitlines()
                if any(sign in line for sign in _SIGNS)
            ],
        }
        return {kind: worst(lines) for kind, lines in found.items() if lines}

    def _ledger(self) -> tuple[Any, Any]:
        ledger = self.place.sandbox.pbx.ledger
        return ledger.records(), ledger.changes

    def _signal_broker(self, number: int) -> None:
        pid = self.broker.pid
        assert pid is not None
        os.kill(pid, number)

    async def _transactions_left(self) -> list[str]:
        async def closed() -> bool:
            """no transaction is open"""
            return not await self.ends.open()

        try:
            await eventually(closed, 5.0)
        except AssertionError:
            return [f"{one.topic}/{one.partition}: a transaction is open" for one, _ in await self.ends.open()]
        return []

    async def _left(self, process: Process, groups: list[str]) -> list[str]:
        """What the process that has ended left behind, in words."""
        await process.child.kill()
        prefix = self.place.config.kafka.prefix
        left = await members(self.broker.bootstrap, [f"{prefix}-{group}" for group in groups])
        return left + [f"{one.name} in its temporary files" for one in process.temporary.iterdir()]

    async def _decoded(self, topic: Topic, kind: type[Any]) -> list[tuple[Any, int]]:
        records = await read_all(self.broker.bootstrap, topic.name)
        return [(msgspec.json.decode(one.value, type=kind), one.timestamp) for one in records]


async def drain(options: Options, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Run it in an empty folder, which keeps logs and data."""
    say("starting Apache Kafka")
    broker = ApacheKafka(folder / "kafka")
    async with broker, _running(options, broker, folder / "site", say) as run:
        sending = asyncio.create_task(run.command())
        try:
            for n in range(options.stops):
                hung = n % 3 == 1
                say(f"stop {n + 1}: the gateway{', while the brokers hang' if hung else ''}")
                await run.tell_gateway(hung=hung)
                await run.gateway.start()
                say(f"stop {n + 1}: the streams")
                await run.tell_streams()
                await run.streams.start()
        finally:
            run.over.set()
            await sending
        say("waiting for the last calls, commands and webhooks")
        run.place.sandbox.pbx.stop_placing()
        run.place.sandbox.faults.set_rules([])
        run.hooks.calm = True
        await _settle(run)
        say("judging")
        facts = await run.facts()
        taken = [one.delivery for one in facts.requests if one.accepted]
        return Outcome(
            stops=run.stops,
            fates=fates(run.stops, facts),
            calls=len(run.place.sandbox.pbx.ledger.records()),
            events=len(facts.events),
            commands=len(run.sent),
            reconciled=len({one["command_id"] for one in facts.results if one["reconciled"]}),
            webhooks=len(taken),
            repeated=len(taken) - len(set(taken)),
            findings=await run.findings(facts),
        )


async def _settle(run: _Run) -> None:
    """Wait until everything has come to its end; what does not in time is lost, and the judge names it."""
    await _patiently(finished(run.place, list(run.sent_at), timeout=_SETTLE_SECONDS))
    await _patiently(run.place.all_told(_SETTLE_SECONDS))
    await _patiently(eventually(run.settled, _SETTLE_SECONDS, interval=1.0))
    await _patiently(eventually(run.caught_up, 60.0, interval=0.5))


async def _patiently(waiting: Awaitable[object]) -> None:
    try:
        await waiting
    except AssertionError:
        # The judge says what was awaited in vain.
        return


@asynccontextmanager
async def _running(
    options: Options, broker: ApacheKafka, folder: Path, say: Callable[[str], None]
) -> AsyncIterator[_Run]:
    """Everything, with calls going on."""
    accounts = [FIRST_ACCOUNT + n for n in range(options.accounts)]
    traffic = TrafficProfile(
        ring_ms=(500, 4_000),
        talk_ms=(500, 20_000),
        twin_share=0,
        originate_a_ms=(300, 3_000),
        no_answer_ms=(500, 8_000),
    )
    settings = SandboxSettings(keys=keys_of(accounts), seed=options.seed, profile="live", traffic=traffic)
    kafka = {"shards": _SHARDS, "partitions": _PARTITIONS}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), trust_env=False) as http,
        receiver() as there,
        site(broker, folder, settings, {"kafka": kafka}) as place,
        sender(place) as to,
    ):
        for account in place.document["accounts"]:
            account["allow"] = EVERYTHING
        place.document |= sections(there, place.folder)
        place.sandbox.faults.set_rules(
            [FaultRule(account=one, kind="delay", probability=0.7, delay_ms=(50, 1_500)) for one in accounts]
        )
        hooks = Hooks(options.seed, _now)
        hooks.behave_at(there)
        await ensure_topics(place.config.kafka)
        partitions = [
            TopicPartition(topic.name, number)
            for topic in (place.topics.calls, place.topics.poller_state, place.topics.command_results)
            for number in range(max(_SHARDS, _PARTITIONS))
        ]
        gateway, streams = Process(place, "gateway", http), Process(place, "streams", http)
        async with gateway.child, streams.child, Ends(broker.bootstrap, partitions) as ends:
            say("waiting for both services, and each account's first polls")
            await asyncio.gather(gateway.start(), streams.start())
            await place.polled()
            place.sandbox.pbx.set_rate(options.calls_per_minute)
            wire = Wire(place.sandbox)
            yield _Run(options, place, broker, hooks, wire, ends, gateway, streams, to, [], {}, [], asyncio.Event())


def _shown(figures: dict[str, float], names: Any) -> dict[str, float]:
    return {name.removeprefix("ringcloud_"): figures.get(name, 0.0) for name in names}


def _now() -> int:
    return time.time_ns() // 1_000_000


@click.command()
@click.option("--stops", type=click.IntRange(1, 200), default=Options.stops, show_default=True, help="Of each service.")
@click.option("--accounts", type=click.IntRange(4, 200), default=Options.accounts, show_default=True)
@click.option("--calls-per-minute", type=click.FloatRange(min=10), default=Options.calls_per_minute, show_default=True)
@click.option("--seed", type=int, default=Options.seed, show_default=True)
def main(**given: Any) -> None:
    """Tell both services to end under load. Exits 0 only if nothing was lost and all ended well and in time."""
    options = Options(**given)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    began = time.monotonic()
    outcome = asyncio.run(drain(options, _FOLDER, lambda what: console.print(f"[dim]{what}[/]")))
    show(console, outcome)
    result = result_of(options, outcome, time.monotonic() - began)
    _RESULTS.mkdir(parents=True, exist_ok=True)
    file = _RESULTS / f"drain{'.short' if result['short'] else ''}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()
