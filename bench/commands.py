"""`python -m bench.commands`: how much of the time that RingCloud's limits allow commands make use of.

Targets: 500 changes of 100 users and 50 calls, of one account with one key, all sent at once, are done within 103 % of
the shortest time that the limits allow, with no answer of 429. The time is the sandbox's own: from the first to the last
request of each kind. The shortest is what the busiest URL takes: each asked as often as it must be, its limit apart.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import click
import msgspec

from bench.harness import Sample, Subject, at_most, conclude, measure
from bench.rig import broker, configuration, service, until, write
from bench.servers import cores, serving
from gateway.config import load
from gateway.contract.topics import Topics
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings

_ACCOUNT = 1000
_KEY, _PASSWORD = f"{_ACCOUNT}_bench", "bench"
_LIMIT_SECONDS = 5.0
_GOAL = [at_most(103), at_most(0, "429")]
# Beyond the shortest time: what a gateway may take before it is given up.
_SPARE_SECONDS = 60.0


@asynccontextmanager
async def sandbox_of(users: int) -> AsyncIterator[str]:
    """A sandbox with one account of so many users; for `serving`."""
    settings = SandboxSettings([KeySpec(_KEY, _PASSWORD)], users_per_account=users)
    async with SandboxServer(settings) as server:
        yield server.url


def _commands(users: int, changes: int, calls: int) -> list[dict[str, Any]]:
    """The changes first: the calls are to pass them by."""
    mails = (
        {"type": "user.update_email", "id": f"mail-{n}", "user": str(400 + n % users), "mail": f"{n}@bench.example"}
        for n in range(changes)
    )
    asked = ({"type": "call.originate", "id": f"call-{n}", "user": "400", "num": f"7495{n:07}"} for n in range(calls))
    return [{"account": _ACCOUNT, **one} for one in (*mails, *asked)]


class _Bench:
    def __init__(self, bootstrap: str, folder: Path, users: int, changes: int, calls: int) -> None:
        self._bootstrap = bootstrap
        self._folder = folder
        self._users = users
        self._sent = _commands(users, changes, calls)
        # What each lane needs at least, in requests.
        self._shortest = {"update_email": -(-changes // users), "/v1/calls": calls}
        self._lanes: list[dict[str, Any]] = []
        self._refused = 0.0

    async def run(self) -> None:
        """Send everything at once, and wait until the sandbox has been asked for all of it."""
        other, core = cores()
        with serving(other, sandbox_of, self._users) as sandbox:
            (self._folder / "key").write_text(_KEY, encoding="utf-8")
            (self._folder / "password").write_text(_PASSWORD, encoding="utf-8")
            path = configuration(
                self._folder,
                self._bootstrap,
                ringcloud={"base_url": sandbox.url},
                accounts=[
                    {
                        "id": _ACCOUNT,
                        "keys": [{"key": f"file:{self._folder}/key", "password": f"file:{self._folder}/password"}],
                        "allow": ["call.originate", "user.update_email"],
                    }
                ],
            )
            config = load(path)
            topic = Topics(config.kafka.prefix).commands.name
            key = str(_ACCOUNT).encode()
            async with (
                service(["poll", str(path)], config.metrics.gateway, {core}, self._folder / "log"),
                aiohttp.ClientSession() as http,
            ):
                await write(self._bootstrap, [(topic, key, json.dumps(command).encode(), []) for command in self._sent])

                async def asked() -> bool:
                    async with http.get(f"{sandbox.url}/_sandbox/stats") as answer:
                        stats = msgspec.json.decode(await answer.read())
                    self._lanes = [lane for lane in stats["lanes"] if lane["method"] == "POST"]
                    self._refused = float(stats["rate_limited"])
                    done: int = sum(lane["accepted"] for lane in self._lanes)
                    return done >= len(self._sent)

                seconds = max(self._shortest.values()) * _LIMIT_SECONDS + _SPARE_SECONDS
                await until(asked, "every command was sent", seconds, every=0.5)

    async def took(self, *ends: str, again: bool = False) -> Sample:
        """How long requests to URLs that end so took, in percent of the shortest time; after a run where it is due."""
        if not again:
            await self.run()
        lanes = [lane for lane in self._lanes if lane["path"].endswith(ends)]
        took = max(lane["last_at_ms"] for lane in lanes) - min(lane["first_at_ms"] for lane in lanes)
        shortest = (max(self._shortest[end] for end in ends) - 1) * _LIMIT_SECONDS * 1000
        requests = float(sum(lane["accepted"] for lane in lanes))
        return Sample(100 * took / shortest, {"429": self._refused, "requests": requests, "s": took / 1000})


async def _bench(users: int, changes: int, calls: int, *, short: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        async with broker(folder, {cores()[0]}) as kafka:
            bench = _Bench(kafka.bootstrap, folder, users, changes, calls)
            # The first one runs, and what the others tell is of the same run.
            subjects = [
                Subject(name="all", run=partial(bench.took, "update_email", "/v1/calls"), targets=_GOAL),
                Subject(name=f"{calls} calls", run=partial(bench.took, "/v1/calls", again=True), targets=_GOAL),
                Subject(
                    name=f"{changes} changes of {users} users", run=partial(bench.took, "update_email", again=True)
                ),
            ]
            figures = await measure(subjects, 1)
    conclude(
        "commands",
        "Commands of one key, all sent at once: the time they took, of the shortest that the limits allow",
        "%",
        figures,
        short=short,
        settings={"users": users, "changes": changes, "calls": calls},
        packages=("aiohttp", "httpx", "uvloop", "msgspec", "aiokafka"),
    )


@click.command()
@click.option("--short", is_flag=True, help="Fewer commands: shows that it works, proves little.")
def main(short: bool) -> None:
    """Measure how much of the allowed rate commands use, and write commands.json."""
    asyncio.run(_bench(20, 60, 6, short=True) if short else _bench(100, 500, 50, short=False))


if __name__ == "__main__":
    main()
