"""A Faust app that prints `got: VALUE` for each it receives: `python -m tests.support.faust_probe BOOTSTRAP TOPIC DIR MODE`.

MODE is `committed` (our transport), `default` (Faust's own) or `moved` (our transport over an aiokafka that changed).
In a process of its own because Faust's consumer thread leaves its event loop unclosed.
"""

import sys
from typing import Any

import aiokafka
import faust
from faust.transport.drivers import aiokafka as driver

from streams.transport import use_committed_transport


class _Moved(aiokafka.AIOKafkaConsumer):  # type: ignore[misc]
    """Takes no notice of an isolation level that is set after it was built."""

    async def start(self) -> None:
        self._isolation_level = "read_uncommitted"
        await super().start()


def main() -> None:
    bootstrap, topic, directory, mode = sys.argv[1:]
    app = faust.App(
        f"{topic}-{mode}",
        broker=f"kafka://{bootstrap}",
        datadir=directory,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        broker_heartbeat_interval=0.5,
        consumer_auto_offset_reset="earliest",
    )
    channel = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    @app.agent(channel)
    async def receive(values: faust.StreamT[bytes]) -> None:
        async for value in values:
            sys.stdout.write(f"got: {value.decode()}\n")
            sys.stdout.flush()

    if mode == "moved":
        vars(driver)["aiokafka"].AIOKafkaConsumer = _Moved
    if mode != "default":
        use_committed_transport(app)
    worker: Any = faust.Worker(app, loglevel="warning", quiet=True, redirect_stdouts=False, debug=False)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
