"""The AsyncAPI 3 document: the topics and webhooks as a user's application meets them."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from gateway.config import AccountConfig
from gateway.contract.commands import Command, CommandDeadLetter, CommandResult
from gateway.contract.deliveries import Attempt, DeadLetter, Delivery
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CALL_EVENT_TYPES, CallData, CallEvent
from gateway.contract.notices import Notice
from gateway.contract.thin import ThinEvent
from gateway.contract.topics import Topic, Topics
from gateway.schemas import examples
from gateway.schemas.examples import Example
from gateway.schemas.structs import Schema, components

_COMPONENTS = "#/components/schemas/{name}"
_KAFKA_BINDING = "0.5.0"
_HTTP_BINDING = "0.3.0"
_TRACEPARENT: Schema = {"type": "string", "description": "Of W3C Trace Context, where there is a trace"}
_ABOUT = (
    "What an application exchanges with the gateway: it receives call events and the gateway's own, as Kafka records "
    "or as webhooks, and sends commands. `send` and `receive` are what the application does. Topics' names begin with "
    "`kafka.prefix` of the configuration, `ringcloud` by default. Consumers read committed records only "
    "(`isolation.level=read_committed`). Fields may be added; what is there keeps its meaning within `v1`."
)


class _Channel(msgspec.Struct, frozen=True, kw_only=True):
    operation: str
    action: Literal["send", "receive"]
    summary: str
    channel: Schema
    messages: Mapping[str, Schema]
    reply: str | None = None


def asyncapi() -> Schema:
    """The document, complete in itself."""
    channels = _channels(Topics())
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "RingCloud Gateway", "version": "1", "description": _ABOUT, "license": {"name": "MIT"}},
        "defaultContentType": "application/json",
        "servers": {
            "kafka": _server(
                "{bootstrap}", "kafka", "bootstrap", "The brokers: `kafka.bootstrap` of the configuration"
            ),
            "receiver": _server("{receiver}", "https", "receiver", "The application's own: an endpoint's `url`"),
        },
        "channels": {
            name: {
                **one.channel,
                "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in one.messages},
            }
            for name, one in channels.items()
        },
        "operations": {one.operation: _operation(name, one) for name, one in channels.items()},
        "components": {
            "messages": {name: message for one in channels.values() for name, message in one.messages.items()},
            "schemas": _schemas(),
        },
    }


def _channels(topics: Topics) -> dict[str, _Channel]:
    events = examples.kafka_events()
    commands, notices = _members(Command), {_tag(one): one for one in _members(Notice)}
    sent = examples.commands()
    return {
        "calls": _Channel(
            operation="receiveCallEvents",
            action="receive",
            summary="What happens to calls",
            channel=_topic(topics.calls),
            messages={
                type_: _event(topics.calls, type_, CallEvent, CallData, events[type_]) for type_ in CALL_EVENT_TYPES
            },
        ),
        "gateway": _Channel(
            operation="receiveGatewayEvents",
            action="receive",
            summary="What can't be known, accounts that can't be read, and endpoints that get nothing",
            channel=_topic(topics.gateway),
            messages={
                type_: _event(
                    _keyed(topics.gateway, type_), type_, one, typing.get_type_hints(one)["data"], events[type_]
                )
                for type_, one in notices.items()
            },
        ),
        "commands": _Channel(
            operation="sendCommand",
            action="send",
            summary="Ask RingCloud for something",
            channel=_topic(topics.commands),
            messages={_tag(one): _record(topics.commands, _tag(one), one, sent[_tag(one)]) for one in commands},
            reply="commandResults",
        ),
        "commandResults": _Channel(
            operation="receiveCommandResults",
            action="receive",
            summary="What became of commands, each step; `command_id` is the command's `id`",
            channel=_topic(topics.command_results),
            messages=_one(topics.command_results, "command.result", CommandResult, examples.command_results()),
        ),
        "commandDeadLetters": _Channel(
            operation="receiveCommandDeadLetters",
            action="receive",
            summary="Records of the commands topic that are no command and have no id: where they are, and why",
            channel=_topic(topics.command_dead_letters),
            messages=_one(
                topics.command_dead_letters, "command.dead-letter", CommandDeadLetter, examples.command_dead_letters()
            ),
        ),
        "accounts": _Channel(
            operation="declareAccount",
            action="send",
            summary="Have an account polled, or change how; the same key with a null value withdraws it",
            channel=_topic(topics.accounts),
            messages=_one(topics.accounts, "account", AccountConfig, examples.accounts()),
        ),
        "webhookEndpoints": _Channel(
            operation="declareWebhookEndpoint",
            action="send",
            summary="Have events sent somewhere, or change which or how; the same key with a null value withdraws it",
            channel=_topic(topics.endpoints),
            messages=_one(topics.endpoints, "webhook.endpoint", Endpoint, examples.endpoints()),
        ),
        "webhook": _Channel(
            operation="receiveWebhook",
            action="receive",
            summary="Call events by POST, signed by Standard Webhooks; any 2xx takes the event over",
            channel=_webhook(),
            messages={"webhook": _webhook_message()},
        ),
        "webhookDeliveries": _Channel(
            operation="receiveWebhookDeliveries",
            action="receive",
            summary="What is to be delivered by webhook",
            channel=_topic(topics.deliveries),
            messages=_one(topics.deliveries, "webhook.delivery", Delivery, examples.deliveries()),
        ),
        "webhookRetries": _Channel(
            operation="receiveWebhookRetries",
            action="receive",
            summary="Deliveries that wait for their next attempt",
            channel=_retries(topics),
            messages=_one(topics.retries[min(topics.retries)], "webhook.retry", Delivery, examples.retries()),
        ),
        "webhookAttempts": _Channel(
            operation="receiveWebhookAttempts",
            action="receive",
            summary="Every attempt and its outcome",
            channel=_topic(topics.attempts),
            messages=_one(topics.attempts, "webhook.attempt", Attempt, examples.attempts()),
        ),
        "webhookDeadLetters": _Channel(
            operation="receiveWebhookDeadLetters",
            action="receive",
            summary="Deliveries that were given up, with why",
            channel=_topic(topics.dead_letters),
            messages=_one(topics.dead_letters, "webhook.dead-letter", DeadLetter, examples.dead_letters()),
        ),
    }


def _schemas() -> dict[str, Schema]:
    written = [CallEvent, ThinEvent, Notice, CommandResult, CommandDeadLetter, Delivery, Attempt, DeadLetter]
    _, read = components([Command, AccountConfig, Endpoint], _COMPONENTS, written=False)
    return read | components(written, _COMPONENTS, written=True)[1]


def _server(host: str, protocol: str, variable: str, description: str) -> Schema:
    return {"host": host, "protocol": protocol, "variables": {variable: {"description": description}}}


def _operation(name: str, one: _Channel) -> Schema:
    operation: Schema = {
        "action": one.action,
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": one.summary,
    }
    if one.reply is not None:
        operation["reply"] = {"channel": {"$ref": f"#/channels/{one.reply}"}}
    if name == "webhook":
        operation["bindings"] = {"http": {"method": "POST", "bindingVersion": _HTTP_BINDING}}
    return operation


def _topic(topic: Topic) -> Schema:
    settings: dict[str, Any] = {
        name: [value] if name == "cleanup.policy" else msgspec.json.decode(value)
        for name, value in topic.settings().items()
    }
    return {
        "address": topic.name,
        "description": f"{topic.carries[0].upper()}{topic.carries[1:]}; as many partitions as `kafka.{topic.width}`",
        "servers": [{"$ref": "#/servers/kafka"}],
        "bindings": {"kafka": {"topicConfiguration": settings, "bindingVersion": _KAFKA_BINDING}},
    }


def _retries(topics: Topics) -> Schema:
    delay, first = next(iter(topics.retries.items()))
    return {
        **_topic(first),
        "address": first.name.replace(f"-{delay}s.", "-{delay}."),
        "description": "A topic for each delay, so that a topic's records fall due in order",
        "parameters": {
            "delay": {"enum": [f"{delay}s" for delay in topics.retries], "description": "Before an attempt"}
        },
    }


def _webhook() -> Schema:
    return {"address": None, "servers": [{"$ref": "#/servers/receiver"}]}


def _webhook_message() -> Schema:
    names = {
        "webhook-id": "The same in every attempt: what to deduplicate on",
        "webhook-timestamp": "Of the attempt, Unix seconds",
        "webhook-signature": "`v1,…`, one for each secret, with spaces in between",
    }
    return {
        "title": "A call event as a structured CloudEvent, whole or thin",
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": {
                **{name: {"type": "string", "description": text} for name, text in names.items()},
                "traceparent": _TRACEPARENT,
            },
            "required": list(names),
        },
        "payload": {"anyOf": [_ref(CallEvent), _ref(ThinEvent)]},
        "examples": examples.webhooks(),
    }


def _event(topic: Topic, type_: str, event: Any, data: Any, shown: Sequence[Example]) -> Schema:
    """A message for events of one type: CloudEvents' binary mode, whose headers are the event's attributes."""
    _, inner = components([event], _COMPONENTS, written=True)
    attributes = {**inner[event.__name__]["properties"], "type": {"enum": [type_]}}
    headers = {
        "content-type" if name == "datacontenttype" else f"ce_{name}": schema
        for name, schema in attributes.items()
        if name != "data"
    }
    message = _record(topic, type_, data, shown)
    traced = {"traceparent": _TRACEPARENT} if type_ in CALL_EVENT_TYPES else {}
    return {**message, "headers": {"type": "object", "properties": headers | traced, "required": list(headers)}}


def _keyed(topic: Topic, type_: str) -> Topic:
    """A topic as it is for events of a type that is about another thing than its others."""
    return msgspec.structs.replace(topic, key="endpoint") if type_.startswith("endpoint.") else topic


def _one(topic: Topic, name: str, type_: Any, shown: Sequence[Example]) -> dict[str, Schema]:
    return {name: _record(topic, name, type_, shown)}


def _record(topic: Topic, name: str, type_: Any, shown: Sequence[Example]) -> Schema:
    return {
        "title": name,
        "contentType": "application/json",
        "payload": _ref(type_),
        "bindings": {
            "kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": _KAFKA_BINDING},
        },
        "examples": list(shown),
    }


def _ref(type_: Any) -> Schema:
    return {"$ref": _COMPONENTS.format(name=type_.__name__)}


def _members(union: Any) -> tuple[Any, ...]:
    """The structs of a union; a struct that stands alone is one of one."""
    return typing.get_args(union) or (union,)


def _tag(struct: Any) -> str:
    return str(struct.__struct_config__.tag)
