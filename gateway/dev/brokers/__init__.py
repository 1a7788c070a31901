"""Brokers started without containers: an embedded one from a Python package, and a real Apache Kafka from Maven."""

from gateway.dev.brokers.apache import CACHE_DIR, ApacheKafka, apache_kafka_available
from gateway.dev.brokers.base import Broker, Progress
from gateway.dev.brokers.embedded import EmbeddedBroker
from gateway.dev.brokers.process import BrokerError, Child, free_port

__all__ = [
    "CACHE_DIR",
    "ApacheKafka",
    "Broker",
    "BrokerError",
    "Child",
    "EmbeddedBroker",
    "Progress",
    "apache_kafka_available",
    "free_port",
]
