"""Changes of users, rights, secrets and doubtful outcomes: scenarios that tests look into."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.commands.sealing import make_keys, seal
from gateway.dev.brokers import Broker, EmbeddedBroker
from sandbox.faults import FaultOrder, FaultRule
from sandbox.ledger import LedgerRecord
from sandbox.settings import KeySpec, SandboxSettings
from sandbox.stats import StatsReport
from tests.support.command_scenarios import TRAFFIC
from tests.support.commands import Sender, finished, is_over, results, sender, steps
from tests.support.gateway import Gateway, Site, keys_of, site
from tests.support.kafka import create_topic, read_all
from tests.support.waiting import eventually

USERS, KEYS, BULK, CAPPED, NARROW, READING = range(4200, 4206)
CALLED, UNCALLED, MADE, UNMADE, CHANGED, UNCHANGED, CUT_CALL, CUT_CHANGE = range(4300, 4308)
EVERYTHING = [
    "call.originate",
    "user.create",
    "user.update_password",
    "user.update_extension_number",
    "user.update_email",
    "user.voice_mail_box_on",
    "user.voice_mail_box_off",
]
# Each shows up in nothing but the PBX.
CLEAR, SEALED, MADE_WITH = "clear-hush-4200", "sealed-hush-4200", "made-hush-4200"
SECRETS = (CLEAR, SEALED, MADE_WITH)


@dataclass
class Run:
    """What became of the commands."""

    results: list[dict[str, Any]]
    replies: list[dict[str, Any]]
    ledger: list[LedgerRecord]
    users: dict[int, dict[str, Any]]
    stats: StatsReport
    metrics: str = ""
    log: str = ""
    state: bytes = b""
    mishaps: list[str] = field(default_factory=list)

    def dialled(self, account: int) -> list[str]:
        """The numbers that an account's commands dialled."""
        return [call.originated_by.num for call in self.ledger if call.account == account and call.originated_by]

    def done(self, *ids: str) -> list[str]:
        """These commands, in the order in which they got their last results."""
        over = [one for one in self.results if one["command_id"] in ids and is_over(one)]
        return [one["command_id"] for one in sorted(over, key=lambda one: str(one["at"]))]

    def asked(self, account: int, end: str) -> list[int]:
        """How often each key of an account asked for the URL that ends so."""
        lanes = [one for one in self.stats.lanes if one.key.startswith(f"{account}_") and one.path.endswith(end)]
        return [one.accepted for one in lanes if one.method == "POST"]

    def spans(self, account: int, end: str) -> list[tuple[float, float]]:
        """When each key of an account asked for the URL that ends so first and last, in ms."""
        lanes = [one for one in self.stats.lanes if one.key.startswith(f"{account}_") and one.path.endswith(end)]
        return [(one.first_at_ms, one.last_at_ms) for one in lanes if one.method == "POST"]

    def gap(self, account: int, end: str) -> float | None:
        """The least time between two such requests of one key, in ms."""
        return next(
            one.min_gap_ms
            for one in self.stats.lanes
            if one.key.startswith(f"{account}_") and one.path.endswith(end) and one.method == "POST"
        )


async def _run_of(place: Site, gateway: Gateway, metrics: str = "") -> Run:
    bootstrap = place.broker.bootstrap
    pbx = place.sandbox.pbx
    state = await read_all(bootstrap, place.topics.poller_state.name, "read_uncommitted")
    return Run(
        results=await results(place),
        replies=[json.loads(one.value) for one in await read_all(bootstrap, _replies(place))],
        ledger=pbx.ledger.records(),
        users={account: pbx.users(account) for account in pbx.accounts},
        stats=place.sandbox.stats.report(),
        metrics=metrics,
        log=gateway.log(),
        state=b"".join((one.key or b"") + (one.value or b"") for one in state),
        mishaps=gateway.mishaps(),
    )


def _replies(place: Site) -> str:
    return f"{place.config.kafka.prefix}-crm-replies"


async def _prepare(place: Site, folder: Path, private_key: str) -> None:
    (folder / "private.key").write_text(private_key)
    await create_topic(place.broker.bootstrap, _replies(place))
    place.document["commands"] = {
        "private_key": f"file:{folder / 'private.key'}",
        "reply_topics": [_replies(place), "there-is-none"],
    }
    for account in place.document["accounts"]:
        account["allow"] = EVERYTHING
        if account["id"] == CAPPED:
            account["daily_originates"] = 2
        if account["id"] == NARROW:
            account["dial"] = ["7495*", "100", "!74951*"]


async def changed(broker: Broker, folder: Path) -> Run:
    """Every command, sent to a gateway that runs."""
    keys = [*keys_of([USERS, KEYS, BULK, CAPPED, NARROW]), KeySpec(f"{KEYS}_second", "another-password")]
    # The first of its keys may look only.
    keys += [KeySpec(f"{READING}_reads", "reads", "RO", "RO"), KeySpec(f"{READING}_writes", "writes")]
    pair = make_keys()
    async with site(broker, folder, SandboxSettings(keys=keys, traffic=TRAFFIC)) as place:
        await _prepare(place, folder, pair.private)
        gateway = place.gateway()
        async with gateway, sender(place) as to:
            await place.polled(USERS)
            ids = await _send_all(place, to, pair.public)
            await finished(place, ids, timeout=60)
            metrics = await gateway.metrics()
            await gateway.stop()
        return await _run_of(place, gateway, metrics)


