"""What can go wrong in the delivery of webhooks.

DeliveryError
├── SecretError      a signing secret is not one (also a ValueError)
├── AddressBlockedError   the address must not be dialled (also an OSError, so that aiohttp treats it as a failed connection)
└── WorkerError      the worker cannot go on; nothing that was not acknowledged has been committed
"""

from __future__ import annotations


class DeliveryError(Exception):
    """Whatever goes wrong in the delivery of webhooks."""


class SecretError(DeliveryError, ValueError):
    """A signing secret is not one. The message says what is wrong with it and never shows it."""


class AddressBlockedError(DeliveryError, OSError):
    """The address must not be dialled: it is not a public one and no allowed network names it."""


class WorkerError(DeliveryError):
    """The worker cannot go on. Nothing that was not acknowledged has been committed: a restart takes it up again."""
