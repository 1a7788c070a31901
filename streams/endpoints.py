"""The endpoints that there are at this moment: the configuration's, and those declared at run time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from gateway.config import Config
from gateway.contract.endpoints import Endpoint, EndpointStatus
from gateway.runtime.endpoints import Declared, Stated, follow_endpoints

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Endpoints:
    """Follows the endpoints' topic and tells its listeners of what is new there.

    The configuration file goes before the topic: its endpoints are there from the start, and no record changes them.
    An endpoint that comes or changes is told of in the order of `listeners`, one that goes in the reverse: so what
    delivers, first in line, knows an endpoint before, and for as long as, there are deliveries made for it. The first
    may refuse an endpoint by a ConfigError (its secret can't be read here): what was there before then stands.
    """

    def __init__(self, config: Config, *listeners: Declared, stated: Stated | None = None) -> None:
        """Take the configuration, who is told of endpoints on the topic, and who of how endpoints stand, all of them."""
        self._config = config
        self._listeners = listeners
        self._stated = stated
        self._configured = {endpoint.id: endpoint for endpoint in config.endpoints}
        self._declared: dict[str, Endpoint] = {}

    def current(self) -> list[Endpoint]:
        """All of them, the configuration's first."""
        return [*self._configured.values(), *self._declared.values()]

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[asyncio.Task[None]]:
        """Keep up with the topic: what was there is told of. Gives the task that does so, and ends it at the end.

        Raises:
            KafkaError: The topic can't be read.
        """
        loaded = asyncio.Event()
        follower = asyncio.create_task(self.follow(loaded.set))
        loading = asyncio.create_task(loaded.wait())
        try:
            await asyncio.wait({follower, loading}, return_when=asyncio.FIRST_COMPLETED)
            if follower.done():
                follower.result()
            yield follower
        finally:
            loading.cancel()
            follower.cancel()
            await asyncio.gather(follower, loading, return_exceptions=True)

    async def follow(self, loaded: Callable[[], None]) -> None:
        """Keep up with the topic until cancelled; `loaded` is called once, when what was there is told of.

        A record that is no endpoint, or that is refused, is logged and passed over.

        Raises:
            KafkaError: The topic can't be read.
        """
        await follow_endpoints(self._config, self._tell, self._state, loaded)

    def _state(self, endpoint: str, status: EndpointStatus | None) -> None:
        if self._stated is not None:
            self._stated(endpoint, status)

    def _tell(self, endpoint: str, as_: Endpoint | None) -> None:
        if endpoint in self._configured:
            _log.warning("the endpoint is in the configuration file, which goes before the topic", endpoint=endpoint)
            return
        if self._declared.get(endpoint) == as_:
            return
        for listener in self._listeners if as_ is not None else reversed(self._listeners):
            listener(endpoint, as_)
        if as_ is None:
            del self._declared[endpoint]
        else:
            self._declared[endpoint] = as_
        _log.info("endpoint withdrawn" if as_ is None else "endpoint declared", endpoint=endpoint)
