"""Endpoints with what is needed to reach them: their secrets read, their URLs parsed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from yarl import URL

from gateway.config import ConfigError, secret
from gateway.contract.endpoints import Endpoint
from gateway.contract.secrets import expiry_of, reference_of
from streams.delivery.errors import SecretError
from streams.delivery.signing import Key, Signer, scheme_of


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint with what is needed to reach it."""

    endpoint: Endpoint
    url: URL
    signer: Signer


def targets_of(
    endpoints: Sequence[Endpoint], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> dict[str, Target]:
    """The endpoints by id, with their secrets read from where they are.

    What has expired by `clock` is not read: it may be gone from where it was.

    Raises:
        ConfigError: A secret is not there or is not a signing secret; names the field, never the secret.
    """
    now = clock()
    targets: dict[str, Target] = {}
    for at, endpoint in enumerate(endpoints):
        keys: list[Key] = []
        for n, declared in enumerate(endpoint.secrets):
            expiry = expiry_of(declared)
            if expiry is not None and expiry <= now:
                continue
            field = f"endpoints[{at}].secrets[{n}]"
            try:
                keys.append(Key(scheme_of(secret(reference_of(declared), field)), expiry))
            except SecretError as error:
                raise ConfigError(f"endpoint {endpoint.id}", field, str(error)) from None
        try:
            signer = Signer(keys)
        except SecretError as error:
            raise ConfigError(f"endpoint {endpoint.id}", f"endpoints[{at}].secrets", str(error)) from None
        try:
            url = URL(endpoint.url)
        except ValueError:
            raise ConfigError(f"endpoint {endpoint.id}", f"endpoints[{at}].url", "is not a URL") from None
        targets[endpoint.id] = Target(endpoint, url, signer)
    return targets
