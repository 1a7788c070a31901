"""Wrong values: refused, with words that say which and why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.chart import refusal

KEYS = [{"key": "env:KEY", "password": "env:PASSWORD"}]

WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    ("unknown", {"replicas": 3}, ["replicas", "not allowed"]),
    ("unknown setting", {"config": {"kafka": {"bootstap": "a:1"}}}, ["/config/kafka", "bootstap", "not allowed"]),
    ("no brokers", {"config": {"kafka": {"bootstrap": ""}}}, ["config.kafka.bootstrap", "is needed"]),
    ("protocol", {"config": {"kafka": {"security_protocol": "TLS"}}}, ["/config/kafka/security_protocol", "SASL_SSL"]),
    (
        "mechanism",
        {"config": {"kafka": {"sasl_mechanism": "SCRAM"}}},
        ["/config/kafka/sasl_mechanism", "SCRAM-SHA-512"],
    ),
    ("number as text", {"config": {"kafka": {"shards": "64"}}}, ["/config/kafka/shards", "got string, want integer"]),
    ("too many", {"config": {"kafka": {"shards": 5000}}}, ["/config/kafka/shards", "1,024"]),
    (
        "a secret itself",
        {"config": {"accounts": [{"id": 1, "keys": [{"key": "1_abc", "password": "env:P"}]}]}},
        ["/config/accounts/0/keys/0/key", "env:"],
    ),
    ("account without keys", {"config": {"accounts": [{"id": 1}]}}, ["/config/accounts/0", "keys"]),
    (
        "endpoint's URL",
        {"config": {"endpoints": [{"id": "a", "url": "ftp://a", "secrets": ["env:S"]}]}},
        ["/config/endpoints/0/url", "https?://"],
    ),
    ("where metrics listen", {"config": {"metrics": {"gateway": ":1"}}}, ["/config", "metrics", "not allowed"]),
    ("where the API listens", {"config": {"api": {"listen": ":1"}}}, ["/config/api", "listen", "not allowed"]),
    ("tag", {"image": {"tag": "a b"}}, ["/image/tag"]),
    ("tag in the repository", {"image": {"repository": "a/b:1"}}, ["/image/repository"]),
    ("digest", {"image": {"digest": "sha256:12"}}, ["/image/digest"]),
    ("component", {"secrets": [{"name": "a", "for": ["gatway"]}]}, ["/secrets/0/for/0", "gateway"]),
    ("keda for the gateway", {"gateway": {"autoscaling": {"type": "keda"}}}, ["/gateway/autoscaling/type", "hpa"]),
    ("grace", {"streams": {"terminationGracePeriodSeconds": 1}}, ["/streams/terminationGracePeriodSeconds"]),
    ("network", {"networkPolicy": {"webNetworks": ["10.0.0.1"]}}, ["/networkPolicy/webNetworks/0"]),
    (
        "a Secret that is not mounted",
        {
            "config": {
                "accounts": [
                    {"id": 1, "keys": [{"key": "file:/etc/ringcloud-gateway/secrets/rc/k", "password": "env:P"}]}
                ]
            }
        },
        ["secrets: the configuration refers to file:/etc/ringcloud-gateway/secrets/rc", "no Secret is mounted there"],
    ),
    (
        "two Secrets in one place",
        {"secrets": [{"name": "a", "as": "kafka"}, {"name": "b", "as": "kafka", "for": ["streams"]}]},
        ["secrets: streams gets two Secrets as kafka"],
    ),
    (
        "replicas without work",
        {"config": {"kafka": {"shards": 4}}, "gateway": {"replicas": 5}},
        ["gateway: 5 replicas, but config.kafka.shards lets 4 share the work"],
    ),
    (
        "replicas without partitions",
        {"streams": {"autoscaling": {"type": "hpa", "maxReplicas": 20}}},
        ["streams: 20 replicas, but config.kafka.partitions lets 12 share the work"],
    ),
    (
        "least and most",
        {"api": {"autoscaling": {"minReplicas": 9}}},
        ["api.autoscaling: minReplicas is more than maxReplicas"],
    ),
    (
        "an account twice",
        {"config": {"accounts": [{"id": 1, "keys": KEYS}, {"id": 2, "keys": KEYS}, {"id": 1, "keys": KEYS}]}},
        ["config.accounts: 1 is there twice"],
    ),
    (
        "SCRAM without a password",
        {"config": {"kafka": {"security_protocol": "SASL_SSL", "username": "env:USER"}}},
        ["config.kafka: ", "needs username and password for SASL_SSL"],
    ),
    (
        "a password that one component has not",
        {
            "config": {"kafka": {"security_protocol": "SASL_SSL", "username": "env:U", "password": "env:P"}},
            "streams": {"config": {"kafka": {"sasl_mechanism": "OAUTHBEARER"}}},
        },
        ["config.kafka: streams needs token or token_endpoint for OAUTHBEARER"],
    ),
    (
        "a token that is not mounted",
        {
            "config": {
                "kafka": {
                    "security_protocol": "SASL_SSL",
                    "sasl_mechanism": "OAUTHBEARER",
                    "token": "file:/var/run/secrets/ringcloud-gateway/token",
                }
            }
        },
        ["config.kafka.token: kafkaToken.enabled is needed"],
    ),
    (
        "a port of Kafka that is closed",
        {"config": {"kafka": {"bootstrap": "kafka-0:9093,kafka-1:19093"}}},
        ["networkPolicy.kafkaPorts: 19093 of config.kafka.bootstrap is not among them"],
    ),
    (
        "an endpoint's port that is closed",
        {"config": {"endpoints": [{"id": "a", "url": "https://a.example.com:8443/hooks", "secrets": ["env:S"]}]}},
        ["networkPolicy.webPorts: 8443 of https://a.example.com:8443 is not among them"],
    ),
    (
        "RingCloud's port that is closed",
        {"config": {"ringcloud": {"base_url": "http://ringcloud.example.com"}}},
        ["networkPolicy.webPorts: 80 of http://ringcloud.example.com is not among them"],
    ),
    ("both ways to scale", {"streams": {"autoscaling": {"type": "hpa, keda"}}}, ["/streams/autoscaling/type", "keda"]),
    ("away", {"gateway": {"maxUnavailable": "half"}}, ["/gateway/maxUnavailable"]),
    ("on or off", {"api": {"enabled": "no"}}, ["/api/enabled", "got string, want boolean"]),
    ("no port of Kafka", {"networkPolicy": {"kafkaPorts": []}}, ["/networkPolicy/kafkaPorts"]),
    ("how often", {"serviceMonitor": {"interval": "often"}}, ["/serviceMonitor/interval"]),
    ("Secret's name", {"secrets": [{"name": "A B"}]}, ["/secrets/0/name"]),
]


@pytest.mark.parametrize(("values", "words"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_it_is_refused_in_words(values: dict[str, Any], words: list[str]) -> None:
    said = refusal(values)
    assert [word for word in words if word not in said] == [], said