async def _send_all(place: Site, to: Sender, public_key: str) -> list[str]:
    ids = []

    async def send(type_: str, account: int, id_: str, **fields: str) -> None:
        ids.append(id_)
        await to.send(type_, account, id_, **fields)

    await send("user.create", USERS, "create", num="450", mail="new@a.example", password=seal(MADE_WITH, public_key))
    await send("user.update_password", USERS, "password", user="400", password=CLEAR)
    await send("user.update_password", USERS, "sealed", user="401", password=seal(SEALED, public_key))
    foreign = seal(SEALED, make_keys().public)
    await send("user.update_password", USERS, "foreign", user="401", password=foreign)
    await send("user.update_extension_number", USERS, "extension", user="402", num="460")
    await send("user.update_email", USERS, "mail-1", user="403", mail="one@a.example")
    await send("user.update_email", USERS, "mail-2", user="403", mail="two@a.example")
    await send("user.update_email", USERS, "mail-other", user="404", mail="other@a.example")
    for n in range(3):
        await send("user.voice_mail_box_on", USERS, f"on-{n}", user="405")
        await send("user.voice_mail_box_off", USERS, f"off-{n}", user="405")
    await send("user.update_email", USERS, "no-user", user="499", mail="two@a.example")
    await send("user.update_email", USERS, "replied", user="406", mail="six@a.example", reply_to=_replies(place))
    await send("user.update_email", USERS, "unreplied", user="406", mail="six@a.example", reply_to="there-is-none")
    for n in range(4):
        await send("call.originate", KEYS, f"call-{n}", user="400", num=f"7100000000{n}")
    await send("call.originate", READING, "by-the-second-key", user="400", num="71000000001")
    for n in range(2):
        for user in range(400, 410):
            await send("user.update_email", BULK, f"bulk-{n}-{user}", user=str(user), mail=f"{n}@bulk.example")
    await send("call.originate", BULK, "before-the-bulk", user="400", num="71000000001")
    for n in range(3):
        await send("call.originate", CAPPED, f"capped-{n}", user="400", num=f"7100000000{n}")
    for num in ("74952000000", "84952000001", "100", "74951000000", "74992000000"):
        await send("call.originate", NARROW, f"to-{num}", user="400", num=num)
    return ids


async def doubtful(broker: Broker, folder: Path) -> Run:
    """Answers that never come, with and without what was asked having been done; and a kill in between."""
    accounts = [CALLED, UNCALLED, MADE, UNMADE, CHANGED, UNCHANGED, CUT_CALL, CUT_CHANGE]
    settings = SandboxSettings(keys=keys_of(accounts), traffic=TRAFFIC, clock_skew_seconds=90)
    config = {"kafka": {"session_timeout": 6 if isinstance(broker, EmbeddedBroker) else 2}}
    async with site(broker, folder, settings, config) as place:
        await _prepare(place, folder, make_keys().private)
        gateway = place.gateway()
        async with gateway, sender(place) as to:
            await place.polled()
            ids = await _send_doubtful(place, to)
            await _killed_in_between(place, gateway, to)
            await finished(place, [*ids, "cut-call", "cut-change"], timeout=160)
            await gateway.stop()
        return await _run_of(place, gateway)


async def _send_doubtful(place: Site, to: Sender) -> list[str]:
    order = place.sandbox.faults.order
    # The answer is cut off after the deed; the connection is cut off before it.
    order(FaultOrder(CALLED, "originate", "truncated"))
    order(FaultOrder(UNCALLED, "originate", "drop"))
    order(FaultOrder(MADE, "create_user", "truncated"))
    order(FaultOrder(UNMADE, "create_user", "drop"))
    order(FaultOrder(CHANGED, "update_password", "truncated", 12))
    order(FaultOrder(UNCHANGED, "update_password", "error500", 12))
    order(FaultOrder(UNCHANGED, "update_email", "error500", 2))
    await to.originate(CALLED, "called", "71000000001")
    await to.originate(UNCALLED, "uncalled", "71000000001")
    for account, id_ in ((MADE, "made"), (UNMADE, "unmade")):
        await to.send("user.create", account, id_, num="450", mail="new@a.example", password="a-password")
    for account, id_ in ((CHANGED, "changed"), (UNCHANGED, "unchanged")):
        await to.send("user.update_password", account, id_, user="400", password="a-password")
    await to.send("user.update_email", UNCHANGED, "at-last", user="400", mail="at-last@a.example")
    return ["called", "uncalled", "made", "unmade", "changed", "unchanged", "at-last"]


async def _killed_in_between(place: Site, gateway: Gateway, to: Sender) -> None:
    held = [
        FaultRule(account=account, url=url, kind="delay", delay_ms=(60_000, 60_000))
        for account, url in ((CUT_CALL, "originate"), (CUT_CHANGE, "update_email"))
    ]
    place.sandbox.faults.set_rules(held)
    await to.originate(CUT_CALL, "cut-call", "71000000007")
    await to.send("user.update_email", CUT_CHANGE, "cut-change", user="400", mail="cut@a.example")

    def done() -> bool:
        """RingCloud has done both, and the gateway does not know"""
        pbx = place.sandbox.pbx
        called = any(call.account == CUT_CALL for call in pbx.ledger.records())
        return called and pbx.user(CUT_CHANGE, "400").mail == "cut@a.example"

    await eventually(done)
    await gateway.kill()
    place.sandbox.faults.set_rules([])
    await place.miss(await place.members())
    await gateway.start()


def last_steps(found: Sequence[dict[str, Any]], id_: str) -> list[str]:
    """A command's statuses, those apart that tell of a wait."""
    return [one for one in steps(found, id_) if one != "delayed"]
