"""The configuration: one TOML file into typed structs; every error names the file and the field."""

from __future__ import annotations

import ipaddress
import os
import zoneinfo
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from gateway.contract.commands import CommandType
from gateway.contract.endpoints import Endpoint
from gateway.contract.faults import fault
from gateway.contract.reach import FileRef, reach_fault
from gateway.contract.secrets import SecretRef, secrets_fault

ProxyRef = Annotated[str, msgspec.Meta(pattern=r"^(|http://[^@\s]+|(env|file):[^\x00]+)$(?!\n)")]
DialPattern = Annotated[str, msgspec.Meta(pattern=r"^!?\+?[0-9*#]{1,33}$(?!\n)")]
Listen = Annotated[str, msgspec.Meta(pattern=r"^[^:]*:[0-9]{1,5}$(?!\n)")]
# A whole URL, path included. No user: it would be logged.
Collector = Annotated[
    str, msgspec.Meta(pattern=r"^(|https?://([^@:/?#\[\]\s]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?/[^?#\s]+)$(?!\n)")
]


# Any number but those whose callers are known to pay a premium: Russia's and Kazakhstan's 803 and 809, satellites and
# international networks, international premium and shared cost, premium ranges of countries that keep them together.
DIAL: tuple[str, ...] = (
    "*",
    *("!7803*", "!7809*", "!808*", "!870*", "!878*", "!881*", "!882*", "!883*", "!979*"),
    *("!1900*", "!449*", "!49900*"),
)


class ConfigError(ValueError):
    """The configuration is wrong; the message names the file and the field."""

    def __init__(self, path: Path | str, field: str, reason: str) -> None:
        super().__init__(f"{path}: {field}: {reason}" if field else f"{path}: {reason}")
        self.field = field


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class KafkaConfig(_Section, frozen=True):
    """The brokers and the topics' shape."""

    bootstrap: str = "127.0.0.1:9092"
    prefix: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$(?!\n)")] = "ringcloud"
    shards: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 64
    partitions: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 12
    replication_factor: Annotated[int, msgspec.Meta(ge=1, le=9)] = 3
    session_timeout: Annotated[float, msgspec.Meta(ge=1, le=300)] = 15.0
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ca: FileRef | None = None
    client_certificate: FileRef | None = None
    client_key: FileRef | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    username: SecretRef | None = None
    password: SecretRef | None = None
    token: FileRef | None = None
    token_endpoint: Annotated[str, msgspec.Meta(pattern=r"^https?://[^?#\s]+$(?!\n)")] | None = None
    token_client_id: SecretRef | None = None
    token_client_secret: SecretRef | None = None
    token_scope: str | None = None

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other: a password that nobody would be asked for is a misunderstanding."""
        protocol, mechanism = self.security_protocol, self.sasl_mechanism
        with_tls, with_sasl = protocol.endswith("SSL"), protocol.startswith("SASL")
        by_token = with_sasl and mechanism == "OAUTHBEARER"
        by_password = with_sasl and not by_token
        by_endpoint = by_token and self.token_endpoint is not None
        for use, why, fields in (
            (with_tls, f"goes with no security_protocol {protocol}", ("ca", "client_certificate", "client_key")),
            (by_password, "goes with SASL, and with no OAUTHBEARER", ("username", "password")),
            (by_token, "goes with SASL and OAUTHBEARER alone", ("token", "token_endpoint")),
            (by_endpoint, "goes with token_endpoint", ("token_client_id", "token_client_secret", "token_scope")),
        ):
            for field in fields:
                if not use and getattr(self, field) is not None:
                    raise ValueError(f"`{field}`: {why}")
        needed = [
            field
            for use, field in (
                (by_password, "username"),
                (by_password, "password"),
                (by_endpoint, "token_client_id"),
                (by_endpoint, "token_client_secret"),
                (by_token and not by_endpoint, "token"),
                (self.client_key is not None, "client_certificate"),
            )
            if use and getattr(self, field) is None
        ]
        if needed:
            either = "or token_endpoint " if needed[0] == "token" else ""
            raise ValueError(f"`{needed[0]}`: {either}is needed for what else is set in [kafka]")
        if by_endpoint and self.token is not None:
            raise ValueError("`token`: goes with no token_endpoint")


class RingCloudConfig(_Section, frozen=True):
    """How the RingCloud API is reached."""

    base_url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^?#]+$")] = "https://api.ringcloud.ru"
    completed_path: Literal["complite", "complete"] = "complite"
    timeout: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10.0
    proxy: ProxyRef = ""
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 256
    max_response_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 32 * 1024 * 1024


class CallsConfig(_Section, frozen=True):
    """How snapshots are read."""

    answered_statuses: tuple[str, ...] = ()
    absence_grace: Annotated[float, msgspec.Meta(ge=5, le=3600)] = 60.0
    match_tolerance: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    max_clock_skew: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 600.0
    degraded_after: Annotated[float, msgspec.Meta(ge=5, le=86_400)] = 30.0


class KeyConfig(_Section, frozen=True):
    """An API key and its password, each as a reference to where the secret is."""

    key: SecretRef
    password: SecretRef


class AccountConfig(_Section, frozen=True):
    """A RingCloud account that is polled."""

    id: Annotated[int, msgspec.Meta(ge=1)]
    keys: Annotated[tuple[KeyConfig, ...], msgspec.Meta(min_length=1, max_length=8)]
    time_zone: str = "Europe/Moscow"
    channels: bool = False
    allow: tuple[CommandType, ...] = ("call.originate",)
    dial: tuple[DialPattern, ...] = DIAL
    daily_originates: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 500


class DeliveryConfig(_Section, frozen=True):
    """What holds for webhooks to all endpoints."""

    allow_networks: tuple[str, ...] = ()
    allow_http: bool = False
    proxy: ProxyRef = ""
    window: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 500
    disable_after: Annotated[float, msgspec.Meta(ge=1, le=365 * 86_400)] = 5 * 86_400.0
    sealing_keys: Annotated[tuple[SecretRef, ...], msgspec.Meta(max_length=8)] = ()


Scope = Literal["read", "write", "replay", "commands"]


class TokenConfig(_Section, frozen=True):
    """A token for the admin API: `name` shows up in logs, `scopes` say what whoever holds it may do."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$(?!\n)")]
    token: SecretRef
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1)]


