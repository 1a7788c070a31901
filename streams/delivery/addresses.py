"""Decides which addresses webhooks may go to, at the moment they are dialled."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from streams.delivery.errors import AddressBlockedError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# family, type, protocol, canonical name, socket address: as getaddrinfo gives it
_AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]

_NAMED: tuple[tuple[str, tuple[IpNetwork, ...]], ...] = tuple(
    (what, tuple(ipaddress.ip_network(network) for network in networks))
    for what, networks in (
        ("unspecified", ("0.0.0.0/8", "::/128")),
        ("loopback", ("127.0.0.0/8", "::1/128")),
        ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")),
        ("carrier-grade NAT", ("100.64.0.0/10",)),
        ("link-local", ("169.254.0.0/16", "fe80::/10")),
        ("multicast", ("224.0.0.0/4", "ff00::/8")),
        # Azure's and Oracle's; the others' are link-local, private or of a carrier's NAT anyway.
        ("cloud metadata", ("168.63.129.16/32", "192.0.0.192/32")),
        # What IANA's special-purpose registries have besides, where nobody receives webhooks. The standard library knows
        # them as of the day of its release, which differs by machine.
        (
            "reserved",
            (
                *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24"),
                *("203.0.113.0/24", "240.0.0.0/4"),
                # Teredo is among the first: its addresses lead through a relay to whatever IPv4 one they name.
                *("2001::/23", "2001:db8::/32", "3fff::/20"),
            ),
        ),
    )
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_TRANSLATED = ipaddress.IPv6Network("::ffff:0:0:0/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
# The well-known prefix. Of the local one, 64:ff9b:1::/48, nobody but its operator knows where in an address the IPv4 one
# stands (RFC 8215), so it is refused as a whole unless it is allowed.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
# Global unicast, the only part of IPv6 that IANA has given out for public use.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")

# Why an address in disguise (127.1, 2130706433) is refused.
UNUSUAL = "the URL's host is not a name or an address in its usual form"


class AddressPolicy:
    """Refuses every address that is not a public one, unless an allowed network names it."""

    def __init__(self, allow_networks: Iterable[str] = ()) -> None:
        """Take networks (`10.1.0.0/16`, `fd00::/8`, or one address) that are allowed whatever they are.

        Raises:
            ValueError: One of them is not a network.
        """
        self._allowed: tuple[IpNetwork, ...] = tuple(ipaddress.ip_network(network) for network in allow_networks)

    def verdict(self, address: IpAddress) -> str | None:
        """Why `address` must not be dialled, in a word or two; None when it may be.

        An IPv6 address that carries an IPv4 one (mapped, translated, NAT64, 6to4) has the verdict of that one, for
        that is where the packets end up.
        """
        if self._is_allowed(address):
            return None
        if isinstance(address, ipaddress.IPv6Address):
            inner = _carried(address)
            if inner is not None:
                return self.verdict(inner)
        for what, networks in _NAMED:
            if any(address in network for network in networks):
                return what
        if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
            return "reserved"
        return None if address.is_global and not address.is_reserved else "reserved"

    def check(self, host: str) -> None:
        """Let a numeric address pass.

        Raises:
            AddressBlockedError: It must not be dialled, or is not an address.
        """
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            raise AddressBlockedError(f"{host!r} is not an address") from None
        reason = self.verdict(address)
        if reason is not None:
            raise AddressBlockedError(f"address {address} is {reason}")

    def _is_allowed(self, address: IpAddress) -> bool:
        return any(address.version == network.version and address in network for network in self._allowed)


class CheckedResolver(AbstractResolver):
    """Resolves names as the system does and hands on only addresses that may be dialled."""

    def __init__(self, policy: AddressPolicy, inner: AbstractResolver | None = None) -> None:
        """Take the policy, and another resolver than the system's if need be."""
        self._policy = policy
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The allowed addresses of `host`.

        Raises:
            AddressBlockedError: It has addresses and none is allowed.
            OSError: It has none.
        """
        allowed: list[ResolveResult] = []
        blocked: AddressBlockedError | None = None
        for found in await self._inner.resolve(host, port, family):
            try:
                self._policy.check(found["host"])
            except AddressBlockedError as error:
                blocked = error
            else:
                allowed.append(found)
        if blocked is not None and not allowed:
            raise blocked
        return allowed

    async def close(self) -> None:
        """Let go of the inner resolver."""
        await self._inner.close()


class CheckedSockets:
    """Makes the socket of every connection, after a look at the very address it is for.

    aiohttp asks no resolver about a URL whose host is an address, so the check stands here as well: nothing is
    dialled that has not passed it.
    """

    def __init__(self, policy: AddressPolicy) -> None:
        """Take the policy."""
        self._policy = policy

    def __call__(self, info: _AddressInfo) -> socket.socket:
        """A socket for that address.

        Raises:
            AddressBlockedError: It must not be dialled.
        """
        self._policy.check(str(info[4][0]))
        return any_socket(info)


def any_socket(info: _AddressInfo) -> socket.socket:
    """A socket for that address, whatever it is."""
    family, kind, protocol, _, _ = info
    return socket.socket(family=family, type=kind, proto=protocol)


def blocked_by(error: BaseException | None) -> AddressBlockedError | None:
    """The refusal behind an error of aiohttp's, if there is one."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, AddressBlockedError):
            return one
        seen.add(id(one))
        inner: Sequence[BaseException] = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        pending += [one.__cause__, one.__context__, getattr(one, "os_error", None), *inner]
    return None


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    value = int(address)
    low = ipaddress.IPv4Address(value & 0xFFFFFFFF)
    if address in _MAPPED or address in _TRANSLATED or address in _NAT64:
        return low
    if address in _SIX_TO_FOUR:
        return ipaddress.IPv4Address((value >> 80) & 0xFFFFFFFF)
    # The deprecated IPv4-compatible form; :: and ::1 are addresses of their own.
    if address in _COMPATIBLE and value > 1:
        return low
    return None
