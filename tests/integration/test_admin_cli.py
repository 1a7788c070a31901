"""`ringcloud-gateway endpoints|deliveries|dlq|replay …` against an admin API, a worker and a receiver that are all real."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker
from tests.support.admin import Admin, admin_config, administered, token_of
from tests.support.delivering import working
from tests.support.waiting import eventually
from tests.support.webhooks import answering, call_event, produce_events, receiver

ALL = "2020-01-01T00:00:00Z"


@dataclass
class Ended:
    """A command that has ended, and what it said."""

    status: int | None
    out: str
    err: str


async def begun(admin: Admin, *words: str, who: str = "all") -> Process:
    """A command that was begun. It is told where the API is, and the token of who asks."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.cli",
        *words,
        env={"RINGCLOUD_GATEWAY_API": admin.url, "RINGCLOUD_API_TOKEN": token_of(who)},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )


async def end_of(process: Process, given: str = "") -> Ended:
    """Wait for a command's end."""
    out, err = await asyncio.wait_for(process.communicate(given.encode()), 60.0)
    return Ended(process.returncode, out.decode(), err.decode())


async def run(admin: Admin, *words: str, given: str = "", who: str = "all") -> Ended:
    """Begin a command and wait for its end."""
    return await end_of(await begun(admin, *words, who=who), given)


async def said(admin: Admin, *words: str, given: str = "") -> list[str]:
    """The lines of a command that must succeed."""
    ended = await run(admin, *words, given=given)
    assert ended.status == 0, ended
    return ended.out.splitlines()


async def told(admin: Admin, *words: str) -> list[Any]:
    """The same, as JSON."""
    return [msgspec.json.decode(line) for line in await said(admin, *words, "--json")]


