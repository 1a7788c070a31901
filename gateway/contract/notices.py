"""Events about the gateway itself: what can't be known (gaps), and accounts that can't be read. CloudEvents, as calls'."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.contract.events import Header, attribute_headers
from gateway.contract.times import UtcTime

Listing = Literal["active", "completed"]

# Why calls may be missing. `downtime`: the list of completed calls was not read for longer than it goes back.
GapReason = Literal["downtime"]


class _AboutAccount(msgspec.Struct, frozen=True, kw_only=True):
    account: Annotated[int, msgspec.Meta(description="RingCloud account number")]
    observed_at: Annotated[UtcTime, msgspec.Meta(description="When the gateway knew it")]


class GapData(_AboutAccount, frozen=True, kw_only=True):
    """Calls that ended within `not_before` … `not_after` may be missing, and no list can tell of them any more."""

    not_before: Annotated[UtcTime, msgspec.Meta(description="What ended before this is told of")]
    not_after: Annotated[UtcTime, msgspec.Meta(description="What ended after this is told of")]
    reason: GapReason


class DegradedData(_AboutAccount, frozen=True, kw_only=True):
    """The account's calls can't be followed: its lists give no readable answer."""

    listing: Annotated[Listing, msgspec.Meta(description="The list that could not be read first")]
    since: Annotated[UtcTime, msgspec.Meta(description="When that list was last read well")]
    reason: Annotated[str, msgspec.Meta(description="The kind of error, e.g. authentication_error, server_error")]
    http_status: Annotated[int | None, msgspec.Meta(description="Where there was an answer")]
    message: Annotated[str, msgspec.Meta(description="The error in words")]


class RecoveredData(_AboutAccount, frozen=True, kw_only=True):
    """The account's lists are read well again. Calls of the time between are told of, as far back as RingCloud lists."""

    since: Annotated[UtcTime, msgspec.Meta(description="The `since` of the account.degraded that this ends")]


class _Notice(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    id: Annotated[str, msgspec.Meta(description="Made of what it tells of, so a repeat has the same")]
    source: Annotated[str, msgspec.Meta(description="`/ringcloud/accounts/<account>`")]
    subject: Annotated[str, msgspec.Meta(description="The account")]
    time: Annotated[UtcTime, msgspec.Meta(description="When the gateway knew it")]
    specversion: Literal["1.0"] = "1.0"
    datacontenttype: Literal["application/json"] = "application/json"

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return str(self.__struct_config__.tag)


class GapDetected(_Notice, frozen=True, kw_only=True, tag="gap.detected"):
    """`gap.detected`"""

    data: GapData


class AccountDegraded(_Notice, frozen=True, kw_only=True, tag="account.degraded"):
    """`account.degraded`"""

    data: DegradedData


class AccountRecovered(_Notice, frozen=True, kw_only=True, tag="account.recovered"):
    """`account.recovered`"""

    data: RecoveredData


Notice = GapDetected | AccountDegraded | AccountRecovered


def headers_of_notice(notice: Notice) -> list[Header]:
    """The Kafka headers of `notice` in CloudEvents binary mode; its value is `encode_notice(notice)`."""
    return attribute_headers(notice)


def encode_notice(notice: Notice) -> bytes:
    """The Kafka value of `notice`: its data as JSON."""
    return _json(notice.data)


_json = msgspec.json.Encoder().encode
