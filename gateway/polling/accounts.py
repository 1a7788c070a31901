"""Accounts declared at run time: a compacted topic that every gateway follows, and what writes it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.config import AccountConfig, ConfigError, KafkaConfig, check_zone
from gateway.contract.faults import fault
from gateway.contract.topics import Topics
from gateway.runtime.declared import Tell, declare, follow, read
from gateway.runtime.shards import key_of

_CLIENT = "accounts"

# An account's number, and what it is declared as; None where it was withdrawn.
Declared = Callable[[int, AccountConfig | None], None]


async def follow_accounts(config: KafkaConfig, declared: Declared, loaded: Callable[[], None]) -> None:
    """Tell `declared` of every account on the topic, and of each change from then on, until cancelled.

    `loaded` is called once everything is told of that was there at the start. A record that is no account, or that
    `declared` refuses by a ConfigError, is logged by its field, partition and offset, and what was declared before it
    stands. Raises KafkaError.
    """
    await follow(config, Topics(config.prefix).accounts, _CLIENT, _telling(declared), loaded)


async def declared_accounts(config: KafkaConfig) -> dict[int, AccountConfig]:
    """The accounts on the topic now. Records that are none are logged. Raises KafkaError."""
    found: dict[int, AccountConfig] = {}

    def declared(account: int, as_: AccountConfig | None) -> None:
        if as_ is None:
            found.pop(account, None)
        else:
            found[account] = as_

    await read(config, Topics(config.prefix).accounts, _CLIENT, _telling(declared))
    return found


async def declare_account(config: KafkaConfig, account: int, as_: AccountConfig | None) -> None:
    """Declare an account, or withdraw it with None. Returns once the brokers have it. Raises KafkaError."""
    value = None if as_ is None else msgspec.json.encode(as_)
    await declare(config, Topics(config.prefix).accounts, _CLIENT, key_of(account), value)


def _telling(declared: Declared) -> Tell:
    def tell(where: str, key: bytes, value: bytes | None) -> None:
        account = _number(where, key)
        declared(account, None if value is None else _read(where, account, value))

    return tell


def _number(where: str, key: bytes) -> int:
    text = key.decode("ascii", "replace")
    if not text.isascii() or not text.isdigit() or not 0 < len(text) < 20:
        raise ConfigError(where, "key", "is not an account number")
    return int(text)


def _read(where: str, account: int, value: bytes) -> AccountConfig:
    try:
        found = msgspec.json.decode(value, type=AccountConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(where, *fault(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(where, "", f"not JSON: {error}") from None
    if found.id != account:
        raise ConfigError(where, "id", f"is {found.id}, the key says {account}")
    check_zone(where, "time_zone", found.time_zone)
    return found
