"""Webhooks through an egress proxy: what it is asked for, what it may read, and what it is never asked for."""

from __future__ import annotations

import base64
import dataclasses
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
import uvloop
from click.testing import CliRunner
from yarl import URL

from gateway.cli import main
from gateway.config import ConfigError, DeliveryConfig, load
from gateway.contract.endpoints import Endpoint
from gateway.dev.brokers import free_port
from streams.delivery.addresses import AddressPolicy
from streams.delivery.attempt import Result, Sender
from streams.delivery.proxying import proxy_of
from streams.delivery.targets import targets_of
from streams.fanout import expand
from tests.support.webhooks import SECRET, Receiver, call_event, receiver, secret_file
from tests.unit.ringcloud.forward_proxy import Proxy, forward_proxy
from tests.unit.streams.resolvers import Turncoat

NAME = "crm.example.com"


class Ground:
    """A receiver on 127.0.0.2 with a certificate for `crm.example.com`, and a proxy on 127.0.0.1."""

    def __init__(self, there: Receiver, proxy: Proxy, ca: str, folder: Path) -> None:
        self.there, self.proxy, self._ca, self._folder = there, proxy, ca, folder

    async def attempts(
        self, resolver: Turncoat, *, user: str = "", hosts: Sequence[str] = (NAME,), proxy: str | None = None
    ) -> list[Result]:
        """An attempt at each host in turn, by one sender that may deliver to 127.0.0.2 alone."""
        first = Endpoint(
            id="crm",
            url=self.there.url("/in?a=b", host=hosts[0]),
            secrets=(secret_file(self._folder),),
            ca=self._ca,
            headers={"X-Tenant": "a"},
        )
        target = targets_of([first])["crm"]
        # One TLS context for all, as endpoints have that name no authority of their own.
        targets = [dataclasses.replace(target, url=URL(self.there.url("/in?a=b", host=host))) for host in hosts]
        (delivery,) = expand(call_event(), [first], datetime.now(UTC))
        sender = Sender(
            AddressPolicy(["127.0.0.2"]),
            lambda: datetime.now(UTC),
            resolver,
            URL(f"http://{user}{proxy or self.proxy.address}"),
        )
        try:
            return [await sender.send(target, delivery) for target in targets]
        finally:
            await sender.close()


@asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[Ground]:
    ca = trustme.CA()
    (folder / "ca.pem").write_bytes(ca.cert_pem.bytes())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(NAME).configure_cert(tls)
    async with receiver("127.0.0.2", tls=tls) as there, forward_proxy() as proxy:
        yield Ground(there, proxy, f"file:{folder}/ca.pem", folder)


async def test_the_proxy_is_asked_for_the_address_and_reads_nothing(tmp_path: Path) -> None:
    async with standing(tmp_path) as ground:
        (result,) = await ground.attempts(Turncoat(["127.0.0.2"]), user="us:hush@")
        assert (result.attempt.outcome, result.attempt.error) == ("delivered", None)
        (got,) = ground.there.received
        (head,) = ground.proxy.heads
    assert head.startswith(f"CONNECT 127.0.0.2:{ground.there.port} HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'us:hush').decode()}\r\n" in head
    assert not {"webhook-id", "x-tenant"} & {line.partition(":")[0].lower() for line in head.splitlines()}
    got.verify(SECRET)
    # As without a proxy, and nothing of what was for the proxy.
    assert got.headers["host"] == f"{NAME}:{ground.there.port}"
    assert got.headers["x-tenant"] == "a"
    assert not [name for name in got.headers if name.startswith("proxy-") or name == "authorization"]


def test_it_does_so_on_the_loop_that_the_service_runs_on(tmp_path: Path) -> None:
    uvloop.run(test_the_proxy_is_asked_for_the_address_and_reads_nothing(tmp_path))


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["169.254.169.254"], ["10.0.0.1", "fd00:ec2::254"]])
async def test_it_is_not_asked_for_what_is_refused(tmp_path: Path, answer: list[str]) -> None:
    async with standing(tmp_path) as ground:
        (result,) = await ground.attempts(Turncoat(answer))
        assert result.attempt.outcome == "blocked"
        assert ground.proxy.heads == []


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "[::1]", "[::ffff:7f00:1]", "169.254.169.254"),
        # Addresses in disguise, though the resolver knows a good one for them.
        *("2130706434", "127.2", "0x7f000002", "0x7f.0x2", "0177.0.0.2", "127.0.0.2."),
    ],
)
async def test_nor_for_an_address_that_the_url_names(tmp_path: Path, host: str) -> None:
    async with standing(tmp_path) as ground:
        (result,) = await ground.attempts(Turncoat(["127.0.0.2"]), hosts=[host])
        assert (result.attempt.outcome, ground.proxy.heads) == ("blocked", [])


