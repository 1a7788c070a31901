"""The way out through an egress proxy: it is told addresses that were checked here, never a name to resolve."""

from __future__ import annotations

import ipaddress
import socket
import time
from typing import Any

from aiohttp.abc import AbstractResolver
from yarl import URL

from gateway.config import ConfigError, DeliveryConfig, secret
from streams.delivery.addresses import UNUSUAL, AddressPolicy, CheckedResolver
from streams.delivery.errors import AddressBlockedError

# Seconds for which an answer of the resolver holds, as with direct connections. Within them all attempts at a host
# share its tunnels.
_ANSWER_HOLDS = 10.0


def proxy_of(config: DeliveryConfig) -> URL | None:
    """The proxy's URL, with user and password where it has them; None without one.

    Raises:
        ConfigError: It can't be read or is not an HTTP proxy's URL; never shows it.
    """
    declared = config.proxy
    if not declared:
        return None
    said = secret(declared, "delivery.proxy") if declared.startswith(("env:", "file:")) else declared
    try:
        url = URL(said)
    except ValueError:
        url = URL()
    if url.scheme != "http" or not url.host or url.path_qs != "/" or url.fragment:
        raise ConfigError("", "delivery.proxy", "not an HTTP proxy's URL")
    return url


class Passage:
    """Finds the way to a URL through a proxy: a tunnel to an address of its host that may be dialled."""

    def __init__(self, proxy: URL, policy: AddressPolicy, resolver: AbstractResolver | None = None) -> None:
        """Take the proxy, which itself may be anywhere, the policy for what is behind it, and maybe a resolver."""
        self._proxy = proxy
        self._policy = policy
        self._resolver = CheckedResolver(policy, resolver)
        self._answers: dict[str, tuple[float, str]] = {}

    async def to(self, url: URL) -> tuple[URL, dict[str, str], dict[str, Any]]:
        """What to ask for in place of `url` (https), the headers that this takes, and aiohttp's other settings.

        TLS is with the host that `url` names: the proxy passes on what it can't read.

        Raises:
            AddressBlockedError: None of the host's addresses may be dialled.
            OSError: It has none.
        """
        address = await self._address(url)
        return (
            url.with_host(address),
            {"Host": url.host_port_subcomponent or ""},
            {"proxy": self._proxy, "server_hostname": (url.raw_host or "").rstrip(".")},
        )

    async def close(self) -> None:
        """Let go of the resolver."""
        await self._resolver.close()

    async def _address(self, url: URL) -> str:
        host = url.raw_host or ""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            pass
        else:
            self._policy.check(host)
            return host
        last = host.rstrip(".").rpartition(".")[2]
        if last.isdigit() or last.lower().startswith("0x"):
            # An address in disguise, as aiohttp refuses it where it dials itself. No name ends in a number.
            raise AddressBlockedError(UNUSUAL)
        held, address = self._answers.get(host, (0.0, ""))
        now = time.monotonic()
        if now >= held:
            found = await self._resolver.resolve(host, url.port or 0, socket.AF_UNSPEC)
            if not found:
                raise OSError("no address")
            address = found[0]["host"]
            self._answers[host] = (now + _ANSWER_HOLDS, address)
        return address
