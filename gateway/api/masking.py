"""What may be secret in an endpoint: kept out of answers, and refused where it is not a reference."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

import msgspec

from gateway.api.problems import Problem
from gateway.contract.endpoints import Endpoint
from gateway.contract.reach import is_reference
from gateway.contract.secrets import ExpiringSecret, SigningSecret, reference_of
from gateway.runtime.sealing import is_sealed

MASK = "***"
_TELLING = re.compile("auth|cookie|token|secret|signature|passw|credential|api-?key|session|csrf|jwt", re.IGNORECASE)


def masked(endpoint: Endpoint) -> Endpoint:
    """The endpoint as anyone may see it who may read: sealed secrets by their fingerprints, and no secret in clear."""
    return msgspec.structs.replace(
        endpoint,
        url=_without_user(endpoint.url),
        secrets=tuple(_with_reference(one, _shown(reference_of(one))) for one in endpoint.secrets),
        headers={name: MASK if _may_be_secret(name, value) else value for name, value in endpoint.headers.items()},
    )


def refuse_clear_secrets(endpoint: Endpoint) -> None:
    """Raise Problem where the endpoint holds in clear what is likely to be a secret."""
    if "@" in urlsplit(endpoint.url).netloc:
        raise Problem(422, "has a user or password: give headers.Authorization as env:NAME or file:PATH", "url")
    for name, value in endpoint.headers.items():
        if _may_be_secret(name, value):
            raise Problem(422, "may be secret by its name: give it as env:NAME or file:PATH", f"headers.{name[:128]}")


def restored(secrets: Sequence[SigningSecret], before: Sequence[SigningSecret]) -> tuple[SigningSecret, ...]:
    """The secrets with what is sealed in place of its fingerprint, as an answer showed it.

    Raises:
        Problem: There is no such sealed secret among those of `before`.
    """
    sealed = {_shown(reference_of(one)): reference_of(one) for one in before if is_sealed(reference_of(one))}
    found: list[SigningSecret] = []
    for at, one in enumerate(secrets):
        reference = reference_of(one)
        if is_sealed(reference):
            if reference not in sealed:
                raise Problem(422, "the endpoint has no such sealed secret", f"secrets[{at}]")
            reference = sealed[reference]
        found.append(_with_reference(one, reference))
    return tuple(found)


def _shown(reference: str) -> str:
    return f"sealed:{hashlib.sha256(reference.encode()).hexdigest()[:16]}" if is_sealed(reference) else reference


def _with_reference(secret: SigningSecret, reference: str) -> SigningSecret:
    if isinstance(secret, ExpiringSecret):
        return msgspec.structs.replace(secret, ref=reference)
    return reference


def _may_be_secret(name: str, value: str) -> bool:
    return bool(_TELLING.search(name)) and not is_reference(value)


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{MASK}@{host}")) if at and user else url
