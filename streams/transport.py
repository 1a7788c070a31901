"""A Faust transport whose consumers read committed records only; Faust's own reads those of aborted transactions too.

Faust takes the isolation level from its exactly-once mode alone, which is not used here. So the level is set on the
consumer that Faust has built. Faust promises none of the places this hooks into; therefore each is checked, and what
the started consumer really does is checked last: reading uncommitted records unnoticed is the one thing to avoid.
"""

from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver

from streams.oneloop import HOOKS, InLoop

READ_COMMITTED = "read_committed"
# What the protocol and aiokafka's fetcher call it.
_READ_COMMITTED_CODE = 1


class TransportError(Exception):
    """Faust or aiokafka changed inside, or the transport came too late: committed reading cannot be assured."""


class _CommittedThread(InLoop, driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        _require(hasattr(consumer, "_isolation_level"), "aiokafka's consumer has no _isolation_level")
        consumer._isolation_level = READ_COMMITTED  # noqa: SLF001 - no public way once it is built
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        fetcher = getattr(self._consumer, "_fetcher", None)
        level = getattr(fetcher, "_isolation_level", None)
        _require(self.app.client_only or level == _READ_COMMITTED_CODE, f"the consumer started with level {level!r}")


class _CommittedConsumer(driver.Consumer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _require(isinstance(self._thread, _CommittedThread), "Faust's consumer did not take the thread given to it")

    def _new_consumer_thread(self) -> _CommittedThread:
        return _CommittedThread(self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon)


class CommittedTransport(driver.Transport):
    """Faust's Kafka transport, with consumers that see no record of an open or aborted transaction."""

    Consumer = _CommittedConsumer

    def create_consumer(self, *args: Any, **kwargs: Any) -> Any:
        """Make a consumer as Faust does.

        Raises:
            TransportError: Faust made one that would read uncommitted records.
        """
        consumer = super().create_consumer(*args, **kwargs)
        _require(isinstance(consumer, _CommittedConsumer), "Faust's transport did not take the consumer given to it")
        return consumer


def use_committed_transport(app: faust.App) -> None:
    """Make the app's consumers read committed records only; call it after the app is made and before it starts.

    Raises:
        TransportError: The app has a consumer already, or Faust lost one of the places this hooks into. If Faust moved
            in a way that is seen only later, the app fails with this error at its start.
    """
    for owner, hook in (
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer"),
        (driver.AIOKafkaConsumerThread, "on_start"),
        (driver.Consumer, "_new_consumer_thread"),
        (driver.Transport, "create_consumer"),
        (faust.App, "_new_transport"),
        *HOOKS,
    ):
        _require(hasattr(owner, hook), f"Faust has no {owner.__name__}.{hook} any more")
    _require(getattr(app, "_consumer", None) is None, "the app has made its consumer already")
    app.transport = CommittedTransport(app.conf.broker_consumer, app)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise TransportError(f"only committed records may be read, and this cannot be assured: {otherwise}")