async def test_an_answer_that_changes_is_checked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.delivery.proxying._ANSWER_HOLDS", 0.0)
    async with standing(tmp_path) as ground:
        first, second = await ground.attempts(Turncoat(["127.0.0.1", "127.0.0.2"], ["127.0.0.1"]), hosts=[NAME] * 2)
        assert (first.attempt.outcome, second.attempt.outcome) == ("delivered", "blocked")
        assert len(ground.proxy.heads) == 1


async def test_attempts_share_a_tunnel_and_an_answer(tmp_path: Path) -> None:
    async with standing(tmp_path) as ground:
        resolver = Turncoat(["127.0.0.2"])
        results = await ground.attempts(resolver, hosts=[NAME] * 5)
        assert all(result.delivered for result in results)
        assert (len(ground.proxy.heads), resolver.asked) == (1, 1)


async def test_a_receiver_behind_it_is_verified_by_its_name(tmp_path: Path) -> None:
    async with standing(tmp_path) as ground:
        (result,) = await ground.attempts(Turncoat(["127.0.0.2"]), hosts=["other.example.com"])
        assert (result.attempt.outcome, ground.there.arrived) == ("unreachable", 0)
        assert "Hostname mismatch" in (result.attempt.error or "")


async def test_a_tunnel_to_an_address_serves_only_the_host_it_was_verified_for(tmp_path: Path) -> None:
    async with standing(tmp_path) as ground:
        known, other, again = await ground.attempts(Turncoat(["127.0.0.2"]), hosts=(NAME, "other.example.com", NAME))
        assert (known.delivered, other.delivered, again.delivered) == (True, False, True)
        assert ground.there.arrived == 2


async def test_a_proxy_that_refuses_or_is_away_is_told_from_a_receiver(tmp_path: Path) -> None:
    async with standing(tmp_path) as ground:
        ground.proxy.refuses = True
        (refused,) = await ground.attempts(Turncoat(["127.0.0.2"]), user="us:hush@")
        away = f"127.0.0.1:{free_port()}"
        (gone,) = await ground.attempts(Turncoat(["127.0.0.2"]), user="us:hush@", proxy=away)
        assert ground.there.arrived == 0
    assert (refused.attempt.outcome, refused.attempt.error) == ("unreachable", "the proxy refused: HTTP 407")
    assert refused.attempt.status is None
    assert gone.attempt.outcome == "unreachable"
    assert (gone.attempt.error or "").startswith("no connection to the proxy: ")


def test_it_is_read_from_where_it_is_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_of(DeliveryConfig()) is None
    assert proxy_of(DeliveryConfig(proxy="http://proxy:3128")) == URL("http://proxy:3128")
    monkeypatch.setenv("PROXY", "http://us:hush@proxy:3128\n")
    assert proxy_of(DeliveryConfig(proxy="env:PROXY")) == URL("http://us:hush@proxy:3128")
    for wrong in ("https://us:hush@proxy", "us:hush@proxy:3128", "http://", "http://proxy/hush", "http://[hush"):
        monkeypatch.setenv("PROXY", wrong)
        with pytest.raises(ConfigError, match=r"delivery\.proxy: not an HTTP proxy's URL$") as caught:
            proxy_of(DeliveryConfig(proxy="env:PROXY"))
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ('proxy = "http://us:hush@proxy"', "delivery.proxy"),
        ('proxy = "proxy:3128"', "delivery.proxy"),
        ('proxy = "http://proxy"\nallow_http = true', "delivery.allow_http"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, settings: str, field: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(f"[delivery]\n{settings}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.field == field
    assert "hush" not in str(caught.value)


def test_the_check_reads_what_only_the_start_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        '[delivery]\nproxy = "env:PROXY"\n[[endpoints]]\nid = "crm"\nurl = "https://crm.example.com"\n'
        f'secrets = ["{secret_file(tmp_path)}"]\nheaders = {{ Authorization = "env:TOKEN" }}\n',
        encoding="utf-8",
    )
    said = CliRunner().invoke(main, ["check", str(path)])
    assert (said.exit_code, "delivery.proxy: variable PROXY is not set" in said.output) == (1, True)
    monkeypatch.setenv("PROXY", "http://proxy:3128")
    said = CliRunner().invoke(main, ["check", str(path)])
    assert (said.exit_code, "endpoints[0].headers.Authorization: variable TOKEN" in said.output) == (1, True)
    monkeypatch.setenv("TOKEN", "Bearer hush")
    assert CliRunner().invoke(main, ["check", str(path)]).exit_code == 0
