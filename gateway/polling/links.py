"""What a poller asks of the commands: which of them has started a call that it tells of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.calls.differ import Channels, Diff
from gateway.contract.events import CallEvent
from gateway.runtime.committer import Record


class Links(Protocol):
    """Knows the commands of a shard. What it gives is to be committed with the diff that it was given, or not at all."""

    def told(self, account: int, diff: Diff) -> tuple[Sequence[CallEvent], Sequence[Record]]:
        """The diff's events, with the ids of the commands that started calls; and the results of these commands."""

    def ringing(self, account: int, channels: Channels) -> Sequence[Record]:
        """The results of commands whose first phone rings, by these channels."""