async def test_endpoints_are_declared_looked_at_changed_and_withdrawn(
    embedded_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with administered(admin_config(embedded_broker.bootstrap, prefix, tmp_path)) as admin:
        url, other = "https://crm.example.com/hooks", "https://crm.example.com/others"
        line, secret = await said(admin, "endpoints", "put", "crm", "-", given=f'{{"url": "{url}"}}')
        assert line.split() == ["crm", "active", "topic", url]
        assert secret.startswith("secret, shown this once: whsec_")
        file = tmp_path / "erp.toml"
        file.write_text(f'url = "{other}"\nsecrets = ["env:ERP_SECRET"]\n')
        assert (await said(admin, "endpoints", "put", "erp", str(file)))[0].split()[-1] == other
        assert [line.split()[0] for line in await said(admin, "endpoints", "list")] == ["crm", "erp"]
        (shown,) = await told(admin, "endpoints", "show", "erp")
        assert (shown["id"], shown["endpoint"]["secrets"]) == ("erp", ["env:ERP_SECRET"])
        for word, state in (("pause", "paused"), ("disable", "disabled"), ("enable", "active")):
            assert (await said(admin, "endpoints", word, "erp"))[0].split()[1] == state
        rotated = await said(admin, "endpoints", "rotate", "crm", "--overlap", "3600")
        assert rotated[1].startswith("secret, shown this once: whsec_")
        assert rotated[1] != secret
        (shown,) = await told(admin, "endpoints", "show", "crm")
        assert len(shown["endpoint"]["secrets"]) == 2
        assert await said(admin, "endpoints", "remove", "erp") == []
        assert [one["id"] for one in await told(admin, "endpoints", "list")] == ["crm"]


async def test_what_was_given_up_is_seen_and_replayed(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    config = admin_config(embedded_broker.bootstrap, prefix, tmp_path)
    async with receiver() as there, administered(config) as admin, working(config):
        declaration = msgspec.json.encode({"url": there.url("/crm"), "retries": [1]}).decode()
        await said(admin, "endpoints", "put", "crm", "-", given=declaration)
        there.behaviours["/crm"] = answering(500)
        (first,) = await said(admin, "endpoints", "test", "crm")
        (second,) = await said(admin, "endpoints", "test", "crm")

        async def given_up() -> bool:
            """both are dead letters"""
            return len((await admin.get("/v1/dead-letters", endpoint="crm"))["items"]) == 2

        await eventually(given_up, 60.0)
        assert {line.split()[1] for line in await said(admin, "dlq", "list", "--endpoint", "crm")} == {first, second}
        shown = await said(admin, "deliveries", "show", first)
        assert shown[0] == f"{first}  given up"
        assert "not delivered in 2 attempts; last: HTTP 500" in shown[1]
        assert [line.split()[1:4] for line in shown[2:]] == [["refused", "500", "2"], ["refused", "500", "1"]]

        there.behaviours["/crm"] = answering(200)
        replayed = await run(admin, "dlq", "replay", "--delivery", first)
        assert replayed.status == 0, replayed
        assert replayed.out.endswith(" done: 1 resent, 1 records read\n")
        # The bar is no result.
        assert ": 1 resent" in replayed.err
        await eventually(lambda: there.accepted() == [first], what="the one")
        (*_, job) = await told(admin, "dlq", "replay", "--endpoint", "crm", "--rate", "100")
        assert (job["state"], job["resent"], job["asked"]["rate"]) == ("done", 2, 100)

        async def all_told() -> bool:
            """the log has all three that were delivered"""
            found = await told(admin, "deliveries", "list", "--endpoint", "crm", "--outcome", "delivered")
            return sorted(one["delivery"] for one in found) == sorted([first, first, second])

        await eventually(all_told, 60.0)
        assert sorted(there.accepted()) == sorted([first, first, second])


async def test_events_are_replayed_from_a_time_or_offsets_and_ctrl_c_cancels(
    embedded_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    config = admin_config(embedded_broker.bootstrap, prefix, tmp_path)
    async with administered(config) as admin:
        await admin.do("POST", "/v1/endpoints", {"id": "crm", "url": "https://crm.example.com/"})
        topic = Topics(config.kafka.prefix).calls.name
        found = [call_event(f"c{n}", account=7 + n % 2) for n in range(40)]
        await produce_events(embedded_broker.bootstrap, topic, found, transactional_id=f"{prefix}t")
        asked = ("replay", "--endpoint", "crm", "--rate", "1000")
        assert (await told(admin, *asked, "--since", ALL, "--account", "8"))[-1]["resent"] == 20
        parts = [word for part in range(config.kafka.partitions) for word in ("--offset", f"{part}:0")]
        assert (await told(admin, *asked, *parts, "--event", "call.started"))[-1]["resent"] == 40
        assert (await told(admin, *asked, "--since", ALL, "--until", ALL))[-1]["resent"] == 0

        process = await begun(admin, "replay", "--endpoint", "crm", "--since", ALL, "--rate", "1")

        async def under_way() -> bool:
            """it has resent something, and is not at its end"""
            job = (await admin.get("/v1/replays"))["items"][0]
            return bool(job["state"] == "running" and job["resent"])

        await eventually(under_way, 60.0)
        process.send_signal(signal.SIGINT)
        ended = await end_of(process)
        assert (ended.status, " cancelled: " in ended.out) == (1, True), ended
        assert (await admin.get("/v1/replays"))["items"][0]["state"] == "cancelled"


# Words, who asks, the exit status, and what is said.
WRONG: list[tuple[str, str, int, str]] = [
    ("endpoints show nobody", "all", 1, "there is no endpoint nobody"),
    ("endpoints put crm -", "all", 1, "url: "),
    ("endpoints pause crm", "reader", 1, "write"),
    ("endpoints list --token hush", "all", 2, "--token must be env:NAME or file:PATH"),
    ("endpoints list --token env:NOBODYS_TOKEN", "all", 1, "variable NOBODYS_TOKEN is not set"),
    ("deliveries show c1-1-nobody", "all", 1, "c1-1-nobody"),
    ("dlq replay", "all", 2, "needs either --endpoint or --delivery"),
    ("dlq replay --delivery a --reason b", "all", 2, "--reason, --since and --until go with --endpoint"),
    ("replay --endpoint crm", "all", 2, "needs either --since or --offset"),
    ("replay --endpoint crm --offset 0", "all", 2, "--offset is PARTITION:OFFSET, not 0"),
    ("replay --endpoint crm --since soon", "all", 1, "since: "),
    ("replay --endpoint nobody --since 2020-01-01T00:00:00Z", "all", 1, "there is no endpoint nobody"),
]


async def test_what_is_wrong_is_told(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with administered(admin_config(embedded_broker.bootstrap, prefix, tmp_path)) as admin:
        for words, who, status, why in WRONG:
            ended = await run(admin, *words.split(), given="{}", who=who)
            assert (ended.status, ended.out, why in ended.err) == (status, "", True), (words, ended)
            assert "hush" not in ended.err
            assert "Traceback" not in ended.err
