"""Events about the gateway itself: gaps, accounts that can't be read, endpoints that get nothing. CloudEvents, as calls'."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from gateway.contract.endpoints import EndpointId, StatusReason
from gateway.contract.events import Header, attribute_headers
from gateway.contract.times import UtcTime, millis

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


class _AboutEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    endpoint: EndpointId
    observed_at: Annotated[UtcTime, msgspec.Meta(description="When the gateway knew it")]


class EndpointDisabledData(_AboutEndpoint, frozen=True, kw_only=True):
    """Nothing is sent to the endpoint any more; its deliveries become dead letters, from which they can be replayed."""

    reason: Annotated[
        StatusReason,
        msgspec.Meta(
            description="asked: by hand; gone: it answered 410; failing: all attempts failed for `delivery.disable_after`"
        ),
    ]
    since: Annotated[UtcTime, msgspec.Meta(description="From when on nothing is sent")]


class EndpointEnabledData(_AboutEndpoint, frozen=True, kw_only=True):
    """The endpoint is delivered to again. What became dead letters meanwhile stays there until it is replayed."""

    since: Annotated[UtcTime, msgspec.Meta(description="The `since` of the endpoint.disabled that this ends")]


class _Notice(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    id: Annotated[str, msgspec.Meta(description="Made of what it tells of, so a repeat has the same")]
    source: Annotated[
        str, msgspec.Meta(description="`/ringcloud/accounts/<account>` or `/ringcloud/endpoints/<endpoint>`")
    ]
    subject: Annotated[str, msgspec.Meta(description="The account or the endpoint; the record's key")]
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


class EndpointDisabled(_Notice, frozen=True, kw_only=True, tag="endpoint.disabled"):
    """`endpoint.disabled`"""

    data: EndpointDisabledData


class EndpointEnabled(_Notice, frozen=True, kw_only=True, tag="endpoint.enabled"):
    """`endpoint.enabled`"""

    data: EndpointEnabledData


Notice = GapDetected | AccountDegraded | AccountRecovered | EndpointDisabled | EndpointEnabled


def endpoint_disabled(data: EndpointDisabledData) -> EndpointDisabled:
    """The event that tells of an endpoint's being disabled."""
    return EndpointDisabled(id=f"{data.endpoint}-disabled-{millis(data.since)}", **_about_endpoint(data), data=data)


def endpoint_enabled(data: EndpointEnabledData) -> EndpointEnabled:
    """The event that tells of an endpoint's being enabled again."""
    return EndpointEnabled(id=f"{data.endpoint}-enabled-{millis(data.since)}", **_about_endpoint(data), data=data)


def headers_of_notice(notice: Notice) -> list[Header]:
    """The Kafka headers of `notice` in CloudEvents binary mode; its value is `encode_notice(notice)`."""
    return attribute_headers(notice)


def encode_notice(notice: Notice) -> bytes:
    """The Kafka value of `notice`: its data as JSON."""
    return _json(notice.data)


def _about_endpoint(data: _AboutEndpoint) -> dict[str, Any]:
    return {
        "source": f"/ringcloud/endpoints/{data.endpoint}",
        "subject": data.endpoint,
        "time": data.observed_at,
    }


_json = msgspec.json.Encoder().encode
