"""The operations on endpoints."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gateway.api.directory import Directory, Known, State
from gateway.api.masking import masked, refuse_clear_secrets, restored
from gateway.api.operations import Asked, Nothing, Operation, Reply, refusal
from gateway.api.problems import Problem
from gateway.api.replays import Replays
from gateway.api.shapes import (
    EndpointCreated,
    EndpointPage,
    EndpointPatch,
    EndpointView,
    NewEndpoint,
    PageQuery,
    ReplayEvents,
    Rotation,
    TestDelivery,
)
from gateway.contract.deliveries import Delivery
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CallData, CallEvent, Evidence, source_of
from gateway.contract.secrets import rotated
from gateway.contract.topics import Topics
from gateway.runtime.sealing import Seals
from streams.fanout import expand
from streams.outbox import Outbox

# What a receiver can know a test by: its call's id begins so, and its caller is this.
TEST_CALL = "test-"
_TEST_NUMBER = "test"
# Seconds for the brokers to take a test delivery.
_TAKE = 10.0
_MOST_SECRETS = 8


class EndpointOperations:
    """Reads and changes endpoints, and sends them tests."""

    def __init__(self, directory: Directory, seals: Seals, replays: Replays, outbox: Outbox, topics: Topics) -> None:
        """Take what holds the endpoints, makes secrets, replays and writes deliveries."""
        self._directory = directory
        self._seals = seals
        self._replays = replays
        self._outbox = outbox
        self._topics = topics

    def operations(self) -> Sequence[Operation[Any, Any]]:
        """All of them."""
        one = "/v1/endpoints/{id}"
        changed: dict[str, Any] = {"scope": "write", "query": Nothing, "answer": EndpointView}
        return [
            Operation(
                "GET",
                "/v1/endpoints",
                "list_endpoints",
                "The endpoints by their ids",
                "read",
                self._list,
                Nothing,
                PageQuery,
                EndpointPage,
            ),
            Operation(
                "POST",
                "/v1/endpoints",
                "create_endpoint",
                "Declare an endpoint",
                "write",
                self._create,
                NewEndpoint,
                Nothing,
                EndpointCreated,
                status=201,
                problems=(409, 422),
            ),
            Operation("GET", one, "get_endpoint", "An endpoint", "read", self._get, Nothing, Nothing, EndpointView),
            Operation(
                "PUT",
                one,
                "put_endpoint",
                "Declare an endpoint, or declare it anew",
                run=self._put,
                body=Endpoint,
                problems=(409, 422),
                **changed,
            ),
            Operation(
                "PATCH",
                one,
                "patch_endpoint",
                "Change some fields of an endpoint (RFC 7396)",
                run=self._patch,
                body=EndpointPatch,
                problems=(409, 422),
                **changed,
            ),
            Operation(
                "DELETE",
                one,
                "delete_endpoint",
                "Withdraw an endpoint: what is still to be delivered to it becomes dead letters",
                "write",
                self._delete,
                Nothing,
                Nothing,
                status=204,
                problems=(409,),
            ),
            *(
                Operation(
                    "POST",
                    f"{one}/{name}",
                    f"{name}_endpoint",
                    summary,
                    run=self._stating(state),
                    body=Nothing,
                    **changed,
                )
                for name, state, summary in _STATES
            ),
            Operation(
                "POST",
                f"{one}/rotate",
                "rotate_secret",
                "Sign with a new secret, and with the old ones for a while yet",
                "write",
                self._rotate,
                Rotation,
                Nothing,
                EndpointCreated,
                problems=(409, 422),
            ),
            Operation(
                "POST",
                f"{one}/test",
                "test_endpoint",
                "Send a sample event to an endpoint, whatever its filters are",
                "write",
                self._test,
                Nothing,
                Nothing,
                TestDelivery,
                status=202,
                problems=(409,),
            ),
        ]

    async def _list(self, asked: Asked[Nothing, PageQuery]) -> Reply:
        after = asked.query.cursor or ""
        ids = [name for name in self._directory.ids() if name > after]
        page = ids[: asked.query.limit]
        return Reply(
            EndpointPage(
                items=[_view(self._directory.get(name)) for name in page],
                next=page[-1] if len(ids) > len(page) else None,
            )
        )

    async def _get(self, asked: Asked[Nothing, Nothing]) -> Reply:
        return Reply(_view(self._directory.get(asked.path["id"])))

    async def _create(self, asked: Asked[NewEndpoint, Nothing]) -> Reply:
        given, now = asked.body, datetime.now(UTC)
        if given.start_from is not None:
            if "replay" not in asked.by.scopes:
                raise Problem(403, f"start_from needs the scope replay, which the token {asked.by.name} lacks")
            if given.start_from > now:
                raise Problem(422, "is in the future", "start_from")
        secret = None
        secrets = restored(given.secrets, ())
        if not secrets:
            secret, reference = self._make_secret("secrets")
            secrets = (reference,)
        fields = {name: getattr(given, name) for name in Endpoint.__struct_fields__}
        endpoint = Endpoint(**{**fields, "secrets": secrets})
        async with self._directory.changing():
            if self._directory.find(endpoint.id) is not None:
                raise Problem(409, f"there is an endpoint {endpoint.id} already", "id")
            await self._declare(endpoint)
        replay = None
        if given.start_from is not None:
            asked_for = ReplayEvents(endpoint=endpoint.id, since=given.start_from)
            replay = self._replays.start(asked_for, asked.by.name, new=True).id
        return Reply(
            _created(self._directory.get(endpoint.id), secret, replay), location=f"/v1/endpoints/{endpoint.id}"
        )

    async def _put(self, asked: Asked[Endpoint, Nothing]) -> Reply:
        name = asked.path["id"]
        if asked.body.id != name:
            raise Problem(422, "is not the one in the path", "id")
        async with self._directory.changing():
            before = self._directory.find(name)
            secrets = restored(asked.body.secrets, before.endpoint.secrets if before else ())
            await self._declare(msgspec.structs.replace(asked.body, secrets=secrets))
        return Reply(_view(self._directory.get(name)))

    async def _patch(self, asked: Asked[Any, Nothing]) -> Reply:
        patch = {
            name: value
            for name in asked.body.__struct_fields__
            if (value := getattr(asked.body, name)) is not msgspec.UNSET
        }
        async with self._directory.changing():
            before = self._directory.get(asked.path["id"]).endpoint
            if "secrets" in patch:
                patch["secrets"] = restored(patch["secrets"], before.secrets)
            if patch.get("headers") is not None:
                headers = {**before.headers, **patch["headers"]}
                patch["headers"] = {name: value for name, value in headers.items() if value is not None}
            merged = {**msgspec.to_builtins(before), **msgspec.to_builtins(patch)}
            # A null puts the default back. Where the default is null itself, that is the same.
            merged = {name: value for name, value in merged.items() if value is not None}
            try:
                changed = msgspec.convert(merged, Endpoint)
            except msgspec.ValidationError as error:
                raise refusal(error, described=True) from None
            await self._declare(changed)
        return Reply(_view(self._directory.get(changed.id)))

    async def _delete(self, asked: Asked[Nothing, Nothing]) -> Reply:
        async with self._directory.changing():
            await self._directory.withdraw(asked.path["id"])
        return Reply()

    def _stating(self, state: State) -> Any:
        async def run(asked: Asked[Nothing, Nothing]) -> Reply:
            async with self._directory.changing():
                await self._directory.state(asked.path["id"], state)
            return Reply(_view(self._directory.get(asked.path["id"])))

        return run

    async def _rotate(self, asked: Asked[Rotation, Nothing]) -> Reply:
        secret, reference = None, asked.body.secret
        async with self._directory.changing():
            before = self._directory.get(asked.path["id"]).endpoint
            if reference is None:
                secret, reference = self._make_secret("secret")
            overlap = timedelta(seconds=asked.body.overlap)
            secrets = rotated(before.secrets, reference, datetime.now(UTC), overlap)
            if len(secrets) > _MOST_SECRETS:
                raise Problem(
                    409, f"{_MOST_SECRETS} secrets sign already: wait until one has expired, or leave some out"
                )
            await self._declare(msgspec.structs.replace(before, secrets=secrets))
        return Reply(_created(self._directory.get(before.id), secret))

    async def _test(self, asked: Asked[Nothing, Nothing]) -> Reply:
        known = self._directory.get(asked.path["id"])
        if known.state != "active":
            raise Problem(409, f"the endpoint is {known.state}: nothing is sent to it")
        delivery = test_delivery(known.endpoint, datetime.now(UTC))
        async with asyncio.timeout(_TAKE):
            await self._outbox.send(
                self._topics.deliveries.name, delivery.endpoint.encode(), msgspec.json.encode(delivery)
            )
        follow = f"/v1/deliveries/{delivery.id}"
        return Reply(TestDelivery(delivery=delivery.id, follow=follow), location=follow)

    async def _declare(self, endpoint: Endpoint) -> None:
        self._directory.check(endpoint)
        refuse_clear_secrets(endpoint)
        await self._directory.declare(endpoint)

    def _make_secret(self, field: str) -> tuple[str, str]:
        if not self._seals.can_seal:
            raise Problem(422, "must be given: without delivery.sealing_keys the gateway makes none", field)
        return self._seals.make()


_STATES: tuple[tuple[str, State, str], ...] = (
    ("pause", "paused", "Deliver nothing for now: what comes waits, for as long as it is kept (7 days)"),
    ("enable", "active", "Deliver again"),
    ("disable", "disabled", "Deliver nothing: what comes becomes dead letters, which can be replayed"),
)


def test_delivery(endpoint: Endpoint, now: datetime) -> Delivery:
    """A delivery of a sample event to `endpoint`, of a type and an account that it asks for."""
    call = f"{TEST_CALL}{uuid.uuid4().hex}"
    account = endpoint.accounts[0] if endpoint.accounts else 0
    event = CallEvent(
        id=f"{call}-1",
        source=source_of(account),
        type=endpoint.events[0] if endpoint.events else "call.started",
        subject=call,
        time=now,
        data=CallData(
            account=account,
            call_id=call,
            sequence=1,
            src=_TEST_NUMBER,
            dst=_TEST_NUMBER,
            direction=None,
            not_before=now,
            not_after=now,
            observed_at=now,
            evidence=Evidence.ACTIVE,
            ambiguous=False,
            answered=None,
        ),
    )
    (delivery,) = expand(event, [endpoint], now)
    return delivery


def _view(known: Known) -> EndpointView:
    return EndpointView(**_fields(known))


def _created(known: Known, secret: str | None, replay: str | None = None) -> EndpointCreated:
    return EndpointCreated(**_fields(known), secret=secret, replay=replay)


def _fields(known: Known) -> dict[str, Any]:
    status = known.status
    return {
        "id": known.endpoint.id,
        "source": known.source,
        "state": known.state,
        "since": status.since if status else None,
        "reason": status.reason if status else None,
        "failing_since": status.failing_since if status else None,
        "endpoint": masked(known.endpoint),
    }
