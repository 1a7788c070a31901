"""References to secrets, and an endpoint's signing secrets: how many sign at once, and for how long an old one does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from gateway.contract.times import UtcTime

SecretRef = Annotated[str, msgspec.Meta(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00]+)$(?!\n)")]

# `sealed:` is a secret that the gateway made, encrypted: it may lie on a topic, and is opened by delivery.sealing_keys.
SigningRef = Annotated[
    str,
    msgspec.Meta(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00]+|sealed:[A-Za-z0-9_=-]{1,1000})$(?!\n)"),
]

# How long a rotated secret signs beside the new one, unless it is said, and at most: the longer it does, the longer a
# stolen one is of use.
DEFAULT_OVERLAP = timedelta(hours=24)
MAX_OVERLAP = timedelta(days=7)


class ExpiringSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signing secret that is on its way out: it signs beside the others until `expires_at`, and not from then on."""

    ref: SigningRef
    expires_at: UtcTime


SigningSecret = SigningRef | ExpiringSecret
SigningSecrets = Annotated[
    tuple[SigningSecret, ...],
    msgspec.Meta(
        min_length=1,
        # Each adds up to 93 bytes to the header that carries the signatures, and receivers bound their headers.
        max_length=8,
        description="Signing secrets (`whsec_…` or `whsk_…`) as env:NAME, as file:PATH or, where the gateway made it, "
        "as sealed:…, or as a table of such a `ref` and the time at which it `expires_at`, 7 days ahead at most; all "
        "that have not expired sign",
    ),
]


def expiry_of(secret: SigningSecret) -> datetime | None:
    """When `secret` stops signing; None where it doesn't."""
    return secret.expires_at if isinstance(secret, ExpiringSecret) else None


def reference_of(secret: SigningSecret) -> str:
    """Where `secret` is: env:NAME, file:PATH, or sealed: and what it is sealed in."""
    return secret.ref if isinstance(secret, ExpiringSecret) else secret


def secrets_fault(secrets: Sequence[SigningSecret], now: datetime) -> tuple[str, str] | None:
    """What is wrong with an endpoint's secrets as they are declared at `now`: the field and why; None if nothing is.

    One that has expired is no fault: a declaration outlives its rotation.
    """
    for at, one in enumerate(secrets):
        expiry = expiry_of(one)
        if expiry is not None and expiry > now + MAX_OVERLAP:
            return f"secrets[{at}].expires_at", f"is more than {MAX_OVERLAP.days} days ahead"
    if all(expiry_of(one) is not None for one in secrets):
        return "secrets", "all of them expire: one must stay, without expires_at"
    return None


def rotated(
    secrets: Sequence[SigningSecret], new: str, now: datetime, overlap: timedelta = DEFAULT_OVERLAP
) -> tuple[SigningSecret, ...]:
    """The secrets after a rotation at `now`: `new` stays, the others sign for `overlap` more, or for less as before.

    `new` is a reference; where it was among the old ones already, it is not kept twice. Without an overlap, and where
    they have expired, the others are left out.

    Raises:
        ValueError: `overlap` is not 0 to 7 days.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise ValueError(f"an overlap is 0 to {MAX_OVERLAP.days} days")
    end = now + overlap
    kept = [
        ExpiringSecret(ref=reference_of(one), expires_at=min(expiry_of(one) or end, end))
        for one in secrets
        if reference_of(one) != new
    ]
    return (new, *(one for one in kept if one.expires_at > now))
