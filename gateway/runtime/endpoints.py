"""Endpoints declared at run time: a compacted topic that every process which delivers follows, and what writes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from gateway.config import Config, ConfigError
from gateway.contract.endpoints import Endpoint
from gateway.contract.faults import fault
from gateway.contract.reach import reach_fault
from gateway.contract.secrets import secrets_fault
from gateway.contract.topics import Topics
from gateway.runtime.declared import Tell, declare, follow, read

_CLIENT = "endpoints"

# An endpoint's id, and what it is declared as; None where it was withdrawn.
Declared = Callable[[str, Endpoint | None], None]


async def follow_endpoints(config: Config, declared: Declared, loaded: Callable[[], None]) -> None:
    """Tell `declared` of every endpoint on the topic, and of each change from then on, until cancelled.

    `loaded` is called once everything is told of that was there at the start. A record that is no endpoint, or that
    `declared` refuses by a ConfigError, is logged by its field, partition and offset, and what was declared before it
    stands. Raises KafkaError.
    """
    await follow(config.kafka, Topics(config.kafka.prefix).endpoints, _CLIENT, _telling(config, declared), loaded)


async def declared_endpoints(config: Config) -> dict[str, Endpoint]:
    """The endpoints on the topic now. Records that are none are logged. Raises KafkaError."""
    found: dict[str, Endpoint] = {}

    def declared(endpoint: str, as_: Endpoint | None) -> None:
        if as_ is None:
            found.pop(endpoint, None)
        else:
            found[endpoint] = as_

    await read(config.kafka, Topics(config.kafka.prefix).endpoints, _CLIENT, _telling(config, declared))
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


def _telling(config: Config, declared: Declared) -> Tell:
    def tell(where: str, key: bytes, value: bytes | None) -> None:
        endpoint = key.decode("utf-8", "replace")
        declared(endpoint, None if value is None else _read(config, where, endpoint, value))

    return tell


def _read(config: Config, where: str, endpoint: str, value: bytes) -> Endpoint:
    try:
        found = msgspec.json.decode(value, type=Endpoint)
    except msgspec.ValidationError as error:
        raise ConfigError(where, *fault(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(where, "", f"not JSON: {error}") from None
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
