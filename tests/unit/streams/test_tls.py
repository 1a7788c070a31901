"""TLS to receivers with certificates of our own making: who is trusted, and who the gateway is."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from gateway.config import ConfigError, load
from gateway.contract.endpoints import Endpoint
from streams.delivery.addresses import AddressPolicy
from streams.delivery.attempt import Result, Sender
from streams.delivery.targets import targets_of
from streams.fanout import expand
from tests.support.webhooks import call_event, receiver, secret_file


@dataclass
class Ground:
    """An authority that the receiver's certificates are from, one that the gateway's are from, and their files."""

    folder: Path
    servers: trustme.CA
    clients: trustme.CA

    def file(self, name: str, *blobs: trustme.Blob) -> str:
        """A reference to a PEM file."""
        (self.folder / name).write_bytes(b"".join(blob.bytes() for blob in blobs))
        return f"file:{self.folder / name}"

    @property
    def ca(self) -> str:
        """A reference to the receivers' authority."""
        return self.file("ca.pem", self.servers.cert_pem)

    def client(self, ca: trustme.CA, *, apart: bool = True) -> dict[str, str]:
        """The settings of a client certificate, with its key in a file of its own or in the same."""
        made = ca.issue_cert("gateway@example.com")
        chain = made.cert_chain_pems
        if not apart:
            return {"client_certificate": self.file("client.pem", made.private_key_pem, *chain)}
        return {
            "client_certificate": self.file("client.pem", *chain),
            "client_key": self.file("client.key", made.private_key_pem),
        }

    def server(self, *names: str, asks: bool = False) -> ssl.SSLContext:
        """A receiver's side: its certificate is for `names`, and it `asks` for one of the clients' authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.servers.issue_cert(*names).configure_cert(context)
        if asks:
            self.clients.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def endpoint(self, url: str, **settings: Any) -> Endpoint:
        """An endpoint with a secret."""
        return Endpoint(id="crm", url=url, secrets=(secret_file(self.folder),), timeout=5.0, **settings)

    async def attempt(self, url: str, **settings: Any) -> Result:
        """One attempt at an endpoint with these settings."""
        endpoint = self.endpoint(url, **settings)
        (delivery,) = expand(call_event(), [endpoint], datetime.now(UTC))
        sender = Sender(AddressPolicy(["127.0.0.0/8", "::1"]), lambda: datetime.now(UTC))
        try:
            return await sender.send(targets_of([endpoint])["crm"], delivery)
        finally:
            await sender.close()


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path, trustme.CA(), trustme.CA())


async def test_a_receiver_of_a_private_authority_is_trusted_where_it_is_named(ground: Ground) -> None:
    async with receiver(tls=ground.server("127.0.0.1", "localhost")) as there:
        assert (await ground.attempt(there.url(), ca=ground.ca)).delivered
        assert (await ground.attempt(there.url(host="localhost"), ca=ground.ca)).delivered
        assert there.arrived == 2


async def test_it_is_not_trusted_otherwise(ground: Ground) -> None:
    other = ground.file("other.pem", ground.clients.cert_pem)
    async with receiver(tls=ground.server("127.0.0.1")) as there:
        for settings in ({}, {"ca": other}, ground.client(ground.servers)):
            attempt = (await ground.attempt(there.url(), **settings)).attempt
            assert attempt.outcome == "unreachable"
            assert (attempt.error or "").startswith("the certificate was not accepted: ")
        assert there.arrived == 0


async def test_a_certificate_for_another_host_is_refused(ground: Ground) -> None:
    async with receiver(tls=ground.server("crm.example.com")) as there:
        attempt = (await ground.attempt(there.url(host="localhost"), ca=ground.ca)).attempt
        assert (attempt.outcome, there.arrived) == ("unreachable", 0)
        assert "Hostname mismatch" in (attempt.error or "")


@pytest.mark.parametrize("apart", [True, False])
async def test_a_receiver_that_asks_who_delivers_is_told(ground: Ground, apart: bool) -> None:
    async with receiver(tls=ground.server("127.0.0.1", asks=True)) as there:
        result = await ground.attempt(there.url(), ca=ground.ca, **ground.client(ground.clients, apart=apart))
        assert (result.attempt.error, there.arrived) == (None, 1)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_without_the_certificate_it_asks_for_nothing_is_delivered(ground: Ground, newest: ssl.TLSVersion) -> None:
    server = ground.server("127.0.0.1", asks=True)
    server.maximum_version = newest
    async with receiver(tls=server) as there:
        for settings in ({}, ground.client(ground.servers)):
            attempt = (await ground.attempt(there.url(), ca=ground.ca, **settings)).attempt
            assert (attempt.outcome, there.arrived) == ("unreachable", 0)


def refuse_once(listening: socket.socket, tls: ssl.SSLContext) -> None:
    """Accept one connection whose handshake fails, and let the client read why."""
    raw, _ = listening.accept()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = tls.wrap_bio(incoming, outgoing, server_side=True)
    with raw:
        failed = False
        while not failed and (got := raw.recv(65536)):
            incoming.write(got)
            try:
                session.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                failed = True
            raw.sendall(outgoing.read())
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65536):
            pass


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_receiver_s_refusal_of_the_handshake_is_told(ground: Ground, newest: ssl.TLSVersion) -> None:
    server = ground.server("127.0.0.1", asks=True)
    server.maximum_version = newest
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = asyncio.create_task(asyncio.to_thread(refuse_once, listening, server))
        attempt = (await ground.attempt(f"https://127.0.0.1:{listening.getsockname()[1]}", ca=ground.ca)).attempt
        await refusing
    assert attempt.outcome == "unreachable"
    assert re.fullmatch("TLS was not agreed on: [a-z0-9_]*alert[a-z_]*", attempt.error or "")


async def test_endpoints_of_one_host_do_not_share_a_connection_that_says_who_delivers(ground: Ground) -> None:
    async with receiver(tls=ground.server("127.0.0.1", asks=True)) as there:
        known = ground.endpoint(there.url(), ca=ground.ca, **ground.client(ground.clients))
        target = targets_of([known])["crm"]
        stranger = targets_of([ground.endpoint(there.url(), ca=ground.ca)])["crm"]
        (delivery,) = expand(call_event(), [known], datetime.now(UTC))
        sender = Sender(AddressPolicy(["127.0.0.0/8"]), lambda: datetime.now(UTC))
        try:
            assert (await sender.send(target, delivery)).delivered
            assert not (await sender.send(stranger, delivery)).delivered
            assert (await sender.send(target, delivery)).delivered
        finally:
            await sender.close()


def encrypted(key: bytes) -> bytes:
    """A private key under a password."""
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"hush"),
    )


def test_files_that_are_not_what_they_are_to_be_are_named(ground: Ground) -> None:
    client = ground.client(ground.clients)
    one, other = ground.clients.issue_cert("a@example.com"), ground.clients.issue_cert("b@example.com")
    wrong: list[tuple[str, dict[str, str]]] = [
        ("ca: No such file or directory", {"ca": f"file:{ground.folder}/none"}),
        ("ca: Is a directory", {"ca": f"file:{ground.folder}"}),
        ("ca: holds no certificate in PEM", {"ca": client["client_key"]}),
        ("client_key: No such file or directory", {**client, "client_key": f"file:{ground.folder}/none"}),
        ("client_certificate: No such file or directory", {"client_certificate": f"file:{ground.folder}/none"}),
        ("client_certificate: is no certificate", {"client_certificate": client["client_certificate"]}),
        (
            "client_certificate: is no certificate with the private key of client_key",
            {
                "client_certificate": ground.file("one.pem", one.cert_chain_pems[0]),
                "client_key": ground.file("other.key", other.private_key_pem),
            },
        ),
        (
            "client_certificate: is no certificate with the private key of client_key",
            {
                "client_certificate": ground.file("one.pem", one.cert_chain_pems[0]),
                "client_key": ground.file("locked.key", trustme.Blob(encrypted(one.private_key_pem.bytes()))),
            },
        ),
    ]
    for why, settings in wrong:
        with pytest.raises(ConfigError, match=rf"^endpoint crm: endpoints\[0\]\.{why}"):
            targets_of([ground.endpoint("https://crm.example.com", **settings)])


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ('ca = "env:CA"', r"endpoints\[0\]\.ca: must be file:PATH$"),
        ('ca = "/etc/ca.pem"', r"endpoints\[0\]\.ca: must be file:PATH$"),
        ('client_key = "file:/k"', r"endpoints\[0\]\.client_key: is of no use without client_certificate$"),
        ('url = "http://x"\nca = "file:/ca"', r"endpoints\[0\]\.ca: is of no use: url is no https:// URL$"),
        ("verify = false", r"endpoints\[0\]\.verify: is not known$"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: str, why: str) -> None:
    path = tmp_path / "gateway.toml"
    url = "" if "url" in settings else 'url = "https://crm.example.com"\n'
    path.write_text(
        f'[delivery]\nallow_http = true\n[[endpoints]]\nid = "crm"\nsecrets = ["env:S"]\n{url}{settings}\n',
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=why):
        load(path)


def test_the_document_s_example_is_a_configuration(tmp_path: Path) -> None:
    document = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text(encoding="utf-8")
    section = document.partition("\n### HTTPS\n")[2].partition("\n#")[0]
    (block,) = re.findall(r"^```toml\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    path = tmp_path / "gateway.toml"
    path.write_text(block, encoding="utf-8")
    (endpoint,) = load(path).endpoints
    assert None not in (endpoint.ca, endpoint.client_certificate, endpoint.client_key)
    assert endpoint.headers
