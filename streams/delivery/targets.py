"""Endpoints with what is needed to reach them: their secrets read, their URLs parsed."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from yarl import URL

from gateway.config import ConfigError, secret
from gateway.contract.endpoints import Endpoint
from gateway.contract.reach import is_reference, reach_fault, value_fault
from gateway.contract.secrets import expiry_of, reference_of
from streams.delivery.answers import Redactor, secrets_of
from streams.delivery.errors import SecretError
from streams.delivery.signing import Key, Signer, scheme_of
from streams.delivery.tls import BY_DEFAULT, tls_of

# The secret that a reference points to; the second is the field that an error names. Raises ConfigError.
Read = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint with what is needed to reach it."""

    endpoint: Endpoint
    url: URL
    signer: Signer
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # their values may be secrets
    tls: ssl.SSLContext | Literal[True] = BY_DEFAULT
    redact: Redactor = field(default_factory=Redactor)


def targets_of(
    endpoints: Sequence[Endpoint],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    *,
    allow_http: bool = False,
    read: Read = secret,
) -> dict[str, Target]:
    """The endpoints of the configuration by id, each as `target_of` has it. Raises ConfigError as that does."""
    return {
        endpoint.id: target_of(endpoint, clock(), f"endpoints[{at}].", allow_http=allow_http, read=read)
        for at, endpoint in enumerate(endpoints)
    }


def target_of(endpoint: Endpoint, now: datetime, prefix: str = "", *, allow_http: bool, read: Read = secret) -> Target:
    """An endpoint with its secrets, headers and certificates read from where they are.

    What has expired by `now` is not read: it may be gone from where it was. `prefix` stands before the names of its
    fields in an error; `allow_http` is `delivery.allow_http`; `read` opens a reference to a signing secret.

    Raises:
        ConfigError: A secret is not there or is not a signing secret, or the endpoint must not or can't be reached as
            it says; names the field, never the secret.
    """
    keys: list[Key] = []
    secrets: list[str] = []
    for n, declared in enumerate(endpoint.secrets):
        expiry = expiry_of(declared)
        if expiry is not None and expiry <= now:
            continue
        where = f"{prefix}secrets[{n}]"
        secrets.append(read(reference_of(declared), where))
        try:
            keys.append(Key(scheme_of(secrets[-1]), expiry))
        except SecretError as error:
            raise ConfigError(f"endpoint {endpoint.id}", where, str(error)) from None
    try:
        signer = Signer(keys)
    except SecretError as error:
        raise ConfigError(f"endpoint {endpoint.id}", f"{prefix}secrets", str(error)) from None
    return _target(endpoint, signer, secrets, prefix, allow_http=allow_http)


def _target(endpoint: Endpoint, signer: Signer, secrets: Sequence[str], prefix: str, *, allow_http: bool) -> Target:
    # Endpoints that were declared at run time have not passed the configuration's check.
    if found := reach_fault(endpoint, allow_http=allow_http):
        raise ConfigError(f"endpoint {endpoint.id}", f"{prefix}{found[0]}", found[1])
    try:
        url = URL(endpoint.url)
    except ValueError:
        raise ConfigError(f"endpoint {endpoint.id}", f"{prefix}url", "is not a URL") from None
    headers = _headers(endpoint, prefix)
    redact = Redactor([*secrets, *headers.values(), *secrets_of(url)])
    return Target(endpoint, url, signer, headers, tls_of(endpoint, prefix), redact)


def _headers(endpoint: Endpoint, prefix: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in endpoint.headers.items():
        where = f"{prefix}headers.{name}"
        said = secret(value, where) if is_reference(value) else value
        if why := value_fault(said):
            raise ConfigError(f"endpoint {endpoint.id}", where, why)
        headers[name] = said
    return headers
