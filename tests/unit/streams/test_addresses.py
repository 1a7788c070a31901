"""Which addresses may be dialled."""

import asyncio
import ipaddress
import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.delivery.addresses import AddressPolicy, CheckedResolver, CheckedSockets, _carried, blocked_by
from streams.delivery.errors import AddressBlockedError

PUBLIC = [
    "8.8.8.8",
    "8.8.4.4",
    "168.63.129.15",
    "192.0.1.0",
    "192.88.98.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.0.1",
    "172.32.0.1",
    "2606:4700::1",
    "2a00:1450::5",
    "2001:200::1",
    "2003::1",
    "3fff:1000::1",
    "64:ff9b::808:808",
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "2002:808:808::1",
]
REFUSED = {
    "0.0.0.0": "unspecified",  # noqa: S104 - refused, not bound to
    "0.1.2.3": "unspecified",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.127.255.255": "carrier-grade NAT",
    "169.254.169.254": "link-local",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "192.0.2.1": "reserved",
    "198.18.0.1": "reserved",
    "198.19.255.255": "reserved",
    "198.51.100.1": "reserved",
    "192.88.99.1": "reserved",
    "192.0.0.9": "reserved",
    "169.254.170.2": "link-local",
    "100.100.100.200": "carrier-grade NAT",
    "192.0.0.192": "cloud metadata",
    "168.63.129.16": "cloud metadata",
    "203.0.113.9": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "fe80::1": "link-local",
    "fc00::1": "private",
    "fd12:3456::1": "private",
    "fec0::1": "private",
    "ff02::1": "multicast",
    "2001:db8::1": "reserved",
    "100::1": "reserved",
    "5f00::1": "reserved",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "reserved",
    "2001:2::1": "reserved",
    "2001:10::1": "reserved",
    "2001:20::1": "reserved",
    "3fff::1": "reserved",
    "3fff:fff:ffff::1": "reserved",
    "fd00:ec2::254": "private",
    "fd20:ce::254": "private",
    "64:ff9b::a9fe:a9fe": "link-local",
    "64:ff9b::6440:1": "carrier-grade NAT",
    "64:ff9b:1::808:808": "reserved",
    "64:ff9b:1:a9fe:a9:fe00::": "reserved",
    "::ffff:169.254.169.254": "link-local",
    "::ffff:0:10.0.0.1": "private",
    "::127.0.0.1": "loopback",
    "2002:a9fe:a9fe::1": "link-local",
    "2002:c0a8:101::1": "private",
    "2002:e000:1::1": "multicast",
    "64:ff9b::c000:201": "reserved",
}

v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6)
networks = st.builds(lambda address, bits: ipaddress.ip_network((address, bits), strict=False), v4, st.integers(0, 32))


