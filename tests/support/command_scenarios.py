"""What is done with commands, from the topic to a call and back to the results: scenarios that tests look into."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.dev.brokers import Broker, EmbeddedBroker
from gateway.ringcloud import RingCloud
from gateway.runtime.shards import shard_of
from sandbox.audit import Report
from sandbox.faults import FaultKind, FaultOrder, FaultRule
from sandbox.ledger import LedgerRecord
from sandbox.settings import SandboxSettings, TrafficProfile
from sandbox.stats import StatsReport
from tests.support.commands import (
    Sender,
    dead_letters,
    finished,
    originate_by_cli,
    results,
    sender,
    steps,
)
from tests.support.gateway import Site, key_of, keys_of, site
from tests.support.waiting import eventually

GOOD, SAME, TWO, BAD, UNKNOWN_USER, ASTRAY, DROPPED, FAILING, LATE, REFUSED, CLI, KEYLESS = range(4000, 4012)
ACCOUNTS = range(4000, 4012)
KILLED, REMOVED, NEIGHBOUR, ANSWERED, CUT = range(4100, 4105)
TRAFFIC = TrafficProfile(
    ring_ms=(300, 1_500), talk_ms=(300, 2_000), no_answer_ms=(500, 2_000), originate_a_ms=(300, 800), talk_mean_ms=1_000
)
SHARDS = 3


def _bad(**changes: Any) -> bytes:
    """A command that is right but for these fields; None leaves one out."""
    given = {"type": "call.originate", "id": "bad", "account": BAD, "user": "400", "num": "100", **changes}
    return json.dumps({name: value for name, value in given.items() if value is not None}).encode()


# Each with what the rejection names: the field that is wrong, or else the beginning of the reason.
BAD_RECORDS: dict[str, tuple[bytes, str]] = {
    "no type": (_bad(type=None), "type"),
    "an unknown type": (_bad(type="call.explode"), "type"),
    "a type that the account does not allow": (
        json.dumps({"type": "user.voice_mail_box_on", "id": "bad", "account": BAD, "user": "400"}).encode(),
        "type",
    ),
    "an account that is not configured": (_bad(account=4999), "account"),
    "an account beyond all bounds": (_bad(account=10**30), "account"),
    "an account that is text": (_bad(account="4003"), "account"),
    "another account than the key's": (_bad(account=GOOD), "account"),
    "an unknown field": (_bad(urgent=True), "urgent"),
    "no number": (_bad(num=None), "num"),
    "a number that is none": (_bad(num="mother"), "num"),
    "a number that costs a premium": (_bad(num="88091234567"), "num"),
    "a time that is none": (_bad(expires_at="tomorrow"), "expires_at"),
    "a time without a zone": (_bad(expires_at="2030-01-01T00:00:00"), "expires_at"),
    "a topic that is not allowed": (_bad(reply_to="elsewhere"), "reply_to"),
}
# Those that nobody can be told of, each with how the reason begins.
UNREADABLE: dict[str, tuple[bytes | None, str]] = {
    "a tombstone": (None, "the record has no value"),
    "nothing": (b"", "not JSON"),
    "no JSON": (b"call me", "not JSON"),
    "another encoding": (_bad(user="Пётр").decode("ascii").encode("utf-16"), "not JSON"),
    "a broken string": ('{"type": "call.originate", "user": "Пётр"}'.encode("cp1251"), "not JSON"),
    "no object": (b"[1, 2]", "Expected `object`"),
    "deep nesting": (b'{"id":' * 9_000, ""),
    "deep nesting of the unknown": (b'{"x":' * 9_000, ""),
    "200 KB": (_bad(user="4" * 200_000), "the record has 200"),
    "an id that is none": (_bad(id="a b"), "must be letters"),
}
LARGE = 10_000_000


@dataclass
class Run:
    """What became of the commands."""

    results: list[dict[str, Any]]
    ledger: list[LedgerRecord]
    report: Report
    stats: StatsReport
    mishaps: list[str]
    cli: list[tuple[int, str]]
    letters: list[dict[str, Any]]
    metrics: str = ""
    early: list[dict[str, Any]] = field(default_factory=list)

    def dialled(self, account: int) -> list[str]:
        """The numbers that an account's commands dialled."""
        return [call.originated_by.num for call in self.ledger if call.account == account and call.originated_by]

    def sent(self, account: int) -> int:
        """How many requests to originate came from an account."""
        return _sent(self.stats, account)


