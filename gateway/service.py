"""The gateway service: polling and commands of the shards that this process owns."""

from __future__ import annotations

import asyncio

from gateway.config import Config, ConfigError, secret
from gateway.polling.accounts import follow_accounts
from gateway.polling.ownership import Ownership
from gateway.ringcloud import Http
from gateway.ringcloud.http import read_proxy
from gateway.runtime.garbage import spare_the_collector
from gateway.runtime.health import Brokers, Health
from gateway.runtime.kafka import client_settings, ensure_topics
from gateway.runtime.metrics import serve_metrics
from gateway.runtime.tracing import tracing
from gateway.work import Work, credentials


async def run_gateway(config: Config) -> None:
    """Run until cancelled; ready once shards were assigned and the accounts declared at run time are known, for as long
    as the brokers answer.

    Raises ConfigError for a secret that can't be read, a key of another account or traces without their extra,
    TopicError for topics that don't fit, MetricsError for an address that is taken.
    """
    spare_the_collector()
    check_credentials(config)
    health = Health("shards", "kafka")
    async with tracing(config.traces, "ringcloud-gateway") as traces, serve_metrics(config.metrics.gateway, health):
        await ensure_topics(config.kafka)
        async with Http(max_connections=config.ringcloud.max_connections, proxy=_proxy(config)) as http:
            work = Work(config, http, traces)
            ownership = Ownership(config.kafka, work, work.taken_over)
            known = asyncio.Event()
            brokers = Brokers(client_settings(config.kafka, "health"))
            health.give("kafka", brokers.finding)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(health.run())
                tasks.create_task(brokers.run())
                tasks.create_task(
                    follow_accounts(
                        config.kafka,
                        lambda account, as_: work.declare(account, as_, ownership.accounts_changed),
                        known.set,
                    )
                )
                # A command for an account that is not known yet would be rejected.
                await known.wait()
                health.give("shards", ownership.finding)
                tasks.create_task(ownership.run())


def check_credentials(config: Config) -> None:
    """Read every account's keys and passwords, and the proxy, once. Raises ConfigError naming the first that is wrong."""
    for at, account in enumerate(config.accounts):
        credentials(account, f"accounts[{at}].")
    _proxy(config)


def _proxy(config: Config) -> str | None:
    proxy = config.ringcloud.proxy
    url = secret(proxy, "ringcloud.proxy") if proxy.startswith(("env:", "file:")) else proxy or None
    try:
        read_proxy(url)
    except ValueError as error:
        raise ConfigError("", "ringcloud.proxy", str(error)) from None
    return url
