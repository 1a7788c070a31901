"""Endpoints declared at run time: a compacted topic that every process which delivers follows, and what writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from gateway.config import Config, ConfigError
from gateway.contract.endpoints import Endpoint, EndpointStatus
from gateway.contract.faults import fault
from gateway.contract.reach import reach_fault
from gateway.contract.secrets import secrets_fault
from gateway.contract.topics import Topics
from gateway.runtime.declared import Tell, declare, follow, read

_CLIENT = "endpoints"

# The statuses' keys end so. No endpoint's id holds a slash.
_STATUS = "/status"

T = TypeVar("T")

# An endpoint's id, and what it is declared as; None where it was withdrawn.
Declared = Callable[[str, Endpoint | None], None]
# An endpoint's id, and how it stands; None where it is active and well. Endpoints of the configuration file have one too.
Stated = Callable[[str, EndpointStatus | None], None]


@dataclass
class DeclaredEndpoints:
    """What is on the topic, by the endpoints' ids."""

    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    statuses: dict[str, EndpointStatus] = field(default_factory=dict)


async def follow_endpoints(config: Config, declared: Declared, stated: Stated, loaded: Callable[[], None]) -> None:
    """Tell of every endpoint and status on the topic, and of each change from then on, until cancelled.

    `loaded` is called once everything is told of that was there at the start. A record that is neither, or that a
    listener refuses by a ConfigError, is logged by its field, partition and offset, and what was declared before it
    stands. Raises KafkaError.
    """
    await follow(
        config.kafka, Topics(config.kafka.prefix).endpoints, _CLIENT, _telling(config, declared, stated), loaded
    )


async def declared_endpoints(config: Config) -> DeclaredEndpoints:
    """The endpoints on the topic now. Records that are none are logged. Raises KafkaError."""
    found = DeclaredEndpoints()
    tell = _telling(config, _keeping(found.endpoints), _keeping(found.statuses))
    await read(config.kafka, Topics(config.kafka.prefix).endpoints, _CLIENT, tell)
    return found


async def declare_endpoint(config: Config, endpoint: str, as_: Endpoint | None) -> None:
    """Declare an endpoint, or withdraw it with None. Returns once the brokers have it.

    Raises:
        ConfigError: It is not one that this configuration takes; names the field.
        KafkaError: The brokers refuse.
    """
    if as_ is not None:
        _check(config, f"endpoint {endpoint}", as_)
    value = None if as_ is None else msgspec.json.encode(as_)
    await declare(config.kafka, Topics(config.kafka.prefix).endpoints, _CLIENT, endpoint.encode(), value)


async def state_endpoint(config: Config, endpoint: str, status: EndpointStatus | None) -> None:
    """Say how an endpoint stands; None: it is active and well. Returns once the brokers have it. Raises KafkaError."""
    key = (endpoint + _STATUS).encode()
    value = None if status is None else msgspec.json.encode(status)
    await declare(config.kafka, Topics(config.kafka.prefix).endpoints, _CLIENT, key, value)


def _keeping(found: dict[str, T]) -> Callable[[str, T | None], None]:
    def keep(name: str, one: T | None) -> None:
        if one is None:
            found.pop(name, None)
        else:
            found[name] = one

    return keep


def _telling(config: Config, declared: Declared, stated: Stated) -> Tell:
    def tell(where: str, key: bytes, value: bytes | None) -> None:
        name = key.decode("utf-8", "replace")
        endpoint = name.removesuffix(_STATUS)
        if endpoint != name:
            stated(endpoint, None if value is None else _decoded(where, value, EndpointStatus))
        else:
            declared(endpoint, None if value is None else _read(config, where, endpoint, value))

    return tell


def _decoded(where: str, value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.ValidationError as error:
        raise ConfigError(where, *fault(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(where, "", f"not JSON: {error}") from None


def _read(config: Config, where: str, endpoint: str, value: bytes) -> Endpoint:
    found = _decoded(where, value, Endpoint)
    if found.id != endpoint:
        raise ConfigError(where, "id", f"is {found.id}, the key says {endpoint[:64]}")
    _check(config, where, found)
    return found


def _check(config: Config, where: str, endpoint: Endpoint) -> None:
    """What the configuration file's endpoints are held to besides their fields' own bounds."""
    wrong = reach_fault(endpoint, allow_http=config.delivery.allow_http)
    wrong = wrong or secrets_fault(endpoint.secrets, datetime.now(UTC))
    if wrong:
        raise ConfigError(where, *wrong)