async def _run_of(place: Site, cli: list[tuple[int, str]] | None = None) -> Run:
    return Run(
        results=await results(place),
        ledger=place.sandbox.pbx.ledger.records(),
        report=await place.report(),
        stats=place.sandbox.stats.report(),
        mishaps=[],
        cli=cli or [],
        letters=await dead_letters(place),
    )


def _sent(stats: StatsReport, account: int) -> int:
    lanes = [lane for lane in stats.lanes if lane.key == key_of(account) and lane.method == "POST"]
    return sum(lane.accepted + lane.rejected for lane in lanes)


async def executed(broker: Broker, folder: Path) -> Run:
    """Commands of every kind to a gateway that runs."""
    settings = SandboxSettings(keys=keys_of(ACCOUNTS), profile="live", traffic=TRAFFIC)
    async with site(broker, folder, settings, {"kafka": {"shards": SHARDS}}) as place:
        gateway = place.gateway()
        async with gateway, sender(place) as to:
            await place.polled()
            cli = asyncio.create_task(_by_cli(place))
            ids = await _send_all(place, to)
            await finished(place, ids, len(BAD_RECORDS), timeout=90)
            # Known already, and done.
            await to.originate(SAME, "same", "71000000003")
            await to.taken_over()
            said = await cli
            await place.all_told()
            run = await _run_of(place, said)
            run.metrics = await gateway.metrics()
            await gateway.stop()
        run.mishaps = gateway.mishaps()
        return run


async def _send_all(place: Site, to: Sender) -> list[str]:
    faults: dict[int, FaultKind] = {DROPPED: "drop", FAILING: "error500"}
    for account, kind in faults.items():
        place.sandbox.faults.order(FaultOrder(account, "originate", kind))
    now = datetime.now(UTC)
    await to.originate(GOOD, "good", "71000000001", expires_at="9999-12-31T23:59:59-14:00")
    for number in ("71000000001", "71000000002"):
        await to.originate(SAME, "same", number)
    await to.originate(TWO, "first", "71000000001")
    await to.originate(TWO, "second", "71000000002")
    for value, _ in BAD_RECORDS.values():
        await to.raw(BAD, value)
    for unreadable, _ in UNREADABLE.values():
        await to.raw(BAD, unreadable)
    await to.large(BAD, b'{"id": "' + b"a" * LARGE)
    await to.originate(BAD, "after-the-bad", "71000000001")
    await to.originate(UNKNOWN_USER, "unknown-user", "71000000001", user="nobody")
    astray = {"type": "call.originate", "id": "astray", "account": ASTRAY, "user": "400", "num": "71000000001"}
    await to.raw(ASTRAY, json.dumps(astray).encode(), (shard_of(ASTRAY, SHARDS) + 1) % SHARDS)
    keyless = {"type": "call.originate", "id": "keyless", "account": KEYLESS, "user": "400", "num": "71000000001"}
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_source", b"/crm"), ("ce_type", b"crm.call")]
    await to.raw(None, json.dumps(keyless).encode(), headers=headers)
    await to.originate(DROPPED, "dropped", "71000000001")
    await to.originate(FAILING, "failing", "71000000001")
    await to.originate(LATE, "long-ago", "71000000001", expires_at="0001-01-01T00:00:00+14:00")
    await to.originate(LATE, "just-now", "71000000002", expires_at=(now - timedelta(seconds=1)).isoformat())
    await to.originate(LATE, "in-time", "71000000003", expires_at=(now + timedelta(seconds=30)).isoformat())
    await to.originate(LATE, "too-late", "71000000004", expires_at=(now + timedelta(seconds=3)).isoformat())
    # Somebody else uses the same key: what the gateway sends next is refused.
    async with RingCloud(key_of(REFUSED), f"the-password-of-{REFUSED}", base_url=place.sandbox.url) as other:
        await other.originate("400", "71000000009")
    await to.originate(REFUSED, "refused", "71000000001")
    return [
        *(
            "good",
            "same",
            "first",
            "second",
            "after-the-bad",
            "unknown-user",
            "astray",
            "keyless",
            "dropped",
            "failing",
        ),
        *("long-ago", "just-now", "in-time", "too-late", "refused"),
    ]


