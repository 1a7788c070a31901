"""An account as its commands see it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.commands.sealing import Vault
from gateway.config import AccountConfig
from gateway.ringcloud import RingCloud


class Commanded(msgspec.Struct, frozen=True):
    """What an account allows, a client for each of its keys, and what closes what is kept of its commands."""

    config: AccountConfig
    apis: Sequence[RingCloud]
    vault: Vault
