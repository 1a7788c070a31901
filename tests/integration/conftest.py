"""Brokers shared by all integration tests of a run, and a topic prefix of its own for each test."""

import asyncio
import re
import uuid
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from gateway.dev.brokers import ApacheKafka, Broker, EmbeddedBroker, apache_kafka_available
from tests.conftest import IN_CI


def _now(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run in a loop of its own, outside every test's loop, so that a broker outlives them."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(coroutine)
    finally:
        loop.close()


def running(broker: Broker) -> Iterator[Broker]:
    """The body of a fixture that starts the broker, gives it, and stops it; longer lived than a test's event loop."""
    _now(broker.start())
    try:
        yield broker
    finally:
        _now(broker.stop())


def need_apache_kafka() -> None:
    """Skip the test when Apache Kafka cannot run here, saying why; with CI=true fail it."""
    reason = apache_kafka_available()
    if reason is None:
        return
    if IN_CI:
        pytest.fail(f"the real Apache Kafka is needed with CI=true: {reason}", pytrace=False)
    pytest.skip(f"no real Apache Kafka: {reason}")


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The embedded broker, one for the run."""
    yield from running(EmbeddedBroker(tmp_path_factory.mktemp("embedded")))


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real Apache Kafka, one for the run."""
    need_apache_kafka()
    yield from running(ApacheKafka(tmp_path_factory.mktemp("kafka")))


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each of the two brokers in turn, shared: never stop it, and keep to topics under `prefix`."""
    found: Broker = request.getfixturevalue({"embedded": "embedded_broker", "kafka": "apache_kafka"}[request.param])
    return found


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A string no other test has, to begin names of topics, groups and transactional ids with."""
    name = re.sub(r"\W+", "-", request.node.originalname or request.node.name)[:40]
    return f"{name}-{uuid.uuid4().hex[:8]}."


@pytest.fixture(scope="session")
def brokers(request: pytest.FixtureRequest) -> dict[str, Broker]:
    """The shared brokers by name, as far as this run's tests need them and they can run here: for scenarios on both at once."""
    found: dict[str, Broker] = {"embedded": request.getfixturevalue("embedded_broker")}
    if any(item.get_closest_marker("kafka") for item in request.session.items) and apache_kafka_available() is None:
        found["kafka"] = request.getfixturevalue("apache_kafka")
    return found


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker_name(request: pytest.FixtureRequest) -> str:
    """Each of the two brokers' names in turn, to look up what a scenario gave on it."""
    if request.param == "kafka":
        need_apache_kafka()
    name: str = request.param
    return name
