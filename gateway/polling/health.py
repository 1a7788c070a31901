"""Whether an account can be followed: degraded and recovered, each told once, however its lists come and go."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.contract.events import source_of
from gateway.contract.notices import AccountDegraded, AccountRecovered, DegradedData, Listing, RecoveredData
from gateway.contract.times import Ms, utc
from gateway.ringcloud import AuthenticationError, RingCloudError

LISTINGS: tuple[Listing, ...] = ("active", "completed")

# An account that comes and goes is told of as degraded once, not at each turn: it has recovered when its lists were
# read well this often in a row.
_STEADY = 3
# One refusal may be a node that has not heard of a new key yet.
_REFUSALS = 2


class _List(msgspec.Struct):
    read_at: Ms
    failed: int = 0  # in a row
    read: int = 0  # in a row


class Health:
    """The health of one account. `since` is kept in the account's state, so that a restart repeats nothing."""

    def __init__(
        self, account: int, degraded_after: Ms, since: Ms | None, read_at: Mapping[Listing, Ms], now: Ms
    ) -> None:
        """`since` is since when the account is degraded, `read_at` when each list was last read well, where known;
        by another machine's clock, perhaps."""
        self._account = account
        self._degraded_after = degraded_after
        self.since = since
        self._lists = {which: _List(min(now, read_at.get(which, now))) for which in LISTINGS}
        # The gateway may have been down since: that is no fault of the account's.
        self._began = now

    def unknown(self, which: Listing, error: RingCloudError, now: Ms) -> AccountDegraded | None:
        """A list could not be read. Gives the event where this makes the account degraded."""
        one = self._lists[which]
        one.failed += 1
        one.read = 0
        refused = isinstance(error, AuthenticationError) and one.failed >= _REFUSALS
        silent = one.failed > 1 and now - max(one.read_at, self._began) >= self._degraded_after
        if self.since is not None or not (refused or silent):
            return None
        self.since = one.read_at
        return AccountDegraded(
            id=f"{self._account}-degraded-{now}",
            source=source_of(self._account),
            subject=str(self._account),
            time=utc(now),
            data=DegradedData(
                account=self._account,
                observed_at=utc(now),
                listing=which,
                since=utc(one.read_at),
                reason=reason_of(error),
                http_status=error.status,
                message=error.message,
            ),
        )

    def readable(self, which: Listing, now: Ms) -> AccountRecovered | None:
        """A list was read well. Gives the event where this makes the account well again."""
        one = self._lists[which]
        one.read_at = now
        one.failed = 0
        one.read += 1
        if self.since is None or any(one.read < _STEADY for one in self._lists.values()):
            return None
        since, self.since = self.since, None
        return AccountRecovered(
            id=f"{self._account}-recovered-{now}",
            source=source_of(self._account),
            subject=str(self._account),
            time=utc(now),
            data=RecoveredData(account=self._account, observed_at=utc(now), since=utc(since)),
        )

    def move(self, by: Ms) -> None:
        """The clock that tells `now` was set `by` ms forward. What was told of stays as it was told."""
        self._began += by
        for one in self._lists.values():
            one.read_at += by


def reason_of(error: RingCloudError) -> str:
    """A bounded label for what went wrong: the error's class."""
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
