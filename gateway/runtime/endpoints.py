"""Endpoints declared at run time: a compacted topic that every process which delivers follows, and what writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from gateway.config import Config, ConfigError
from gateway.contract.endpoints import Endpoint, EndpointStatus
from gateway.contract.faults import fault
from gateway.contract.notices import (
    EndpointDisabledData,
    EndpointEnabledData,
    Notice,
    encode_notice,
    endpoint_disabled,
    endpoint_enabled,
    headers_of_notice,
)
from gateway.contract.reach import reach_fault
from gateway.contract.secrets import secrets_fault
from gateway.contract.topics import Topics
from gateway.runtime.committer import Record
from gateway.runtime.declared import Tell, follow, read, write

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
    """Declare an endpoint, or withdraw it, and how it stood, with None. Returns once the brokers have it.

    Raises:
        ConfigError: It is not one that this configuration takes; names the field.
        KafkaError: The brokers refuse.
    """
    topic = Topics(config.kafka.prefix).endpoints.name
    if as_ is None:
        # One of the same name that is declared later begins anew.
        records = [Record(topic, endpoint.encode(), None), Record(topic, (endpoint + _STATUS).encode(), None)]
    else:
        _check(config, f"endpoint {endpoint}", as_)
        records = [Record(topic, endpoint.encode(), msgspec.json.encode(as_))]
    await write(config.kafka, _CLIENT, records)


async def state_endpoint(
    config: Config, endpoint: str, status: EndpointStatus | None, *, was: EndpointStatus | None = None
) -> None:
    """Say how an endpoint stands; None: it is active and well. Returns once the brokers have it. Raises KafkaError.

    With how it stood before (`was`), the gateway's own topic is told where that disables it or enables it again.
    """
    records = status_records(Topics(config.kafka.prefix), endpoint, status, was, datetime.now(UTC))
    await write(config.kafka, _CLIENT, records)


def status_records(
    topics: Topics, endpoint: str, status: EndpointStatus | None, was: EndpointStatus | None, now: datetime
) -> Sequence[Record]:
    """The records that say how an endpoint stands from now on, and tell of its being disabled or enabled by that.

    The event comes first: whoever is cut off in between tells of it again, and nothing is disabled untold.
    """
    value = None if status is None else msgspec.json.encode(status)
    notice = notice_of(endpoint, status, was, now)
    told = (
        []
        if notice is None
        else [Record(topics.gateway.name, endpoint.encode(), encode_notice(notice), headers_of_notice(notice))]
    )
    return [*told, Record(topics.endpoints.name, (endpoint + _STATUS).encode(), value)]


def notice_of(endpoint: str, status: EndpointStatus | None, was: EndpointStatus | None, now: datetime) -> Notice | None:
    """The event that tells of an endpoint's being disabled, or enabled again; None where it is neither."""
    before = was if was is not None and was.state == "disabled" else None
    if status is not None and status.state == "disabled":
        if before is not None:
            return None
        data = EndpointDisabledData(
            endpoint=endpoint, observed_at=now, reason=status.reason or "asked", since=status.since
        )
        return endpoint_disabled(data)
    if before is not None:
        return endpoint_enabled(EndpointEnabledData(endpoint=endpoint, observed_at=now, since=before.since))
    return None


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
