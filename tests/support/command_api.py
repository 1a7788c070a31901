"""Commands by way of the admin API, over a gateway that executes them: what tests look into."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.api.service import serving
from gateway.config import ApiConfig, TokenConfig
from gateway.dev.brokers import Broker
from sandbox.settings import SandboxSettings
from tests.support.admin import TOKENS, Admin, token_of
from tests.support.command_scenarios import TRAFFIC
from tests.support.commands import sender
from tests.support.gateway import Site, key_of, keys_of, site
from tests.support.waiting import eventually

FOLLOWED, WAITED, KEYED, OTHER, RACED, SLOW, USERS = range(4600, 4607)
SECRET = "api-hush-4606"  # shows up in nothing but the PBX
NUM = "71000000001"


def call(account: int, num: str = NUM, **more: Any) -> dict[str, Any]:
    """The body that asks for a call."""
    return {"type": "call.originate", "account": account, "user": "400", "num": num, **more}


@dataclass
class Run:
    """What was answered, by name, and what the PBX saw."""

    answers: dict[str, httpx.Response] = field(default_factory=dict)
    raced: list[httpx.Response] = field(default_factory=list)
    dialled: dict[int, list[str]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    password: str = ""
    rate_limited: int = 0

    def json(self, name: str) -> Any:
        """What was answered, decoded."""
        return self.answers[name].json()


@asynccontextmanager
async def _admin(place: Site) -> AsyncIterator[Admin]:
    tokens = []
    for name, scopes in TOKENS.items():
        path = place.folder / f"{name}.token"
        path.write_text(token_of(name))
        tokens.append(TokenConfig(name=name, token=f"file:{path}", scopes=scopes))
    config = msgspec.structs.replace(place.config, api=ApiConfig(listen="127.0.0.1:0", tokens=tuple(tokens)))
    async with serving(config) as (url, ended), httpx.AsyncClient(base_url=url, timeout=90) as client:
        yield Admin(url, config, client)
        assert not ended.done(), ended


async def asked(broker: Broker, folder: Path) -> Run:
    """Commands of all kinds, right and wrong, asked for over HTTP."""
    settings = SandboxSettings(keys=keys_of(range(4600, 4607)), traffic=TRAFFIC)
    async with site(broker, folder, settings) as place:
        for account in place.document["accounts"]:
            if account["id"] == USERS:
                account["allow"] = ["user.create", "user.update_email"]
        run = Run()
        gateway = place.gateway()
        async with gateway, _admin(place) as admin, sender(place) as to:
            await place.polled()

            async def ask(name: str, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
                run.answers[name] = await admin.ask(method, path, body, **more)
                return run.answers[name]

            key = {"headers": {"Idempotency-Key": "order-4711"}}
            await asyncio.gather(
                _followed(ask),
                ask("waited", "POST", "/v1/commands?wait=60", call(WAITED), by="commander"),
                ask("create", "POST", "/v1/commands?wait=60", _user(), headers={"Idempotency-Key": '"hire-17"'}),
                ask("refused", "POST", "/v1/commands?wait=60", _mail("nobody")),
                ask("rejected", "POST", "/v1/commands?wait=60", call(WAITED, "88091234567")),
                ask("keyed", "POST", "/v1/commands?wait=60", call(KEYED), **key),
                ask("other account", "POST", "/v1/commands?wait=60", call(OTHER), **key),
                to.originate(OTHER, "by-kafka", NUM),
            )
            await ask("again", "POST", "/v1/commands", call(KEYED, id="order-4711"), **key)
            await ask("another", "POST", "/v1/commands", call(KEYED, "71000000002"), **key)
            run.raced = await asyncio.gather(
                *(
                    admin.ask("POST", "/v1/commands?wait=60", call(RACED), headers={"Idempotency-Key": "race"})
                    for _ in range(5)
                )
            )
            await admin.ask("POST", "/v1/commands", call(SLOW, id="slow-1"))
            await ask("too slow", "POST", "/v1/commands?wait=1", call(SLOW, id="slow-2"))
            await ask("in time", "GET", f"/v1/commands/slow-2?account={SLOW}&wait=60", by="reader")
            await ask("one", "GET", f"/v1/commands/order-4711?account={KEYED}")
            await ask("two", "GET", f"/v1/commands/order-4711?account={OTHER}")
            await ask("by kafka", "GET", "/v1/commands/by-kafka?wait=60")
            await place.all_told()
            await gateway.stop()
        records = place.sandbox.pbx.ledger.records()
        for account in place.sandbox.pbx.accounts:
            run.dialled[account] = [
                one.num for call in records if call.account == account and (one := call.originated_by)
            ]
        run.events = [one.event for one in await place.told()]
        run.password = place.sandbox.pbx.user(USERS, run.json("create")["results"][-1]["user"]).password
        run.rate_limited = sum(
            lane.rejected for lane in place.sandbox.stats.report().lanes if lane.key == key_of(RACED)
        )
        return run


async def _followed(ask: Any) -> None:
    """Asked for, and followed by the address that the answer names, until its call was observed."""
    first = await ask("first", "POST", "/v1/commands", call(FOLLOWED))

    async def observed() -> bool:
        """the command's call was observed"""
        last = await ask("followed", "GET", first.headers["location"])
        return bool(last.json()["status"] == "observed")

    await eventually(observed, 60.0, interval=0.5)


def _user() -> dict[str, Any]:
    return {"type": "user.create", "account": USERS, "num": "450", "mail": "new@a.example", "password": SECRET}


def _mail(user: str) -> dict[str, Any]:
    return {"type": "user.update_email", "account": USERS, "user": user, "mail": "two@a.example"}
