"""The AsyncAPI document, judged by AsyncAPI's own parser, and its examples by the CloudEvents project's library."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft7Validator

from gateway.contract.events import CALL_EVENT_TYPES
from gateway.contract.topics import Topics
from gateway.schemas.asyncapi import asyncapi
from tests.unit.schemas.parser import ERROR, WARNING, complaints, need_npm

DOCUMENT: dict[str, Any] = json.loads(json.dumps(asyncapi()))
MESSAGES: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]
NOTICES = ("gap.detected", "account.degraded", "account.recovered", "endpoint.disabled", "endpoint.enabled")

Change = Callable[[dict[str, Any]], object]
# What the parser must find; each breaks the document in another way.
BREAKS: dict[str, Change] = {
    "a field that AsyncAPI does not know": lambda it: it["channels"]["calls"].update(topic="x"),
    "a reference to nothing": lambda it: it["operations"]["sendCommand"]["channel"].update({"$ref": "#/channels/x"}),
    "a wrong Kafka binding": lambda it: it["channels"]["calls"]["bindings"]["kafka"].update(topicConfiguration=7),
    "a schema that is none": lambda it: it["components"]["schemas"]["CallData"].update(type="structure"),
}
EVENTS = [(type_, one) for type_ in (*CALL_EVENT_TYPES, *NOTICES) for one in MESSAGES[type_]["examples"]]


def test_the_parser_has_nothing_against_it_and_finds_what_is_broken() -> None:
    need_npm()
    broken = [copy.deepcopy(DOCUMENT) for _ in BREAKS]
    for document, change in zip(broken, BREAKS.values(), strict=True):
        change(document)
    found, *of_broken = complaints([DOCUMENT, *broken])
    assert [one for one in found if one["severity"] in (ERROR, WARNING)] == []
    for what, against in zip(BREAKS, of_broken, strict=True):
        assert any(one["severity"] == ERROR for one in against), what


def test_every_topic_is_in_it_but_the_gateway_s_own_state() -> None:
    told = {channel["address"] for channel in DOCUMENT["channels"].values()} - {None}
    topics = Topics()
    ours = {topic.name for topic in topics.all()}
    retries = {topic.name for topic in topics.retries.values()}
    delays = DOCUMENT["channels"]["webhookRetries"]["parameters"]["delay"]["enum"]
    assert {f"ringcloud.webhook-retries-{delay}.v1" for delay in delays} == retries
    assert told - {"ringcloud.webhook-retries-{delay}.v1"} == ours - retries - {"ringcloud.poller-state.v1"}


@pytest.mark.parametrize(
    ("channel", "days"),
    [("calls", 7), ("gateway", 30), ("commands", 1), ("webhookRetries", 7), ("webhookDeadLetters", 30)],
)
def test_a_channel_says_how_long_it_is_kept(channel: str, days: int) -> None:
    settings = DOCUMENT["channels"][channel]["bindings"]["kafka"]["topicConfiguration"]
    assert settings == {"cleanup.policy": ["delete"], "retention.ms": days * 86_400_000}


def test_a_compacted_channel_says_so() -> None:
    assert DOCUMENT["channels"]["accounts"]["bindings"]["kafka"]["topicConfiguration"] == {
        "cleanup.policy": ["compact"],
        "min.cleanable.dirty.ratio": 0.1,
        "segment.ms": 86_400_000,
    }


def test_an_application_sends_commands_accounts_and_endpoints_and_receives_all_else() -> None:
    sends = [name for name, operation in DOCUMENT["operations"].items() if operation["action"] == "send"]
    assert sends == ["sendCommand", "declareAccount", "declareWebhookEndpoint"]
    assert {
        operation["channel"]["$ref"].removeprefix("#/channels/") for operation in DOCUMENT["operations"].values()
    } == (set(DOCUMENT["channels"]))


@pytest.mark.parametrize("name", MESSAGES)
def test_examples_are_what_their_message_says(name: str) -> None:
    """AsyncAPI's schemas are draft 7 of JSON Schema and more, and the parser takes no look at examples."""
    message = MESSAGES[name]
    payload, headers = (
        Draft7Validator({**DOCUMENT, **message.get(part, {})}, format_checker=Draft7Validator.FORMAT_CHECKER)
        for part in ("payload", "headers")
    )
    assert message["examples"]
    for example in message["examples"]:
        payload.validate(example["payload"])
        if "headers" in example:
            headers.validate(example["headers"])
        assert not payload.is_valid(dict(list(example["payload"].items())[1:]))


def test_an_event_of_another_type_is_not_what_a_message_s_headers_say() -> None:
    headers = Draft7Validator({**DOCUMENT, **MESSAGES["call.ended"]["headers"]})
    assert headers.is_valid(MESSAGES["call.ended"]["examples"][0]["headers"])
    assert not headers.is_valid(MESSAGES["call.started"]["examples"][0]["headers"])


@pytest.mark.parametrize(("type_", "example"), EVENTS)
def test_the_cloudevents_library_reads_the_examples(type_: str, example: dict[str, Any]) -> None:
    headers = {name: value.encode() for name, value in example["headers"].items()}
    event = from_binary(KafkaMessage(headers, None, json.dumps(example["payload"]).encode()), JSONFormat())
    attributes = event.get_attributes()
    assert attributes["type"] == type_
    about = "endpoints/crm" if type_.startswith("endpoint.") else "accounts/1000"
    assert attributes["source"] == f"/ringcloud/{about}"
    assert event.get_data() == example["payload"]


@pytest.mark.parametrize(("type_", "example"), EVENTS)
def test_the_headers_that_it_names_are_those_that_are_sent(type_: str, example: dict[str, Any]) -> None:
    headers = MESSAGES[type_]["headers"]
    assert set(headers["required"]) == set(example["headers"])
    # The one that is there only with a trace.
    assert set(headers["properties"]) - {"traceparent"} == set(headers["required"])


def test_it_names_no_machine() -> None:
    assert {server["host"] for server in DOCUMENT["servers"].values()} == {"{bootstrap}", "{receiver}"}