def embeddings(address: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    """The IPv6 addresses that lead to an IPv4 one: mapped, translated, NAT64, 6to4, compatible."""
    low = int(address)
    return [
        ipaddress.IPv6Address((0xFFFF << 32) | low),
        ipaddress.IPv6Address((0xFFFF << 48) | low),
        ipaddress.IPv6Address((0x0064FF9B << 96) | low),
        ipaddress.IPv6Address((0x2002 << 112) | (low << 80) | 1),
        *([ipaddress.IPv6Address(low)] if low > 1 else []),
    ]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    AddressPolicy().check(address)


@pytest.mark.parametrize(("address", "reason"), REFUSED.items())
def test_the_others_are_refused_with_the_reason(address: str, reason: str) -> None:
    with pytest.raises(AddressBlockedError, match=f"is {reason}"):
        AddressPolicy().check(address)


@settings(max_examples=600)
@given(address=v4)
def test_what_carries_an_ipv4_address_has_its_verdict(address: ipaddress.IPv4Address) -> None:
    policy = AddressPolicy()
    assert {policy.verdict(inside) for inside in embeddings(address)} == {policy.verdict(address)}


@settings(max_examples=600)
@given(inside=st.integers(0, 2**80 - 1))
def test_the_local_nat64_prefix_is_refused_whatever_it_carries(inside: int) -> None:
    address = ipaddress.IPv6Address((0x0064FF9B0001 << 80) | inside)
    assert AddressPolicy(["0.0.0.0/0"]).verdict(address) == "reserved"
    assert AddressPolicy(["64:ff9b:1::/48"]).verdict(address) is None


@settings(max_examples=600)
@given(address=v4 | v6)
def test_nothing_passes_that_the_standard_library_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if isinstance(address, ipaddress.IPv6Address):
        address = _carried(address) or address
    if AddressPolicy().verdict(address) is None:
        assert address.is_global
        for trait in ("private", "loopback", "link_local", "multicast", "reserved", "unspecified"):
            assert not getattr(address, f"is_{trait}")


@given(address=v4, network=networks)
def test_an_allowed_network_lets_its_addresses_pass_however_written(
    address: ipaddress.IPv4Address, network: ipaddress.IPv4Network
) -> None:
    policy = AddressPolicy([str(network)])
    if address in network:
        assert policy.verdict(address) is None
        assert {policy.verdict(inside) for inside in embeddings(address)} == {None}
    else:
        assert policy.verdict(address) == AddressPolicy().verdict(address)


@pytest.mark.parametrize(
    "host",
    [
        *("", "example.com", "0x7f000001", "2130706433", "127.1", "0177.0.0.1", "1.2.3.4.5", "::g"),
        *("0x7f.1", "017700000001", "127.0.0.1.", "8.8.8.8 ", "\uff18.8.8.8", "8.8.8.8/32"),
    ],
)
def test_what_is_not_an_address_in_full_is_refused(host: str) -> None:
    with pytest.raises(AddressBlockedError):
        AddressPolicy().check(host)


def test_a_scope_does_not_hide_an_address() -> None:
    with pytest.raises(AddressBlockedError, match="link-local"):
        AddressPolicy().check("fe80::1%eth0")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0x7f000001", "2130706433", "127.1", "0177.0.0.1"])
async def test_the_system_resolver_s_answers_are_checked(host: str) -> None:
    with pytest.raises(AddressBlockedError, match="loopback"):
        await CheckedResolver(AddressPolicy()).resolve(host, 80, socket.AF_UNSPEC)
    allowed = await CheckedResolver(AddressPolicy(["127.0.0.0/8", "::1"])).resolve(host, 80, socket.AF_UNSPEC)
    assert allowed


class Answers(AbstractResolver):
    """A name server's part: other answers each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in self.answers.pop(0)
        ]

    async def close(self) -> None:
        pass


async def test_of_mixed_answers_only_the_allowed_are_handed_on() -> None:
    resolver = CheckedResolver(AddressPolicy(), Answers(["10.0.0.1", "8.8.8.8"], ["8.8.8.8"], ["127.0.0.1"]))
    assert [found["host"] for found in await resolver.resolve("x")] == ["8.8.8.8"]
    assert [found["host"] for found in await resolver.resolve("x")] == ["8.8.8.8"]
    with pytest.raises(AddressBlockedError):
        await resolver.resolve("x")


@pytest.mark.parametrize("refused", ["10.0.0.1", "169.254.169.254", "not an address"])
@settings(max_examples=100)
@given(data=st.data())
def test_no_order_of_answers_lets_a_refused_one_through(refused: str, data: st.DataObject) -> None:
    answers = data.draw(st.permutations([refused, "8.8.8.8", "8.8.4.4", "127.0.0.1"]))
    found = asyncio.run(CheckedResolver(AddressPolicy(), Answers(answers)).resolve("x"))
    assert [one["host"] for one in found] == [one for one in answers if one.startswith("8.")]


def test_a_socket_is_made_only_for_a_checked_address() -> None:
    make = CheckedSockets(AddressPolicy())
    with pytest.raises(AddressBlockedError):
        make((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80)))
    make((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 80))).close()


def test_the_refusal_behind_an_error_is_found() -> None:
    refusal = AddressBlockedError("no")
    outer = OSError("outer")
    outer.__cause__ = ExceptionGroup("all failed", [ValueError("other"), refusal])
    assert blocked_by(outer) is refusal
    assert blocked_by(OSError("other")) is None
    assert blocked_by(None) is None
