"""The operations on what was delivered and what was not: attempts, dead letters, and one delivery as a whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from aiokafka import ConsumerRecord, TopicPartition

from gateway.api.directory import Directory
from gateway.api.operations import Asked, Nothing, Operation, Reply
from gateway.api.problems import Problem
from gateway.api.reading import Reader
from gateway.api.shapes import (
    AttemptPage,
    AttemptsQuery,
    DeadLetterPage,
    DeadLettersQuery,
    DeadLetterView,
    DeliveryView,
    EndpointAttemptsQuery,
)
from gateway.contract.deliveries import Attempt, DeadLetter, Delivery
from gateway.contract.topics import Topic, Topics
from gateway.runtime.tracing import traceparent_of

_attempt = msgspec.json.Decoder(Attempt).decode
_letter = msgspec.json.Decoder(DeadLetter).decode
_delivery = msgspec.json.Decoder(Delivery).decode

# A delivery is looked for by its bytes, which costs little a record. It is enough for some days of a busy endpoint.
_MOST_SEARCHED = 200_000
_MOST_ATTEMPTS = 200
# Where a delivery's id may have its endpoint: `<call id>-<sequence>-<endpoint>`.
_ENDPOINT = re.compile(r"(?<=-)[0-9]+-(?=([a-z0-9_-]{1,64})\Z)")


class DeliveryOperations:
    """Reads the logs of deliveries."""

    def __init__(self, reader: Reader, directory: Directory, topics: Topics) -> None:
        """Take what reads the topics, and what knows the endpoints."""
        self._reader = reader
        self._directory = directory
        self._topics = topics

    def operations(self) -> Sequence[Operation[Any, Any]]:
        """All of them."""
        return [
            Operation(
                "GET",
                "/v1/endpoints/{id}/attempts",
                "list_endpoint_attempts",
                "The attempts at an endpoint, newest first",
                "read",
                self._of_endpoint,
                Nothing,
                EndpointAttemptsQuery,
                AttemptPage,
            ),
            Operation(
                "GET",
                "/v1/attempts",
                "list_attempts",
                "All attempts, newest first",
                "read",
                self._attempts,
                Nothing,
                AttemptsQuery,
                AttemptPage,
            ),
            Operation(
                "GET",
                "/v1/dead-letters",
                "list_dead_letters",
                "Deliveries that were given up, newest first",
                "read",
                self._dead_letters,
                Nothing,
                DeadLettersQuery,
                DeadLetterPage,
            ),
            Operation(
                "GET",
                "/v1/deliveries/{id}",
                "get_delivery",
                "A delivery, its attempts and what became of it",
                "read",
                self._delivery,
                Nothing,
                Nothing,
                DeliveryView,
            ),
        ]

    async def find(self, delivery: str) -> tuple[Delivery, str | None] | None:
        """A delivery as it was given up or, if it was not, as it was made, and the `traceparent` that it had.

        None where neither is kept any more.

        Raises:
            KafkaError, TimeoutError: The brokers don't answer.
        """
        letter, _, traceparent = await self._newest_letter(delivery)
        if letter is not None and letter.delivery is not None:
            return letter.delivery, traceparent
        made, _, traceparent = await self._newest_made(delivery)
        return None if made is None else (made, traceparent)

    async def _of_endpoint(self, asked: Asked[Nothing, EndpointAttemptsQuery]) -> Reply:
        return await self._page(asked.query, self._directory.get(asked.path["id"]).endpoint.id)

    async def _attempts(self, asked: Asked[Nothing, AttemptsQuery]) -> Reply:
        return await self._page(asked.query, asked.query.endpoint)

    async def _page(self, query: EndpointAttemptsQuery, endpoint: str | None) -> Reply:
        def wanted(record: ConsumerRecord) -> Attempt | None:
            attempt: Attempt | None = _decoded(_attempt, record)
            if attempt is None or endpoint not in (None, attempt.endpoint):
                return None
            if query.outcome not in (None, attempt.outcome):
                return None
            event = attempt.delivery.removesuffix(f"-{attempt.endpoint}")
            if query.event not in (None, event) or query.call not in (None, event.rpartition("-")[0]):
                return None
            return attempt

        page = await self._reader.newest(
            self._reader.partitions(self._topics.attempts, endpoint),
            wanted,
            query.limit,
            cursor=query.cursor,
            since=query.since,
        )
        return Reply(AttemptPage(items=page.items, next=page.next))

    async def _dead_letters(self, asked: Asked[Nothing, DeadLettersQuery]) -> Reply:
        query = asked.query

        def wanted(record: ConsumerRecord) -> DeadLetterView | None:
            letter = _decoded(_letter, record)
            if letter is None or (query.reason is not None and query.reason not in letter.reason):
                return None
            if query.endpoint is not None and (letter.delivery is None or letter.delivery.endpoint != query.endpoint):
                return None
            return _view(letter)

        page = await self._reader.newest(
            self._reader.partitions(self._topics.dead_letters, query.endpoint),
            wanted,
            query.limit,
            cursor=query.cursor,
            since=query.since,
        )
        return Reply(DeadLetterPage(items=page.items, next=page.next))

    async def _delivery(self, asked: Asked[Nothing, Nothing]) -> Reply:
        name = asked.path["id"]
        attempts = await self._attempts_of(name)
        letter, given_up_at, _ = await self._newest_letter(name)
        made, made_at, _ = await self._newest_made(name)
        delivery = made or (letter.delivery if letter else None)
        if delivery is None and not attempts:
            raise Problem(404, f"nothing is kept of a delivery {name[:200]}")
        newest = attempts[0] if attempts else (0, None)
        state = "pending"
        if newest[1] is not None and newest[1].outcome == "delivered" and newest[0] >= max(given_up_at, made_at):
            state = "delivered"
        elif letter is not None and given_up_at >= made_at:
            state = "given_up"
        return Reply(
            DeliveryView(
                id=name,
                endpoint=delivery.endpoint if delivery else attempts[0][1].endpoint,
                state=state,  # type: ignore[arg-type]
                attempts=[attempt for _, attempt in attempts],
                given_up=_view(letter) if letter else None,
                event=delivery.event if delivery else None,
            )
        )

    async def _attempts_of(self, name: str) -> list[tuple[int, Attempt]]:
        def wanted(record: ConsumerRecord) -> tuple[int, Attempt] | None:
            attempt = _decoded(_attempt, record) if name.encode() in (record.value or b"") else None
            return (record.timestamp, attempt) if attempt is not None and attempt.delivery == name else None

        partitions = self._partitions(self._topics.attempts, name)
        return (await self._reader.newest(partitions, wanted, _MOST_ATTEMPTS, most=_MOST_SEARCHED)).items

    async def _newest_letter(self, name: str) -> tuple[DeadLetter | None, int, str | None]:
        def wanted(record: ConsumerRecord) -> tuple[DeadLetter, int, str | None] | None:
            letter = _decoded(_letter, record) if name.encode() in (record.value or b"") else None
            if letter is None or letter.delivery is None or letter.delivery.id != name:
                return None
            return letter, record.timestamp, traceparent_of(record.headers)

        partitions = self._partitions(self._topics.dead_letters, name)
        found = await self._reader.newest(partitions, wanted, 1, most=_MOST_SEARCHED)
        return found.items[0] if found.items else (None, 0, None)

    async def _newest_made(self, name: str) -> tuple[Delivery | None, int, str | None]:
        def wanted(record: ConsumerRecord) -> tuple[Delivery, int, str | None] | None:
            delivery = _decoded(_delivery, record) if name.encode() in (record.value or b"") else None
            if delivery is None or delivery.id != name:
                return None
            return delivery, record.timestamp, traceparent_of(record.headers)

        partitions = self._partitions(self._topics.deliveries, name)
        found = await self._reader.newest(partitions, wanted, 1, most=_MOST_SEARCHED)
        return found.items[0] if found.items else (None, 0, None)

    def _partitions(self, topic: Topic, name: str) -> list[TopicPartition]:
        """Those that may have records of a delivery: its id ends with its endpoint, wherever that may begin."""
        found: dict[TopicPartition, None] = {}
        for endpoint in endpoints_in(name):
            found |= dict.fromkeys(self._reader.partitions(topic, endpoint))
        return list(found)


def endpoints_in(delivery: str) -> list[str]:
    """Which endpoints a delivery may be for by its id. More than one only where an endpoint's id has numbers in it."""
    return [found[1] for found in _ENDPOINT.finditer(delivery)]


def _view(letter: DeadLetter) -> DeadLetterView:
    delivery = letter.delivery
    return DeadLetterView(
        at=letter.at,
        reason=letter.reason,
        delivery=delivery.id if delivery else None,
        endpoint=delivery.endpoint if delivery else None,
        event_type=delivery.event_type if delivery else None,
        account=delivery.account if delivery else None,
        call_id=delivery.call_id if delivery else None,
        attempts=delivery.attempts if delivery else None,
    )


def _decoded(decode: Any, record: ConsumerRecord) -> Any:
    """What a record holds; None where it is no such thing: that its writer failed is not for us to tell."""
    try:
        return decode(record.value or b"")
    except msgspec.MsgspecError:
        return None
