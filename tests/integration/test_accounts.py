"""Accounts that come, change and go at run time; accounts that can't be read; several keys of one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner

from gateway.cli import main
from gateway.config import AccountConfig, KeyConfig
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker
from gateway.polling.accounts import declare_account, declared_accounts
from gateway.runtime.kafka import ensure_topics
from sandbox.settings import KeySpec, SandboxSettings
from tests.support.gateway import Site, key_of, keys_of, site, structured
from tests.support.kafka import read_all
from tests.support.waiting import eventually

ACCOUNTS = [4000, 4001]


@asynccontextmanager
async def place(broker: Broker, folder: Path, keys: list[KeySpec] | None = None) -> AsyncIterator[Site]:
    """A site whose sandbox has the accounts, none of which the configuration names."""
    settings = SandboxSettings(keys=keys or keys_of(ACCOUNTS), profile="live")
    async with site(broker, folder / broker.__class__.__name__.lower(), settings) as found:
        found.document["accounts"] = []
        await ensure_topics(found.config.kafka)
        yield found


def declared(found: Site, *accounts: int, suffix: str = "") -> list[AccountConfig]:
    return [
        AccountConfig(
            id=account,
            keys=(
                KeyConfig(
                    key=f"file:{found.folder}/{key_of(account)}.key",
                    password=f"file:{found.folder}/{key_of(account)}.password{suffix}",
                ),
            ),
        )
        for account in accounts
    ]


async def notices(found: Site, account: int) -> list[dict[str, Any]]:
    """What was told of an account on the gateway's topic, as the CloudEvents SDK reads it."""
    records = await read_all(found.broker.bootstrap, found.topics.gateway.name)
    return [structured(record) for record in records if record.key == str(account).encode()]


async def test_accounts_come_change_and_go_while_the_gateway_runs(broker: Broker, tmp_path: Path) -> None:
    async with place(broker, tmp_path) as found, found.gateway() as gateway:
        kafka = found.config.kafka
        one, two = declared(found, *ACCOUNTS)
        await declare_account(kafka, one.id, one)
        await declare_account(kafka, two.id, two)
        assert await declared_accounts(kafka) == {one.id: one, two.id: two}
        await found.polled(*ACCOUNTS)
        found.sandbox.pbx.place_call(one.id, "74950000001", "401", "incoming", 500, 20_000)
        await found.polled(one.id)

        # Declared anew, it goes on where it was: the call that runs is not told of twice.
        changed = AccountConfig(id=one.id, keys=one.keys, channels=True)
        await declare_account(kafka, one.id, changed)
        await found.polled(one.id)
        await declare_account(kafka, two.id, None)

        def gone() -> bool:
            """the gateway has let the account go"""
            return "account withdrawn" in gateway.log()

        await eventually(gone)
        before = found.polls(two.id)
        await found.polled(one.id, times=2)
        assert found.polls(two.id) <= before + 1
        assert await declared_accounts(kafka) == {one.id: changed}
        report = await found.report()
        assert report.doubled == []
        assert gateway.mishaps() == []
        await gateway.stop()


async def test_a_wrong_account_is_passed_over_and_named(embedded_broker: Broker, tmp_path: Path) -> None:
    async with place(embedded_broker, tmp_path) as found, found.gateway() as gateway:
        kafka = found.config.kafka
        (right,) = declared(found, ACCOUNTS[0])
        (no_secret,) = declared(found, ACCOUNTS[1], suffix=".missing")
        topic = Topics(kafka.prefix).accounts.name
        wrong = [
            (b"not a number", b"{}", "is not an account number"),
            (b"4001", b"not json", "not JSON"),
            (b"4001", b'{"id": 4001, "keys": []}', "keys"),
            (b"4001", b'{"id": 4002, "keys": [{"key": "env:A", "password": "env:B"}]}', "the key says 4001"),
            (b"4001", b'{"id": 4001, "keys": [{"key": "secret", "password": "env:B"}]}', "keys[0].key"),
        ]
        async with AIOKafkaProducer(bootstrap_servers=found.broker.bootstrap) as producer:
            for key, value, _ in wrong:
                await producer.send_and_wait(topic, value=value, key=key, partition=0)
        await declare_account(kafka, no_secret.id, no_secret)
        await declare_account(kafka, right.id, right)
        await found.polled(right.id)

        def named() -> bool:
            """each was named by field and topic"""
            return all(reason in gateway.log() for *_, reason in wrong) and "keys[0].password" in gateway.log()

        await eventually(named)
        assert gateway.log().count(f"{topic}[") >= len(wrong)
        assert found.polls(ACCOUNTS[1]) == 0
        await gateway.stop()


