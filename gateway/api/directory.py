"""The endpoints that there are, followed on their topic, and the changing of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

from gateway.api.problems import Problem
from gateway.config import Config
from gateway.contract.endpoints import Endpoint, EndpointStatus
from gateway.contract.reach import reach_fault
from gateway.contract.secrets import secrets_fault
from gateway.runtime.endpoints import declare_endpoint, follow_endpoints, state_endpoint

T = TypeVar("T")

Source = Literal["file", "topic"]
State = Literal["active", "paused", "disabled"]

# Seconds that the brokers get to take a change, and that it gets to come back to us.
_TAKE, _COME_BACK = 10.0, 5.0


@dataclass(frozen=True, slots=True)
class Known:
    """An endpoint, where it is declared, and how it stands; without a status it is active and well."""

    endpoint: Endpoint
    source: Source
    status: EndpointStatus | None

    @property
    def state(self) -> State:
        """Whether it is delivered to."""
        return self.status.state if self.status else "active"


class Directory:
    """The configuration's endpoints and those on the topic. What is changed here is known here when that returns."""

    def __init__(self, config: Config) -> None:
        """Take the configuration, whose endpoints go before the topic's."""
        self._config = config
        self._configured = {endpoint.id: endpoint for endpoint in config.endpoints}
        self._declared: dict[str, Endpoint] = {}
        self._statuses: dict[str, EndpointStatus] = {}
        self._told = asyncio.Event()
        self._changing = asyncio.Lock()
        self.loaded = asyncio.Event()

    async def follow(self) -> None:
        """Keep up with the topic until cancelled; `loaded` is set once what was there is known. Raises KafkaError."""
        declared, stated = self._keeping(self._declared), self._keeping(self._statuses)
        await follow_endpoints(self._config, declared, stated, self.loaded.set)

    def find(self, endpoint: str) -> Known | None:
        """An endpoint by its id; None if there is none."""
        if found := self._configured.get(endpoint):
            return Known(found, "file", self._statuses.get(endpoint))
        if found := self._declared.get(endpoint):
            return Known(found, "topic", self._statuses.get(endpoint))
        return None

    def get(self, endpoint: str) -> Known:
        """An endpoint by its id.

        Raises:
            Problem: 404, there is none.
        """
        if (known := self.find(endpoint)) is None:
            raise Problem(404, f"there is no endpoint {endpoint[:64]}")
        return known

    def ids(self) -> list[str]:
        """The ids of all, in order."""
        return sorted({*self._configured, *self._declared})

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Within it nobody else changes an endpoint by way of this process."""
        async with self._changing:
            yield

    def check(self, endpoint: Endpoint) -> None:
        """Whether the endpoint may be declared.

        Raises:
            Problem: 409, the configuration file has it; 422, it breaks a rule, which names the field.
        """
        if endpoint.id in self._configured:
            raise Problem(409, "the configuration file declares it: change it there", "id")
        wrong = reach_fault(endpoint, allow_http=self._config.delivery.allow_http)
        wrong = wrong or secrets_fault(endpoint.secrets, datetime.now(UTC))
        if wrong:
            raise Problem(422, wrong[1], wrong[0])

    async def declare(self, endpoint: Endpoint) -> None:
        """Declare an endpoint, or declare it anew. Raises as `check`, and KafkaError or TimeoutError without brokers."""
        self.check(endpoint)
        async with asyncio.timeout(_TAKE):
            await declare_endpoint(self._config, endpoint.id, endpoint)
        await self._until(lambda: self._declared.get(endpoint.id) == endpoint)

    async def withdraw(self, endpoint: str) -> None:
        """Withdraw an endpoint, and what is said of how it stands. Raises as `declare`, and Problem 404."""
        if self.get(endpoint).source == "file":
            raise Problem(409, "the configuration file declares it: remove it there")
        async with asyncio.timeout(_TAKE):
            await declare_endpoint(self._config, endpoint, None)
        await self._until(lambda: endpoint not in self._declared)

    async def state(self, endpoint: str, state: State) -> None:
        """Say how an endpoint is to stand, unless it stands so. Raises as `declare`, and Problem 404."""
        known = self.get(endpoint)
        if known.state == state:
            return
        status = None
        if state != "active":
            failing = known.status.failing_since if known.status else None
            status = EndpointStatus(state=state, since=datetime.now(UTC), reason="asked", failing_since=failing)
        async with asyncio.timeout(_TAKE):
            await state_endpoint(self._config, endpoint, status, was=known.status)
        await self._until(lambda: self.get(endpoint).state == state)

    def _keeping(self, there: dict[str, T]) -> Callable[[str, T | None], None]:
        def keep(name: str, one: T | None) -> None:
            if one is None:
                there.pop(name, None)
            else:
                there[name] = one
            self._told.set()

        return keep

    async def _until(self, seen: Callable[[], bool]) -> None:
        """Wait until what was written has come back. Where another has changed it since, it never does: then go on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_COME_BACK):
                while not seen():
                    self._told.clear()
                    await self._told.wait()
