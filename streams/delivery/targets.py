"""Endpoints with what is needed to reach them: their secrets read, their URLs parsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yarl import URL

from gateway.config import ConfigError, secret
from gateway.contract.endpoints import Endpoint
from streams.delivery.errors import SecretError
from streams.delivery.signing import Signer


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint with what is needed to reach it."""

    endpoint: Endpoint
    url: URL
    signer: Signer


def targets_of(endpoints: Sequence[Endpoint]) -> dict[str, Target]:
    """The endpoints by id, with their secrets read from where they are.

    Raises:
        ConfigError: A secret is not there or is not a signing secret; names the field, never the secret.
    """
    targets: dict[str, Target] = {}
    for at, endpoint in enumerate(endpoints):
        fields = [f"endpoints[{at}].secrets[{n}]" for n in range(len(endpoint.secrets))]
        secrets = [secret(reference, field) for reference, field in zip(endpoint.secrets, fields, strict=True)]
        for field, one in zip(fields, secrets, strict=True):
            try:
                Signer.of([one])
            except SecretError as error:
                raise ConfigError(f"endpoint {endpoint.id}", field, str(error)) from None
        try:
            url = URL(endpoint.url)
        except ValueError:
            raise ConfigError(f"endpoint {endpoint.id}", f"endpoints[{at}].url", "is not a URL") from None
        targets[endpoint.id] = Target(endpoint, url, Signer.of(secrets))
    return targets