async def test_an_account_is_degraded_once_and_recovers_once(embedded_broker: Broker, tmp_path: Path) -> None:
    async with place(embedded_broker, tmp_path) as found:
        account = ACCOUNTS[0]
        (refused,) = declared(found, account, suffix=".wrong")
        (right,) = declared(found, account)
        (found.folder / f"{key_of(account)}.password.wrong").write_text("not-the-password")
        await declare_account(found.config.kafka, account, refused)
        gateway = found.gateway()
        await gateway.start()

        async def told(count: int) -> list[dict[str, Any]]:
            """so many notices"""
            events = await notices(found, account)
            return events if len(events) >= count else []

        (degraded,) = await eventually(lambda: told(1), 30.0, "the account is told of as degraded", interval=0.2)
        assert degraded["type"] == "account.degraded"
        assert degraded["data"]["reason"] == "authentication_error"
        assert degraded["data"]["http_status"] == 403

        # A restart repeats nothing.
        members = await found.members()
        await gateway.kill()
        await found.miss(members)
        before = gateway.log().count("snapshot unknown")
        await gateway.start()

        def again() -> bool:
            """both lists were refused again, by the new process"""
            return gateway.log().count("snapshot unknown") >= before + 2

        await eventually(again, 40.0)
        await declare_account(found.config.kafka, account, right)
        both = await eventually(lambda: told(2), 60.0, "the account is told of as recovered", interval=0.2)
        assert [event["type"] for event in both] == ["account.degraded", "account.recovered"]
        assert both[1]["data"]["since"] == degraded["data"]["since"]
        assert "the-password" not in gateway.log()
        await gateway.stop()


async def test_two_keys_of_an_account_are_asked_in_turn_half_an_interval_apart(
    embedded_broker: Broker, tmp_path: Path
) -> None:
    """So that a change is seen within 2.5 s; by the sandbox's own count of what it let pass, and no 429."""
    account = ACCOUNTS[0]
    keys = [KeySpec(f"{account}_{name}", f"the-password-of-{name}") for name in ("one", "two")]
    async with place(embedded_broker, tmp_path, keys) as found:
        references = tuple(
            KeyConfig(key=f"file:{found.folder}/{spec.key}.key", password=f"file:{found.folder}/{spec.key}.password")
            for spec in keys
        )
        await declare_account(found.config.kafka, account, AccountConfig(id=account, keys=references))
        arrivals: list[float] = []
        async with found.gateway() as gateway:
            loop = asyncio.get_running_loop()
            seen = 0

            def asked() -> bool:
                """the active list was asked for often enough"""
                nonlocal seen
                lanes = found.sandbox.stats.report().lanes
                count = sum(lane.accepted for lane in lanes if lane.path.endswith("/active"))
                if count > seen:
                    arrivals.append(loop.time())
                    seen = count
                return len(arrivals) >= 9

            await eventually(asked, 90.0, interval=0.01)
            apart = [later - before for before, later in pairwise(arrivals[2:])]
            assert max(apart) < 4.0, apart
            assert found.sandbox.stats.report().rate_limited == 0
            await gateway.stop()


def test_accounts_by_the_command_line(embedded_broker: Broker, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'[kafka]\nbootstrap = "{embedded_broker.bootstrap}"\nprefix = "cli-{tmp_path.name}"\n'
        "shards = 2\npartitions = 2\nreplication_factor = 1\n"
    )

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["accounts", "--config", str(config), *words])
        return result.exit_code, result.output

    from gateway.config import load

    asyncio.run(ensure_topics(load(config).kafka))
    code, output = run("put", "4000", "--key", "env:K", "file:/p", "--channels")
    assert code == 0, output
    code, output = run("list")
    assert code == 0
    declared = msgspec.json.decode(output)
    assert declared["id"] == 4000
    assert declared["keys"] == [{"key": "env:K", "password": "file:/p"}]
    assert (declared["time_zone"], declared["channels"]) == ("Europe/Moscow", True)
    assert declared["allow"] == ["call.originate"]
    code, output = run("put", "4000", "--key", "the-secret-itself", "file:/p")
    assert code == 2
    assert "keys[0].key" in output
    code, output = run("put", "4000", "--key", "env:K", "env:P", "--time-zone", "Mars/Base")
    assert code == 2
    assert "Mars/Base" in output
    assert run("remove", "4000") == (0, "")
    assert run("list") == (0, "")


pytestmark = pytest.mark.timeout(170)