class ApiConfig(_Section, frozen=True):
    """Where the admin API is served, and who may ask."""

    listen: Listen = "127.0.0.1:9466"
    tokens: tuple[TokenConfig, ...] = ()


class CommandsConfig(_Section, frozen=True):
    """What holds for commands of all accounts."""

    private_key: SecretRef | None = None
    reply_topics: tuple[str, ...] = ()


class MetricsConfig(_Section, frozen=True):
    """Where each service serves /metrics."""

    gateway: Listen = "127.0.0.1:9464"
    streams: Listen = "127.0.0.1:9465"


class TracesConfig(_Section, frozen=True):
    """Where spans are sent (OTLP over HTTP; empty: nowhere, none are made), and of how many of the traces."""

    endpoint: Collector = ""
    sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class LogConfig(_Section, frozen=True):
    """The shape and the least level of log lines."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(_Section, frozen=True):
    """The whole file."""

    kafka: KafkaConfig = KafkaConfig()
    ringcloud: RingCloudConfig = RingCloudConfig()
    calls: CallsConfig = CallsConfig()
    accounts: tuple[AccountConfig, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    delivery: DeliveryConfig = DeliveryConfig()
    commands: CommandsConfig = CommandsConfig()
    api: ApiConfig = ApiConfig()
    metrics: MetricsConfig = MetricsConfig()
    traces: TracesConfig = TracesConfig()
    log: LogConfig = LogConfig()


def load(path: Path) -> Config:
    """The configuration in the TOML file at `path`.

    Secrets stay references; `secret()` reads one. Raises ConfigError, which names the field.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(path, "", error.strerror or str(error)) from None
    try:
        config = msgspec.toml.decode(raw, type=Config)
    except msgspec.ValidationError as error:
        raise ConfigError(path, *fault(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, "", f"not TOML: {error}") from None
    _check(path, config, datetime.now(UTC))
    return config


def secret(reference: str, field: str) -> str:
    """The secret that `reference` (env:NAME or file:PATH) points to, stripped of white space at its ends.

    Raises ConfigError naming `field`, never the secret.
    """
    kind, _, where = reference.partition(":")
    if kind == "sealed":
        raise ConfigError("", field, "is sealed, which is for signing secrets alone")
    if kind == "env":
        value = os.environ.get(where)
        if value is None:
            raise ConfigError("environment", field, f"variable {where} is not set")
    else:
        try:
            value = Path(where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not readable as text"
            raise ConfigError(where, field, reason) from None
    if not value.strip():
        raise ConfigError(where, field, "is empty")
    return value.strip()


def account_of(key: str) -> int | None:
    """The account of an API key: the integer before its first `_`; None where there is none (of 19 digits at most)."""
    number, separator, _ = key.partition("_")
    return int(number) if separator and number.isascii() and number.isdigit() and len(number) < 20 else None


def check_zone(where: Path | str, field: str, name: str) -> None:
    """Raise ConfigError, naming `where` and `field`, unless there is a time zone `name`."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(where, field, f"no such time zone: {name!r}") from None


def _check(path: Path, config: Config, now: datetime) -> None:
    _no_twins(path, "accounts", [account.id for account in config.accounts])
    _no_twins(path, "endpoints", [endpoint.id for endpoint in config.endpoints])
    for at, account in enumerate(config.accounts):
        check_zone(path, f"accounts[{at}].time_zone", account.time_zone)
    for at, endpoint in enumerate(config.endpoints):
        if found := reach_fault(endpoint, allow_http=config.delivery.allow_http):
            raise ConfigError(path, f"endpoints[{at}].{found[0]}", found[1])
        if found := secrets_fault(endpoint.secrets, now):
            raise ConfigError(path, f"endpoints[{at}].{found[0]}", found[1])
    if config.delivery.proxy and config.delivery.allow_http:
        raise ConfigError(path, "delivery.allow_http", "goes with no delivery.proxy: only https:// passes it unseen")
    for at, network in enumerate(config.delivery.allow_networks):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigError(path, f"delivery.allow_networks[{at}]", str(error)) from None
    _no_twins(path, "api.tokens", [token.name for token in config.api.tokens], "name")
    for field, listen in (
        ("metrics.gateway", config.metrics.gateway),
        ("metrics.streams", config.metrics.streams),
        ("api.listen", config.api.listen),
    ):
        if int(listen.rpartition(":")[2]) > 65_535:
            raise ConfigError(path, field, "a port is 65535 at most")


def _no_twins(path: Path, field: str, ids: list[Any], called: str = "id") -> None:
    seen: dict[Any, int] = {}
    for at, one in enumerate(ids):
        if one in seen:
            raise ConfigError(
                path, f"{field}[{at}].{called}", f"{one!r} is already the {called} of {field}[{seen[one]}]"
            )
        seen[one] = at