async def _by_cli(place: Site) -> list[tuple[int, str]]:
    return [
        await originate_by_cli(place, CLI, "400", "71000000001"),
        await originate_by_cli(place, CLI, "nobody", "71000000002"),
    ]


async def killed(broker: Broker, folder: Path) -> Run:
    """Killed while a request is on its way, with more commands behind it; one is sent again by its sender."""
    settings = SandboxSettings(keys=keys_of([KILLED]), traffic=TRAFFIC, hang_seconds=60)
    config = {"kafka": {"session_timeout": 6 if isinstance(broker, EmbeddedBroker) else 2}}
    async with site(broker, folder, settings, config) as place:
        place.sandbox.faults.order(FaultOrder(KILLED, "originate", "hang"))
        gateway = place.gateway()
        async with gateway, sender(place) as to:
            await place.polled()
            await to.originate(KILLED, "hung", "71000000001")
            # Not in the order of their names.
            await to.originate(KILLED, "z-first", "71000000002")
            await to.originate(KILLED, "a-second", "71000000003")
            await to.taken_over()
            await eventually(lambda: _sent(place.sandbox.stats.report(), KILLED) == 1, what="the request is on its way")
            await gateway.kill()
            await place.miss(await place.members())
            gateway.spawn()
            await to.originate(KILLED, "hung", "71000000001")
            await finished(place, ["hung", "z-first", "a-second"], timeout=90)
            await to.taken_over()
            await place.all_told()
            await gateway.stop()
        run = await _run_of(place)
        run.mishaps = gateway.mishaps()
        return run


async def stopped(broker: Broker, folder: Path) -> Run:
    """Stopped while two requests are on the wire, of which one is answered soon and one never; another goes on.

    `early` are the results when the first has ended.
    """
    settings = SandboxSettings(keys=keys_of([ANSWERED, CUT]), traffic=TRAFFIC, hang_seconds=60)
    async with site(broker, folder, settings, {"kafka": {"shards": 2}}) as place:
        place.sandbox.faults.set_rules(
            [FaultRule(account=ANSWERED, kind="delay", url="originate", delay_ms=(2000, 2000))]
        )
        place.sandbox.faults.order(FaultOrder(CUT, "originate", "hang"))
        one, two = place.gateway("one"), place.gateway("two")
        async with one, sender(place) as to:
            await place.polled()
            for account, id_, behind in ((CUT, "cut", "behind-cut"), (ANSWERED, "answered", "behind-answered")):
                await to.originate(account, id_, "71000000001")
                await to.originate(account, behind, "71000000002")
                await to.taken_over()

            def on_the_wire() -> bool:
                """both requests are on their way"""
                return all(_sent(place.sandbox.stats.report(), account) == 1 for account in (ANSWERED, CUT))

            await eventually(on_the_wire, interval=0.01)
            await one.stop()
        early = await results(place)
        async with two:
            await finished(place, ["cut", "behind-cut", "answered", "behind-answered"], timeout=90)
            await place.all_told()
            await two.stop()
        run = await _run_of(place)
        run.early, run.mishaps = early, one.mishaps() + two.mishaps()
        return run


async def removed(broker: Broker, folder: Path) -> Run:
    """Stopped while a command waits for its turn; its account is no longer configured when the gateway comes back."""
    settings = SandboxSettings(keys=keys_of([REMOVED, NEIGHBOUR]), traffic=TRAFFIC)
    async with site(broker, folder, settings, {"kafka": {"shards": 1}}) as place:
        one, two = place.gateway("one"), place.gateway("two", without=REMOVED)
        async with sender(place) as to:
            async with one:
                await to.originate(REMOVED, "sent", "71000000001")
                await to.originate(REMOVED, "waits", "71000000002")

                async def waits() -> bool:
                    """the first command is done, and the second one waits for its turn"""
                    found = await results(place)
                    return {*steps(found, "sent")} >= {"succeeded"} and {*steps(found, "waits")} == {
                        "accepted",
                        "delayed",
                    }

                await eventually(waits, interval=0.2)
                await one.stop()
            async with two:
                await to.originate(NEIGHBOUR, "neighbour", "71000000003")
                await finished(place, ["sent", "waits", "neighbour"])
                await two.stop()
        run = await _run_of(place)
        run.mishaps = one.mishaps() + two.mishaps()
        return run
